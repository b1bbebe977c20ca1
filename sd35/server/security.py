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

__all__ = ["SecurityMiddleware"]

MAX_BODY_BYTES = 1024 * 1024
BODY_TIMEOUT_SECONDS = 20.0
SEND_TIMEOUT_SECONDS = 60.0
"""A request's body comes within the one; who doesn't take what is sent to it for the other, is left."""

_HOST_PATTERN = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9_.\-]+))(?::\d{1,5})?")

_ALLOWED_PATHS = re.compile(
    r"/|/(?:config|login|logout|theme\.css|healthz|metrics)/?|/login/(?:huggingface|callback)"
    r"|/(?:favicon\.ico|manifest\.json|robots\.txt|pwa_icon(?:/\d+)?|gradio\.js)"
    r"|/(?:assets|static|svelte)/.+"
    r"|/studio/(?:zip|(?:thumbnail|picture)/[\w-]{1,64})"
    r"|/gradio_api/(?:info|config|openapi\.json|startup-events|theme\.css|app_id|user|login_check|cancel)/?"
    r"|/gradio_api/(?:queue/(?:join|data)|heartbeat/[\w-]+|(?:run|call|call/v2)/\w+(?:/\w+)?|mcp(?:/[\w/-]*)?)/?"
    r"|/gradio_api/file=(?!\w+:|//).+",
    re.DOTALL | re.IGNORECASE,
)

_SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors {ancestors}",
}


