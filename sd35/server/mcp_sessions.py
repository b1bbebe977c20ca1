"""Limits on the MCP sessions of one owner, and of all."""

from collections import OrderedDict
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from mcp.server.streamable_http import MCP_SESSION_ID_HEADER
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sd35.core.visitor import LOCAL_VISITOR

__all__ = ["MAX_SESSIONS", "McpSessionLimiter"]

MAX_SESSIONS: Final = 500

# More than the streams that one visitor may have open: at least one of so many sessions is idle.
MAX_SESSIONS_PER_OWNER: Final = 50


@dataclass(slots=True)
class _Session:
    owner: str
    user: Any
    requests_in_progress: int = 1


class McpSessionLimiter:
    """ASGI app that ends idle sessions when there are too many of one owner, or in all.

    The SDK limits all sessions together, by refusing new ones. But clients that crash leave
    theirs behind, and one owner could take all. A client whose session has ended gets a 404, after
    which the protocol requires it to begin another one.

    Args:
        app: the SDK's session manager.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        # Least recently used first.
        self._sessions: OrderedDict[str, _Session] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and note the session that it begins, uses or ends."""
        session_id = Headers(scope=scope).get(MCP_SESSION_ID_HEADER)
        if session_id is None:
            await self._begin(scope, receive, send)
        elif self._is_owner(session_id, scope):
            await self._use(session_id, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_owner(self, session_id: str, scope: Scope) -> bool:
        session = self._sessions.get(session_id)
        return session is not None and session.owner == scope["state"]["visitor"].rate_limit_key

    async def _begin(self, scope: Scope, receive: Receive, send: Send) -> None:
        session = _Session(scope["state"]["visitor"].rate_limit_key, scope["user"])

        async def send_and_add(message: Message) -> None:
            # Requests without a session need not begin one.
            if message["type"] == "http.response.start":
                session_id = Headers(raw=message["headers"]).get(MCP_SESSION_ID_HEADER)
                if session_id is not None and message["status"] == HTTPStatus.OK:
                    self._sessions[session_id] = session
                    await self._end_surplus(session.owner, scope)
            await send(message)

        try:
            await self._app(scope, receive, send_and_add)
        finally:
            session.requests_in_progress -= 1

    async def _use(self, session_id: str, scope: Scope, receive: Receive, send: Send) -> None:
        session = self._sessions[session_id]
        session.requests_in_progress += 1
        self._sessions.move_to_end(session_id)

        async def send_and_remove(message: Message) -> None:
            if message["type"] == "http.response.start":
                has_ended = message["status"] == HTTPStatus.NOT_FOUND or (
                    scope["method"] == "DELETE" and message["status"] == HTTPStatus.OK
                )
                if has_ended:
                    self._sessions.pop(session_id, None)
            await send(message)

        try:
            await self._app(scope, receive, send_and_remove)
        finally:
            session.requests_in_progress -= 1

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
                headers = [(MCP_SESSION_ID_HEADER.encode(), session_id.encode())]
                request = {**scope, "method": "DELETE", "headers": headers, "user": session.user}
                await self._app(request, _receive_nothing, _discard)
                return


async def _receive_nothing() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _discard(message: Message) -> None:
    pass
