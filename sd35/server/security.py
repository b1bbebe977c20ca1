"""What a Gradio server leaves open, closed. The outermost ASGI middleware: it sees each request first.

- A page of another site can point its own name at this machine (DNS rebinding): only known hosts
  are answered.
- A page of another site can post here, or read what is here: refused, unless it may embed this one.
- Gradio offers much that this program doesn't need, such as uploads, a proxy to other hosts, its
  own monitoring: only what is needed is there.
- Bodies may be endless, or never come: both have a limit, and so has a reader who doesn't read.
- No security headers are set: they are.
"""

import asyncio
import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import unquote

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Guard"]

MAX_BODY_BYTES = 1024 * 1024
BODY_SECONDS = 20.0
READ_SECONDS = 60.0
"""A request's body comes within the one; who doesn't take what is sent to it for the other, is left."""

_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9_.\-]+))(?::\d{1,5})?")

_WAYS_IN = re.compile(
    r"/|/(?:config|login|logout|theme\.css|healthz|metrics)/?|/login/(?:huggingface|callback)"
    r"|/(?:favicon\.ico|manifest\.json|robots\.txt|pwa_icon(?:/\d+)?|gradio\.js)"
    r"|/(?:assets|static|svelte)/.+"
    r"|/studio/(?:zip|(?:thumbnail|picture)/[\w-]{1,64})"
    r"|/gradio_api/(?:info|config|openapi\.json|startup-events|theme\.css|app_id|user|login_check|cancel)/?"
    r"|/gradio_api/(?:queue/(?:join|data)|heartbeat/[\w-]+|(?:run|call|call/v2)/\w+(?:/\w+)?|mcp(?:/[\w/-]*)?)/?"
    r"|/gradio_api/file=(?!\w+:|//).+",
    re.DOTALL | re.IGNORECASE,
)

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors {ancestors}",
}