class SecurityMiddleware:
    """Answers only requests that a page of this server, a page that may embed it, or a program would make.

    Args:
        app: what is guarded.
        hosts: the names under which this server is known, beside `localhost` and plain addresses;
            one that begins with a dot stands for all names below it.
        embed_in: the sites that may show the page within their own, as in `frame-ancestors`:
            `https://blog.example`, `https://*.example`, or `*` for any.

    """

    def __init__(
        self, app: ASGIApp, known_hosts: Iterable[str] = (), frame_ancestors: Iterable[str] = ()
    ) -> None:
        self._app = app
        self._known_hosts = frozenset(host.lower() for host in known_hosts)
        self._frame_ancestors = tuple(site.lower().rstrip("/") for site in frame_ancestors)
        ancestor_list = " ".join(["'self'", *self._frame_ancestors])
        self._security_headers = {
            name: value.format(ancestors=ancestor_list) for name, value in _SECURITY_HEADERS.items()
        }
        if not self._frame_ancestors:
            self._security_headers |= {
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
        response = self._early_response(scope, headers)
        if response is None:
            body = (
                await _read_body(receive, headers)
                if scope["method"] not in {"GET", "HEAD", "OPTIONS"}
                else b""
            )
            if isinstance(body, bytes):
                app_scope = (
                    _without_credentials(scope) if self._is_anonymous_embedder(headers) else scope
                )
                await self._app(
                    app_scope, _replay_body(body, receive), self._wrap_send(send, headers)
                )
                return
            response = body
        await response(scope, receive, self._wrap_send(send, headers))

    def _early_response(self, scope: Scope, headers: Headers) -> Response | None:
        """What is answered at once: a refusal, or a browser's question beforehand."""
        host = headers.get("host", "")
        if len(headers.getlist("host")) != 1 or not self._is_known_host(_parse_host(host)):
            message = "This server isn't known under that name. If it should be, start it with --known-hosts and the name."
            return PlainTextResponse(message, 400)
        is_cross_origin = self._is_cross_origin(host, headers)
        if scope["method"] == "OPTIONS":
            return Response(status_code=403 if is_cross_origin else 204)
        has_side_effects = scope["method"] not in {"GET", "HEAD"} or scope["path"].startswith(
            "/logout"
        )
        if has_side_effects and is_cross_origin:
            return PlainTextResponse("A page of another site can't do this.", 403)
        decoded_path = unquote(scope["path"])
        if not _ALLOWED_PATHS.fullmatch(scope["path"]) or not _ALLOWED_PATHS.fullmatch(
            decoded_path
        ):
            return PlainTextResponse("There is nothing here.", 404)
        return None

    def _wrap_send(self, send: Send, headers: Headers) -> Send:
        origin = headers.get("origin")
        is_embedder = origin is not None and self._may_embed(origin.lower())

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                response_headers = MutableHeaders(scope=message)
                for name in [
                    name for name in response_headers if name.startswith("access-control-")
                ]:
                    del response_headers[name]
                response_headers.update(self._security_headers)
                if is_embedder and origin is not None:
                    response_headers.update(_cors_headers(origin, headers))
                if response_headers.get("content-type", "").startswith("text/event-stream"):
                    response_headers["X-Accel-Buffering"] = (
                        "no"  # else a proxy may hold events back
                    )
            async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
                await send(message)

        return send_with_headers

    def _is_known_host(self, host: str) -> bool:
        return host == "localhost" or _is_ip_address(host) or self._is_listed_host(host)

    def _is_listed_host(self, host: str) -> bool:
        return host in self._known_hosts or any(
            name.startswith(".") and host.endswith(name) for name in self._known_hosts
        )

    def _is_cross_origin(self, host: str, headers: Headers) -> bool:
        origin = headers.get("origin")
        if origin is not None and self._may_embed(origin.lower()):
            return False
        if headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
            return True
        if origin is None:  # no browser
            return False
        # A tunnel may pass on another Host than the one that the browser sees.
        origin_netloc = origin.partition("://")[2].lower()
        origin_host = _parse_host(origin_netloc)
        return origin_netloc != host.lower() and (
            origin_host == "localhost"
            or _is_ip_address(origin_host)
            or not self._is_listed_host(origin_host)
        )

    def _is_anonymous_embedder(self, headers: Headers) -> bool:
        """Whether another site's page asks, of which nothing is known: not as who looks at it, then."""
        origin = headers.get("origin", "").lower()
        if not origin or any(
            _matches_origin(site, origin) for site in self._frame_ancestors if site != "*"
        ):
            return False
        if "sec-fetch-site" in headers:
            return headers["sec-fetch-site"] not in {"same-origin", "none"}
        origin_netloc = origin.partition("://")[2]
        return origin_netloc != headers["host"].lower() and not self._is_listed_host(
            _parse_host(origin_netloc)
        )

    def _may_embed(self, origin: str) -> bool:
        return any(_matches_origin(site, origin) for site in self._frame_ancestors)


async def _read_body(receive: Receive, headers: Headers) -> bytes | Response:
    """The whole body, or the answer to one that is too large or too slow."""
    too_large_response = PlainTextResponse(
        f"Not more than {MAX_BODY_BYTES >> 10} KiB at once.", 413
    )
    content_length = headers.get("content-length", "0")
    if not content_length.isdecimal() or int(content_length) > MAX_BODY_BYTES:
        return too_large_response
    chunks, size = [], 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
            while (message := await receive())["type"] == "http.request":
                chunks.append(message.get("body", b""))
                size += len(chunks[-1])
                if size > MAX_BODY_BYTES:
                    return too_large_response
                if not message.get("more_body"):
                    return b"".join(chunks)
    except TimeoutError:
        return PlainTextResponse("The request didn't come to its end in time.", 408)
    return PlainTextResponse("The request broke off.", 400)


def _without_credentials(scope: Scope) -> Scope:
    return {
        **scope,
        "headers": [
            header for header in scope["headers"] if header[0] not in {b"cookie", b"authorization"}
        ],
    }


def _replay_body(body: bytes, receive: Receive) -> Receive:
    """A `receive` that begins with this body."""
    replayed_messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_replayed() -> Message:
        return replayed_messages.pop() if replayed_messages else await receive()

    return receive_replayed


def _cors_headers(origin: str, headers: Headers) -> dict[str, str]:
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


def _matches_origin(site: str, origin: str) -> bool:
    """Whether a site as in `frame-ancestors` speaks of this origin."""
    scheme, _, host = site.rpartition("://")
    origin_scheme, _, origin_host = origin.rpartition("://")
    if site == "*":
        return origin_scheme in {"http", "https"}
    is_same_host = host == origin_host or (host.startswith("*.") and origin_host.endswith(host[1:]))
    return is_same_host and scheme in {"", origin_scheme}


def _parse_host(header: str) -> str:
    """The host in a `Host` header, without port and brackets, in small letters; "" for what is none."""
    match = _HOST_PATTERN.fullmatch(header.lower())
    return "" if match is None else match[1] or match[2]


def _is_ip_address(host: str) -> bool:
    """Rebinding needs a name; who has the plain address is already here."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
