"""Each visitor their own: who asks is found out once for each request, and nobody gets at what is another's.

An ASGI middleware around Gradio's app, within its session's. It knows the parts of Gradio's
protocol that name what belongs to somebody: the hash of a page's session, and the id of an event.
"""

import logging
import re
import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlencode

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sd35.core.rate_limit import RateLimiter
from sd35.core.visitor import LOCAL_VISITOR, Visitor
from sd35.jobs.artifacts import Artifact
from sd35.server.auth import Authenticator, client_ip_var
from sd35.server.picture_routes import PICTURES_PREFIX

__all__ = ["VisitorMiddleware", "validate_call"]


def validate_call(app: Any, path: str, payload: dict[str, Any] | None) -> Response | None:  # noqa: ANN401, D417
    """Return the answer to a request for what isn't there, or with more or less than it takes; `None` if it is fine.

    Args:
        app: Gradio's, which has its functions as `blocks.fns`: with `api_name`, `inputs`, and of
            each `skip_api`.
        path: what is asked, below Gradio's prefix.
        asked: the body.

    """
    functions = getattr(getattr(app, "blocks", None), "fns", None)
    first_segment, _, name = path.strip("/").removeprefix("call/v2/").partition("/")
    is_by_name = path.startswith("call/v2/")
    if (
        functions is None
        or payload is None
        or not (is_by_name or first_segment in {"run", "call", "queue"})
    ):
        return None
    matches = (
        candidate
        for candidate in functions.values()
        if candidate.api_name == (first_segment if is_by_name else name)
    )
    fn_index = payload.get("fn_index")
    function = (
        functions.get(fn_index)
        if isinstance(fn_index, int) and not is_by_name
        else next(matches, None)
    )
    if function is None:
        return PlainTextResponse("There is no such function here.", HTTPStatus.NOT_FOUND)
    return None if is_by_name else _check_argument_count(function.inputs, payload.get("data"))


def _check_argument_count(inputs: list[Any], data: object) -> Response | None:
    input_count, public_count = (
        len(inputs),
        sum(not getattr(component, "skip_api", False) for component in inputs),
    )
    if isinstance(data, list) and len(data) in {input_count, public_count}:
        return None
    return PlainTextResponse(
        f"As `data`, a list of {public_count} values is wanted.", HTTPStatus.UNPROCESSABLE_ENTITY
    )


log = logging.getLogger(__name__)

API_PREFIX: Final = "/gradio_api/"
FILE_PREFIX: Final = f"{API_PREFIX}file="
PUBLIC_PATHS: Final = re.compile(
    r"/(?:login/?|favicon\.ico|robots\.txt|manifest\.json|gradio\.js|(?:assets|static)/.+|gradio_api/startup-events)"
)
"""What tells nothing of anybody: the way in, and the files of Gradio's own package."""

MAX_STREAMS: Final = 2000
MAX_STREAMS_PER_IP: Final = 300
MAX_STREAMS_PER_VISITOR: Final = 48
"""Event streams that are open at the same time: in all, from one network address, and for one visitor."""

MAX_CLAIMS: Final = 50_000
YEAR_SECONDS: Final = 365 * 24 * 3600


