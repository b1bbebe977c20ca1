"""The proxy on the way to a server: the one that was named, or that of the environment."""

import ipaddress
import os
import re
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from yarl import URL

from sd35.core.errors import InvalidRequestError
from sd35.core.proxy_address import ProxyAddress, UnsupportedProxyError, parse_proxy
from sd35.core.quotes import strip_quotes

__all__ = ["ProxyRoute", "find_proxy", "is_loopback", "proxy_login_header"]


@dataclass(frozen=True, slots=True)
class ProxyRoute:
    """The way to a server.

    Attributes:
        proxy: the proxy; `None` for a direct connection.
        warning: a sentence about a proxy that can't be used, and was passed over; may be empty.
        exemption: a sentence about why this server needs no proxy; may be empty.
    """

    proxy: ProxyAddress | None = None
    warning: str = ""
    exemption: str = ""

    @property
    def description(self) -> str:
        """The proxy without its login, or `none`, and why."""
        address = "none" if self.proxy is None else str(self.proxy.url.origin())
        reason = (self.warning or self.exemption).removesuffix(".").replace("The", "the", 1)
        return f"{address}: {reason}" if reason else address


def is_loopback(root: URL) -> bool:
    """Return whether an address is on this machine, where proxies aren't used."""
    host = (root.host or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def find_proxy(root: URL, proxy: str | None) -> ProxyRoute:
    """Return the way to an address: over this proxy, or else that of the environment or the system.

    Raises:
        InvalidRequestError: the proxy isn't an HTTP proxy, or has an invalid address.
    """
    if proxy and proxy.strip():
        try:
            return ProxyRoute(parse_proxy(proxy))
        except ValueError as error:
            raise InvalidRequestError(f"Can't use the proxy's address: {error}.") from None
    # The environment needn't exempt this machine, where the demo Space runs.
    if is_loopback(root):
        return ProxyRoute(exemption=f"{root.host} is this computer.")
    return _environment_route(root) or _platform_route(root) or _direct_route(root)


def proxy_login_header(proxy: ProxyAddress | None) -> dict[str, str]:
    """Return the header with a proxy's login, which is in no address that an error could show."""
    if proxy is None or not (proxy.user or proxy.password):
        return {}
    credentials = b64encode(f"{proxy.user}:{proxy.password}".encode()).decode()
    return {"Proxy-Authorization": f"Basic {credentials}"}


def _environment_route(root: URL) -> ProxyRoute | None:
    """Return the way that the environment names; `None` if it names no proxy for this scheme."""
    variables = list(_proxy_variables(root.scheme))
    if not variables:
        return None
    exemptions = next((value for _, value in _variables("no_proxy")), "")
    if _is_exempt(root, exemptions):
        return ProxyRoute(exemption=f"NO_PROXY exempts {root.host}.")
    return _first_usable(variables)


def _platform_route(root: URL) -> ProxyRoute | None:
    # Not urllib's getproxies(), which reads these only if the environment has no NO_PROXY, either.
    module: Any = urllib.request
    for system in ("macosx_sysconf", "registry"):
        read_proxies = getattr(module, f"getproxies_{system}", None)
        proxy = read_proxies().get(root.scheme) if read_proxies else None
        if proxy and not getattr(module, f"proxy_bypass_{system}")(root.host or ""):
            return _first_usable([("the system's settings", proxy)])
    return None


def _direct_route(root: URL) -> ProxyRoute:
    """Return the way without a proxy, and whether the environment has one for other addresses."""
    other_scheme = "https" if root.scheme == "http" else "http"
    for variable, _ in _variables(f"{other_scheme}_proxy"):
        return ProxyRoute(exemption=f"{variable} is for {other_scheme} addresses alone.")
    return ProxyRoute()


def _first_usable(candidates: list[tuple[str, str]]) -> ProxyRoute:
    warning = ""
    for source, value in candidates:
        try:
            return ProxyRoute(parse_proxy(value), warning)
        except UnsupportedProxyError as error:
            warning = (
                warning or f"The {error.kind} proxy of {source} isn't supported and isn't used."
            )
        except ValueError as error:
            raise InvalidRequestError(f"Can't use the proxy of {source}: {error}.") from None
    return ProxyRoute(warning=warning)


def _proxy_variables(scheme: str) -> Iterator[tuple[str, str]]:
    """Yield the variables for this scheme with their values, the one that counts first."""
    # A CGI program gets the header `Proxy` of its visitors as HTTP_PROXY.
    if scheme != "http" or "REQUEST_METHOD" not in os.environ:
        yield from _variables(f"{scheme}_proxy")
    else:
        yield from (item for item in _variables(f"{scheme}_proxy") if item[0].islower())
    yield from _variables("all_proxy")
    for variable, value in _variables("socks_proxy"):
        yield variable, value if "://" in value else f"socks://{value}"


def _variables(name: str) -> Iterator[tuple[str, str]]:
    """Yield the variable with this name in any case, that in lower case first, unless empty."""
    for variable in sorted((key for key in os.environ if key.lower() == name), reverse=True):
        value = strip_quotes(os.environ[variable])
        if value:
            yield variable, value


_SEPARATORS: Final = re.compile(r"[\s,;\"']+")
_HOST_WITH_PORT: Final = re.compile(r"(\[[^\]]*\]|[^:]*)(?::(\d+))?")


def _is_exempt(root: URL, exemptions: str) -> bool:
    """Return whether NO_PROXY names a host: by name, domain, address, network or `*`."""
    host = (root.host or "").rstrip(".").lower()
    return any(
        _matches(entry.lower(), host, root.port) for entry in _SEPARATORS.split(exemptions) if entry
    )


def _matches(entry: str, host: str, port: int | None) -> bool:
    try:
        # A host that is a name raises ValueError, and so does an entry that is one.
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        pass
    # Some write addresses, of which the host counts.
    match = _HOST_WITH_PORT.fullmatch(entry.rpartition("://")[2].rstrip("/"))
    if match is None or (match[2] and int(match[2]) != port):
        return False
    name = match[1].strip("[]").removeprefix("*").lstrip(".").rstrip(".")
    return match[1] == "*" or (name != "" and f".{host}".endswith(f".{name}"))
