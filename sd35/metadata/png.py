"""PNG files: reading their text chunks, and replacing ours without touching any other chunk."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from sd35.core.errors import PictureError
from sd35.metadata.exif import MAX_TEXT_BYTES, read_exif, read_orientation
from sd35.metadata.parsing import decode_text
from sd35.metadata.xmp import read_xmp, read_xmp_properties

__all__ = ["INFOTEXT_KEY", "JSON_KEY", "SIGNATURE", "embed_png", "read_png"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"

JSON_KEY = "sd35"
INFOTEXT_KEY = "parameters"

MAX_CHUNKS = 100_000  # three times as many as a 64-megapixel image in chunks of 8 KiB has

_MAX_TEXTS = 200  # tools write no more than ten
_MAX_KEYWORD_BYTES = 79  # by the standard

_MAX_INFLATION_RATIO = 1032  # bytes per compressed byte, https://zlib.net/zlib_tech.html
_CHUNK_OVERHEAD = 12  # a chunk's length, type and checksum
_XMP_KEY = "XML:com.adobe.xmp"
_TIME = struct.Struct(">H5B")  # of the last change, in UTC
_TEXT_CHUNKS = {b"tEXt", b"zTXt", b"iTXt"}


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Chunk type, and the range of the whole chunk in the file."""

    kind: bytes
    start: int
    end: int


def _iter_chunks(data: bytes) -> Iterator[_Chunk]:
    """Yield chunks up to IEND or the first incomplete one."""
    offset = len(SIGNATURE)
    size = len(data)
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


def read_png(data: bytes) -> tuple[dict[str, str], tuple[int, int] | None, int]:
    """Return the texts by keyword or EXIF tag name, the size in pixels, and the orientation."""
    reader = _TextReader()
    exif = b""
    size = None
    for chunk in _iter_chunks(data):
        body = slice(chunk.start + 8, chunk.end - 4)
        is_large = body.stop - body.start > 2 * MAX_TEXT_BYTES  # too large even to be copied
        if chunk.kind == b"IHDR" and chunk.end - chunk.start >= _CHUNK_OVERHEAD + 8:
            size = struct.unpack_from(">LL", data, chunk.start + 8)
        elif chunk.kind == b"eXIf" and not is_large:
            exif = exif or data[body]
        elif chunk.kind == b"tIME" and body.stop - body.start == _TIME.size:
            reader.texts.setdefault("tIME", _format_time(data[body]))
        elif chunk.kind in _TEXT_CHUNKS and not is_large:
            reader.add(chunk.kind, data[body])
    # Converters from JPEG and WebP keep XMP, which holds our JSON there.
    xmp = reader.texts.get(_XMP_KEY, "").encode()
    xmp_json = read_xmp(xmp)
    xmp_texts = {**read_xmp_properties(xmp), **({JSON_KEY: xmp_json} if xmp_json else {})}
    return {**xmp_texts, **read_exif(exif), **reader.texts}, size, read_orientation(exif)


def _format_time(body: bytes) -> str:
    year, month, day, hour, minute, second = _TIME.unpack(body)
    return f"{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z"


class _TextReader:
    """Collector of texts by keyword, without damaged chunks and within `MAX_TEXT_BYTES`."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self._remaining_bytes = MAX_TEXT_BYTES

    def add(self, kind: bytes, body: bytes) -> None:
        keyword, _, encoded_body = body.partition(b"\0")
        is_full = not self._remaining_bytes or len(self.texts) >= _MAX_TEXTS
        if is_full or not 1 <= len(keyword) <= _MAX_KEYWORD_BYTES:
            return
        try:
            encoded = self._decompress(kind, encoded_body)
        except (zlib.error, ValueError):
            return
        if len(encoded) <= self._remaining_bytes:
            self._remaining_bytes -= len(encoded)
            text = encoded.decode("utf-8", "replace") if kind == b"iTXt" else decode_text(encoded)
            self.texts.setdefault(keyword.decode("latin-1"), text)

    def _decompress(self, kind: bytes, encoded_body: bytes) -> bytes:
        if kind == b"tEXt":
            return encoded_body
        if kind == b"zTXt":
            return self._inflate(encoded_body[1:])
        _language, _translated_keyword, encoded = encoded_body[2:].split(b"\0", 2)
        return self._inflate(encoded) if encoded_body[:1] == b"\1" else encoded

    def _inflate(self, data: bytes) -> bytes:
        # A kilobyte may inflate to a megabyte, and a file can hold many such chunks: every attempt
        # is charged, the failed ones by their worst case, as zlib doesn't tell how far it came.
        try:
            content = zlib.decompressobj().decompress(data, self._remaining_bytes + 1)
        except zlib.error:
            self._remaining_bytes = max(0, self._remaining_bytes - _MAX_INFLATION_RATIO * len(data))
            raise
        if len(content) > self._remaining_bytes:
            self._remaining_bytes = 0
        return content


def embed_png(data: bytes, infotext: str | None, metadata_json: str) -> bytes:
    """Return the file with replaced texts and all else unchanged; see `embedding.embed_texts`."""
    chunks = list(_iter_chunks(data))
    kinds = [chunk.kind for chunk in chunks]
    if kinds[:1] != [b"IHDR"] or kinds[-1] != b"IEND" or b"IDAT" not in kinds:
        raise PictureError("The PNG file is damaged or incomplete.", "")
    image_start = chunks[kinds.index(b"IDAT")].start
    new_chunks = {JSON_KEY: _build_unicode_chunk(JSON_KEY, metadata_json)}
    if infotext is not None:
        new_chunks = {INFOTEXT_KEY: _build_infotext_chunk(infotext), **new_chunks}
    view = memoryview(data)  # slices without copying the image data
    parts: list[bytes | memoryview] = []
    position = 0
    for chunk in chunks:
        if chunk.start == image_start:
            # Before the image data: Pillow, for one, reads no further until pixels are loaded.
            parts += view[position : chunk.start], *new_chunks.values()
            position = chunk.start
        elif chunk.kind in _TEXT_CHUNKS and _keyword(data, chunk) in new_chunks:
            parts.append(view[position : chunk.start])
            position = chunk.end
    return b"".join([*parts, view[position:]])


def _keyword(data: bytes, chunk: _Chunk) -> str:
    body = data[chunk.start + 8 : min(chunk.start + 96, chunk.end - 4)]
    return body.partition(b"\0")[0].decode("latin-1")


def _build_infotext_chunk(infotext: str) -> bytes:
    encoded = infotext.encode("latin-1", "replace")
    if decode_text(encoded) != infotext:
        return _build_unicode_chunk(INFOTEXT_KEY, infotext)
    return _build_chunk(b"tEXt", INFOTEXT_KEY.encode() + b"\0" + encoded)


def _build_unicode_chunk(keyword: str, text: str) -> bytes:
    # Uncompressed, without language or translated keyword: some readers refuse to inflate.
    return _build_chunk(b"iTXt", keyword.encode() + b"\0" * 5 + text.encode("utf-8", "replace"))


def _build_chunk(kind: bytes, body: bytes) -> bytes:
    checksum = zlib.crc32(body, zlib.crc32(kind))
    return struct.pack(">L4s", len(body), kind) + body + struct.pack(">L", checksum)
