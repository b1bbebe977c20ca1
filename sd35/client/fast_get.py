"""A GET for images, whose body is received straight into its own buffer.

aiohttp copies a body several times, and a request takes about five times as much CPU: too much if
every preview is fetched (`python -m bench client`). This module understands one kind of response, a
plain 200 of a known length; for any other, the caller repeats the request with aiohttp.
"""

import asyncio
import io
import re
import time
from typing import Final, cast

from yarl import URL

from sd35.client.certificates import tls_context
from sd35.client.limited_connector import LimitedConnector
from sd35.core.awake import AwakeTimeout

__all__ = ["RawPool"]

MAX_HEAD_BYTES: Final = 16 * 1024

# Servers close idle connections, uvicorn after 5 s. A request on one that is just being closed
# would be lost.
MAX_IDLE_SECONDS: Final = 3.0

MAX_IDLE_CONNECTIONS: Final = 256

_STATUS_OK_PATTERN = re.compile(rb"HTTP/1\.1 200[ \r]")
_CONTENT_LENGTH_PATTERN = re.compile(
    rb"\r\ncontent-length:[ \t]*(\d{1,12})[ \t]*(?=\r\n)", re.IGNORECASE
)
_UNSUPPORTED_HEADER_PATTERN = re.compile(
    rb"\r\n(?:transfer-encoding|content-encoding|content-range)\s*:", re.IGNORECASE
)
_CONNECTION_CLOSE_PATTERN = re.compile(rb"\r\nconnection:[ \t]*close", re.IGNORECASE)


class RawPool:
    """A pool of connections to the server at `root`."""

    def __init__(
        self,
        root: URL,
        connector: LimitedConnector,
        limit_bytes: int,
        connect_timeout_seconds: float,
    ) -> None:
        self._root = root
        self._connector = connector
        self._limit_bytes = limit_bytes
        self._connect_timeout_seconds = connect_timeout_seconds
        self._idle_connections: list[_RawConnection] = []
        self._is_disabled = False

    async def get(self, url: URL, headers: dict[str, str], timeout_seconds: float) -> bytes | None:
        """Return the bytes at `url`, or `None` if they need aiohttp.

        Raises:
            TimeoutError: they didn't arrive in time.
        """
        request_headers = {"Host": _host_header(url), "Accept-Encoding": "identity", **headers}
        # A line break in a value would be the end of that header, and could start another request.
        has_line_break = any("\r" in value or "\n" in value for value in request_headers.values())
        if self._is_disabled or has_line_break:
            return None
        head = "".join(f"{name}: {value}\r\n" for name, value in request_headers.items())
        request = f"GET {url.raw_path_qs} HTTP/1.1\r\n{head}\r\n".encode()
        async with AwakeTimeout(timeout_seconds):
            try:
                connection = await self._acquire()
            except (OSError, TimeoutError):
                return None
            try:
                return await connection.send(request, self._limit_bytes)
            finally:
                self._is_disabled |= connection.is_unsupported
                self._release(connection)

    def close(self) -> None:
        """Close the connections."""
        while self._idle_connections:
            self._idle_connections.pop().close()

    async def _acquire(self) -> "_RawConnection":
        while self._idle_connections:
            connection = self._idle_connections.pop()
            await connection.drain()
            if connection.is_usable and time.monotonic() - connection.idle_since < MAX_IDLE_SECONDS:
                return connection
            connection.close()
        tls = tls_context() if self._root.scheme == "https" else None
        async with asyncio.timeout(self._connect_timeout_seconds):
            return await self._connector.open(_RawConnection, self._root, tls)

    def _release(self, connection: "_RawConnection") -> None:
        if connection.is_usable and len(self._idle_connections) < MAX_IDLE_CONNECTIONS:
            connection.idle_since = time.monotonic()
            self._idle_connections.append(connection)
        else:
            connection.close()


def _host_header(url: URL) -> str:
    host = url.raw_host or ""
    name = f"[{host}]" if ":" in host else host
    return name if url.is_default_port() else f"{name}:{url.port}"


class _RawConnection(asyncio.BufferedProtocol):
    """One connection, for one request at a time.

    Attributes:
        idle_since: the time of its last response, of `time.monotonic()`.
        is_unsupported: whether the server's successful responses are of another kind, such as
            chunked or compressed ones.
    """

    def __init__(self) -> None:
        self._head_buffer = memoryview(bytearray(MAX_HEAD_BYTES))
        self._buffer = self._head_buffer
        self._filled_bytes = 0
        self._body: io.BytesIO | None = None
        self._response_future: asyncio.Future[bytes | None] | None = None
        self._limit_bytes = 0
        self._is_open = True
        self._is_closing = False
        self.idle_since = 0.0
        self.is_unsupported = False

    @property
    def is_usable(self) -> bool:
        """Return whether the connection can send a request."""
        return self._is_open and not self._is_closing and self._response_future is None

    async def drain(self) -> None:
        """Process what has arrived by now: after bytes without a request it can't be used."""
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.close()
            raise

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def close(self) -> None:
        """Close the connection at once."""
        self._is_open = False
        self._transport.abort()

    async def send(self, request: bytes, limit_bytes: int) -> bytes | None:
        """Send the request and return the body of the response; `None` if it isn't a plain one."""
        self._response_future = asyncio.get_running_loop().create_future()
        self._limit_bytes = limit_bytes
        self._transport.write(request)
        body = await self._response_future
        self._response_future = None
        return body

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # asyncio's interface
        """Return the buffer for the next bytes."""
        return self._buffer[self._filled_bytes :]

    def buffer_updated(self, nbytes: int) -> None:
        """Process the bytes in the buffer."""
        self._filled_bytes += nbytes
        if self._response_future is None or self._response_future.done():
            self.close()  # there is no request
        elif self._body is None:
            self._read_head(bytes(self._head_buffer[: self._filled_bytes]))
        elif self._filled_bytes == len(self._buffer):
            self._finish_response(self._body)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's interface
        """Leave the request to aiohttp."""
        self._is_open = False
        self._resolve(None)

    def _read_head(self, head: bytes) -> None:
        head_end = head.find(b"\r\n\r\n") + 4
        if head_end < 4 and self._filled_bytes < MAX_HEAD_BYTES:
            return
        content_lengths = _CONTENT_LENGTH_PATTERN.findall(head, 0, head_end)
        is_ok = _STATUS_OK_PATTERN.match(head) is not None
        is_supported = len(content_lengths) == 1 and not _UNSUPPORTED_HEADER_PATTERN.search(
            head, 0, head_end
        )
        body_size = int(content_lengths[0]) if is_ok and is_supported else -1
        self._is_closing = _CONNECTION_CLOSE_PATTERN.search(head, 0, head_end) is not None
        if not max(1, self._filled_bytes - head_end) <= body_size <= self._limit_bytes:
            self.is_unsupported = is_ok and not is_supported
            self.close()
            self._resolve(None)
            return
        # The system's zero pages, without a copy; getvalue() of the full buffer makes none either.
        self._body = io.BytesIO(bytes(body_size))
        self._buffer = self._body.getbuffer()
        self._buffer[: self._filled_bytes - head_end] = head[head_end:]
        self._filled_bytes -= head_end
        if self._filled_bytes == body_size:
            self._finish_response(self._body)

    def _finish_response(self, body: io.BytesIO) -> None:
        self._buffer.release()
        self._buffer = self._head_buffer
        self._filled_bytes = 0
        self._body = None
        self._resolve(body.getvalue())

    def _resolve(self, body: bytes | None) -> None:
        if self._response_future is not None and not self._response_future.done():
            self._response_future.set_result(body)
