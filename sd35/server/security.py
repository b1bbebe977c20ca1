"""Protection of the Gradio server against other sites, strangers and slow clients.

The middleware is outermost: it sees each request before Gradio and all other middleware do. What it
knows about Gradio's routes is from `gradio/routes.py` of version 6.31.
"""

import asyncio
import ipaddress
import posixpath
import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Final
from urllib.parse import unquote, urlsplit, urlunsplit

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["PAGE_ADDRESS_HEADER", "SecurityMiddleware", "replay_body"]

# The page's own scripts name its address in their calls. Those of another origin can't: a browser
# would ask first whether they may send this header, and gets no permission.
PAGE_ADDRESS_HEADER: Final = "x-page-address"

# Denial of service: Gradio reads a request's body of any size, and waits for the rest of it without
# a limit.
MAX_BODY_BYTES: Final = 1024 * 1024
BODY_TIMEOUT_SECONDS = 20.0

# Gradio parses the whole address of a request with httpx, which refuses very long ones; and a file
# system refuses long names. Both would be unforeseen errors.
MAX_TARGET_BYTES: Final = 8192
MAX_NAME_BYTES: Final = 255

# The routes below would accept any, and uvicorn fails to answer CONNECT with success.
_METHODS: Final = ("GET", "HEAD", "OPTIONS", "POST", "DELETE")

_HOST_PATTERN: Final = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9_.\-]+))(?::\d{0,5})?")

_ZIP_PATH: Final = "/studio/zip"

_ADDRESS_PATTERN: Final = re.compile(r"(https?://[^/?#]+)(?:/[\w.~%-]+)*/?", re.ASCII)

# Everything else of Gradio is closed: it isn't needed here, and has been attacked elsewhere.
# - upload: files of strangers on this disk, and scripts in them (CVE-2024-1727, CVE-2024-47872)
# - proxy=, file=https://…: requests to internal hosts (CVE-2026-28416, gradio issue 13593)
# - component_server, file/…: files of this machine (CVE-2024-1561, CVE-2023-51449)
# - monitoring, runs, profiling: what other visitors do
# - token: the session's token, which is in an HttpOnly cookie to keep it from scripts
# - dev, vibe-code: development tools; vibe-code edits the app's source
# - pwa_icon/…: Gradio scales the icon to any size, which may take all memory
_ALLOWED_PATHS: Final = re.compile(
    r"/|/(?:config|login|logout|theme\.css|healthz|metrics)/?|/login/(?:huggingface|callback)"
    r"|/(?:favicon\.ico|manifest\.json|robots\.txt|pwa_icon|gradio\.js)"
    r"|/(?:assets|static|svelte)/.+"
    r"|/studio/(?:zip|token|(?:thumbnail|picture|style)/[\w-]{1,64}"
    r"|sheet/[\w-]{1,64}\.(?:html|png|zip))"
    r"|/gradio_api/(?:info|config|openapi\.json|startup-events|theme\.css|app_id|user|login_check"
    r"|cancel)/?"
    r"|/gradio_api/(?:queue/(?:join|data)|heartbeat/[\w-]{1,64}|(?:run|call|call/v2)/\w+(?:/\w+)?"
    r"|mcp(?:/[\w/-]*)?)/?"
    r"|/gradio_api/file=(?!\w+:|//).+",
    re.DOTALL | re.IGNORECASE,
)

_REDIRECT_COUNT: Final = re.compile(r"[0-9]{1,3}")

_CONTROL_CHARACTERS: Final = re.compile(r"[\x00-\x1f\x7f]")

_SECURITY_HEADERS: Final = {
    # Browsers would run a file as a script or as HTML if its content looked like that.
    "X-Content-Type-Options": "nosniff",
    # The page's address contains searches and image ids, which no other site should learn.
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    # Even if markup gets into the page, it can load nothing from, and send nothing to, other sites.
    # Gradio's own page consists of inline scripts, and compiles functions from text.
    "Content-Security-Policy": "default-src 'self'; "
    "script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; "
    "frame-ancestors {ancestors}",
}


