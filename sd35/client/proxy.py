"""What a request carries and the way it takes: the token's header, and the proxy."""

import urllib.request
from base64 import b64encode
from urllib.parse import urlsplit

from yarl import URL

from sd35.core.errors import InvalidRequestError

__all__ = ["checked_proxy", "is_loopback", "proxy_for", "proxy_to", "without_password"]


def is_loopback(root: URL) -> bool:
    """Whether this address is on this machine, where no proxy belongs between."""
    return root.host in {"localhost", "127.0.0.1", "::1"}


def proxy_to(root: URL, proxy: str | None = None) -> str:
    """Return the proxy on the way to this address, without user and password; empty where there is none.

    Raises:
        InvalidRequestError: the address of the proxy that was given isn't one.

    """
    way = checked_proxy(proxy) or proxy_for(root)
    try:
        return str(URL(way).origin()) if way else ""
    except ValueError:
        return "an address that can't be understood"


def checked_proxy(proxy: str | None) -> str | None:
    """Return the address of a proxy that was given, if one was.

    Raises:
        InvalidRequestError: it isn't one.

    """
    if not proxy:
        return None
    try:
        parts = urlsplit(proxy)
        usable = (
            parts.scheme in {"http", "https"}
            and bool(parts.hostname)
            and (parts.port is None or parts.port > 0)
        )
    except ValueError:
        usable = False
    if not usable:
        raise InvalidRequestError(
            "The proxy's address must look like http://host:port or http://user:password@host."
        )
    return proxy


def without_password(proxy: str | None) -> tuple[URL | None, dict[str, str]]:
    """Return the proxy's address, and apart from it, so that no error shows it, the header that it is to be given."""
    if proxy is None:
        return None, {}
    url = URL(proxy)
    if not (url.user or url.password):
        return url, {}
    login = b64encode(f"{url.user or ''}:{url.password or ''}".encode()).decode()
    return url.with_user(None), {"Proxy-Authorization": f"Basic {login}"}


def proxy_for(root: URL) -> str | None:
    """Return the HTTP proxy that the system or the environment names for this address."""
    if is_loopback(root) or urllib.request.proxy_bypass(root.host or ""):
        return None
    proxy = urllib.request.getproxies().get(root.scheme)
    return proxy if proxy and proxy.startswith("http") else None
