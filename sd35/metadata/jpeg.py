"""JPEG: the texts in a file, and a file with other texts in it; what is compressed is never touched. Pure."""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from sd35.core.errors import PictureError
from sd35.metadata.exif import (
    IDENTIFIER,
    MAX_TEXT_BYTES,
    USER_COMMENT,
    encode_user_comment,
    merge_exif,
    read_exif,
)
from sd35.metadata.png import RECORD_KEY

__all__ = ["RECORD_IDENTIFIER", "SIGNATURE", "embed_jpeg", "read_jpeg"]

SIGNATURE = b"\xff\xd8"

RECORD_IDENTIFIER = b"sd35-studio\0"
"""Before our record: in segments of type APP15, each with its number, from 1, and how many there are."""

MAX_SEGMENT_BYTES = 65_533
"""Bytes in a segment, behind its length."""

MAX_SEGMENTS = 10_000
"""Before the first scan; a picture has some ten, and one with a large colour profile some hundred."""

_XMP_IDENTIFIER = b"http://ns.adobe.com/xap/1.0/\0"
_START_OF_SCAN, _END_OF_IMAGE, _COMMENT = 0xDA, 0xD9, 0xFE
_APP0, _APP1, _APP15 = 0xE0, 0xE1, 0xEF
_FRAME_MARKERS = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_MARKER_PATTERN = re.compile(
    rb"\xff[^\x00\x01\xd0-\xd8\xff]"
)  # what has no length is passed over, as by other readers


@dataclass(frozen=True, slots=True)
class _Segment:
    """A segment's type, what it holds, and where it lies in the file, its marker included."""

    kind: int
    body: bytes
    start: int
    end: int


def _iter_segments(data: bytes) -> Iterator[_Segment]:
    """Yield the segments up to the first scan, or the end; the last one is where the picture begins."""
    end = len(SIGNATURE)
    for _ in range(MAX_SEGMENTS):
        marker = _MARKER_PATTERN.search(data, end)
        if marker is None:
            return
        start, kind = marker.start(), data[marker.end() - 1]
        if kind in {_START_OF_SCAN, _END_OF_IMAGE}:
            yield _Segment(kind, b"", start, start)
            return
        end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        if end < start + 4 or end > len(data):
            return
        yield _Segment(kind, data[start + 4 : end], start, end)


def read_jpeg(data: bytes) -> tuple[dict[str, str], tuple[int, int] | None]:
    """Return the texts, and the size in pixels."""
    texts, parts, size, exif = dict[str, str](), dict[bytes, bytes](), None, b""
    for segment in _iter_segments(data):
        body = segment.body
        if segment.kind == _APP1 and body.startswith(IDENTIFIER):
            exif = exif or body
        elif segment.kind == _APP1 and body.startswith(_XMP_IDENTIFIER):
            texts.setdefault("XMP", body.removeprefix(_XMP_IDENTIFIER).decode("utf-8", "replace"))
        elif segment.kind == _COMMENT:
            texts.setdefault("Comment", body.decode("utf-8", "replace"))
        elif _is_record_segment(segment):
            parts.setdefault(body[12:16], body[16:])
        elif segment.kind in _FRAME_MARKERS and len(body) >= 5:
            size = int.from_bytes(body[3:5], "big"), int.from_bytes(body[1:3], "big")
    return {**read_exif(exif), **texts, **_join_record_parts(parts)}, size


def _is_record_segment(segment: _Segment) -> bool:
    return segment.kind == _APP15 and segment.body.startswith(RECORD_IDENTIFIER)


def _join_record_parts(parts: dict[bytes, bytes]) -> dict[str, str]:
    """Return our record by its key, if all of it is there."""
    count = int.from_bytes(next(iter(parts), b"")[2:], "big")
    part_keys = [struct.pack(">HH", index, count) for index in range(1, count + 1)]
    data = b"".join(parts.get(key, b"") for key in part_keys)
    is_complete = (
        0 < count == len(parts)
        and all(key in parts for key in part_keys)
        and len(data) <= MAX_TEXT_BYTES
    )
    return {RECORD_KEY: data.decode("utf-8", "replace")} if is_complete else {}


def embed_jpeg(data: bytes, infotext: str | None, record_json: str) -> bytes:
    """Return the file with these in it; every other segment is there, byte for byte, and in its order.

    An infotext that fits into no segment is left out: the record holds what it says.

    Raises:
        PictureError: it is damaged, or cut off.

    """
    segments = list(_iter_segments(data))
    kinds = {segment.kind for segment in segments}
    if (
        _START_OF_SCAN not in kinds
        or not kinds & _FRAME_MARKERS
        or data.find(b"\xff\xd9", segments[-1].end) < 0
    ):
        raise PictureError("The JPEG is damaged or was cut off.", "")
    insert_position = _exif_insert_position(segments)
    replaced_segments = [segment for segment in segments if _is_record_segment(segment)]
    new_segments = _build_record_segments(record_json)
    if infotext is not None:
        exif = [segment for segment in segments if _is_exif_segment(segment)][:1]
        replaced_segments = [
            segment for segment in segments if segment in exif or _is_record_segment(segment)
        ]
        new_segments = [_build_exif_segment(exif[0].body if exif else b"", infotext), *new_segments]
    parts, position = [data[:insert_position], *new_segments], insert_position
    for segment in replaced_segments:
        parts.append(data[position : segment.start])
        position = segment.end
    return b"".join([*parts, data[position:]])


def _is_exif_segment(segment: _Segment) -> bool:
    return segment.kind == _APP1 and segment.body.startswith(IDENTIFIER)


def _exif_insert_position(segments: list[_Segment]) -> int:
    """Return where EXIF has its place: behind the JFIF segments, before whatever measures from its own place."""
    end = len(SIGNATURE)
    for segment in segments:
        if segment.kind != _APP0:
            break
        end = segment.end
    return end


def _build_exif_segment(old_exif: bytes, infotext: str) -> bytes:
    """Return the segment with the infotext; where there's no room, without; nothing where nothing else was in it."""
    body = IDENTIFIER + merge_exif(old_exif, {USER_COMMENT: encode_user_comment(infotext)})
    if len(body) > MAX_SEGMENT_BYTES:
        body = IDENTIFIER + merge_exif(old_exif, {USER_COMMENT: None}) if old_exif else b""
    if len(body) > MAX_SEGMENT_BYTES:
        body = old_exif
    return _build_segment(_APP1, body) if body else b""


def _build_record_segments(record_json: str) -> list[bytes]:
    data, part_size = (
        record_json.encode("utf-8", "replace"),
        MAX_SEGMENT_BYTES - len(RECORD_IDENTIFIER) - 4,
    )
    parts = [data[offset : offset + part_size] for offset in range(0, len(data), part_size)]
    if len(parts) > 0xFFFF:
        raise PictureError("The record is too long for a JPEG.", "")
    count = len(parts)
    return [
        _build_segment(_APP15, RECORD_IDENTIFIER + struct.pack(">HH", index, count) + part)
        for index, part in enumerate(parts, 1)
    ]


def _build_segment(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, kind, len(body) + 2) + body
