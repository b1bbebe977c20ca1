"""Calls of Gradio's functions: checked, and each session and event tied to its visitor.

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
from sd35.server.security import replay_body
from sd35.server.stream_limiter import StreamLimiter

__all__ = ["API_PREFIX", "STREAM_PREFIXES", "GradioCalls"]

API_PREFIX: Final = "/gradio_api/"
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
        payload = _parse_json(await request.body())
        rejection = self._rejection(scope, payload, visitor)
        if rejection is not None:
            await rejection(scope, request.receive, send)
            return
        assert payload is not None
        # Not the original bytes: Gradio's JSON parser may read duplicate keys or broken encodings
        # differently, and so see other values than those that were checked here.
        receive = replay_body(orjson.dumps(payload), request.receive)
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

    def _rejection(
        self, scope: Scope, payload: dict[str, Any] | None, visitor: Visitor
    ) -> Response | None:
        if payload is None:
            return PlainTextResponse("The body isn't a JSON object.", HTTPStatus.BAD_REQUEST)
        path = scope["path"].removeprefix(API_PREFIX)
        invalid_call_response = _check_call(scope.get("app"), path, payload)
        if invalid_call_response is not None:
            return invalid_call_response
        ids = (payload.get(key) for key in ("session_hash", "event_id"))
        if all(self._may_access(id_, visitor) for id_ in ids if isinstance(id_, str)):
            return None
        return _access_denied()

    def _claim_event(self, send: Send, visitor: Visitor) -> Send:
        """Return a `send` that reads the id of the new event from Gradio's answer."""
        chunks: list[bytes] = []

        async def send_and_claim(message: Message) -> None:
            if message["type"] == "http.response.body":
                chunks.append(message.get("body", b""))
                if not message.get("more_body"):
                    answer = _parse_json(b"".join(chunks)) or {}
                    self._claim(answer.get("event_id"), visitor)
            await send(message)

        return send_and_claim

    def _may_access(self, id_: str, visitor: Visitor) -> bool:
        return id_ not in self._claims or visitor.may_access(self._claims[id_])

    def _claim(self, id_: object, visitor: Visitor) -> None:
        # A program without cookies has no owner: the random id itself is its key.
        if isinstance(id_, str) and visitor.owner is not None and len(id_) <= MAX_CLAIM_LENGTH:
            self._claims[id_] = visitor.owner


def _check_call(app: object, path: str, payload: dict[str, Any]) -> Response | None:
    """Return an error for a function that doesn't exist, or for a wrong number of arguments.

    Gradio would log a traceback for these, or the caller's own text.
    """
    functions = getattr(getattr(app, "blocks", None), "fns", None)
    if functions is None:
        return None
    is_by_name = path.startswith("call/v2/")
    kind, _, name = path.strip("/").removeprefix("call/v2/").partition("/")
    if is_by_name:
        name = kind
    elif kind not in {"run", "call", "queue"}:
        return None
    fn_index = payload.get("fn_index")
    if isinstance(fn_index, int) and not is_by_name:
        function = functions.get(fn_index)
    else:
        function = next((fn for fn in functions.values() if fn.api_name == name), None)
    if function is None:
        return PlainTextResponse("There is no such function.", HTTPStatus.NOT_FOUND)
    # Arguments of call/v2 are named, and Gradio checks names itself.
    return None if is_by_name else _check_argument_count(function.inputs, payload.get("data"))


def _check_argument_count(inputs: list[Any], data: object) -> Response | None:
    # Programs leave out the values of components such as gr.State, and the page sends them all.
    public_count = sum(not getattr(component, "skip_api", False) for component in inputs)
    if isinstance(data, list) and len(data) in {len(inputs), public_count}:
        return None
    return PlainTextResponse(
        f"`data` must be a list of {public_count} values.", HTTPStatus.UNPROCESSABLE_ENTITY
    )


def _access_denied() -> Response:
    return PlainTextResponse("Access denied.", HTTPStatus.FORBIDDEN)


def _parse_json(body: bytes) -> dict[str, Any] | None:
    # orjson is strict: no NaN, no lone surrogates, no other encoding than UTF-8.
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return payload if isinstance(payload, dict) else None
