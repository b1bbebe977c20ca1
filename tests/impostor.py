"""A server that pretends to be a Space, for answers that no real Space gives in a test."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from ssl import SSLContext
from typing import Any

import anyio
from aiohttp import web

from sd35.client import SpaceClient
from sd35.core.events import Event
from sd35.core.request import GenerationRequest
from tests.test_contract import DESCRIPTIONS
from tests.test_picture import encode_picture

LIMIT_SECONDS = 20
DESCRIPTION: dict[str, Any] = json.loads(DESCRIPTIONS[-1].read_text())
PNG = encode_picture("PNG", (64, 64))

QUEUED = {"msg": "estimation", "rank": 0, "queue_size": 1, "rank_eta": None}
STARTED = {"msg": "process_starts", "eta": None}
PICTURE = {"url": "/gradio_api/file=a.png", "path": "/a.png"}
PREVIEW = {"msg": "process_generating", "success": True, "output": {"data": [PICTURE, 7]}}
FINISHED = {"msg": "process_completed", "success": True, "output": {"data": [PICTURE, 7]}}
SESSION_NOT_FOUND = {
    "msg": "unexpected_error",
    "message": "404: Not Found",
    "session_not_found": True,
    "event_id": None,
}
HEARTBEAT = {"msg": "heartbeat"}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serve_fake_gradio(
    handlers: Mapping[str, Handler] | None = None,
    *,
    port: int = 0,
    tls: SSLContext | None = None,
    **more_handlers: Handler,
) -> AsyncIterator[str]:
    """Serve a Space that accepts every request and returns the same image.

    Handlers replace parts of it: `config`, `info`, `join`, `data`, `cancel`, and `file` for
    everything else.
    """
    handlers = {**(handlers or {}), **more_handlers}
    routes: list[tuple[str, str, str, Handler]] = [
        ("GET", "/config", "config", respond_json(DESCRIPTION["config"])),
        ("GET", "/gradio_api/info", "info", respond_json(DESCRIPTION["info"])),
        ("POST", "/gradio_api/queue/join", "join", respond_json({"event_id": "e"})),
        (
            "GET",
            "/gradio_api/queue/data",
            "data",
            respond_events(QUEUED, STARTED, PREVIEW, FINISHED),
        ),
        ("POST", "/gradio_api/cancel", "cancel", respond_json({"success": True})),
        ("GET", "/{path:.*}", "file", respond_picture(PNG)),
    ]
    app = web.Application()
    for method, path, name, default_handler in routes:
        app.router.add_route(method, path, _as_function(handlers.get(name, default_handler)))
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}/"
    finally:
        await runner.cleanup()


def _as_function(handler: Handler) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        return await handler(request)

    return answer


def respond_json(value: object) -> Handler:
    """Answer with this as JSON."""

    async def handler(_: web.Request) -> web.Response:
        return web.json_response(value)

    return handler


def respond_picture(data: bytes) -> Handler:
    """Answer with these bytes as an image."""

    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=data, content_type="image/png")

    return handler


def respond_text(status: int, text: str = "", **headers: str) -> Handler:
    """Answer with this status and text."""

    async def handler(_: web.Request) -> web.Response:
        return web.Response(
            status=status, text=text, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )

    return handler


def respond_events(
    *messages: dict[str, Any], is_kept_open: bool = False, truncated_tail: bytes | None = None
) -> Handler:
    """Send these messages as a stream; then close it, send heartbeats, or cut it off."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = await start_event_stream(request)
        await response.write(b"".join(message_bytes(message) for message in messages))
        while is_kept_open:
            await response.write(message_bytes(HEARTBEAT))
            await anyio.sleep(0.02)
        if truncated_tail is not None:
            await response.write(truncated_tail)
            drop_connection(request)
        return response

    return handler


async def start_event_stream(request: web.Request) -> web.StreamResponse:
    """Start an event stream."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    return response


def message_bytes(message: dict[str, Any]) -> bytes:
    """Return a message as it is on a stream."""
    return f"data: {json.dumps({'event_id': 'e'} | message)}\n\n".encode()


def drop_connection(request: web.Request) -> None:
    """Close the connection."""
    assert request.transport is not None
    request.transport.close()


async def drop_request(request: web.Request) -> web.StreamResponse:
    """Close the connection before any answer."""
    drop_connection(request)
    return web.Response()


async def never_respond(_: web.Request) -> web.StreamResponse:
    """Accept the request and never answer."""
    await anyio.sleep_forever()
    raise AssertionError


def respond_truncated(data: bytes, length: int) -> Handler:
    """Promise this many bytes, send these, and close the connection."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={"Content-Type": "image/png", "Content-Length": str(length)}
        )
        await response.prepare(request)
        await response.write(data)
        drop_connection(request)
        return response

    return handler


class HandlerSequence:
    """Handler that answers with one handler after another, and then always with the last."""

    def __init__(self, *handlers: Handler) -> None:
        self._handlers = handlers
        self.call_count = 0

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Answer with the next handler."""
        handler = self._handlers[min(self.call_count, len(self._handlers) - 1)]
        self.call_count += 1
        return await handler(request)


def make_request(prompt: str = "a cat", **changes: Any) -> GenerationRequest:  # noqa: ANN401
    """Return a request that every fake Space accepts."""
    return GenerationRequest(
        prompt, **({"seed": 7, "randomize_seed": False, "width": 512, "height": 512} | changes)
    )


async def collect_events(space: SpaceClient, prompt: str = "a cat") -> list[Event]:
    """Return all events of a run."""
    async with space.generate(make_request(prompt)) as generation:
        return [event async for event in generation]
