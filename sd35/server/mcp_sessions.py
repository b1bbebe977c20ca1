"""MCP sessions: limits for one owner, and for all; and their resumption."""

import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import anyio
import orjson
from cachetools import LRUCache
from mcp.server.streamable_http import MCP_SESSION_ID_HEADER
from mcp.shared.inbound import MCP_PROTOCOL_VERSION_HEADER
from mcp.types import DEFAULT_NEGOTIATED_VERSION
from mcp.types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sd35.core.visitor import LOCAL_VISITOR
from sd35.server.security import replay_body

__all__ = ["MAX_SESSIONS", "SESSION_IDLE_SECONDS", "McpSessions"]

MAX_SESSIONS: Final = 500
MAX_ENDED_SESSIONS: Final = 5000

# After that, the SDK ends a session. A request that comes a little earlier is not sent to it: the
# session could end in the meantime.
SESSION_IDLE_SECONDS: Final = 900.0
MAX_IDLE_SECONDS: Final = SESSION_IDLE_SECONDS - 30.0

# More than the streams that one visitor may have open: at least one of so many sessions is idle.
MAX_SESSIONS_PER_OWNER: Final = 50

# What the protocol allows, with a limit.
_ID_PATTERN: Final = re.compile(r"[\x21-\x7e]{1,128}")


@dataclass(slots=True)
class _Session:
    owner: str
    user: Any
    sdk_id: str = ""
    requests_in_progress: int = 0
    idle_since: float = 0.0


