"""PNG: the texts in a file, and a file with other texts in it; chunk by chunk, and no pixel is touched. Pure."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from sd35.core.errors import PictureError
from sd35.metadata.exif import MAX_TEXT_BYTES, read_exif

__all__ = ["INFOTEXT_KEY", "RECORD_KEY", "SIGNATURE", "embed_png", "read_png"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"

RECORD_KEY = "sd35"
INFOTEXT_KEY = "parameters"

MAX_CHUNKS = 100_000
"""A picture of 64 megapixels in chunks of 8 KiB has a third of it; more is somebody's joke."""

MAX_INFLATION_RATIO = 1032
"""Bytes that a byte can be inflated to (https://zlib.net/zlib_tech.html)."""

_CHUNK_OVERHEAD = 12  # a chunk's length, type and checksum
_TEXT_CHUNKS = {b"tEXt", b"zTXt", b"iTXt"}


@dataclass(frozen=True, slots=True)
class _Chunk:
    """A chunk's type, and where it lies in the file: all of it from `start` to `end`."""

    kind: bytes
    start: int
    end: int


def _iter_chunks(data: bytes) -> Iterator[_Chunk]:
    """Yield the chunks up to the last one that is whole, or IEND."""
    offset, size = len(SIGNATURE), len(data)
    for _ in range(MAX_CHUNKS):
        if offset + _CHUNK_OVERHEAD > size:
            return
        length, kind = struct.unpack_from(">L4s", data, offset)
        end = offset + _CHUNK_OVERHEAD + length
        if end > size:
            return
        yield _Chunk(kind, offset, end)
        if kind == b"IEND":
            return
        offset = end


def read_png(data: bytes) -> tuple[dict[str, str], tuple[int, int] | None]:
    """Return the texts by keyword, behind them those of its EXIF, and the size in pixels."""
    reader, exif, size = _TextReader(), b"", None
    for chunk in _iter_chunks(data):
        body = slice(chunk.start + 8, chunk.end - 4)
        if chunk.kind == b"IHDR" and chunk.end - chunk.start >= _CHUNK_OVERHEAD + 8:
            size = struct.unpack_from(">LL", data, chunk.start + 8)
        elif chunk.kind == b"eXIf":
            exif = exif or data[body]
        elif chunk.kind in _TEXT_CHUNKS:
            reader.add(chunk.kind, data[body])
    return {**read_exif(exif), **reader.texts}, size


class _TextReader:
    """The texts of text chunks by keyword; the first of two counts. One that is too long or damaged is left out."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self._remaining_bytes = MAX_TEXT_BYTES

    def add(self, kind: bytes, body: bytes) -> None:
        keyword, _, encoded_body = body.partition(b"\0")
        if not keyword:
            return
        try:
            encoded = self._decompress(kind, encoded_body)
        except (zlib.error, ValueError):
            return
        if len(encoded) <= self._remaining_bytes:
            self._remaining_bytes -= len(encoded)
            text = encoded.decode("utf-8", "replace") if kind == b"iTXt" else _decode_text(encoded)
            self.texts.setdefault(keyword.decode("latin-1"), text)

    def _decompress(self, kind: bytes, encoded_body: bytes) -> bytes:
        if kind == b"tEXt":
            return encoded_body
        if kind == b"zTXt":
            return self._inflate(encoded_body[1:])
        _language, _translated_keyword, encoded = encoded_body[2:].split(b"\0", 2)
        return self._inflate(encoded) if encoded_body[:1] == b"\1" else encoded

    def _inflate(self, data: bytes) -> bytes:
        """Inflate up to what is left; one that is longer uses that up, so that there can't be a thousand of them."""
        try:
            content = zlib.decompressobj().decompress(data, self._remaining_bytes + 1)
        except zlib.error:  # how much that was isn't told
            self._remaining_bytes = max(0, self._remaining_bytes - MAX_INFLATION_RATIO * len(data))
            raise
        if len(content) > self._remaining_bytes:
            self._remaining_bytes = 0
        return content


def _decode_text(encoded: bytes) -> str:
    """Return text that is to be Latin-1; there are programs that write UTF-8 all the same."""
    try:
        return encoded.decode("utf-8")
    except UnicodeDecodeError:
        return encoded.decode("latin-1")


def embed_png(data: bytes, infotext: str | None, record_json: str) -> bytes:
    """Return the file with these as its texts, as far as there are any; every other chunk is there, byte for byte.

    Raises:
        PictureError: it is damaged, or cut off.

    """
    chunks = list(_iter_chunks(data))
    kinds = [chunk.kind for chunk in chunks]
    if kinds[:1] != [b"IHDR"] or kinds[-1] != b"IEND" or b"IDAT" not in kinds:
        raise PictureError("The PNG is damaged or was cut off.", "")
    image_start = chunks[kinds.index(b"IDAT")].start
    texts = {RECORD_KEY: _build_record_chunk(record_json)}
    if infotext is not None:
        texts = {INFOTEXT_KEY: _build_infotext_chunk(infotext), **texts}
    view, parts, position = memoryview(data), list[bytes | memoryview](), 0
    for chunk in chunks:
        if chunk.start == image_start:
            parts += view[position : chunk.start], *texts.values()
            position = chunk.start
        elif (
            chunk.kind in _TEXT_CHUNKS
            and _parse_keyword(data[chunk.start + 8 : min(chunk.start + 96, chunk.end - 4)])
            in texts
        ):
            parts.append(view[position : chunk.start])
            position = chunk.end
    return b"".join([*parts, view[position:]])


def _parse_keyword(body: bytes) -> str:
    return body.partition(b"\0")[0].decode("latin-1")


def _build_infotext_chunk(infotext: str) -> bytes:
    encoded = infotext.encode("latin-1", "replace")
    if _decode_text(encoded) != infotext:
        return _build_unicode_chunk(INFOTEXT_KEY, infotext)
    return _build_chunk(b"tEXt", INFOTEXT_KEY.encode() + b"\0" + encoded)


def _build_record_chunk(record_json: str) -> bytes:
    return _build_unicode_chunk(RECORD_KEY, record_json)


def _build_unicode_chunk(keyword: str, text: str) -> bytes:
    """Return an iTXt chunk, not compressed, of no language: a reader may refuse to inflate."""
    return _build_chunk(b"iTXt", keyword.encode() + b"\0" * 5 + text.encode("utf-8", "replace"))


def _build_chunk(kind: bytes, body: bytes) -> bytes:
    return (
        struct.pack(">L", len(body))
        + kind
        + body
        + struct.pack(">L", zlib.crc32(body, zlib.crc32(kind)))
    )
