"""WebP files: reading their texts, and replacing ours without touching any other chunk."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from sd35.core.errors import PictureError
from sd35.metadata.exif import (
    MAKER_NOTE,
    MAX_TEXT_BYTES,
    USER_COMMENT,
    encode_user_comment,
    merge_exif,
    read_exif,
    read_orientation,
)
from sd35.metadata.jpeg import JSON_IDENTIFIER
from sd35.metadata.png import JSON_KEY, MAX_CHUNKS

__all__ = ["embed_webp", "is_webp", "read_webp"]

_HEADER_BYTES = 12
_HAS_EXIF = 0x08
_HAS_ALPHA = 0x10
_JSON_CHUNK = b"sd35"
_IMAGE_CHUNKS = {b"VP8 ", b"VP8L", b"ANMF"}


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Chunk type, start, content length without padding, and the start of the next chunk."""

    kind: bytes
    start: int
    length: int
    end: int


def is_webp(data: bytes) -> bool:
    """Return whether the data begins like a WebP file."""
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def _iter_chunks(data: bytes, end: int) -> Iterator[_Chunk]:
    """Yield complete chunks; the last one may lack its padding byte."""
    offset = _HEADER_BYTES
    for _ in range(MAX_CHUNKS):
        if offset + 8 > end:
            return
        kind, length = struct.unpack_from("<4sL", data, offset)
        if offset + 8 + length > end:
            return
        yield _Chunk(kind, offset, length, min(offset + 8 + length + length % 2, end))
        offset += 8 + length + length % 2


def read_webp(data: bytes) -> tuple[dict[str, str], tuple[int, int] | None, int]:
    """Return the texts, of EXIF by tag name, the size in pixels, and the orientation."""
    texts: dict[str, str] = {}
    exif = b""
    size = None
    for chunk in _iter_chunks(data, len(data)):
        body = slice(chunk.start + 8, chunk.start + 8 + chunk.length)
        if chunk.kind == b"EXIF" and chunk.length <= 2 * MAX_TEXT_BYTES:
            exif = exif or data[body]
        elif chunk.kind == _JSON_CHUNK and chunk.length <= MAX_TEXT_BYTES:
            metadata_json = data[body].removeprefix(JSON_IDENTIFIER)
            texts[JSON_KEY] = metadata_json.decode("utf-8", "replace")
        elif size is None:
            size = _parse_size(chunk.kind, data[body.start : min(body.stop, body.start + 10)])
    return {**_extract_json(read_exif(exif)), **texts}, size, read_orientation(exif)


def _extract_json(texts: dict[str, str]) -> dict[str, str]:
    """Return the texts, with our JSON under its key if the maker note holds it."""
    note = texts.get("MakerNote", "")
    identifier = JSON_IDENTIFIER.decode()
    if not note.startswith(identifier):
        return texts
    other_texts = {name: text for name, text in texts.items() if name != "MakerNote"}
    return {**other_texts, JSON_KEY: note.removeprefix(identifier)}


def _parse_size(kind: bytes, header: bytes) -> tuple[int, int] | None:
    """Return the size in pixels from the first ten bytes of a chunk that holds one."""
    if kind == b"VP8X" and len(header) == 10:
        return int.from_bytes(header[4:7], "little") + 1, int.from_bytes(header[7:10], "little") + 1
    if kind == b"VP8L" and header[:1] == b"\x2f" and len(header) >= 5:
        bits = int.from_bytes(header[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and header[3:6] == b"\x9d\x01\x2a" and len(header) == 10:
        width, height = struct.unpack_from("<HH", header, 6)
        return width & 0x3FFF, height & 0x3FFF  # the upper two bits are a scaling hint
    return None


def embed_webp(data: bytes, infotext: str | None, metadata_json: str) -> bytes:
    """Return the file with replaced texts and all else unchanged; see `embedding.embed_texts`."""
    end = int.from_bytes(data[4:8], "little") + 8
    chunks = list(_iter_chunks(data, min(end, len(data))))
    if not any(chunk.kind in _IMAGE_CHUNKS for chunk in chunks) or chunks[-1].end != end:
        raise PictureError("The WebP file is damaged or incomplete.", "")
    old_exif = next((_body(data, chunk) for chunk in chunks if chunk.kind == b"EXIF"), b"")
    encoded_json = JSON_IDENTIFIER + metadata_json.encode("utf-8", "replace")
    values = {} if infotext is None else {USER_COMMENT: encode_user_comment(infotext)}
    json_chunk = b""
    # EXIF survives more programs than unknown chunks do, but a camera's maker note must stay.
    if _has_foreign_maker_note(old_exif):
        json_chunk = _build_chunk(_JSON_CHUNK, encoded_json)
    else:
        values[MAKER_NOTE] = encoded_json
    replaced = {b"VP8X", b"EXIF", _JSON_CHUNK}
    other_chunks = [chunk for chunk in chunks if chunk.kind not in replaced]
    kinds = [chunk.kind for chunk in other_chunks]
    xmp_index = kinds.index(b"XMP ") if b"XMP " in kinds else len(kinds)
    parts = [_copy_chunk(data, chunk) for chunk in other_chunks]
    body = b"".join(
        [
            _build_chunk(b"VP8X", _extended_header(data, chunks[0])),
            *parts[:xmp_index],
            _build_chunk(b"EXIF", merge_exif(old_exif, values)),  # which must precede XMP
            *parts[xmp_index:],
            json_chunk,
        ]
    )
    return b"RIFF" + struct.pack("<L", len(body) + 4) + b"WEBP" + body + data[end:]


def _body(data: bytes, chunk: _Chunk) -> bytes:
    return data[chunk.start + 8 : chunk.start + 8 + chunk.length]


def _has_foreign_maker_note(exif: bytes) -> bool:
    note = read_exif(exif).get("MakerNote", "")
    return note != "" and not note.startswith(JSON_IDENTIFIER.decode())


def _extended_header(data: bytes, chunk: _Chunk) -> bytes:
    """Return the content of VP8X with the EXIF flag, new for a file in the simple format."""
    header = data[chunk.start + 8 : chunk.start + 8 + min(chunk.length, 10)]
    size = _parse_size(chunk.kind, header)
    if size is None or 0 in size:
        raise PictureError("The WebP file is damaged or incomplete.", "")
    if chunk.kind == b"VP8X":
        return bytes([header[0] | _HAS_EXIF]) + header[1:]
    flags = _HAS_EXIF
    if chunk.kind == b"VP8L" and header[4] & 0x10:
        flags |= _HAS_ALPHA
    width, height = size
    return (
        struct.pack("<L", flags)
        + (width - 1).to_bytes(3, "little")
        + (height - 1).to_bytes(3, "little")
    )


def _copy_chunk(data: bytes, chunk: _Chunk) -> bytes:
    chunk_bytes = data[chunk.start : chunk.end]
    return chunk_bytes + b"\0" * (len(chunk_bytes) % 2)


def _build_chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<L", len(body)) + body + b"\0" * (len(body) % 2)
