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
from sd35.metadata.xmp import merge_xmp, read_xmp, read_xmp_properties

__all__ = ["embed_webp", "is_webp", "read_webp"]

_HEADER_BYTES = 12
_HAS_XMP = 0x04
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
    xmp = b""
    size = None
    for chunk in _iter_chunks(data, len(data)):
        body = slice(chunk.start + 8, chunk.start + 8 + chunk.length)
        if chunk.kind == b"EXIF" and chunk.length <= 2 * MAX_TEXT_BYTES:
            exif = exif or data[body]
        elif chunk.kind == b"XMP " and chunk.length <= MAX_TEXT_BYTES:
            xmp = xmp or data[body]
        elif chunk.kind == _JSON_CHUNK and chunk.length <= MAX_TEXT_BYTES:
            metadata_json = data[body].removeprefix(JSON_IDENTIFIER)
            texts[JSON_KEY] = metadata_json.decode("utf-8", "replace")
        elif size is None:
            size = _parse_size(chunk.kind, data[body.start : min(body.stop, body.start + 10)])
    # Whatever writes into XMP removes the JSON from other places: there, an earlier version put it
    # in later.
    xmp_json = read_xmp(xmp)
    xmp_texts = {JSON_KEY: xmp_json} if xmp_json else {}
    exif_texts = _extract_json(read_exif(exif))
    all_texts = {**read_xmp_properties(xmp), **xmp_texts, **exif_texts, **texts}
    return all_texts, size, read_orientation(exif)


def _extract_json(texts: dict[str, str]) -> dict[str, str]:
    """Return the texts, with our JSON under its key if the maker note holds it.

    Earlier versions wrote it there.
    """
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
    exif = _change_exif(_find_body(data, chunks, b"EXIF"), infotext)
    xmp = merge_xmp(_find_body(data, chunks, b"XMP "), metadata_json)
    flags = (_HAS_EXIF if exif else 0) | (0 if xmp is None else _HAS_XMP)
    replaced = {b"VP8X", b"EXIF", _JSON_CHUNK, *([] if xmp is None else [b"XMP "])}
    other_chunks = [chunk for chunk in chunks if chunk.kind not in replaced]
    parts = [_copy_chunk(data, chunk) for chunk in other_chunks]
    image_end = max(i for i, chunk in enumerate(other_chunks, 1) if chunk.kind in _IMAGE_CHUNKS)
    new_parts = [_build_chunk(b"EXIF", exif)] if exif else []  # EXIF must precede XMP
    if xmp is not None:
        new_parts.append(_build_chunk(b"XMP ", xmp))
    else:
        parts.append(_build_chunk(_JSON_CHUNK, JSON_IDENTIFIER + metadata_json.encode()))
    header = _build_chunk(b"VP8X", _extended_header(data, chunks[0], flags))
    body = b"".join([header, *parts[:image_end], *new_parts, *parts[image_end:]])
    return b"RIFF" + struct.pack("<L", len(body) + 4) + b"WEBP" + body + data[end:]


def _find_body(data: bytes, chunks: list[_Chunk], kind: bytes) -> bytes:
    """Return the content of the first chunk of a kind; empty if there is none."""
    chunk = next((chunk for chunk in chunks if chunk.kind == kind), None)
    return data[chunk.start + 8 : chunk.start + 8 + chunk.length] if chunk else b""


def _change_exif(exif: bytes, infotext: str | None) -> bytes:
    """Return the EXIF with the infotext, and without the JSON that earlier versions put there."""
    values = {} if infotext is None else {USER_COMMENT: encode_user_comment(infotext)}
    if JSON_KEY in _extract_json(read_exif(exif)):
        # ExifTool refuses to change a file with a maker note that it doesn't know.
        return merge_exif(exif, {**values, MAKER_NOTE: None})
    return merge_exif(exif, values) if values else exif


def _extended_header(data: bytes, chunk: _Chunk, flags: int) -> bytes:
    """Return the content of VP8X with more flags, new for a file in the simple format."""
    header = data[chunk.start + 8 : chunk.start + 8 + min(chunk.length, 10)]
    size = _parse_size(chunk.kind, header)
    if size is None or 0 in size:
        raise PictureError("The WebP file is damaged or incomplete.", "")
    if chunk.kind == b"VP8X":
        return bytes([header[0] | flags]) + header[1:]
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
