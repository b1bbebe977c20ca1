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

from sd35.core.visitor import HERE, Visitor
from sd35.jobs.artifacts import Kept
from sd35.server.auth import ADDRESS, Door
from sd35.server.picture_routes import SHELVES
from sd35.server.rate_limit import Pace

__all__ = ["Visitors", "unanswerable"]


def unanswerable(app: Any, path: str, asked: dict[str, Any] | None) -> Response | None:  # noqa: ANN401  # Gradio's
    """Return the answer to a request for what isn't there, or with more or less than it takes; `None` if it is fine.

    Args:
        app: Gradio's, which has its functions as `blocks.fns`: with `api_name`, `inputs`, and of
            each `skip_api`.
        path: what is asked, below Gradio's prefix.
        asked: the body.

    """
    functions = getattr(getattr(app, "blocks", None), "fns", None)
    what, _, name = path.strip("/").removeprefix("call/v2/").partition("/")
    is_by_name = path.startswith("call/v2/")
    if functions is None or asked is None or not (is_by_name or what in {"run", "call", "queue"}):
        return None
    named = (each for each in functions.values() if each.api_name == (what if is_by_name else name))
    number = asked.get("fn_index")
    wanted = (
        functions.get(number) if isinstance(number, int) and not is_by_name else next(named, None)
    )
    if wanted is None:
        return PlainTextResponse("There is no such function here.", HTTPStatus.NOT_FOUND)
    return None if is_by_name else _amiss(wanted.inputs, asked.get("data"))


def _amiss(inputs: list[Any], data: object) -> Response | None:
    most, public = len(inputs), sum(not getattr(each, "skip_api", False) for each in inputs)
    if isinstance(data, list) and len(data) in {most, public}:
        return None
    return PlainTextResponse(
        f"As `data`, a list of {public} values is wanted.", HTTPStatus.UNPROCESSABLE_ENTITY
    )


log = logging.getLogger(__name__)

API: Final = "/gradio_api/"
FILES: Final = f"{API}file="
OPEN_TO_ALL: Final = re.compile(
    r"/(?:login/?|favicon\.ico|robots\.txt|manifest\.json|gradio\.js|(?:assets|static)/.+|gradio_api/startup-events)"
)
"""What tells nothing of anybody: the way in, and the files of Gradio's own package."""

MAX_STREAMS: Final = 2000
MAX_STREAMS_A_PLACE: Final = 300
MAX_STREAMS_EACH: Final = 48
"""Event streams that are open at the same time: in all, from one network address, and for one visitor."""

MAX_BOUND: Final = 50_000
YEAR_SECONDS: Final = 365 * 24 * 3600


