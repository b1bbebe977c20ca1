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

MOST_INFLATED = 1032
"""Bytes that a byte can be inflated to (https://zlib.net/zlib_tech.html)."""

_FRAME = 12  # a chunk's length, type and checksum
_TEXTS = {b"tEXt", b"zTXt", b"iTXt"}


@dataclass(frozen=True, slots=True)
class _Chunk:
    """A chunk's type, and where it lies in the file: all of it from `start` to `end`."""

    kind: bytes
    start: int
    end: int


def _chunks(data: bytes) -> Iterator[_Chunk]:
    """Yield the chunks up to the last one that is whole, or IEND."""
    at, size = len(SIGNATURE), len(data)
    for _ in range(MAX_CHUNKS):
        if at + _FRAME > size:
            return
        length, kind = struct.unpack_from(">L4s", data, at)
        end = at + _FRAME + length
        if end > size:
            return
        yield _Chunk(kind, at, end)
        if kind == b"IEND":
            return
        at = end


def read_png(data: bytes) -> tuple[dict[str, str], tuple[int, int] | None]:
    """Return the texts by keyword, behind them those of its EXIF, and the size in pixels."""
    reader, exif, size = _TextReader(), b"", None
    for chunk in _chunks(data):
        body = slice(chunk.start + 8, chunk.end - 4)
        if chunk.kind == b"IHDR" and chunk.end - chunk.start >= _FRAME + 8:
            size = struct.unpack_from(">LL", data, chunk.start + 8)
        elif chunk.kind == b"eXIf":
            exif = exif or data[body]
        elif chunk.kind in _TEXTS:
            reader.add(chunk.kind, data[body])
    return {**read_exif(exif), **reader.texts}, size


class _TextReader:
    """The texts of text chunks by keyword; the first of two counts. One that is too long or damaged is left out."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self._left = MAX_TEXT_BYTES

    def add(self, kind: bytes, body: bytes) -> None:
        keyword, _, rest = body.partition(b"\0")
        if not keyword:
            return
        try:
            coded = self._content(kind, rest)
        except (zlib.error, ValueError):
            return
        if len(coded) <= self._left:
            self._left -= len(coded)
            text = coded.decode("utf-8", "replace") if kind == b"iTXt" else _decoded(coded)
            self.texts.setdefault(keyword.decode("latin-1"), text)

    def _content(self, kind: bytes, rest: bytes) -> bytes:
        if kind == b"tEXt":
            return rest
        if kind == b"zTXt":
            return self._inflate(rest[1:])
        _language, _translated, coded = rest[2:].split(b"\0", 2)
        return self._inflate(coded) if rest[:1] == b"\1" else coded

    def _inflate(self, data: bytes) -> bytes:
        """Inflate up to what is left; one that is longer uses that up, so that there can't be a thousand of them."""
        try:
            content = zlib.decompressobj().decompress(data, self._left + 1)
        except zlib.error:  # how much that was isn't told
            self._left = max(0, self._left - MOST_INFLATED * len(data))
            raise
        if len(content) > self._left:
            self._left = 0
        return content


def _decoded(coded: bytes) -> str:
    """Return text that is to be Latin-1; there are programs that write UTF-8 all the same."""
    try:
        return coded.decode("utf-8")
    except UnicodeDecodeError:
        return coded.decode("latin-1")


def embed_png(data: bytes, infotext: str | None, record_json: str) -> bytes:
    """Return the file with these as its texts, as far as there are any; every other chunk is there, byte for byte.

    Raises:
        PictureError: it is damaged, or cut off.

    """
    chunks = list(_chunks(data))
    kinds = [chunk.kind for chunk in chunks]
    if kinds[:1] != [b"IHDR"] or kinds[-1] != b"IEND" or b"IDAT" not in kinds:
        raise PictureError("The PNG is damaged or was cut off.", "")
    first_image = chunks[kinds.index(b"IDAT")].start
    texts = {RECORD_KEY: _record_chunk(record_json)}
    if infotext is not None:
        texts = {INFOTEXT_KEY: _infotext_chunk(infotext), **texts}
    view, parts, at = memoryview(data), list[bytes | memoryview](), 0
    for chunk in chunks:
        if chunk.start == first_image:
            parts += view[at : chunk.start], *texts.values()
            at = chunk.start
        elif (
            chunk.kind in _TEXTS
            and _keyword(data[chunk.start + 8 : min(chunk.start + 96, chunk.end - 4)]) in texts
        ):
            parts.append(view[at : chunk.start])
            at = chunk.end
    return b"".join([*parts, view[at:]])


def _keyword(body: bytes) -> str:
    return body.partition(b"\0")[0].decode("latin-1")


def _infotext_chunk(infotext: str) -> bytes:
    coded = infotext.encode("latin-1", "replace")
    if _decoded(coded) != infotext:
        return _unicode_chunk(INFOTEXT_KEY, infotext)
    return _chunk(b"tEXt", INFOTEXT_KEY.encode() + b"\0" + coded)


def _record_chunk(record_json: str) -> bytes:
    return _unicode_chunk(RECORD_KEY, record_json)


def _unicode_chunk(keyword: str, text: str) -> bytes:
    """Return an iTXt chunk, not compressed, of no language: a reader may refuse to inflate."""
    return _chunk(b"iTXt", keyword.encode() + b"\0" * 5 + text.encode("utf-8", "replace"))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return (
        struct.pack(">L", len(body))
        + kind
        + body
        + struct.pack(">L", zlib.crc32(body, zlib.crc32(kind)))
    )
