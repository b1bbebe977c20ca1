"""The event stream format (WHATWG HTML, §9.2), as much of it as Gradio uses: bytes in, data fields out. No I/O."""

from collections.abc import Iterator

from sd35.core.errors import ProtocolError

__all__ = ["MAX_EVENT_BYTES", "EventStreamDecoder"]

MAX_EVENT_BYTES = 16 * 1024 * 1024
"""A data URL of a large lossless picture fits; a stream that never ends a message doesn't fill the memory."""


class EventStreamDecoder:
    """Cuts a stream of bytes into the `data` of its events, wherever the chunks happen to be cut.

    Other fields (`event`, `id`, `retry`) and comments are passed over.
    """

    def __init__(self, limit_bytes: int = MAX_EVENT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._buffered_bytes = 0
        self._is_at_start = True
        self._partial_line: list[bytes] = []  # the parts of a line whose end hasn't come
        self._data_lines: list[bytes] = []  # the data lines of an event whose end hasn't come

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the data of each event that this chunk completes.

        Raises:
            ProtocolError: an event is larger than the limit.

        """
        if self._is_at_start:  # a byte order mark may come first
            chunk, self._is_at_start = chunk.removeprefix(b"\xef\xbb\xbf"), False
        self._buffered_bytes += len(chunk)
        self._partial_line.append(chunk)
        if b"\n" in chunk or b"\r" in chunk:
            for line in self._pop_complete_lines():
                yield from self._process_line(line)
            self._buffered_bytes = sum(map(len, self._partial_line)) + sum(
                map(len, self._data_lines)
            )
        if self._buffered_bytes > self._limit_bytes:
            raise ProtocolError(
                f"The Space sent a message larger than {self._limit_bytes // 1024 // 1024} MiB."
            )

    def _pop_complete_lines(self) -> list[bytes]:
        lines = b"".join(self._partial_line).splitlines(keepends=True)
        # A carriage return at the very end may be the first half of a line end.
        self._partial_line = [] if lines[-1].endswith(b"\n") else [lines.pop()]
        return [line.rstrip(b"\r\n") for line in lines]

    def _process_line(self, line: bytes) -> Iterator[bytes]:
        if line.startswith(b"data:"):
            self._data_lines.append(line[5:].removeprefix(b" "))
        elif not line and self._data_lines:
            yield b"\n".join(self._data_lines)
            self._data_lines = []