class Guard:
    """Answers only requests that a page of this server, a page that may embed it, or a program would make.

    Args:
        app: what is guarded.
        hosts: the names under which this server is known, beside `localhost` and plain addresses;
            one that begins with a dot stands for all names below it.
        embed_in: the sites that may show the page within their own, as in `frame-ancestors`:
            `https://blog.example`, `https://*.example`, or `*` for any.

    """

    def __init__(
        self, app: ASGIApp, hosts: Iterable[str] = (), embed_in: Iterable[str] = ()
    ) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._embed_in = tuple(site.lower().rstrip("/") for site in embed_in)
        ancestors = " ".join(["'self'", *self._embed_in])
        self._headers = {
            name: value.format(ancestors=ancestors) for name, value in _HEADERS.items()
        }
        if not self._embed_in:
            self._headers |= {
                "X-Frame-Options": "SAMEORIGIN",
                "Cross-Origin-Resource-Policy": "same-origin",
            }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or pass it on and add the headers to the answer."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # nothing here speaks over a websocket
            await send({"type": "websocket.close", "code": 1000})
            return
        headers = Headers(scope=scope)
        answer = self._answer(scope, headers)
        if answer is None:
            body = (
                await _body(receive, headers)
                if scope["method"] not in {"GET", "HEAD", "OPTIONS"}
                else b""
            )
            if isinstance(body, bytes):
                asked = _without_credentials(scope) if self._is_any_page(headers) else scope
                await self._app(asked, _again(body, receive), self._sender(send, headers))
                return
            answer = body
        await answer(scope, receive, self._sender(send, headers))

    def _answer(self, scope: Scope, headers: Headers) -> Response | None:
        """What is answered at once: a refusal, or a browser's question beforehand."""
        host = headers.get("host", "")
        if len(headers.getlist("host")) != 1 or not self._is_known(_host_of(host)):
            said = "This server isn't known under that name. If it should be, start it with --known-hosts and the name."
            return PlainTextResponse(said, 400)
        is_foreign = self._is_foreign(host, headers)
        if scope["method"] == "OPTIONS":
            return Response(status_code=403 if is_foreign else 204)
        does = scope["method"] not in {"GET", "HEAD"} or scope["path"].startswith("/logout")
        if does and is_foreign:
            return PlainTextResponse("A page of another site can't do this.", 403)
        path = unquote(scope["path"])
        if not _WAYS_IN.fullmatch(scope["path"]) or not _WAYS_IN.fullmatch(path):
            return PlainTextResponse("There is nothing here.", 404)
        return None

    def _sender(self, send: Send, headers: Headers) -> Send:
        origin = headers.get("origin")
        is_embedder = origin is not None and self._may_embed(origin.lower())

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent = MutableHeaders(scope=message)
                for name in [name for name in sent if name.startswith("access-control-")]:
                    del sent[name]
                sent.update(self._headers)
                if is_embedder and origin is not None:
                    sent.update(_embedding(origin, headers))
                if sent.get("content-type", "").startswith("text/event-stream"):
                    sent["X-Accel-Buffering"] = "no"  # else a proxy may hold events back
            async with asyncio.timeout(READ_SECONDS):
                await send(message)

        return send_on

    def _is_known(self, host: str) -> bool:
        return host == "localhost" or _is_address(host) or self._is_named(host)

    def _is_named(self, host: str) -> bool:
        return host in self._hosts or any(
            name.startswith(".") and host.endswith(name) for name in self._hosts
        )

    def _is_foreign(self, host: str, headers: Headers) -> bool:
        origin = headers.get("origin")
        if origin is not None and self._may_embed(origin.lower()):
            return False
        if headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
            return True
        if origin is None:  # no browser
            return False
        # A tunnel may pass on another Host than the one that the browser sees.
        place = origin.partition("://")[2].lower()
        name = _host_of(place)
        return place != host.lower() and (
            name == "localhost" or _is_address(name) or not self._is_named(name)
        )

    def _is_any_page(self, headers: Headers) -> bool:
        """Whether another site's page asks, of which nothing is known: not as who looks at it, then."""
        origin = headers.get("origin", "").lower()
        if not origin or any(_covers(site, origin) for site in self._embed_in if site != "*"):
            return False
        if "sec-fetch-site" in headers:
            return headers["sec-fetch-site"] not in {"same-origin", "none"}
        place = origin.partition("://")[2]
        return place != headers["host"].lower() and not self._is_named(_host_of(place))

    def _may_embed(self, origin: str) -> bool:
        return any(_covers(site, origin) for site in self._embed_in)


async def _body(receive: Receive, headers: Headers) -> bytes | Response:
    """The whole body, or the answer to one that is too large or too slow."""
    too_large = PlainTextResponse(f"Not more than {MAX_BODY_BYTES >> 10} KiB at once.", 413)
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
        return too_large
    parts, size = [], 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while (message := await receive())["type"] == "http.request":
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > MAX_BODY_BYTES:
                    return too_large
                if not message.get("more_body"):
                    return b"".join(parts)
    except TimeoutError:
        return PlainTextResponse("The request didn't come to its end in time.", 408)
    return PlainTextResponse("The request broke off.", 400)


def _without_credentials(scope: Scope) -> Scope:
    return {
        **scope,
        "headers": [
            each for each in scope["headers"] if each[0] not in {b"cookie", b"authorization"}
        ],
    }


def _again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that begins with this body."""
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_on() -> Message:
        return first.pop() if first else await receive()

    return receive_on


def _embedding(origin: str, headers: Headers) -> dict[str, str]:
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Allow-Headers": headers.get(
            "access-control-request-headers", "content-type"
        ),
        "Access-Control-Allow-Methods": "GET, POST",
        "Access-Control-Max-Age": "600",
        "Vary": "Origin",
    }


def _covers(site: str, origin: str) -> bool:
    """Whether a site as in `frame-ancestors` speaks of this origin."""
    scheme, _, host = site.rpartition("://")
    origin_scheme, _, origin_host = origin.rpartition("://")
    if site == "*":
        return origin_scheme in {"http", "https"}
    same = host == origin_host or (host.startswith("*.") and origin_host.endswith(host[1:]))
    return same and scheme in {"", origin_scheme}


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