class McpSessions:
    """ASGI app that resumes sessions, and ends idle ones when there are too many.

    The SDK forgets its sessions when the program restarts, and those that were idle for a while. By
    the protocol, the client gets a 404 then and begins another one; but many clients fail from then
    on, among them the SDK's own. So a session that this server doesn't know is begun anew, under
    the id that the client has. It belongs to who has sent that request.

    The SDK limits all sessions together, by refusing new ones. But clients that crash leave theirs
    behind, and one owner could take all. A client whose session was ended for another one gets a
    404.

    Args:
        app: the SDK's session manager.
    """

    def __init__(self, app: ASGIApp, clock: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._clock = clock
        # By the client's id; least recently used first.
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._ended_ids: LRUCache[str, bool] = LRUCache(MAX_ENDED_SESSIONS)
        self._resumption_lock = anyio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and note the session that it begins, uses or ends."""
        headers = Headers(scope=scope)
        session_id = headers.get(MCP_SESSION_ID_HEADER)
        if session_id is None:
            await self._begin(scope, receive, send)
            return
        if self._may_resume(session_id, scope, headers):
            body = await Request(scope, receive).body()
            receive = replay_body(body, receive)
            if _is_initialization(body):
                await self._begin(_with_session(scope, None), receive, send)
                return
            async with self._resumption_lock:
                if not self._is_alive(session_id):
                    await self._resume(session_id, scope, headers)
        if self._is_owner(session_id, scope):
            await self._use(session_id, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _may_resume(self, session_id: str, scope: Scope, headers: Headers) -> bool:
        version = headers.get(MCP_PROTOCOL_VERSION_HEADER, DEFAULT_NEGOTIATED_VERSION)
        return (
            scope["method"] in {"GET", "POST"}
            and version in HANDSHAKE_PROTOCOL_VERSIONS
            and not self._is_alive(session_id)
            and session_id not in self._ended_ids
            and _ID_PATTERN.fullmatch(session_id) is not None
        )

    def _is_alive(self, session_id: str) -> bool:
        session = self._sessions.get(session_id)
        return session is not None and (
            session.requests_in_progress > 0
            or self._clock() - session.idle_since < MAX_IDLE_SECONDS
        )

    def _is_owner(self, session_id: str, scope: Scope) -> bool:
        session = self._sessions.get(session_id)
        return session is not None and session.owner == scope["state"]["visitor"].rate_limit_key

    async def _begin(self, scope: Scope, receive: Receive, send: Send) -> None:
        session = _Session(
            scope["state"]["visitor"].rate_limit_key, scope["user"], requests_in_progress=1
        )

        async def send_and_add(message: Message) -> None:
            # Requests without a session need not begin one.
            if message["type"] == "http.response.start":
                session_id = Headers(raw=message["headers"]).get(MCP_SESSION_ID_HEADER)
                if session_id is not None and message["status"] == HTTPStatus.OK:
                    session.sdk_id = session_id
                    self._sessions[session_id] = session
                    await self._end_surplus(session.owner, scope)
            await send(message)

        try:
            await self._app(scope, receive, send_and_add)
        finally:
            self._leave(session)

    def _leave(self, session: _Session) -> None:
        session.requests_in_progress -= 1
        session.idle_since = self._clock()

    async def _resume(self, session_id: str, scope: Scope, headers: Headers) -> None:
        """Begin a session as the client did, and give it the client's id."""
        version = headers.get(MCP_PROTOCOL_VERSION_HEADER, DEFAULT_NEGOTIATED_VERSION)
        sdk_ids: list[str] = []

        async def send_nowhere(message: Message) -> None:
            if message["type"] == "http.response.start":
                sdk_ids.extend(Headers(raw=message["headers"]).getlist(MCP_SESSION_ID_HEADER))

        call = _internal_call(scope, None, _initialization(version))
        await self._begin(*call, send_nowhere)
        session = self._sessions.pop(sdk_ids[0], None) if sdk_ids else None
        if session is None:
            return
        self._sessions[session_id] = session
        notification = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        call = _internal_call(scope, session.sdk_id, notification)
        await self._app(*call, _discard)

    async def _use(self, session_id: str, scope: Scope, receive: Receive, send: Send) -> None:
        session = self._sessions[session_id]
        session.requests_in_progress += 1
        self._sessions.move_to_end(session_id)

        async def send_and_remove(message: Message) -> None:
            if message["type"] == "http.response.start":
                is_ended = scope["method"] == "DELETE" and message["status"] == HTTPStatus.OK
                if is_ended or message["status"] == HTTPStatus.NOT_FOUND:
                    self._sessions.pop(session_id, None)
                if is_ended:
                    self._ended_ids[session_id] = True
                response_headers = MutableHeaders(scope=message)
                if MCP_SESSION_ID_HEADER in response_headers:
                    response_headers[MCP_SESSION_ID_HEADER] = session_id
            await send(message)

        try:
            await self._app(_with_session(scope, session.sdk_id), receive, send_and_remove)
        finally:
            self._leave(session)

    async def _end_surplus(self, owner: str, scope: Scope) -> None:
        own_ids = [id_ for id_, session in self._sessions.items() if session.owner == owner]
        if len(own_ids) > MAX_SESSIONS_PER_OWNER and owner != LOCAL_VISITOR.rate_limit_key:
            await self._end_idle(own_ids, scope)
        if len(self._sessions) > MAX_SESSIONS:
            await self._end_idle(list(self._sessions), scope)

    async def _end_idle(self, session_ids: list[str], scope: Scope) -> None:
        """End the session that has been idle for longest."""
        for session_id in session_ids:
            session = self._sessions[session_id]
            if session.requests_in_progress == 0:
                del self._sessions[session_id]
                self._ended_ids[session_id] = True
                request: Scope = {**scope, "method": "DELETE", "headers": [], "user": session.user}
                request = _with_session(request, session.sdk_id)
                await self._app(request, replay_body(b"", _wait_forever), _discard)
                return


def _with_session(scope: Scope, session_id: str | None) -> Scope:
    name = MCP_SESSION_ID_HEADER.encode()
    headers = [item for item in scope["headers"] if item[0] != name]
    if session_id is not None:
        headers.append((name, session_id.encode()))
    return {**scope, "headers": headers}


def _internal_call(
    scope: Scope, session_id: str | None, message: dict[str, Any]
) -> tuple[Scope, Receive]:
    """Return scope and `receive` of a POST with a message, by the user of another request."""
    headers = [(b"accept", b"application/json, text/event-stream")]
    headers.append((b"content-type", b"application/json"))
    call = _with_session({**scope, "method": "POST", "headers": headers}, session_id)
    return call, replay_body(orjson.dumps(message), _wait_forever)


def _initialization(version: str) -> dict[str, Any]:
    params = {
        "protocolVersion": version,
        "capabilities": {},
        "clientInfo": {"name": "resumed session", "version": "1"},
    }
    return {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}


def _is_initialization(body: bytes) -> bool:
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return isinstance(message, dict) and message.get("method") == "initialize"


async def _wait_forever() -> Message:
    # The SDK waits for a disconnection, again and again if it gets anything else.
    await anyio.sleep_forever()
    raise AssertionError


async def _discard(message: Message) -> None:
    pass