class VisitorMiddleware:
    """Finds out who asks, and keeps others from what is theirs.

    Args:
        app: Gradio's.
        door: who is let in, and as whom.
        find: a kept picture by the path that it is asked for by.
        login_page: the page where one logs in.
        routes: what is answered here besides, by the path: behind the same door, where programs may
            also come with name and password in each request (HTTP Basic).
        shelves: what is answered below `/studio/`, likewise: a page asks for many small pictures at
            once.
        count_streams: is told of each stream that is opened (1) or closed (-1).

    """

    def __init__(
        self,
        app: ASGIApp,
        authenticator: Authenticator,
        find_artifact: Callable[[str], Artifact | None],
        login_page: str,
        *,
        routes: Mapping[str, ASGIApp] = MappingProxyType({}),
        picture_routes: ASGIApp | None = None,
        adjust_stream_count: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._app = app
        self._authenticator = authenticator
        self._find_artifact = find_artifact
        self._login_page = login_page
        self._routes = routes
        self._picture_routes = picture_routes
        self._adjust_stream_count = adjust_stream_count
        self._claims: OrderedDict[str, str] = OrderedDict()
        self._stream_counts: Counter[str] = Counter()
        self._visitor_rate_limiter = RateLimiter(150, 10.0)
        self._ip_rate_limiter = RateLimiter(600, 10.0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what is refused or is ours, and pass on the rest, with `request.state.visitor`."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        matched_path = next(
            (route_path for route_path in self._routes if scope["path"].rstrip("/") == route_path),
            None,
        )
        client_ip_var.set(self._authenticator.client_ip(request))
        try:
            user = await self._authenticate(request, is_route=matched_path is not None)
        except HTTPException as error:
            await PlainTextResponse(error.detail, error.status_code, error.headers)(
                scope, receive, send
            )
            return
        visitor = self._authenticator.identify_visitor(request, user)
        scope.setdefault("state", {})["visitor"] = visitor
        response = self._rejection(request, user, visitor, is_route=matched_path is not None)
        if response is not None:
            await response(scope, receive, send)
        elif matched_path is not None:
            await self._with_stream_limit(self._routes[matched_path], scope, receive, send, visitor)
        else:
            await self._dispatch(request, send, visitor)

    async def _authenticate(self, request: Request, *, is_route: bool) -> str | None:
        accepts_basic_auth = is_route or request.scope["path"].startswith(
            (FILE_PREFIX, PICTURES_PREFIX)
        )
        return self._authenticator.session_user(request) or (
            await self._authenticator.basic_auth_user(request) if accepts_basic_auth else None
        )

    def _rejection(
        self, request: Request, user: str | None, visitor: Visitor, *, is_route: bool
    ) -> Response | None:
        path = request.scope["path"]
        if self._authenticator.accounts and user is None and not PUBLIC_PATHS.fullmatch(path):
            return self._unauthorized(path, is_route=is_route)
        is_rate_limited = visitor is not LOCAL_VISITOR and (
            request.method == "POST" or is_route or path == "/"
        )
        if is_rate_limited and not self._is_within_rate_limit(visitor):
            return PlainTextResponse("Too many requests: slow down.", HTTPStatus.TOO_MANY_REQUESTS)
        return None

    def _is_within_rate_limit(self, visitor: Visitor) -> bool:
        client_ip = client_ip_var.get()
        return self._visitor_rate_limiter.try_acquire(visitor.rate_limit_key) and (
            client_ip is None or self._ip_rate_limiter.try_acquire(client_ip)
        )

    async def _dispatch(self, request: Request, send: Send, visitor: Visitor) -> None:
        scope, receive, path = request.scope, request.receive, request.scope["path"]
        if path.startswith(FILE_PREFIX):
            await self._file_response(path.removeprefix(FILE_PREFIX), visitor)(scope, receive, send)
        elif path.startswith(PICTURES_PREFIX) and self._picture_routes is not None:
            if request.method == "POST":
                await self._with_stream_limit(self._picture_routes, scope, receive, send, visitor)
            else:
                await self._picture_routes(scope, receive, send)
        elif path.startswith("/logout"):
            self._authenticator.log_out(request)
            # Gradio would log out everybody who came by the same login.
            params = [
                (name, value)
                for name, value in request.query_params.multi_items()
                if name != "all_session"
            ]
            query = urlencode([*params, ("all_session", "false")])
            await self._app({**scope, "query_string": query.encode()}, receive, send)
        elif path.rstrip("/") == "/login/callback" and "error" in request.query_params:
            await RedirectResponse("/")(
                scope, receive, send
            )  # who signs in at Hugging Face has thought better of it
        elif request.method == "POST" and path.startswith(API_PREFIX):
            await self._forward_post(request, send, visitor)
        elif path.startswith(
            (f"{API_PREFIX}queue/data", f"{API_PREFIX}call/", f"{API_PREFIX}heartbeat/")
        ):
            await self._forward_stream(scope, receive, send, visitor)
        else:
            await self._app(
                scope, receive, self._with_browser_cookie(request, send) if path == "/" else send
            )

    def _unauthorized(self, path: str, *, is_route: bool) -> Response:
        if is_route:
            return PlainTextResponse(
                "A login is needed.",
                HTTPStatus.UNAUTHORIZED,
                {"WWW-Authenticate": 'Basic realm="SD 3.5 Studio"'},
            )
        if path == "/":
            return Response(self._login_page, HTTPStatus.UNAUTHORIZED, media_type="text/html")
        return JSONResponse({"detail": {"error": "Not authenticated"}}, HTTPStatus.UNAUTHORIZED)

    def _file_response(self, path: str, visitor: Visitor) -> Response:
        """A picture of this visitor's; whether there is one of another's isn't told."""
        artifact = self._find_artifact(path)
        if artifact is None or not visitor.may_access(artifact.owner):
            return PlainTextResponse(
                "There is no such picture here, or no longer.", HTTPStatus.NOT_FOUND
            )
        headers = {"Cache-Control": "private, max-age=86400"}
        if isinstance(artifact.content, bytes):
            return Response(artifact.content, media_type=artifact.mime_type, headers=headers)
        if not artifact.content.is_file():
            return PlainTextResponse("The picture's file is no longer there.", HTTPStatus.NOT_FOUND)
        return FileResponse(artifact.content, media_type=artifact.mime_type, headers=headers)

    async def _forward_post(self, request: Request, send: Send, visitor: Visitor) -> None:
        """Pass on what somebody asks for, if it is theirs to ask, and remember whose it is from then on."""
        scope, payload = request.scope, _parse_json(await request.body())
        error_response = validate_call(
            scope.get("app"), scope["path"].removeprefix(API_PREFIX), payload
        )
        if payload is None or error_response is not None:
            response = error_response or PlainTextResponse(
                "This isn't a JSON object.", HTTPStatus.BAD_REQUEST
            )
            await response(scope, request.receive, send)
            return
        claim_ids = [
            payload[claim_id]
            for claim_id in ("session_hash", "event_id")
            if isinstance(payload.get(claim_id), str)
        ]
        if not all(self._may_access(claim_id, visitor) for claim_id in claim_ids):
            response = PlainTextResponse("This isn't yours.", HTTPStatus.FORBIDDEN)
            await response(scope, request.receive, send)
            return
        chunks: list[bytes] = []

        async def send_and_claim(message: Message) -> None:
            if message["type"] == "http.response.body":
                chunks.append(message.get("body", b""))
                if not message.get("more_body"):
                    self._claim((_parse_json(b"".join(chunks)) or {}).get("event_id"), visitor)
            await send(message)

        is_queue_call = scope["path"].startswith((f"{API_PREFIX}queue/join", f"{API_PREFIX}call/"))
        if is_queue_call:
            self._claim(payload.get("session_hash"), visitor)
        body = orjson.dumps(
            payload
        )  # what was read here, and nothing else that could be read from it
        await self._app(
            scope, _replay_body(body, request.receive), send_and_claim if is_queue_call else send
        )

    async def _forward_stream(
        self, scope: Scope, receive: Receive, send: Send, visitor: Visitor
    ) -> None:
        """Let a visitor follow what is theirs."""
        session_hashes = HTTPConnection(scope).query_params.getlist("session_hash")
        if all(
            self._may_access(claim_id, visitor)
            for claim_id in (*session_hashes, scope["path"].rstrip("/").rpartition("/")[2])
        ):
            await self._with_stream_limit(self._app, scope, receive, send, visitor)
        else:
            await PlainTextResponse("This isn't yours.", HTTPStatus.FORBIDDEN)(scope, receive, send)

    async def _with_stream_limit(
        self, app: ASGIApp, scope: Scope, receive: Receive, send: Send, visitor: Visitor
    ) -> None:
        """Pass on a request whose answer may last, with a limit to how many of them last at once."""
        limits = {
            "all": MAX_STREAMS,
            f"of {visitor.rate_limit_key}": MAX_STREAMS
            if visitor is LOCAL_VISITOR
            else MAX_STREAMS_PER_VISITOR,
        }
        if visitor is not LOCAL_VISITOR and client_ip_var.get() is not None:
            limits[f"from {client_ip_var.get()}"] = (
                MAX_STREAMS_PER_IP  # a browser may forget who it is
            )
        if any(self._stream_counts[key] >= limit for key, limit in limits.items()):
            response = PlainTextResponse(
                "Too many pages are open at once: close some.", HTTPStatus.SERVICE_UNAVAILABLE
            )
            await response(scope, receive, send)
            return
        self._stream_counts.update(limits.keys())
        self._adjust_stream_count(1)
        try:
            await app(scope, receive, send)
        finally:
            self._adjust_stream_count(-1)
            self._stream_counts.subtract(limits.keys())
            for key in [key for key in limits if not self._stream_counts[key]]:
                del self._stream_counts[key]

    def _may_access(self, claim_id: str, visitor: Visitor) -> bool:
        return claim_id not in self._claims or visitor.may_access(self._claims[claim_id])

    def _claim(self, claim_id: object, visitor: Visitor) -> None:
        """Remember whose session, or event, this is; of who can't be told from others, the name itself is the key."""
        if isinstance(claim_id, str) and visitor.owner is not None and len(claim_id) <= 64:
            self._claims[claim_id] = visitor.owner
            self._claims.move_to_end(claim_id)
            while len(self._claims) > MAX_CLAIMS:
                self._claims.popitem(last=False)

    def _with_browser_cookie(self, request: Request, send: Send) -> Send:
        """Give a browser that comes for the first time its secret."""
        if (
            self._authenticator.is_private
            or self._authenticator.browser_secret(request) is not None
        ):
            return send
        name, cookie_attributes = self._authenticator.browser_cookie(request)
        cookie = f"{name}={secrets.token_urlsafe(32)}; Path=/; Max-Age={YEAR_SECONDS}; HttpOnly; {cookie_attributes}"

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"set-cookie", cookie.encode())]
            await send(message)

        return send_with_cookie


def _parse_json(body: bytes) -> dict[str, Any] | None:
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return payload if isinstance(payload, dict) else None


def _replay_body(body: bytes, receive: Receive) -> Receive:
    replayed_messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_replayed() -> Message:
        return replayed_messages.pop() if replayed_messages else await receive()

    return receive_replayed
