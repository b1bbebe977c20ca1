"""The short way to a picture: a GET whose answer is received straight into its own buffer.

A general HTTP library copies a body several times and costs some five times as much for each
request, which shows where every preview is fetched (`python -m bench client`). This knows one kind
of answer alone, a plain 200 of a known length; whatever else comes is left to the library, which is
asked again.
"""

import asyncio
import io
import re
import ssl
import time
from typing import Final, cast

from yarl import URL

__all__ = ["Wires"]

HEAD_BYTES: Final = 16 * 1024
"""Room for the head of an answer."""

IDLE_SECONDS: Final = 3.0
"""A connection that has been idle for longer isn't used again: servers close them, uvicorn after five."""

MAX_IDLE: Final = 256

_STATUS = re.compile(rb"HTTP/1\.1 200[ \r]")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,12})[ \t]*(?=\r\n)", re.IGNORECASE)
_NOT_PLAIN = re.compile(
    rb"\r\n(?:transfer-encoding|content-encoding|content-range)\s*:", re.IGNORECASE
)
_LAST = re.compile(rb"\r\nconnection:[ \t]*close", re.IGNORECASE)


class Wires:
    """Connections to one server, kept for the next picture.

    Args:
        root: the server's address.
        limit_bytes: the largest picture that is taken.
        connect_seconds: how long a connection may take.

    """

    def __init__(self, root: URL, limit_bytes: int, connect_seconds: float) -> None:
        self._root = root
        self._limit_bytes = limit_bytes
        self._connect_seconds = connect_seconds
        self._idle: list[_Wire] = []
        self._tls: ssl.SSLContext | None = None
        self._is_useless = False

    async def get(self, url: URL, headers: dict[str, str], limit_seconds: float) -> bytes | None:
        """Return the bytes at `url`, or `None` where they can't be had this way.

        Raises:
            TimeoutError: they didn't come in time.

        """
        lines = {"Host": _host(url), "Accept-Encoding": "identity", **headers}
        if self._is_useless or any("\r" in value or "\n" in value for value in lines.values()):
            return None
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        request = f"GET {url.raw_path_qs} HTTP/1.1\r\n{head}\r\n".encode()
        async with asyncio.timeout(limit_seconds):
            try:
                wire = await self._take()
            except (OSError, TimeoutError):
                return None
            try:
                return await wire.ask(request, self._limit_bytes)
            finally:
                self._is_useless |= wire.was_good_but_not_plain
                self._give(wire)

    def close(self) -> None:
        """Let go of the connections."""
        while self._idle:
            self._idle.pop().close()

    async def _take(self) -> "_Wire":
        while self._idle:
            wire = self._idle.pop()
            await wire.settled()
            if wire.is_usable and time.monotonic() - wire.idle_since < IDLE_SECONDS:
                return wire
            wire.close()
        host, port = self._root.host or "", self._root.port or 80
        if self._root.scheme == "https" and self._tls is None:
            self._tls = ssl.create_default_context()
        async with asyncio.timeout(self._connect_seconds):
            _, wire = await asyncio.get_running_loop().create_connection(
                _Wire, host, port, ssl=self._tls
            )
        return wire

    def _give(self, wire: "_Wire") -> None:
        if wire.is_usable and len(self._idle) < MAX_IDLE:
            wire.idle_since = time.monotonic()
            self._idle.append(wire)
        else:
            wire.close()


def _host(url: URL) -> str:
    host = url.raw_host or ""
    name = f"[{host}]" if ":" in host else host
    return name if url.is_default_port() else f"{name}:{url.port}"


class _Wire(asyncio.BufferedProtocol):
    """One connection, asked for one thing at a time.

    Attributes:
        idle_since: when its last answer came, of `time.monotonic()`.
        was_good_but_not_plain: whether the server answers in another way than this knows, as it
            would again.

    """

    def __init__(self) -> None:
        self._head = memoryview(bytearray(HEAD_BYTES))
        self._into = self._head
        self._filled = 0
        self._body: io.BytesIO | None = None
        self._answer: asyncio.Future[bytes | None] | None = None
        self._limit_bytes = 0
        self._is_open = True
        self._is_last = False
        self.idle_since = 0.0
        self.was_good_but_not_plain = False

    @property
    def is_usable(self) -> bool:
        """Whether it can be asked for something."""
        return self._is_open and not self._is_last and self._answer is None

    async def settled(self) -> None:
        """Let what has come by now be taken: bytes that nobody asked for make it useless."""
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.close()
            raise

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take hold of the connection."""
        self._transport = cast("asyncio.Transport", transport)

    def close(self) -> None:
        """Let go of the connection."""
        self._is_open = False
        self._transport.abort()

    async def ask(self, request: bytes, limit_bytes: int) -> bytes | None:
        """Send the request and return the body of the answer; `None` if that isn't a plain one."""
        self._answer = asyncio.get_running_loop().create_future()
        self._limit_bytes = limit_bytes
        self._transport.write(request)
        answer = await self._answer
        self._answer = None
        return answer

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # asyncio's interface
        """Return where the next bytes go."""
        return self._into[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Take the bytes that have come."""
        self._filled += nbytes
        if self._answer is None or self._answer.done():
            self.close()  # nothing was asked for
        elif self._body is None:
            self._read_head(bytes(self._head[: self._filled]))
        elif self._filled == len(self._into):
            self._finish(self._body)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's interface
        """Leave whatever it was asked for to the library."""
        self._is_open = False
        self._settle(None)

    def _read_head(self, so_far: bytes) -> None:
        end = so_far.find(b"\r\n\r\n") + 4
        if end < 4 and self._filled < HEAD_BYTES:
            return
        lengths = _LENGTH.findall(so_far, 0, end)
        is_good = _STATUS.match(so_far) is not None
        is_plain = len(lengths) == 1 and not _NOT_PLAIN.search(so_far, 0, end)
        size = int(lengths[0]) if is_good and is_plain else -1
        self._is_last = _LAST.search(so_far, 0, end) is not None
        if not max(1, self._filled - end) <= size <= self._limit_bytes:
            self.was_good_but_not_plain = is_good and not is_plain
            self.close()
            self._settle(None)
            return
        self._body = io.BytesIO(
            bytes(size)
        )  # zero pages, which aren't touched; `getvalue` doesn't copy them either
        self._into = self._body.getbuffer()
        self._into[: self._filled - end] = so_far[end:]
        self._filled -= end
        if self._filled == size:
            self._finish(self._body)

    def _finish(self, body: io.BytesIO) -> None:
        self._into.release()
        self._into, self._filled, self._body = self._head, 0, None
        self._settle(body.getvalue())

    def _settle(self, answer: bytes | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)
