"""The part of a browser that sends requests, over asyncio streams; messages aren't parsed."""

import asyncio
import itertools
import json
import re
import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Any, Self

__all__ = ["HOST", "Visitor"]

HOST = "studio.example"
RESPONSE_TIMEOUT_SECONDS = 60.0
LIMIT_BYTES = 4 * 1024 * 1024  # read ahead on one connection; also the largest message

_addresses = itertools.count(1)

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_COOKIE = re.compile(rb"\r\nset-cookie: *([^;\r]+)", re.IGNORECASE)


class Visitor:
    """Visitor with a cookie, a session and an IP address of its own.

    It has one connection for the queue and one for files. The IP address stands in
    `X-Forwarded-For`, as behind a reverse proxy: limits per IP address apply to each visitor.

    Every method raises OSError, EOFError or AssertionError if an answer isn't as it should be.
    """

    def __init__(self, port: int) -> None:
        self._queue_connection = _ReconnectingConnection(port)
        self._file_connection = _ReconnectingConnection(port)
        self._port = port
        address = ".".join(map(str, next(_addresses).to_bytes(3)))
        self._head = b"Host: %s\r\nX-Forwarded-For: 10.%s\r\n" % (HOST.encode(), address.encode())
        self._session = secrets.token_hex(6)

    async def load_page(self) -> Self:
        """Load the page, without its scripts and styles, and keep its cookie."""
        connection = _ReconnectingConnection(self._port)
        head, _ = await connection.request(self._get(b"/"))
        cookie = _COOKIE.search(head)
        if cookie:
            self._head += b"Cookie: %s\r\n" % cookie[1]
        connection.close()
        return self

    async def join_queue(
        self,
        fn_index: int,
        data: Sequence[Any],
        event_data: Any = None,  # noqa: ANN401  # JSON
    ) -> None:
        """Call a listener."""
        payload = {"data": data, "event_data": event_data, "fn_index": fn_index, "trigger_id": None}
        body = json.dumps(payload | {"session_hash": self._session}).encode()
        head = b"POST /gradio_api/queue/join HTTP/1.1\r\n" + self._head
        kind = b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        await self._queue_connection.request(head + kind + body)

    async def follow(self) -> AsyncIterator[bytes]:
        """Yield the session's event stream, until all called listeners have completed."""
        path = b"/gradio_api/queue/data?session_hash=" + self._session.encode()
        async for chunk in self._queue_connection.stream(self._get(path)):
            yield chunk
            if b'"unexpected_error"' in chunk:
                raise ConnectionResetError(chunk)

    async def fetch(self, path: bytes) -> bytes:
        """Download a file."""
        return (await self._file_connection.request(self._get(path)))[1]

    def close(self) -> None:
        """Close all connections."""
        self._queue_connection.close()
        self._file_connection.close()

    def _get(self, path: bytes) -> bytes:
        return b"GET %s HTTP/1.1\r\n%s\r\n" % (path, self._head)


class _ReconnectingConnection:
    """HTTP connection for one request at a time, opened when it is first needed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def request(self, request: bytes) -> tuple[bytes, bytes]:
        """Return the head and the body of the answer."""
        async with asyncio.timeout(RESPONSE_TIMEOUT_SECONDS):
            reader, head = await self._send(request)
            length = _LENGTH.search(head)
            assert length is not None, head
            return head, await reader.readexactly(int(length[1]))

    async def stream(self, request: bytes) -> AsyncIterator[bytes]:
        """Yield the chunks of the answer."""
        reader, _ = await self._send(request)
        while size := int(await reader.readuntil(b"\r\n"), 16):
            yield await reader.readexactly(size + 2)
        await reader.readexactly(2)

    async def _send(self, request: bytes) -> tuple[asyncio.StreamReader, bytes]:
        is_new = self._streams is None
        try:
            return await self._send_once(request)
        except (ConnectionError, asyncio.IncompleteReadError):
            # Servers close connections that were idle for some seconds; then browsers open another.
            if is_new:
                raise
            self.close()
            return await self._send_once(request)

    async def _send_once(self, request: bytes) -> tuple[asyncio.StreamReader, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(
                "127.0.0.1", self._port, limit=LIMIT_BYTES
            )
        reader, writer = self._streams
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        return reader, head

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
