"""Addresses of HTTP proxies as people write them: with or without a scheme, in any case."""

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from yarl import URL

from sd35.core.quotes import strip_quotes

__all__ = ["ProxyAddress", "UnsupportedProxyError", "parse_proxy"]

# The login ends at the last "@": passwords contain what an address may not, such as "#" and "/".
_PATTERN: Final = re.compile(
    r"(?:(?P<scheme>[a-z][a-z0-9+.-]*)://|//)?\s*(?:(?P<login>.*)@)?"
    r"(?P<host>\[[0-9a-f:.]+\]|[^\s/:@?#\[\]\\'\"]+)(?::\s*(?P<port>\d{1,5}))?(?:/.*)?",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class ProxyAddress:
    """The address of an HTTP proxy, and the user and password for it, which may be empty."""

    url: URL
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)


class UnsupportedProxyError(ValueError):
    """The address is that of a proxy of another kind, such as SOCKS; `scheme` is its kind."""

    def __init__(self, scheme: str) -> None:
        kind = "SOCKS" if scheme.startswith("socks") else scheme
        super().__init__(f"{kind} proxies aren't supported; enter an HTTP proxy, http://host:port")
        self.kind = kind


def parse_proxy(text: str) -> ProxyAddress:
    """Return the address of a proxy.

    Raises:
        UnsupportedProxyError: it isn't an HTTP proxy.
        ValueError: it is no address. The message never repeats it: it may have a password.
    """
    match = _PATTERN.fullmatch(strip_quotes(text))
    scheme = ((match and match["scheme"]) or "http").lower()
    if match is not None and scheme not in {"http", "https"}:
        raise UnsupportedProxyError(scheme)
    url = None if match is None else _build_url(scheme, match["host"], match["port"])
    if match is None or url is None:
        raise ValueError(
            "enter an HTTP proxy such as http://host:port or http://user:password@host"
        )
    user, _, password = (match["login"] or "").partition(":")
    return ProxyAddress(url, unquote(user), unquote(password))


def _build_url(scheme: str, host: str, port: str | None) -> URL | None:
    try:
        url = URL(f"{scheme}://{host}:{port}" if port else f"{scheme}://{host}")
    except ValueError:
        return None
    return url if url.host and url.port else None
