"""The fastest client to expect in Python: asyncio protocols without streams or HTTP library.

An answer of known length is received into a buffer of its own, the event stream isn't parsed but
searched for addresses, and a generation needs one connection.
"""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast
from urllib.parse import urlsplit

from bench.metrics import Generate, GenerationRecorder

__all__ = [
    "LENGTH_PATTERN",
    "PICTURE_PATTERN",
    "every_preview",
    "first_preview_only",
    "get_request",
    "join_request",
]

HEAD_BYTES = 32 * 1024  # for the head of an answer, and for the whole stream of a run

PICTURE_PATTERN = re.compile(rb'"url"\]?[:,]"http://[^/]+([^"]+)"')
LENGTH_PATTERN = re.compile(rb"\r\nContent-Length: (\d+)")


@asynccontextmanager
async def first_preview_only(address: str) -> AsyncIterator[Generate]:
    """Fetch the first preview and the final image."""
    pool = _ConnectionPool(address)
    yield lambda recorder: _generate(pool, recorder, max_previews=1)


@asynccontextmanager
async def every_preview(address: str) -> AsyncIterator[Generate]:
    """Fetch every preview and the final image."""
    pool = _ConnectionPool(address)
    yield lambda recorder: _generate(pool, recorder, max_previews=None)


async def _generate(
    pool: "_ConnectionPool", recorder: GenerationRecorder, *, max_previews: int | None
) -> None:
    connection = await pool.acquire()
    *previews, final = await _run(connection, recorder)
    for path in previews[:max_previews]:
        await connection.send_request(get_request(path))
        recorder.preview()
    recorder.final(await connection.send_request(get_request(final)))
    pool.release(connection)


async def _run(connection: "_RawConnection", recorder: GenerationRecorder) -> list[bytes]:
    """Join the queue, read the stream, and return the paths of its images."""
    session = secrets.token_hex(8).encode()
    await connection.send_request(join_request(session))
    stream = await connection.send_request(
        get_request(b"/gradio_api/queue/data?session_hash=" + session), recorder.event
    )
    return PICTURE_PATTERN.findall(stream)


def join_request(session: bytes) -> bytes:
    """Return the HTTP request that joins the queue."""
    inputs = b'["a lighthouse at dusk", "", 0, true, 1024, 1024, 4.5, 40]'
    body = b'{"data": %s, "fn_index": 0, "session_hash": "%s"}' % (inputs, session)
    head = b"POST /gradio_api/queue/join HTTP/1.1\r\nHost: space\r\n"
    kind = b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    return head + kind + body


def get_request(path: bytes) -> bytes:
    """Return the HTTP request for a path."""
    return b"GET %s HTTP/1.1\r\nHost: space\r\n\r\n" % path


class _ConnectionPool:
    """Open connections that are free for a request."""

    def __init__(self, address: str) -> None:
        self._port = urlsplit(address).port or 80
        self._idle: list[_RawConnection] = []

    async def acquire(self) -> "_RawConnection":
        if self._idle:
            return self._idle.pop()
        _, connection = await asyncio.get_running_loop().create_connection(
            _RawConnection, "127.0.0.1", self._port
        )
        return connection

    def release(self, connection: "_RawConnection") -> None:
        self._idle.append(connection)


class _RawConnection(asyncio.BufferedProtocol):
    """HTTP connection for one request at a time."""

    def __init__(self) -> None:
        self._head = self._buffer = memoryview(bytearray(HEAD_BYTES))
        self._filled = 0
        self._body: bytearray | None = None
        self._response: asyncio.Future[bytearray] | None = None
        self._on_first_bytes: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send_request(
        self, request: bytes, on_first_bytes: Callable[[], None] | None = None
    ) -> "asyncio.Future[bytearray]":
        """Send a request; the future yields the body, or of a stream the whole answer."""
        self._response = asyncio.get_running_loop().create_future()
        self._on_first_bytes = on_first_bytes
        self._transport.write(request)
        return self._response

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # asyncio's interface
        return self._buffer[self._filled :]

    def buffer_updated(self, count: int) -> None:
        self._filled += count
        if self._body is None:
            self._read_head(bytes(self._head[: self._filled]))
        elif self._filled == len(self._body):
            self._finish(self._body)

    def _read_head(self, received: bytes) -> None:
        end = received.find(b"\r\n\r\n") + 4
        if end < 4:
            return
        length = LENGTH_PATTERN.search(received, 0, end)
        if length is None:
            self._read_stream(received)
            return
        self._body = bytearray(int(length[1]))
        self._buffer, self._filled = memoryview(self._body), len(received) - end
        self._body[: self._filled] = received[end:]
        if self._filled == len(self._body):
            self._finish(self._body)

    def _read_stream(self, received: bytes) -> None:
        if self._on_first_bytes is not None and b"\ndata: " in received:
            self._on_first_bytes()
            self._on_first_bytes = None
        if received.endswith(b"\r\n0\r\n\r\n"):
            self._finish(bytearray(received))
        elif self._filled == HEAD_BYTES:
            self._transport.abort()

    def _finish(self, body: bytearray) -> None:
        assert self._response is not None
        self._response.set_result(body)
        self._body = None
        self._buffer = self._head
        self._filled = 0

    def connection_lost(self, error: Exception | None) -> None:
        if self._response is not None and not self._response.done():
            self._response.set_exception(error or ConnectionResetError("the connection was closed"))
