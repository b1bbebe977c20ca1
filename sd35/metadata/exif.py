"""EXIF: the texts in a block, and a block with other texts in it. Pure.

A block is a TIFF file without a picture: a header, and tables of 12-byte entries that point
    anywhere into it. It is
changed by writing new tables behind it, so that what the old ones point to stays where it is, byte
    for byte: a camera's
own notes, a thumbnail, a place.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sd35.core.errors import PictureError

__all__ = [
    "IDENTIFIER",
    "MAKER_NOTE",
    "MAX_TEXT_BYTES",
    "USER_COMMENT",
    "as_user_comment",
    "merge",
    "read_exif",
]

IDENTIFIER = b"Exif\0\0"
"""Before a block in a JPEG; some programs write it in WebP files too."""

MAX_TAGS = 65_535
"""Of a table: its count has two bytes."""

MAX_TEXT_BYTES = 4 << 20
"""Of all the texts of one picture, decompressed; ComfyUI's largest workflows have some hundred kilobytes."""

USER_COMMENT = 0x9286
MAKER_NOTE = 0x927C
_EXIF_TABLE = 0x8769

_NAMES = {
    **{
        tag: f"Tag{tag:04X}" for tag in range(0x0100, 0x010E)
    },  # ComfyUI counts downwards from 0x010F
    0x010E: "ImageDescription",
    0x010F: "Make",
    0x0110: "Model",
    0x0131: "Software",
    USER_COMMENT: "UserComment",
    MAKER_NOTE: "MakerNote",
}
_BYTE, _ASCII, _LONG, _UNDEFINED = 1, 2, 4, 7
_OF_ONE_BYTE = {_BYTE, _ASCII, _UNDEFINED}
_WIDTHS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}

_MARK = b"sd35exif"
"""Stands before the tables that were written here, so that they can be written again instead of behind each other."""


@dataclass(frozen=True, slots=True)
class _Table:
    """Entries as they stand in the block, by tag, and where the next table is (0: there is none)."""

    entries: dict[int, bytes]
    following: int = 0


class _Block:
    """A block and its byte order; any offset may be asked for."""

    def __init__(self, data: bytes) -> None:
        data = data.removeprefix(IDENTIFIER)
        order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
        self.is_sound = order is not None and len(data) >= 8
        self.data = data if self.is_sound else b"MM\0*\0\0\0\0"
        self.order = order if order is not None and self.is_sound else ">"

    def number(self, at: int, form: str) -> int:
        """The number there, in this byte order; 0 where the block is too short."""
        if at < 0 or at + struct.calcsize(self.order + form) > len(self.data):
            return 0
        value: int = struct.unpack_from(self.order + form, self.data, at)[0]
        return value

    def table(self, at: int) -> _Table:
        """The table there, as far as it goes; the first of two entries for one tag counts."""
        if at < 8:
            return _Table({})
        end = at + 2 + 12 * self.number(at, "H")
        entries: dict[int, bytes] = {}
        for start in range(at + 2, min(end, len(self.data) - 11), 12):
            entries.setdefault(self.number(start, "H"), self.data[start : start + 12])
        return _Table(entries, self.number(end, "L"))

    @property
    def first(self) -> _Table:
        return self.table(self.number(4, "L"))

    def exif_offset(self, first: _Table) -> int:
        return self.place(first.entries[_EXIF_TABLE])[0] if _EXIF_TABLE in first.entries else 0

    def place(self, entry: bytes) -> tuple[int, int, int]:
        """An entry's offset or four bytes as a number, its type, and its length in bytes."""
        kind, count, offset = struct.unpack(self.order + "HLL", entry[2:])
        return offset, kind, count * _WIDTHS.get(kind, 8)

    def is_beyond(self, entry: bytes, end: int) -> bool:
        """Whether an entry's value lies behind this offset."""
        offset, _, length = self.place(entry)
        return length > 4 and offset >= end

    def value(self, entry: bytes) -> bytes:
        offset, _, length = self.place(entry)
        return entry[8 : 8 + length] if length <= 4 else self.data[offset : offset + length]


def read_exif(data: bytes) -> dict[str, str]:
    """Return the texts of a block by the names of their tags, such as `UserComment`; of ruins, what there is."""
    block, found, left = _Block(data), dict[str, str](), MAX_TEXT_BYTES
    for tag, entry in _entries(block):
        _, kind, length = block.place(entry)
        name = _NAMES.get(tag)
        if name is None or name in found or kind not in _OF_ONE_BYTE or length > left:
            continue
        left -= length
        value = block.value(entry)
        text = _read_comment(value) if tag == USER_COMMENT else _read_text(value)
        if text:
            found[name] = text
    return found


