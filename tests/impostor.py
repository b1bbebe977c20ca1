"""Servers that only pretend to be a Space, to answer as no real one would for a test."""

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
from tests.test_picture import encoded

LIMIT = 20
TOLD: dict[str, Any] = json.loads(DESCRIPTIONS[-1].read_text())
PNG = encoded("PNG", (64, 64))

QUEUED = {"msg": "estimation", "rank": 0, "queue_size": 1, "rank_eta": None}
STARTED = {"msg": "process_starts", "eta": None}
PICTURE = {"url": "/gradio_api/file=a.png", "path": "/a.png"}
PREVIEW = {"msg": "process_generating", "success": True, "output": {"data": [PICTURE, 7]}}
FINISHED = {"msg": "process_completed", "success": True, "output": {"data": [PICTURE, 7]}}
GONE = {
    "msg": "unexpected_error",
    "message": "404: Not Found",
    "session_not_found": True,
    "event_id": None,
}
HEARTBEAT = {"msg": "heartbeat"}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def impostor(
    handlers: Mapping[str, Handler] | None = None,
    *,
    port: int = 0,
    tls: SSLContext | None = None,
    **more: Handler,
) -> AsyncIterator[str]:
    """A server that describes itself as a Space, takes every request, and makes the same picture of each.

    Handlers in place of that, by name: `config`, `info`, `join`, `data`, `cancel`, and `file` for
        all else.
    """
    handlers = {**(handlers or {}), **more}
    routes: list[tuple[str, str, str, Handler]] = [
        ("GET", "/config", "config", telling(TOLD["config"])),
        ("GET", "/gradio_api/info", "info", telling(TOLD["info"])),
        ("POST", "/gradio_api/queue/join", "join", telling({"event_id": "e"})),
        ("GET", "/gradio_api/queue/data", "data", sending(QUEUED, STARTED, PREVIEW, FINISHED)),
        ("POST", "/gradio_api/cancel", "cancel", telling({"success": True})),
        ("GET", "/{path:.*}", "file", showing(PNG)),
    ]
    app = web.Application()
    for method, path, name, usual in routes:
        app.router.add_route(method, path, _as_function(handlers.get(name, usual)))
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


def telling(value: object) -> Handler:
    """Answer with this as JSON."""

    async def handler(_: web.Request) -> web.Response:
        return web.json_response(value)

    return handler


def showing(data: bytes) -> Handler:
    """Answer with these bytes as a picture."""

    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=data, content_type="image/png")

    return handler


def saying(status: int, text: str = "", **headers: str) -> Handler:
    """Answer with this status and text."""

    async def handler(_: web.Request) -> web.Response:
        return web.Response(
            status=status, text=text, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )

    return handler


def sending(*messages: dict[str, Any], stay: bool = False, cut: bytes | None = None) -> Handler:
    """Send these messages as an event stream; then close it, `stay` with heartbeats, or `cut` it after those bytes."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = await streaming(request)
        await response.write(b"".join(message_bytes(message) for message in messages))
        while stay:
            await response.write(message_bytes(HEARTBEAT))
            await anyio.sleep(0.02)
        if cut is not None:
            await response.write(cut)
            abort(request)
        return response

    return handler


async def streaming(request: web.Request) -> web.StreamResponse:
    """Begin an event stream."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    return response


def message_bytes(message: dict[str, Any]) -> bytes:
    """One message as it stands on a stream."""
    return f"data: {json.dumps({'event_id': 'e'} | message)}\n\n".encode()


def abort(request: web.Request) -> None:
    """Break the connection off."""
    assert request.transport is not None
    request.transport.close()


async def aborting(request: web.Request) -> web.StreamResponse:
    """Break the connection off before any answer."""
    abort(request)
    return web.Response()


async def silent(_: web.Request) -> web.StreamResponse:
    """Take the request and never answer."""
    await anyio.sleep_forever()
    raise AssertionError


def cutting(data: bytes, length: int) -> Handler:
    """Promise so many bytes, send these, and break off."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={"Content-Type": "image/png", "Content-Length": str(length)}
        )
        await response.prepare(request)
        await response.write(data)
        abort(request)
        return response

    return handler


class InTurn:
    """Answer as one handler after another does; as the last one for ever. `asked` counts."""

    def __init__(self, *handlers: Handler) -> None:
        self._handlers = handlers
        self.asked = 0

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Answer."""
        handler = self._handlers[min(self.asked, len(self._handlers) - 1)]
        self.asked += 1
        return await handler(request)


def asking(prompt: str = "a cat", **changes: Any) -> GenerationRequest:  # noqa: ANN401
    """A request that every Space here accepts."""
    return GenerationRequest(
        prompt, **({"seed": 7, "randomize_seed": False, "width": 512, "height": 512} | changes)
    )


async def run(space: SpaceClient, prompt: str = "a cat") -> list[Event]:
    """The events of a run to its end."""
    async with space.generate(asking(prompt)) as generation:
        return [event async for event in generation]
