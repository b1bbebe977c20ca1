"""Answers that aren't those of the server: redirects, and login pages of a network. Pure."""

import re
from typing import Final

from yarl import URL

from sd35.client.error_parsing import sanitize
from sd35.core.errors import LoginPageError, RedirectedError, SD35Error, WebPageError

__all__ = ["is_same_server", "is_web_page", "redirect_error", "redirect_target", "web_page_error"]

REDIRECT_STATUSES: Final = frozenset({301, 302, 303, 307, 308})

MAX_PAGE_BYTES: Final = 64 * 1024  # in which signs of a login page are looked for

MAX_INDENT_BYTES: Final = 1024  # before the first tag

_PAGE_PATTERN: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!|\?xml|[a-z])", re.IGNORECASE)

# A form, a redirect by the page itself, or what hotspots write for programs (WISPr).
_LOGIN_PAGE_PATTERN: Final = re.compile(
    rb"<form\b|http-equiv\s*=\s*[\"']?refresh|\blocation\s*(?:\.\s*(?:href|replace|assign)\b|=)"
    rb"|WISPAccessGateway|captive|hotspot|\bwi-?fi\b",
    re.IGNORECASE,
)


def is_same_server(url: URL, other: URL) -> bool:
    """Return whether two addresses have the same scheme, host and port."""
    # Not by yarl's origins, in which `:443` makes a difference.
    parts = ((address.scheme, address.host, address.port) for address in (url, other))
    return next(parts) == next(parts)


def redirect_target(status: int, url: URL, location: str | None) -> URL | None:
    """Return the address that an answer redirects to; `None` if it isn't a redirect."""
    if status not in REDIRECT_STATUSES or not location:
        return None
    try:
        target = url.join(URL(location.strip()))
    except (ValueError, IndexError):  # yarl raises both for invalid addresses
        return None
    return target if target.host else None


def redirect_error(name: str, url: URL, target: URL) -> SD35Error | None:
    """Return the error for a redirect; `None` for one that may be followed.

    That is one to the same server, or from http to https on the same host: the token and the
    password of the Space go along.
    """
    if target.user is not None or target.password is not None:
        return RedirectedError(f"{name} redirected to an invalid address.")
    is_upgrade = (url.scheme, target.scheme) == ("http", "https") and url.host == target.host
    if is_upgrade or is_same_server(url, target):
        return None
    address = sanitize(str(target.origin()))[:100]
    happened = f"{name} redirected to another server, {address}, which isn't allowed."
    remedy = (
        "It may be the login page of your Wi-Fi or network: open it in a browser and log in. If "
        "the Space has moved, use its new address."
    )
    # Whoever is on the way can answer for a server without a certificate, and may stop doing so.
    is_forgeable = url.scheme == "http" and url.host != target.host
    return (LoginPageError if is_forgeable else RedirectedError)(happened, remedy)


def is_web_page(body: bytes) -> bool:
    """Return whether a body is HTML or XML."""
    return _PAGE_PATTERN.match(body, 0, MAX_INDENT_BYTES) is not None


def web_page_error(name: str, body: bytes) -> SD35Error:
    """Return the error for a web page in place of an answer."""
    if _LOGIN_PAGE_PATTERN.search(body[:MAX_PAGE_BYTES]):
        return LoginPageError(f"A login page answered in place of {name}.")
    return WebPageError(f"A web page answered in place of {name}.")
