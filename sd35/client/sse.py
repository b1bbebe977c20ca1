"""The event stream format (WHATWG HTML, §9.2), as far as Gradio uses it. No I/O."""

from collections.abc import Iterator

from sd35.core.errors import ProtocolError

__all__ = ["MAX_EVENT_BYTES", "EventStreamDecoder"]

# Room for a data URL of a large lossless image. A message without an end must not fill the memory.
MAX_EVENT_BYTES = 16 * 1024 * 1024


class EventStreamDecoder:
    """Decoder of a byte stream into the `data` of its events; other fields are ignored.

    Attributes:
        ignored_bytes: the size of the comments, empty lines and other fields so far.
    """

    def __init__(self, limit_bytes: int = MAX_EVENT_BYTES) -> None:
        self.ignored_bytes = 0
        self._limit_bytes = limit_bytes
        self._is_at_start = True
        self._partial_line: list[bytes] = []  # the chunks of an unfinished line
        self._partial_bytes = 0
        self._data_lines: list[bytes] = []  # the data lines of an unfinished event
        self._data_bytes = 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the data of each event that this chunk completes.

        Raises:
            ProtocolError: an event is larger than the limit.
        """
        if self._is_at_start:  # a byte order mark is allowed here
            chunk = chunk.removeprefix(b"\xef\xbb\xbf")
            self._is_at_start = False
        self._partial_line.append(chunk)
        self._partial_bytes += len(chunk)
        if b"\n" in chunk or b"\r" in chunk:
            for line in self._pop_complete_lines():
                yield from self._process_line(line)
        if self._partial_bytes + self._data_bytes > self._limit_bytes:
            raise ProtocolError(
                f"The Space sent a message of more than {self._limit_bytes >> 20} MiB."
            )

    def _pop_complete_lines(self) -> list[bytes]:
        lines = b"".join(self._partial_line).splitlines(keepends=True)
        # The other half of a \r\n may be in the next chunk.
        self._partial_line = [] if lines[-1].endswith(b"\n") else [lines.pop()]
        self._partial_bytes = sum(map(len, self._partial_line))
        return lines

    def _process_line(self, line: bytes) -> Iterator[bytes]:
        text = line.rstrip(b"\r\n")
        if text.startswith(b"data:"):
            # Only one space belongs to the format, the others to the data.
            self._data_lines.append(text[5:].removeprefix(b" "))
            self._data_bytes += len(line)  # an empty one takes memory, too
        # An empty line ends an event. One that the end of the stream cuts off is dropped, as the
        # standard says.
        elif not text and self._data_lines:
            yield b"\n".join(self._data_lines)
            self._data_lines = []
            self._data_bytes = 0
        else:
            self.ignored_bytes += len(line)
