"""WebP: the texts in a file, and a file with other texts in it; chunk by chunk, and no pixel is touched. Pure."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from sd35.core.errors import PictureError
from sd35.metadata.exif import (
    MAKER_NOTE,
    MAX_TEXT_BYTES,
    USER_COMMENT,
    as_user_comment,
    merge,
    read_exif,
)
from sd35.metadata.jpeg import OUR_IDENTIFIER
from sd35.metadata.png import MAX_CHUNKS, RECORD_KEY

__all__ = ["embed_webp", "is_webp", "read_webp"]

_HEADER = 12
_HAS_EXIF, _HAS_ALPHA = 0x08, 0x10
_RECORD = b"sd35"
_IMAGES = {b"VP8 ", b"VP8L", b"ANMF"}


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


def _chunks(data: bytes, end: int) -> Iterator[_Chunk]:
    """Yield the chunks up to the last one that is whole; the padding of the last one may be missing."""
    at = _HEADER
    for _ in range(MAX_CHUNKS):
        if at + 8 > end:
            return
        kind, length = struct.unpack_from("<4sL", data, at)
        if at + 8 + length > end:
            return
        yield _Chunk(kind, at, length, min(at + 8 + length + length % 2, end))
        at += 8 + length + length % 2


def read_webp(data: bytes) -> tuple[dict[str, str], tuple[int, int] | None]:
    """Return the texts, and the size in pixels; the size that the file says it has in bytes doesn't matter."""
    found, size = dict[str, str](), None
    for chunk in _chunks(data, len(data)):
        body = slice(chunk.start + 8, chunk.start + 8 + chunk.length)
        if chunk.kind == b"EXIF" and chunk.length <= 2 * MAX_TEXT_BYTES:
            found = {**_with_record(read_exif(data[body])), **found}
        elif chunk.kind == b"XMP " and chunk.length <= MAX_TEXT_BYTES:
            found.setdefault("XMP", data[body].decode("utf-8", "replace"))
        elif chunk.kind == _RECORD and chunk.length <= MAX_TEXT_BYTES:
            found[RECORD_KEY] = data[body].removeprefix(OUR_IDENTIFIER).decode("utf-8", "replace")
        elif size is None:
            size = _size(chunk.kind, data[body.start : min(body.stop, body.start + 10)])
    return found, size


def _with_record(texts: dict[str, str]) -> dict[str, str]:
    """Return the texts with our record under its key, where the maker's note is ours."""
    note, ours = texts.get("MakerNote", ""), OUR_IDENTIFIER.decode()
    if not note.startswith(ours):
        return texts
    others = {name: text for name, text in texts.items() if name != "MakerNote"}
    return {**others, RECORD_KEY: note.removeprefix(ours)}


def _size(kind: bytes, head: bytes) -> tuple[int, int] | None:
    """Return the size that the first ten bytes of a chunk tell."""
    if kind == b"VP8X" and len(head) == 10:
        return int.from_bytes(head[4:7], "little") + 1, int.from_bytes(head[7:10], "little") + 1
    if kind == b"VP8L" and head[:1] == b"\x2f" and len(head) >= 5:
        bits = int.from_bytes(head[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and head[3:6] == b"\x9d\x01\x2a" and len(head) == 10:
        return int.from_bytes(head[6:8], "little") & 0x3FFF, int.from_bytes(
            head[8:10], "little"
        ) & 0x3FFF
    return None


def embed_webp(data: bytes, infotext: str | None, record_json: str) -> bytes:
    """Return the file with these in its EXIF; every other chunk is there, byte for byte.

    Where a camera's own notes have the place of our record, that gets a chunk of its own.

    Raises:
        PictureError: it is damaged, or cut off.

    """
    end = int.from_bytes(data[4:8], "little") + 8
    chunks = list(_chunks(data, min(end, len(data))))
    if not any(chunk.kind in _IMAGES for chunk in chunks) or chunks[-1].end != end:
        raise PictureError("The WebP is damaged or was cut off.", "")
    former = next((chunk for chunk in chunks if chunk.kind == b"EXIF"), None)
    note = OUR_IDENTIFIER + record_json.encode("utf-8", "replace")
    block = b"" if former is None else data[former.start + 8 : former.start + 8 + former.length]
    is_free = _has_room(block)
    values = {USER_COMMENT: as_user_comment(infotext)} if infotext is not None else {}
    exif = merge(block, values | {MAKER_NOTE: note} if is_free else values)
    kept = [chunk for chunk in chunks if chunk.kind not in {b"VP8X", b"EXIF", _RECORD}]
    at = next((index for index, chunk in enumerate(kept) if chunk.kind == b"XMP "), len(kept))
    parts = [_copied(data, chunk) for chunk in kept] + ([] if is_free else [_chunk(_RECORD, note)])
    body = b"".join(
        [
            _chunk(b"VP8X", _extended(data, chunks[0])),
            *parts[:at],
            _chunk(b"EXIF", exif),
            *parts[at:],
        ]
    )
    return b"RIFF" + struct.pack("<L", len(body) + 4) + b"WEBP" + body + data[end:]


def _has_room(block: bytes) -> bool:
    """Whether the maker's note is ours, or nobody's."""
    note = read_exif(block).get("MakerNote", "")
    return not note or note.startswith(OUR_IDENTIFIER.decode())


def _extended(data: bytes, chunk: _Chunk) -> bytes:
    """Return the header that says that there is EXIF: the file's own, or one for a file that has none yet."""
    head = data[chunk.start + 8 : chunk.start + 8 + min(chunk.length, 10)]
    size = _size(chunk.kind, head)
    if size is None or 0 in size:
        raise PictureError("The WebP is damaged or was cut off.", "")
    if chunk.kind == b"VP8X":
        return bytes([head[0] | _HAS_EXIF]) + head[1:]
    flags = _HAS_EXIF | (_HAS_ALPHA if chunk.kind == b"VP8L" and head[4] & 0x10 else 0)
    width, height = size
    return (
        struct.pack("<L", flags)
        + (width - 1).to_bytes(3, "little")
        + (height - 1).to_bytes(3, "little")
    )


def _copied(data: bytes, chunk: _Chunk) -> bytes:
    whole = data[chunk.start : chunk.end]
    return whole + b"\0" * (len(whole) % 2)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<L", len(body)) + body + b"\0" * (len(body) % 2)
