"""Calls of Gradio's functions: each session and event tied to its visitor.

Gradio serves a session's stream to anyone who knows the session's hash, and cancels any event
by its id. This module knows the parts of Gradio's protocol that carry those two.
"""

from http import HTTPStatus
from typing import Any, Final

import orjson
from cachetools import LRUCache
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sd35.core.visitor import Visitor
from sd35.server.call_validation import API_PREFIX
from sd35.server.security import replay_body
from sd35.server.stream_limiter import StreamLimiter

__all__ = ["STREAM_PREFIXES", "GradioCalls"]

STREAM_PREFIXES: Final = tuple(
    f"{API_PREFIX}{path}" for path in ("queue/data", "call/", "heartbeat/")
)
QUEUE_PREFIXES: Final = (f"{API_PREFIX}queue/join", f"{API_PREFIX}call/")

MAX_CLAIMS: Final = 50_000
MAX_CLAIM_LENGTH: Final = 64


class GradioCalls:
    """Passes requests on to Gradio's queue if session and event belong to their visitor."""

    def __init__(self, app: ASGIApp, stream_limiter: StreamLimiter) -> None:
        self._app = app
        self._stream_limiter = stream_limiter
        self._claims: LRUCache[str, str] = LRUCache(MAX_CLAIMS)

    async def post(self, request: Request, send: Send, visitor: Visitor) -> None:
        """Pass on a POST, and claim its session and the event it starts for the visitor."""
        scope = request.scope
        body = await request.body()
        # `CallValidator` has written it.
        payload = _parse_object(body)
        receive = replay_body(body, request.receive)
        ids = (payload.get(key) for key in ("session_hash", "event_id"))
        if not all(self._may_access(id_, visitor) for id_ in ids if isinstance(id_, str)):
            await _access_denied()(scope, receive, send)
            return
        if scope["path"].startswith(QUEUE_PREFIXES):
            self._claim(payload.get("session_hash"), visitor)
            await self._app(scope, receive, self._claim_event(send, visitor))
        else:
            await self._app(scope, receive, send)

    async def stream(self, scope: Scope, receive: Receive, send: Send, visitor: Visitor) -> None:
        """Pass on a request for an event stream."""
        # Every occurrence of the parameter, because it isn't documented which one Gradio reads. The
        # path's last part is an event's id or a session's hash.
        session_hashes = HTTPConnection(scope).query_params.getlist("session_hash")
        ids = [*session_hashes, scope["path"].rstrip("/").rpartition("/")[2]]
        if all(self._may_access(id_, visitor) for id_ in ids):
            await self._stream_limiter.serve(self._app, scope, receive, send)
        else:
            await _access_denied()(scope, receive, send)

    def _claim_event(self, send: Send, visitor: Visitor) -> Send:
        """Return a `send` that reads the id of the new event from Gradio's answer."""
        chunks: list[bytes] = []

        async def send_and_claim(message: Message) -> None:
            if message["type"] == "http.response.body":
                chunks.append(message.get("body", b""))
                if not message.get("more_body"):
                    answer = _parse_object(b"".join(chunks))
                    self._claim(answer.get("event_id"), visitor)
            await send(message)

        return send_and_claim

    def _may_access(self, id_: str, visitor: Visitor) -> bool:
        return id_ not in self._claims or visitor.may_access(self._claims[id_])

    def _claim(self, id_: object, visitor: Visitor) -> None:
        # A program without cookies has no owner: the random id itself is its key.
        if isinstance(id_, str) and visitor.owner is not None and len(id_) <= MAX_CLAIM_LENGTH:
            self._claims[id_] = visitor.owner


def _access_denied() -> Response:
    return PlainTextResponse("Access denied.", HTTPStatus.FORBIDDEN)


def _parse_object(body: bytes) -> dict[str, Any]:
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return payload if isinstance(payload, dict) else {}