def _entries(block: _Block) -> Iterator[tuple[int, bytes]]:
    """Entries of the Exif table, then of the first one: Pillow, asked to write a comment, writes it there."""
    first = block.first
    yield from block.table(block.exif_offset(first)).entries.items()
    yield from first.entries.items()


def as_user_comment(text: str) -> bytes:
    """Return the value of a UserComment as AUTOMATIC1111 writes it, whatever the block's byte order."""
    return b"UNICODE\0" + text.encode("utf-16-be", "replace")


def _read_comment(value: bytes) -> str:
    """Return a UserComment's text, which programs write in more ways than there are codes for."""
    code, rest = value[:8], value[8:]
    if code == b"UNICODE\0":
        return _read_utf_16(rest).strip("\0")
    if code in {b"ASCII\0\0\0", b"\0" * 8}:
        return _read_text(rest)
    return _read_text(value)


def _read_utf_16(value: bytes) -> str:
    """Return text of either byte order; without a mark it is the one that gives more of ASCII, as every format has."""
    if value[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        return value.decode("utf-16", "replace")
    if b"\0" not in value and len(value) > 8:  # some write UTF-8 all the same
        return _read_text(value)
    big, little = value[::2].count(0), value[1::2].count(0)
    return value.decode("utf-16-le" if little > big else "utf-16-be", "replace")


def _read_text(value: bytes) -> str:
    value = value.strip(b"\0")
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def merge(data: bytes, values: Mapping[int, bytes | None]) -> bytes:
    """Return the block with these values in its Exif table, or a new block; with `None` for one, it goes.

    Everything else that it held, is there and where it was.
    """
    block = _Block(data)
    first = block.first
    inner = block.table(block.exif_offset(first))
    base = _without_our_tables(block)
    again = {
        tag: block.value(entry)
        for tag, entry in inner.entries.items()
        if block.is_beyond(entry, len(base))
    }
    values = {**values, **{tag: value for tag, value in again.items() if tag not in values}}
    kept = {tag: entry for tag, entry in inner.entries.items() if tag not in values}
    outer = {
        tag: entry
        for tag, entry in first.entries.items()
        if tag not in values and tag != _EXIF_TABLE
    }
    mark = base + b"\0" * (len(base) % 2) + _MARK
    written = {tag: value for tag, value in values.items() if value is not None}
    table = _write_table(block.order, len(mark), kept, written, inner.following)
    pointer = struct.pack(block.order + "HHLL", _EXIF_TABLE, _LONG, 1, len(mark))
    at = len(mark) + len(table)
    outer_table = _write_table(
        block.order, at, {**outer, _EXIF_TABLE: pointer}, {}, first.following
    )
    return mark[:4] + struct.pack(block.order + "L", at) + mark[8:] + table + outer_table


def _without_our_tables(block: _Block) -> bytes:
    """Return the block up to the tables that were written here before, if it ends with them as they were written."""
    at = block.number(4, "L")
    start = block.exif_offset(block.first) - len(_MARK)
    is_ours = 8 <= start < at and block.data[start : start + len(_MARK)] == _MARK
    is_last = at + 2 + 12 * block.number(at, "H") + 4 == len(block.data)
    return block.data[:start] if is_ours and is_last else block.data


def _write_table(
    order: str, at: int, entries: Mapping[int, bytes], values: Mapping[int, bytes], following: int
) -> bytes:
    """Return a table that begins at an offset of the block, with these values behind it, and an even length."""
    entries, behind = dict(entries), b""
    if len(entries) + len(values) > MAX_TAGS:
        raise PictureError("Its EXIF data has more tags than fit into a table.", "")
    end = at + 2 + 12 * (len(entries) + len(values)) + 4
    for tag, value in values.items():
        entries[tag] = struct.pack(order + "HHLL", tag, _UNDEFINED, len(value), end + len(behind))
        behind += value + b"\0" * (len(value) % 2)
    rows = b"".join(entries[tag] for tag in sorted(entries))
    return (
        struct.pack(order + "H", len(entries)) + rows + struct.pack(order + "L", following) + behind
    )