class Visitors:
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
        door: Door,
        find: Callable[[str], Kept | None],
        login_page: str,
        *,
        routes: Mapping[str, ASGIApp] = MappingProxyType({}),
        shelves: ASGIApp | None = None,
        count_streams: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._app = app
        self._door = door
        self._find = find
        self._login_page = login_page
        self._routes = routes
        self._shelves = shelves
        self._count_streams = count_streams
        self._bound: OrderedDict[str, str] = OrderedDict()
        self._streams: Counter[str] = Counter()
        self._pace = Pace()
        self._pace_of_place = Pace(600.0, 60.0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what is refused or is ours, and pass on the rest, with `request.state.visitor`."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        route = next((each for each in self._routes if scope["path"].rstrip("/") == each), None)
        ADDRESS.set(self._door.address(request))
        try:
            user = await self._user(request, is_route=route is not None)
        except HTTPException as error:
            await PlainTextResponse(error.detail, error.status_code, error.headers)(
                scope, receive, send
            )
            return
        visitor = self._door.visitor(request, user)
        scope.setdefault("state", {})["visitor"] = visitor
        answer = self._refusal(request, user, visitor, is_route=route is not None)
        if answer is not None:
            await answer(scope, receive, send)
        elif route is not None:
            await self._counted(self._routes[route], scope, receive, send, visitor)
        else:
            await self._pass_on(request, send, visitor)

    async def _user(self, request: Request, *, is_route: bool) -> str | None:
        brings_login = is_route or request.scope["path"].startswith((FILES, SHELVES))
        return self._door.user(request) or (
            await self._door.basic(request) if brings_login else None
        )

    def _refusal(
        self, request: Request, user: str | None, visitor: Visitor, *, is_route: bool
    ) -> Response | None:
        path = request.scope["path"]
        if self._door.accounts and user is None and not OPEN_TO_ALL.fullmatch(path):
            return self._closed(path, is_route=is_route)
        is_paced = visitor is not HERE and (request.method == "POST" or is_route or path == "/")
        if is_paced and not self._is_slow_enough(visitor):
            return PlainTextResponse("Too many requests: slow down.", HTTPStatus.TOO_MANY_REQUESTS)
        return None

    def _is_slow_enough(self, visitor: Visitor) -> bool:
        place = ADDRESS.get()
        return self._pace.allows(visitor.payer) and (
            place is None or self._pace_of_place.allows(place)
        )

    async def _pass_on(self, request: Request, send: Send, visitor: Visitor) -> None:
        scope, receive, path = request.scope, request.receive, request.scope["path"]
        if path.startswith(FILES):
            await self._file(path.removeprefix(FILES), visitor)(scope, receive, send)
        elif path.startswith(SHELVES) and self._shelves is not None:
            if request.method == "POST":
                await self._counted(self._shelves, scope, receive, send, visitor)
            else:
                await self._shelves(scope, receive, send)
        elif path.startswith("/logout"):
            self._door.forget(request)
            # Gradio would log out everybody who came by the same login.
            asked = [
                (name, value)
                for name, value in request.query_params.multi_items()
                if name != "all_session"
            ]
            query = urlencode([*asked, ("all_session", "false")])
            await self._app({**scope, "query_string": query.encode()}, receive, send)
        elif path.rstrip("/") == "/login/callback" and "error" in request.query_params:
            await RedirectResponse("/")(
                scope, receive, send
            )  # who signs in at Hugging Face has thought better of it
        elif request.method == "POST" and path.startswith(API):
            await self._post(request, send, visitor)
        elif path.startswith((f"{API}queue/data", f"{API}call/", f"{API}heartbeat/")):
            await self._stream(scope, receive, send, visitor)
        else:
            await self._app(
                scope, receive, self._remembering(request, send) if path == "/" else send
            )

    def _closed(self, path: str, *, is_route: bool) -> Response:
        if is_route:
            return PlainTextResponse(
                "A login is needed.",
                HTTPStatus.UNAUTHORIZED,
                {"WWW-Authenticate": 'Basic realm="SD 3.5 Studio"'},
            )
        if path == "/":
            return Response(self._login_page, HTTPStatus.UNAUTHORIZED, media_type="text/html")
        return JSONResponse({"detail": {"error": "Not authenticated"}}, HTTPStatus.UNAUTHORIZED)

    def _file(self, path: str, visitor: Visitor) -> Response:
        """A picture of this visitor's; whether there is one of another's isn't told."""
        kept = self._find(path)
        if kept is None or not visitor.may_see(kept.owner):
            return PlainTextResponse(
                "There is no such picture here, or no longer.", HTTPStatus.NOT_FOUND
            )
        headers = {"Cache-Control": "private, max-age=86400"}
        if isinstance(kept.content, bytes):
            return Response(kept.content, media_type=kept.mime_type, headers=headers)
        if not kept.content.is_file():
            return PlainTextResponse("The picture's file is no longer there.", HTTPStatus.NOT_FOUND)
        return FileResponse(kept.content, media_type=kept.mime_type, headers=headers)

    async def _post(self, request: Request, send: Send, visitor: Visitor) -> None:
        """Pass on what somebody asks for, if it is theirs to ask, and remember whose it is from then on."""
        scope, asked = request.scope, _json(await request.body())
        refusal = unanswerable(scope.get("app"), scope["path"].removeprefix(API), asked)
        if asked is None or refusal is not None:
            answer = refusal or PlainTextResponse(
                "This isn't a JSON object.", HTTPStatus.BAD_REQUEST
            )
            await answer(scope, request.receive, send)
            return
        names = [
            asked[name] for name in ("session_hash", "event_id") if isinstance(asked.get(name), str)
        ]
        if not all(self._is_theirs(name, visitor) for name in names):
            answer = PlainTextResponse("This isn't yours.", HTTPStatus.FORBIDDEN)
            await answer(scope, request.receive, send)
            return
        parts: list[bytes] = []

        async def send_and_read(message: Message) -> None:
            if message["type"] == "http.response.body":
                parts.append(message.get("body", b""))
                if not message.get("more_body"):
                    self._bind((_json(b"".join(parts)) or {}).get("event_id"), visitor)
            await send(message)

        is_asked = scope["path"].startswith((f"{API}queue/join", f"{API}call/"))
        if is_asked:
            self._bind(asked.get("session_hash"), visitor)
        body = orjson.dumps(
            asked
        )  # what was read here, and nothing else that could be read from it
        await self._app(scope, _replay(body, request.receive), send_and_read if is_asked else send)

    async def _stream(self, scope: Scope, receive: Receive, send: Send, visitor: Visitor) -> None:
        """Let a visitor follow what is theirs."""
        named = HTTPConnection(scope).query_params.getlist("session_hash")
        if all(
            self._is_theirs(name, visitor)
            for name in (*named, scope["path"].rstrip("/").rpartition("/")[2])
        ):
            await self._counted(self._app, scope, receive, send, visitor)
        else:
            await PlainTextResponse("This isn't yours.", HTTPStatus.FORBIDDEN)(scope, receive, send)

    async def _counted(
        self, app: ASGIApp, scope: Scope, receive: Receive, send: Send, visitor: Visitor
    ) -> None:
        """Pass on a request whose answer may last, with a limit to how many of them last at once."""
        whose = {
            "all": MAX_STREAMS,
            f"of {visitor.payer}": MAX_STREAMS if visitor is HERE else MAX_STREAMS_EACH,
        }
        if visitor is not HERE and ADDRESS.get() is not None:
            whose[f"from {ADDRESS.get()}"] = MAX_STREAMS_A_PLACE  # a browser may forget who it is
        if any(self._streams[key] >= most for key, most in whose.items()):
            answer = PlainTextResponse(
                "Too many pages are open at once: close some.", HTTPStatus.SERVICE_UNAVAILABLE
            )
            await answer(scope, receive, send)
            return
        self._streams.update(whose.keys())
        self._count_streams(1)
        try:
            await app(scope, receive, send)
        finally:
            self._count_streams(-1)
            self._streams.subtract(whose.keys())
            for key in [key for key in whose if not self._streams[key]]:
                del self._streams[key]

    def _is_theirs(self, name: str, visitor: Visitor) -> bool:
        return name not in self._bound or visitor.may_see(self._bound[name])

    def _bind(self, name: object, visitor: Visitor) -> None:
        """Remember whose session, or event, this is; of who can't be told from others, the name itself is the key."""
        if isinstance(name, str) and visitor.owner is not None and len(name) <= 64:
            self._bound[name] = visitor.owner
            self._bound.move_to_end(name)
            while len(self._bound) > MAX_BOUND:
                self._bound.popitem(last=False)

    def _remembering(self, request: Request, send: Send) -> Send:
        """Give a browser that comes for the first time its secret."""
        if self._door.is_private or self._door.secret(request) is not None:
            return send
        name, reach = self._door.cookie(request)
        cookie = (
            f"{name}={secrets.token_urlsafe(32)}; Path=/; Max-Age={YEAR_SECONDS}; HttpOnly; {reach}"
        )

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"set-cookie", cookie.encode())]
            await send(message)

        return send_with_cookie


def _json(body: bytes) -> dict[str, Any] | None:
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return told if isinstance(told, dict) else None


def _replay(body: bytes, receive: Receive) -> Receive:
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_on() -> Message:
        return first.pop() if first else await receive()

    return receive_on
