"""JPEG files: reading their text segments, and replacing ours without touching anything else."""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from sd35.core.errors import PictureError
from sd35.metadata.exif import (
    IDENTIFIER,
    MAX_TEXT_BYTES,
    USER_COMMENT,
    build_exif,
    encode_user_comment,
    merge_exif,
    read_exif,
    read_orientation,
)
from sd35.metadata.png import JSON_KEY
from sd35.metadata.xmp import merge_xmp, read_xmp, read_xmp_properties

__all__ = ["JSON_IDENTIFIER", "SIGNATURE", "embed_jpeg", "read_jpeg"]

SIGNATURE = b"\xff\xd8"

JSON_IDENTIFIER = b"sd35-studio\0"
"""Prefix of our JSON in a segment or chunk: only where it doesn't fit into XMP.

In a JPEG the JSON is split over APP15 segments; the prefix is followed by the number of the part,
from 1, and the number of parts, each in two bytes.
"""

_XMP_IDENTIFIER = b"http://ns.adobe.com/xap/1.0/\0"
_MAX_SEGMENT_BYTES = 65_533  # its length has two bytes, and counts itself
_MAX_JSON_PARTS = MAX_TEXT_BYTES // 32_768  # ours are as long as a segment can be
_MAX_SEGMENTS = 10_000  # before the first scan; a large color profile takes some hundred

_START_OF_SCAN = 0xDA
_END_OF_IMAGE = 0xD9
_COMMENT = 0xFE
_APP0 = 0xE0
_APP1 = 0xE1
_APP15 = 0xEF
_FRAME_MARKERS = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Skips fill bytes and markers without a length, and resynchronizes after garbage.
_MARKER_PATTERN = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")


@dataclass(frozen=True, slots=True)
class _Segment:
    """Segment type, content, and the range of the segment with its marker in the file."""

    kind: int
    body: bytes
    start: int
    end: int


def _iter_segments(data: bytes) -> Iterator[_Segment]:
    """Yield segments up to the first scan, which comes as an empty segment."""
    end = len(SIGNATURE)
    for _ in range(_MAX_SEGMENTS):
        marker = _MARKER_PATTERN.search(data, end)
        if marker is None:
            return
        start = marker.start()
        kind = data[marker.end() - 1]
        if kind in {_START_OF_SCAN, _END_OF_IMAGE}:
            yield _Segment(kind, b"", start, start)
            return
        end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        if end < start + 4 or end > len(data):
            return
        yield _Segment(kind, data[start + 4 : end], start, end)


def read_jpeg(data: bytes) -> tuple[dict[str, str], tuple[int, int] | None, int]:
    """Return the texts, of EXIF by tag name, the size in pixels, and the orientation."""
    parts: dict[bytes, bytes] = {}
    exif = b""
    xmp_packet = b""
    comment = b""
    size = None
    for segment in _iter_segments(data):
        body = segment.body
        if _is_exif_segment(segment):
            exif = exif or body
        elif _is_xmp_segment(segment):
            xmp_packet = xmp_packet or body.removeprefix(_XMP_IDENTIFIER)
        elif segment.kind == _COMMENT:
            comment = comment or body
        elif _is_json_segment(segment) and len(parts) <= _MAX_JSON_PARTS:
            numbers = slice(len(JSON_IDENTIFIER), len(JSON_IDENTIFIER) + 4)
            parts.setdefault(body[numbers], body[numbers.stop :])
        else:
            size = _parse_size(segment) or size
    comments = {"Comment": comment.decode("utf-8", "replace")} if comment else {}
    xmp_json = read_xmp(xmp_packet)
    json_texts = _join_json_parts(parts) or ({JSON_KEY: xmp_json} if xmp_json else {})
    texts = {**read_xmp_properties(xmp_packet), **read_exif(exif), **comments, **json_texts}
    return texts, size, read_orientation(exif)


def _parse_size(segment: _Segment) -> tuple[int, int] | None:
    """Return the size in pixels from the header of a frame; `None` for other segments."""
    body = segment.body
    if segment.kind not in _FRAME_MARKERS or len(body) < 5:
        return None
    return int.from_bytes(body[3:5], "big"), int.from_bytes(body[1:3], "big")


def _is_exif_segment(segment: _Segment) -> bool:
    return segment.kind == _APP1 and segment.body.startswith(IDENTIFIER)


def _is_xmp_segment(segment: _Segment) -> bool:
    return segment.kind == _APP1 and segment.body.startswith(_XMP_IDENTIFIER)


def _is_json_segment(segment: _Segment) -> bool:
    return segment.kind == _APP15 and segment.body.startswith(JSON_IDENTIFIER)