class SecurityMiddleware:
    """ASGI middleware that serves its own page, sites that may embed the page, and programs.

    Args:
        app: the app to protect.
        known_hosts: names of this server, beside `localhost` and IP addresses; one that begins with
            a dot includes all its subdomains.
        frame_ancestors: sites that may embed the page, as in the Content-Security-Policy:
            `https://blog.example`, `https://*.example`, or `*` for any.
    """

    def __init__(
        self, app: ASGIApp, known_hosts: Iterable[str] = (), frame_ancestors: Iterable[str] = ()
    ) -> None:
        self._app = app
        self._known_hosts = frozenset(map(_normalize_host, known_hosts))
        self._frame_ancestors = tuple(site.lower().rstrip("/") for site in frame_ancestors)
        ancestors = " ".join(["'self'", *self._frame_ancestors])
        self._security_headers = {
            name: value.format(ancestors=ancestors) for name, value in _SECURITY_HEADERS.items()
        }
        # Clickjacking: in an invisible frame, another site could lead a visitor's clicks to this
        # page. X-Frame-Options can't name sites, and is for browsers without frame-ancestors.
        if not self._frame_ancestors:
            self._security_headers["X-Frame-Options"] = "SAMEORIGIN"
            # No <img> or <script> of another site may load what is here (also a Spectre defense).
            self._security_headers["Cross-Origin-Resource-Policy"] = "same-origin"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or pass it on and add headers to the response."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        # CORS doesn't apply to websockets: any site could open one. Gradio 6 needs none.
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
            return
        headers = Headers(scope=scope)
        send = self._wrap_send(send, scope, headers)
        rejection = self._rejection(scope, headers)
        if rejection is not None:
            await rejection(scope, receive, send)
            return
        if scope["method"] not in {"GET", "HEAD", "OPTIONS"}:
            body = await _read_body(receive, headers)
            if isinstance(body, Response):
                await body(scope, receive, send)
                return
            receive = replay_body(body, receive)
        scope = self._without_false_addresses(scope)
        # Confused deputy: if any site may embed the page, scripts of that site could act with the
        # visitor's login. So requests of sites that aren't named are anonymous.
        if self._is_anonymous_embedder(headers, scope["path"]):
            scope = _without_credentials(scope)
        await self._app(scope, receive, send)

    def _rejection(self, scope: Scope, headers: Headers) -> Response | None:
        """Return a refusal, or the answer to a CORS preflight request."""
        # DNS rebinding: a site can point its own name at this machine, and is then of the same
        # origin. But its requests have that name in `Host`.
        host = headers.get("host", "")
        if len(headers.getlist("host")) != 1 or not self._is_known_host(host):
            return PlainTextResponse(
                "Unknown host name. Start the server with --known-hosts NAME to allow it.", 400
            )
        if scope["method"] not in _METHODS:
            return PlainTextResponse("Method not allowed.", 405, {"Allow": ", ".join(_METHODS)})
        is_cross_origin = self._is_cross_origin(host, headers, scope["path"])
        if scope["method"] == "OPTIONS":
            return Response(status_code=403 if is_cross_origin else 204)
        # CSRF: browsers send cookies with a form that another site posts here (CVE-2024-1727).
        # Gradio logs out on GET, so an <img> of another site would be enough for that.
        has_side_effects = scope["method"] not in {"GET", "HEAD"} or scope["path"].startswith(
            "/logout"
        )
        if has_side_effects and is_cross_origin:
            return PlainTextResponse("Cross-site request blocked.", 403)
        target_size = len(scope.get("raw_path") or b"") + len(scope["query_string"])
        if target_size > MAX_TARGET_BYTES:
            return PlainTextResponse("The address is too long.", 414)
        # The decoded path too: a route that decodes once more would see `file=https://…` where the
        # pattern saw `file=https%3A//…`.
        path = scope["path"]
        is_allowed = _is_allowed(path) and _is_allowed(unquote(path))
        if not is_allowed or not _is_valid_query(path, QueryParams(scope["query_string"])):
            return PlainTextResponse("Not found.", 404)
        return None

    def _wrap_send(self, send: Send, scope: Scope, headers: Headers) -> Send:
        origin = headers.get("origin")
        is_embedder = origin is not None and self._may_embed(origin.lower())

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                response_headers = MutableHeaders(scope=message)
                # Gradio allows every origin to read, with cookies, unless the host is localhost
                # (CVE-2024-47084 was the same for localhost).
                for name in list(response_headers):
                    if name.startswith("access-control-"):
                        del response_headers[name]
                response_headers.update(self._security_headers)
                if is_embedder and origin is not None:
                    response_headers.update(_cors_headers(origin, headers))
                location = response_headers.get("location")
                if location is not None:
                    host = headers.get("host", "")
                    response_headers["location"] = _relative_location(location, scope, host)
                # nginx collects responses in a buffer otherwise: previews would come at the end.
                if response_headers.get("content-type", "").startswith("text/event-stream"):
                    response_headers["X-Accel-Buffering"] = "no"
            await send(message)

        return send_with_headers

    def _without_false_addresses(self, scope: Scope) -> Scope:
        """Return the scope without headers that name another server than this one as this one.

        Gradio builds the addresses in its answers from them, and keeps some for other visitors.
        """
        headers = Headers(scope=scope)
        names = {b"x-gradio-server"}
        # Gradio reads the first one only: each proxy of a chain appends its own.
        forwarded_host = headers.get("x-forwarded-host", "").partition(",")[0].strip()
        if not self._is_known_host(forwarded_host):
            names.add(b"x-forwarded-host")
        if self._page_origin(headers) is None:
            names.add(PAGE_ADDRESS_HEADER.encode())
        return {**scope, "headers": [item for item in scope["headers"] if item[0] not in names]}

    def _is_known_host(self, host: str) -> bool:
        name = _parse_host(host)
        return _is_local_or_ip(name) or self._is_listed_host(name)

    def _is_listed_host(self, host: str) -> bool:
        return host in self._known_hosts or any(
            name.startswith(".") and host.endswith(name) for name in self._known_hosts
        )

    def _is_cross_origin(self, host: str, headers: Headers, path: str) -> bool:
        origin = headers.get("origin")
        if origin is not None and self._may_embed(origin.lower()):
            return False
        # Browsers set Sec-Fetch-Site, and scripts can't change it. `none` is the address bar.
        fetch_site = headers.get("sec-fetch-site")
        if fetch_site not in {"same-origin", "none", None}:
            return True
        # Browsers set Origin with every POST: without one, this is a program.
        return origin is not None and not (
            self._is_own_origin(origin, host) or self._is_page_call(origin, headers, path)
        )

    def _is_page_call(self, origin: str, headers: Headers, path: str) -> bool:
        """Return whether the page itself calls, although a proxy has changed its host.

        Only under a name of this server, because of DNS rebinding.
        """
        is_page_call = (
            headers.get("sec-fetch-site") == "same-origin"
            # Where any site may embed the page, any site may send the header, too.
            or ("*" not in self._frame_ancestors and self._page_origin(headers) == origin.lower())
            # Sent by a form, without headers. It changes nothing, and nobody can guess the ids.
            or path == _ZIP_PATH
        )
        return is_page_call and self._is_known_host(_netloc(origin))

    def _is_own_origin(self, origin: str, host: str) -> bool:
        netloc = _netloc(origin)
        # Origin and Host may differ behind a tunnel, but then the origin is a name of this server.
        # Not localhost: other programs of this machine have pages there.
        name = _parse_host(netloc)
        is_listed = not _is_local_or_ip(name) and self._is_listed_host(name)
        return is_listed or netloc == host.lower()

    def _page_origin(self, headers: Headers) -> str | None:
        """Return the origin of the address that the page names, if it is one of this server."""
        match = _ADDRESS_PATTERN.fullmatch(headers.get(PAGE_ADDRESS_HEADER, ""))
        if match is None or not self._is_known_host(_netloc(match[1])):
            return None
        return match[1].lower()

    def _is_anonymous_embedder(self, headers: Headers, path: str) -> bool:
        """Return whether the request is from a site that may embed the page only through `*`."""
        origin = headers.get("origin", "").lower()
        named_sites = (site for site in self._frame_ancestors if site != "*")
        if not origin or any(_matches_origin(site, origin) for site in named_sites):
            return False
        if "sec-fetch-site" in headers:
            return headers["sec-fetch-site"] not in {"same-origin", "none"}
        return not (
            self._is_own_origin(origin, headers["host"])
            or self._is_page_call(origin, headers, path)
        )

    def _may_embed(self, origin: str) -> bool:
        return any(_matches_origin(site, origin) for site in self._frame_ancestors)


