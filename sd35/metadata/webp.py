"""WebP: the texts in a file, and a file with other texts in it; chunk by chunk, and no pixel is touched. Pure."""

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
)
from sd35.metadata.jpeg import RECORD_IDENTIFIER
from sd35.metadata.png import MAX_CHUNKS, RECORD_KEY

__all__ = ["embed_webp", "is_webp", "read_webp"]

_HEADER_BYTES = 12
_HAS_EXIF, _HAS_ALPHA = 0x08, 0x10
_RECORD_CHUNK = b"sd35"
_IMAGE_CHUNKS = {b"VP8 ", b"VP8L", b"ANMF"}


@dataclass(frozen=True, slots=True)
class _Chunk:
    """A chunk's type, where it begins, how many bytes it holds, and where the next one begins."""

    kind: bytes
    start: int
    length: int
    end: int


def is_webp(data: bytes) -> bool:
    """Whether the file begins as one."""
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def _iter_chunks(data: bytes, end: int) -> Iterator[_Chunk]:
    """Yield the chunks up to the last one that is whole; the padding of the last one may be missing."""
    offset = _HEADER_BYTES
    for _ in range(MAX_CHUNKS):
        if offset + 8 > end:
            return
        kind, length = struct.unpack_from("<4sL", data, offset)
        if offset + 8 + length > end:
            return
        yield _Chunk(kind, offset, length, min(offset + 8 + length + length % 2, end))
        offset += 8 + length + length % 2


def read_webp(data: bytes) -> tuple[dict[str, str], tuple[int, int] | None]:
    """Return the texts, and the size in pixels; the size that the file says it has in bytes doesn't matter."""
    texts, size = dict[str, str](), None
    for chunk in _iter_chunks(data, len(data)):
        body = slice(chunk.start + 8, chunk.start + 8 + chunk.length)
        if chunk.kind == b"EXIF" and chunk.length <= 2 * MAX_TEXT_BYTES:
            texts = {**_extract_record(read_exif(data[body])), **texts}
        elif chunk.kind == b"XMP " and chunk.length <= MAX_TEXT_BYTES:
            texts.setdefault("XMP", data[body].decode("utf-8", "replace"))
        elif chunk.kind == _RECORD_CHUNK and chunk.length <= MAX_TEXT_BYTES:
            texts[RECORD_KEY] = (
                data[body].removeprefix(RECORD_IDENTIFIER).decode("utf-8", "replace")
            )
        elif size is None:
            size = _parse_size(chunk.kind, data[body.start : min(body.stop, body.start + 10)])
    return texts, size


def _extract_record(texts: dict[str, str]) -> dict[str, str]:
    """Return the texts with our record under its key, where the maker's note is ours."""
    note, identifier = texts.get("MakerNote", ""), RECORD_IDENTIFIER.decode()
    if not note.startswith(identifier):
        return texts
    other_texts = {name: text for name, text in texts.items() if name != "MakerNote"}
    return {**other_texts, RECORD_KEY: note.removeprefix(identifier)}


def _parse_size(kind: bytes, header: bytes) -> tuple[int, int] | None:
    """Return the size that the first ten bytes of a chunk tell."""
    if kind == b"VP8X" and len(header) == 10:
        return int.from_bytes(header[4:7], "little") + 1, int.from_bytes(header[7:10], "little") + 1
    if kind == b"VP8L" and header[:1] == b"\x2f" and len(header) >= 5:
        bits = int.from_bytes(header[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and header[3:6] == b"\x9d\x01\x2a" and len(header) == 10:
        return int.from_bytes(header[6:8], "little") & 0x3FFF, int.from_bytes(
            header[8:10], "little"
        ) & 0x3FFF
    return None


def embed_webp(data: bytes, infotext: str | None, record_json: str) -> bytes:
    """Return the file with these in its EXIF; every other chunk is there, byte for byte.

    Where a camera's own notes have the place of our record, that gets a chunk of its own.

    Raises:
        PictureError: it is damaged, or cut off.

    """
    end = int.from_bytes(data[4:8], "little") + 8
    chunks = list(_iter_chunks(data, min(end, len(data))))
    if not any(chunk.kind in _IMAGE_CHUNKS for chunk in chunks) or chunks[-1].end != end:
        raise PictureError("The WebP is damaged or was cut off.", "")
    old_exif = next((chunk for chunk in chunks if chunk.kind == b"EXIF"), None)
    maker_note = RECORD_IDENTIFIER + record_json.encode("utf-8", "replace")
    exif_data = (
        b"" if old_exif is None else data[old_exif.start + 8 : old_exif.start + 8 + old_exif.length]
    )
    has_room = _is_maker_note_free(exif_data)
    values = {USER_COMMENT: encode_user_comment(infotext)} if infotext is not None else {}
    exif = merge_exif(exif_data, values | {MAKER_NOTE: maker_note} if has_room else values)
    kept_chunks = [chunk for chunk in chunks if chunk.kind not in {b"VP8X", b"EXIF", _RECORD_CHUNK}]
    exif_index = next(
        (index for index, chunk in enumerate(kept_chunks) if chunk.kind == b"XMP "),
        len(kept_chunks),
    )
    parts = [_copy_chunk(data, chunk) for chunk in kept_chunks] + (
        [] if has_room else [_build_chunk(_RECORD_CHUNK, maker_note)]
    )
    body = b"".join(
        [
            _build_chunk(b"VP8X", _extended_header(data, chunks[0])),
            *parts[:exif_index],
            _build_chunk(b"EXIF", exif),
            *parts[exif_index:],
        ]
    )
    return b"RIFF" + struct.pack("<L", len(body) + 4) + b"WEBP" + body + data[end:]


def _is_maker_note_free(exif_data: bytes) -> bool:
    """Whether the maker's note is ours, or nobody's."""
    note = read_exif(exif_data).get("MakerNote", "")
    return not note or note.startswith(RECORD_IDENTIFIER.decode())


def _extended_header(data: bytes, chunk: _Chunk) -> bytes:
    """Return the header that says that there is EXIF: the file's own, or one for a file that has none yet."""
    header = data[chunk.start + 8 : chunk.start + 8 + min(chunk.length, 10)]
    size = _parse_size(chunk.kind, header)
    if size is None or 0 in size:
        raise PictureError("The WebP is damaged or was cut off.", "")
    if chunk.kind == b"VP8X":
        return bytes([header[0] | _HAS_EXIF]) + header[1:]
    flags = _HAS_EXIF | (_HAS_ALPHA if chunk.kind == b"VP8L" and header[4] & 0x10 else 0)
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
