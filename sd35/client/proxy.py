"""The proxy on the way to a server."""

import urllib.request
from base64 import b64encode
from urllib.parse import urlsplit

from yarl import URL

from sd35.core.errors import InvalidRequestError

__all__ = ["effective_proxy", "find_proxy", "is_loopback", "split_credentials"]


def is_loopback(root: URL) -> bool:
    """Return whether an address is on this machine, where proxies aren't used."""
    return root.host in {"localhost", "127.0.0.1", "::1"}


def effective_proxy(root: URL, proxy: str | None = None) -> str:
    """Return the proxy for an address, without its user and password; empty for no proxy."""
    proxy_url = find_proxy(root, proxy)
    try:
        return str(URL(proxy_url).origin()) if proxy_url else ""
    except ValueError:
        return "an invalid address"


def find_proxy(root: URL, proxy: str | None) -> str | None:
    """Return the proxy for an address: this one, or else that of the environment or the system.

    Raises:
        InvalidRequestError: the address of `proxy` is invalid.
    """
    if not proxy:
        return _system_proxy(root)
    try:
        parts = urlsplit(proxy)
        is_valid = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        is_valid = False
    if not is_valid:
        raise InvalidRequestError(
            "The proxy's address must look like http://host:port or http://user:password@host."
        )
    return proxy


def split_credentials(proxy: str | None) -> tuple[URL | None, dict[str, str]]:
    """Return a proxy's address and its login as a header, so that no error shows the password."""
    if proxy is None:
        return None, {}
    url = URL(proxy)
    if not (url.user or url.password):
        return url, {}
    credentials = b64encode(f"{url.user or ''}:{url.password or ''}".encode()).decode()
    return url.with_user(None), {"Proxy-Authorization": f"Basic {credentials}"}


def _system_proxy(root: URL) -> str | None:
    # Also reads the settings of macOS and Windows, which environment variables don't show. They
    # needn't exempt this machine, where the demo Space runs.
    if is_loopback(root) or urllib.request.proxy_bypass(root.host or ""):
        return None
    proxy = urllib.request.getproxies().get(root.scheme)
    # aiohttp has no SOCKS proxies.
    return proxy if proxy and proxy.startswith("http") else None