async def _read_body(receive: Receive, headers: Headers) -> bytes | Response:
    """Return the whole body, or an error if it is too large or too slow."""
    too_large = PlainTextResponse(f"Request too large (limit {MAX_BODY_BYTES >> 10} KiB).", 413)
    content_length = headers.get("content-length", "0")
    if not content_length.isdecimal() or int(content_length) > MAX_BODY_BYTES:
        return too_large
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
            while (message := await receive())["type"] == "http.request":
                chunk = message.get("body", b"")
                chunks.append(chunk)
                size += len(chunk)
                # A chunked body has no Content-Length.
                if size > MAX_BODY_BYTES:
                    return too_large
                if not message.get("more_body"):
                    return b"".join(chunks)
    except TimeoutError:
        return PlainTextResponse("The request timed out.", 408)
    return PlainTextResponse("The connection was closed.", 400)


def replay_body(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that begins with this body: a body can be received only once."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_replayed() -> Message:
        return messages.pop() if messages else await receive()

    return receive_replayed


def _is_allowed(path: str) -> bool:
    is_short = all(len(name.encode()) <= MAX_NAME_BYTES for name in path.split("/"))
    has_controls = _CONTROL_CHARACTERS.search(path) is not None
    return is_short and not has_controls and _ALLOWED_PATHS.fullmatch(path) is not None


def _is_valid_query(path: str, params: QueryParams) -> bool:
    """Check the parameters that Gradio doesn't check itself."""
    # The name of a further page of the app, of which there is none.
    if path == "/" and "page" in params:
        return False
    return all(map(_REDIRECT_COUNT.fullmatch, params.getlist("_nb_redirects")))


def _without_credentials(scope: Scope) -> Scope:
    credentials = {b"cookie", b"authorization"}
    return {**scope, "headers": [item for item in scope["headers"] if item[0] not in credentials]}


def _cors_headers(origin: str, headers: Headers) -> dict[str, str]:
    return {
        # Browsers refuse credentials with `*`, so the origin is repeated, and caches must know.
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
    """Return whether a source of `frame-ancestors` includes this origin."""
    scheme, _, host = site.rpartition("://")
    origin_scheme, _, origin_host = origin.rpartition("://")
    # Not `null`, the origin of sandboxed frames and local files: any site can get it.
    if site == "*":
        return origin_scheme in {"http", "https"}
    is_same_host = host == origin_host or (host.startswith("*.") and origin_host.endswith(host[1:]))
    return is_same_host and scheme in {"", origin_scheme}


def _parse_host(header: str) -> str:
    """Return the host in a `Host` header in lower case, without port; "" if it is invalid."""
    match = _HOST_PATTERN.fullmatch(header.lower())
    # A dot at the end says that the name is complete. Browsers send it as it was typed.
    return "" if match is None else match[1] or match[2].removesuffix(".")


def _netloc(origin: str) -> str:
    return origin.partition("://")[2].lower()


def _normalize_host(host: str) -> str:
    """Return a host that the user has listed, as `Host` names it: without port, in ASCII."""
    with suppress(UnicodeError):
        # Label by label: the codec accepts no dot at the beginning.
        host = ".".join(label.encode("idna").decode("ascii") for label in host.split("."))
    return _parse_host(host) or host.lower()


def _relative_location(location: str, scope: Scope, host: str) -> str:
    """Return an address of this server relative to the request's, and any other as it is.

    FastAPI builds it from `Host`, which a reverse proxy may have changed, and without the path
    under which the proxy shows the page.
    """
    try:
        url = urlsplit(location)
    except ValueError:  # of a text that a visitor has sent
        return location
    if url.netloc.lower() != host.lower():
        return location
    request_folder = posixpath.dirname((scope.get("raw_path") or b"/").decode("latin-1"))
    folder = posixpath.relpath(posixpath.dirname(url.path) or "/", request_folder)
    return urlunsplit(("", "", f"{folder}/{posixpath.basename(url.path)}", url.query, ""))


def _is_local_or_ip(host: str) -> bool:
    # DNS rebinding needs a name. A page at an address has been served from there.
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return True
