"""What a Gradio server leaves open on a person's own machine, closed. An ASGI middleware.

- A page of another site can point its own name at this machine (DNS rebinding): only known hosts are answered.
- A page of another site can post here, for instance to fill the disk with uploads: refused.
- `/gradio_api/file=https://…` fetches foreign addresses: refused.
- No security headers are set: they are.
"""

import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import unquote

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Guard"]

_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9_.\-]+))(?::\d{1,5})?")

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; frame-ancestors {ancestors}",
}


class Guard:
    """Answers only requests that a page of this server, or a program, would make.

    Args:
        app: what is guarded.
        hosts: the names under which this server is known, beside `localhost` and plain addresses; one that begins
            with a dot stands for all names below it.
        framed_by: the sites that may show the page in a frame, as in `frame-ancestors`.

    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str] = (), framed_by: str = "'self'") -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._headers = {name: value.format(ancestors=framed_by) for name, value in _HEADERS.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or pass it on and add the headers to the answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope, Headers(scope=scope))
        if refusal:
            await PlainTextResponse(refusal[1], status_code=refusal[0])(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if not self._is_known(_host_of(host)):
            return (
                400,
                "This server isn't known under that name. If it should be, start it with --known-hosts and the name.",
            )
        if scope["method"] not in {"GET", "HEAD", "OPTIONS"} and self._is_cross_site(host, headers):
            return 403, "A page of another site can't do this."
        path = unquote(scope["path"]).replace("\\", "/")
        if "file=http:" in path or "file=https:" in path or "file=//" in path:
            return 403, "Only files of this server are served."
        return None

    def _is_known(self, host: str) -> bool:
        return host == "localhost" or _is_address(host) or self._is_named(host)

    def _is_named(self, host: str) -> bool:
        return host in self._hosts or any(name.startswith(".") and host.endswith(name) for name in self._hosts)

    def _is_cross_site(self, host: str, headers: Headers) -> bool:
        if headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
            return True
        origin = headers.get("origin")
        if origin is None:  # no browser
            return False
        # A tunnel may pass on another Host than the one that the browser sees.
        place = origin.partition("://")[2].lower()
        return place != host.lower() and not self._is_named(_host_of(place))


def _host_of(header: str) -> str:
    """The host in a `Host` header, without port and brackets, in small letters; "" for what is none."""
    match = _HOST.fullmatch(header.lower())
    return "" if match is None else match[1] or match[2]


def _is_address(host: str) -> bool:
    """Rebinding needs a name; who has the plain address is already here."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