def _join_json_parts(parts: dict[bytes, bytes]) -> dict[str, str]:
    """Return our JSON by its key; empty if a part is missing."""
    count = len(parts)
    expected = [struct.pack(">HH", part, count) for part in range(1, count + 1)]
    if not parts or parts.keys() != set(expected):
        return {}
    data = b"".join(parts[numbers] for numbers in expected)
    return {JSON_KEY: data.decode("utf-8", "replace")} if len(data) <= MAX_TEXT_BYTES else {}


def embed_jpeg(data: bytes, infotext: str | None, metadata_json: str) -> bytes:
    """Return the file with replaced texts and all else unchanged; see `embedding.embed_texts`.

    An infotext that is too long for a segment is left out; the JSON holds the same values.
    """
    segments = list(_iter_segments(data))
    kinds = {segment.kind for segment in segments}
    is_complete = (
        _START_OF_SCAN in kinds
        and not kinds.isdisjoint(_FRAME_MARKERS)
        and data.find(b"\xff\xd9", segments[-1].end) >= 0
    )
    if not is_complete:
        raise PictureError("The JPEG file is damaged or incomplete.", "")
    old_exif = next(filter(_is_exif_segment, segments), None)
    old_xmp = next(filter(_is_xmp_segment, segments), None)
    xmp_segment = _build_xmp_segment(old_xmp, metadata_json)
    replaced = [segment for segment in segments if _is_json_segment(segment)]
    new_parts = [xmp_segment] if xmp_segment else _build_json_segments(metadata_json)
    position = _exif_position(segments)
    if xmp_segment and old_xmp:
        replaced.append(old_xmp)
    if infotext is not None:
        size = next(filter(None, map(_parse_size, segments)), (0, 0))
        exif = old_exif.body if old_exif else build_exif(*size)
        new_parts.insert(0, _build_exif_segment(exif, infotext))
        replaced += [old_exif] if old_exif else []
    elif old_exif:
        position = max(position, old_exif.end)  # EXIF must come first
    before = _cut(data, 0, position, replaced)
    return b"".join([*before, *new_parts, *_cut(data, position, len(data), replaced)])


def _cut(data: bytes, start: int, end: int, segments: list[_Segment]) -> Iterator[bytes]:
    """Yield the bytes of a range that aren't in any of these segments."""
    for segment in sorted(segments, key=lambda segment: segment.start):
        if start <= segment.start < end:
            yield data[start : segment.start]
            start = segment.end
    yield data[start:end]


def _exif_position(segments: list[_Segment]) -> int:
    # After JFIF, which must come first. Before everything else: the offsets of multi-picture
    # segments (MPF) count from their own position, which then moves with what they point to.
    end = len(SIGNATURE)
    for segment in segments:
        if segment.kind != _APP0:
            break
        end = segment.end
    return end


def _build_exif_segment(old_exif: bytes, infotext: str) -> bytes:
    """Return the EXIF with the infotext, or without one if it is too long."""
    body = IDENTIFIER + merge_exif(old_exif, {USER_COMMENT: encode_user_comment(infotext)})
    if len(body) > _MAX_SEGMENT_BYTES:
        body = IDENTIFIER + merge_exif(old_exif, {USER_COMMENT: None})
    return _build_segment(_APP1, old_exif if len(body) > _MAX_SEGMENT_BYTES else body)


def _build_xmp_segment(old_xmp: _Segment | None, metadata_json: str) -> bytes:
    """Return the XMP with the JSON; empty if it doesn't fit."""
    old_packet = old_xmp.body.removeprefix(_XMP_IDENTIFIER) if old_xmp else b""
    packet = merge_xmp(old_packet, metadata_json)
    if packet is None or len(_XMP_IDENTIFIER + packet) > _MAX_SEGMENT_BYTES:
        return b""
    return _build_segment(_APP1, _XMP_IDENTIFIER + packet)


def _build_json_segments(metadata_json: str) -> list[bytes]:
    data = metadata_json.encode("utf-8", "replace")
    part_size = _MAX_SEGMENT_BYTES - len(JSON_IDENTIFIER) - 4
    parts = [data[offset : offset + part_size] for offset in range(0, len(data), part_size)]
    if len(parts) > 0xFFFF:
        raise PictureError("The metadata is too long for a JPEG file.", "")
    return [
        _build_segment(_APP15, JSON_IDENTIFIER + struct.pack(">HH", index, len(parts)) + part)
        for index, part in enumerate(parts, 1)
    ]


def _build_segment(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, kind, len(body) + 2) + body
