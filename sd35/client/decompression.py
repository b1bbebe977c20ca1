"""Unpacking of responses that something on the way has compressed, although nobody asked for it.

Each decoder yields pieces of a limited size, so that its reader can stop at a limit: a small
compressed body can expand to gigabytes.
"""

import zlib
from collections.abc import Iterator
from typing import Any, Final

import brotli

from sd35.core.errors import ProtocolError

__all__ = ["Decoder", "content_decoder"]

PIECE_BYTES: Final = 64 * 1024  # brotli's may be up to twice as large
PART_BYTES: Final = 16 * 1024  # of the compressed data

# Empty parts of compressed data expand to nothing, and could go on without end.
MAX_IDLE_BYTES: Final = 128 * 1024


class Decoder:
    """Decoder of a body that isn't compressed, and the base class of the others."""

    def __init__(self) -> None:
        self._idle_bytes = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what these bytes expand to, as far as it is known by now.

        Raises:
            ValueError: the data is damaged.
        """
        self._idle_bytes += len(data)
        for piece in self._decode(data):
            self._idle_bytes = 0
            yield piece
        if self._idle_bytes > MAX_IDLE_BYTES:
            raise ValueError("empty")

    def _decode(self, data: bytes) -> Iterator[bytes]:
        yield data

    def finish(self) -> None:
        """Raise a ValueError if the data isn't complete."""


class _ZlibDecoder(Decoder):
    """Decoder of gzip, zlib and raw deflate."""

    def __init__(self, *, is_gzip: bool) -> None:
        super().__init__()
        self._is_gzip = is_gzip
        self._head = b""
        self._decompressor: Any = None

    def _decode(self, data: bytes) -> Iterator[bytes]:
        if self._decompressor is None:
            # `deflate` should have the two bytes of zlib first, but some servers omit them.
            self._head += data
            if len(self._head) < 2:
                return
            data = self._head
            self._decompressor = zlib.decompressobj(self._window_bits(data))
        # Of what follows, each member makes a copy.
        for start in range(0, len(data), PART_BYTES):
            yield from self._decode_part(data[start : start + PART_BYTES])

    def _decode_part(self, data: bytes) -> Iterator[bytes]:
        has_more = False  # in the decompressor, which stops at a full piece
        while data or has_more:
            if self._decompressor.eof:
                # A body of gzip may have several members; other codings end here.
                if not self._is_gzip or not data:
                    return
                self._decompressor = zlib.decompressobj(zlib.MAX_WBITS | 16)
            try:
                piece = self._decompressor.decompress(data, PIECE_BYTES)
            except zlib.error as error:
                raise ValueError("damaged") from error
            data = self._decompressor.unconsumed_tail or self._decompressor.unused_data
            has_more = len(piece) == PIECE_BYTES
            if piece:
                yield piece

    def _window_bits(self, head: bytes) -> int:
        if self._is_gzip:
            return zlib.MAX_WBITS | 16
        is_zlib = head[0] & 0x0F == 8 and int.from_bytes(head[:2], "big") % 31 == 0
        return zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS

    def finish(self) -> None:
        if self._decompressor is None or not self._decompressor.eof:
            raise ValueError("incomplete")


class _BrotliDecoder(Decoder):
    def __init__(self) -> None:
        super().__init__()
        self._decompressor = brotli.Decompressor()

    def _decode(self, data: bytes) -> Iterator[bytes]:
        try:
            while not self._decompressor.is_finished():
                piece = self._decompressor.process(data, output_buffer_limit=PIECE_BYTES)
                data = b""
                if piece:
                    yield piece
                # It can, too, while a part of the output is still inside.
                elif self._decompressor.can_accept_more_data():
                    return
        except brotli.error as error:
            raise ValueError("damaged") from error

    def finish(self) -> None:
        if not self._decompressor.is_finished():
            raise ValueError("incomplete")


def content_decoder(encoding: str) -> Decoder:
    """Return a decoder for the value of the header `Content-Encoding`.

    Raises:
        ProtocolError: it names another coding than gzip, deflate and br, or several.
    """
    name = encoding.strip().lower()
    match name:
        case "" | "identity":
            return Decoder()
        case "gzip" | "x-gzip" | "deflate":
            return _ZlibDecoder(is_gzip=name != "deflate")
        case "br":
            return _BrotliDecoder()
        case _:
            raise ProtocolError("The answer is compressed in an unsupported format.")
