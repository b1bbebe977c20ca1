"""EXIF blocks: reading their texts, and changing some without moving anything else.

A block is a TIFF file without an image: a header and directories (IFDs) of 12-byte entries, which
point anywhere into the block. A changed block gets new directories at its end, so that whatever the
old entries point to, such as a thumbnail, stays at its offset. Rewriting the block, as Pillow does,
breaks a camera's maker note, which may hold absolute offsets.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sd35.core.errors import PictureError
from sd35.metadata.parsing import decode_text

__all__ = [
    "IDENTIFIER",
    "MAKER_NOTE",
    "MAX_TEXT_BYTES",
    "USER_COMMENT",
    "build_exif",
    "encode_user_comment",
    "merge_exif",
    "read_exif",
    "read_orientation",
]

IDENTIFIER = b"Exif\0\0"  # prefix of the block in a JPEG; some programs write it into WebP, too

# Limit for all texts of a file, decompressed; large ComfyUI workflows have some 100 KB.
MAX_TEXT_BYTES = 4 << 20

USER_COMMENT = 0x9286
MAKER_NOTE = 0x927C
_ORIENTATION = 0x0112
_EXIF_IFD_POINTER = 0x8769

_TAG_NAMES = {
    0x0132: "DateTime",
    0x9003: "DateTimeOriginal",
    0x9004: "DateTimeDigitized",
    0x9010: "OffsetTime",
    0x9011: "OffsetTimeOriginal",
    0x9012: "OffsetTimeDigitized",
    # ComfyUI's nodes write their texts into unused tags, counting down from 0x010F.
    **{tag: f"Tag{tag:04X}" for tag in range(0x0100, 0x010E)},
    0x010E: "ImageDescription",
    0x010F: "Make",
    0x0110: "Model",
    0x0131: "Software",
    USER_COMMENT: "UserComment",
    MAKER_NOTE: "MakerNote",
}
_COMMENT_CODES = {b"UNICODE\0", b"ASCII\0\0\0", b"JIS\0\0\0\0\0", b"\0" * 8}
_SHORT = 3
_LONG = 4
_UNDEFINED = 7
_BYTE_TYPES = {1, 2, _UNDEFINED}  # BYTE and ASCII
_TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_FIRST_VALUES_OFFSET = 8 + 2 + 5 * 12 + 4  # in `build_exif`, after five tags
_MAX_TAGS = 65_535  # a directory counts its entries in two bytes

# Marks directories that this program appended: the next change replaces them. Without it, a file
# would grow each time that its star is clicked.
_OWN_MARKER = b"sd35exif"


@dataclass(frozen=True, slots=True)
class _Ifd:
    """Directory: its raw entries by tag, and the offset of the next directory, 0 for none."""

    entries: dict[int, bytes]
    next_offset: int = 0


class _Block:
    """Block and its byte order. A damaged block may hold any offset, so all reads are checked."""

    def __init__(self, data: bytes) -> None:
        data = data.removeprefix(IDENTIFIER)
        byte_order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
        self.is_valid = byte_order is not None and len(data) >= 8
        self.data = data if self.is_valid else b"MM\0*\0\0\0\0"
        self.byte_order = byte_order if byte_order is not None and self.is_valid else ">"

    def read_number(self, offset: int, struct_format: str) -> int:
        """Return the number at an offset; 0 beyond the end."""
        if offset < 0 or offset + struct.calcsize(self.byte_order + struct_format) > len(self.data):
            return 0
        value: int = struct.unpack_from(self.byte_order + struct_format, self.data, offset)[0]
        return value

    def read_ifd(self, offset: int) -> _Ifd:
        """Return the directory at an offset, as far as it is complete."""
        if offset < 8:
            return _Ifd({})
        end = offset + 2 + 12 * self.read_number(offset, "H")
        entries: dict[int, bytes] = {}
        for start in range(offset + 2, min(end, len(self.data) - 11), 12):
            entries.setdefault(self.read_number(start, "H"), self.data[start : start + 12])
        return _Ifd(entries, self.read_number(end, "L"))

    @property
    def first_ifd(self) -> _Ifd:
        return self.read_ifd(self.read_number(4, "L"))

    def exif_ifd_offset(self, first_ifd: _Ifd) -> int:
        entry = first_ifd.entries.get(_EXIF_IFD_POINTER)
        return 0 if entry is None else self.pointer(entry)[0]

    def pointer(self, entry: bytes) -> tuple[int, int, int]:
        """Return an entry's offset, type, and length in bytes."""
        kind, count, offset = struct.unpack(self.byte_order + "HLL", entry[2:])
        return offset, kind, count * _TYPE_SIZES.get(kind, 8)

    def lies_after(self, entry: bytes, end: int) -> bool:
        """Return whether the value of an entry is stored at or after an offset."""
        offset, _, length = self.pointer(entry)
        return length > 4 and offset >= end

    def value(self, entry: bytes) -> bytes:
        offset, _, length = self.pointer(entry)
        # Values of up to four bytes stand in the entry, in place of an offset.
        return entry[8 : 8 + length] if length <= 4 else self.data[offset : offset + length]


def read_exif(data: bytes) -> dict[str, str]:
    """Return the texts of a block by tag name, such as `UserComment`, as far as it is readable."""
    block = _Block(data)
    texts: dict[str, str] = {}
    remaining_bytes = MAX_TEXT_BYTES
    for tag, entry in _entries(block):
        _, kind, length = block.pointer(entry)
        name = _TAG_NAMES.get(tag)
        if name is None or name in texts or kind not in _BYTE_TYPES or length > remaining_bytes:
            continue
        remaining_bytes -= length
        value = block.value(entry)
        text = _decode_comment(value) if tag == USER_COMMENT else decode_text(value.strip(b"\0"))
        if text:
            texts[name] = text
    return texts


def read_orientation(data: bytes) -> int:
    """Return how a block says that the pixels are stored; 1, which is upright, if it doesn't."""
    block = _Block(data)
    entry = block.first_ifd.entries.get(_ORIENTATION)
    if entry is None or block.pointer(entry)[1:] != (_SHORT, 2):
        return 1
    return int(struct.unpack_from(f"{block.byte_order}H", entry, 8)[0])


def _entries(block: _Block) -> Iterator[tuple[int, bytes]]:
    first_ifd = block.first_ifd
    # A UserComment belongs into the Exif directory, but programs that use Pillow's `Image.Exif`
    # like a dict write it into the first one.
    yield from block.read_ifd(block.exif_ifd_offset(first_ifd)).entries.items()
    yield from first_ifd.entries.items()


def encode_user_comment(text: str) -> bytes:
    """Return the value of a UserComment as AUTOMATIC1111 writes it: UTF-16, big-endian."""
    return b"UNICODE\0" + text.encode("utf-16-be", "replace")


def _decode_comment(value: bytes) -> str:
    code = value[:8].upper()
    text = value[8:] if code in _COMMENT_CODES else value
    # Some programs write UTF-8 under the code of UTF-16, and UTF-16 under another or none.
    if text[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        return text.decode("utf-16", "replace").strip("\0")
    stripped = text.strip(b"\0")
    is_wide = stripped.count(0) > len(stripped) // 4
    if code == b"UNICODE\0":
        is_wide = is_wide or b"\0" in stripped or len(stripped) <= 8
    if not is_wide:
        return decode_text(stripped)
    # The standard leaves the byte order open. Parameters are mostly ASCII: zeros at odd offsets
    # mean little-endian.
    is_little_endian = text[1::2].count(0) > text[::2].count(0)
    return text.decode("utf-16-le" if is_little_endian else "utf-16-be", "replace").strip("\0")


def build_exif(width: int, height: int) -> bytes:
    """Return a block with the tags that the standard requires of a JPEG of this size in pixels."""
    resolutions = struct.pack(">4L", 72, 1, 72, 1)
    first_entries = [
        (0x011A, 5, 1, struct.pack(">L", _FIRST_VALUES_OFFSET)),  # XResolution
        (0x011B, 5, 1, struct.pack(">L", _FIRST_VALUES_OFFSET + 8)),  # YResolution
        (0x0128, _SHORT, 1, b"\0\2\0\0"),  # ResolutionUnit: inch
        (0x0213, _SHORT, 1, b"\0\1\0\0"),  # YCbCrPositioning: centered
        (_EXIF_IFD_POINTER, _LONG, 1, struct.pack(">L", _FIRST_VALUES_OFFSET + len(resolutions))),
    ]
    exif_entries = [
        (0x9000, _UNDEFINED, 4, b"0232"),  # ExifVersion
        (0x9101, _UNDEFINED, 4, b"\1\2\3\0"),  # ComponentsConfiguration: YCbCr
        (0xA000, _UNDEFINED, 4, b"0100"),  # FlashpixVersion
        (0xA001, _SHORT, 1, b"\xff\xff\0\0"),  # ColorSpace: what the color profile says
        (0xA002, _LONG, 1, struct.pack(">L", width)),
        (0xA003, _LONG, 1, struct.pack(">L", height)),
    ]
    ifds = [
        struct.pack(">H", len(entries))
        + b"".join(struct.pack(">HHL4s", *entry) for entry in entries)
        + b"\0" * 4
        for entries in (first_entries, exif_entries)
    ]
    return b"MM\0*\0\0\0\x08" + ifds[0] + resolutions + ifds[1]


def merge_exif(data: bytes, values: Mapping[int, bytes | None]) -> bytes:
    """Return a block with changed values in its Exif directory; `None` removes a tag.

    Everything else stays at its offset. Empty `data` makes a new block.

    Raises:
        PictureError: there are more tags than a directory can hold.
    """
    block = _Block(data)
    first_ifd = block.first_ifd
    exif_ifd = block.read_ifd(block.exif_ifd_offset(first_ifd))
    original = _without_own_ifds(block)
    values = dict(values)
    for tag, entry in exif_ifd.entries.items():
        if block.lies_after(entry, len(original)):
            # An earlier call stored this value behind the original block, which is rebuilt here.
            values.setdefault(tag, block.value(entry))
    exif_entries = {tag: entry for tag, entry in exif_ifd.entries.items() if tag not in values}
    first_entries = {tag: entry for tag, entry in first_ifd.entries.items() if tag not in values}
    prefix = original + b"\0" * (len(original) % 2) + _OWN_MARKER
    new_values = {tag: value for tag, value in values.items() if value is not None}
    exif_bytes = _build_ifd(
        block, len(prefix), _Ifd(exif_entries, exif_ifd.next_offset), new_values
    )
    pointer = struct.pack(block.byte_order + "HHLL", _EXIF_IFD_POINTER, _LONG, 1, len(prefix))
    first_entries[_EXIF_IFD_POINTER] = pointer
    first_offset = len(prefix) + len(exif_bytes)
    first_bytes = _build_ifd(block, first_offset, _Ifd(first_entries, first_ifd.next_offset), {})
    offset_bytes = struct.pack(block.byte_order + "L", first_offset)
    return prefix[:4] + offset_bytes + prefix[8:] + exif_bytes + first_bytes


def _without_own_ifds(block: _Block) -> bytes:
    """Return the data without the directories that `merge_exif` appended before."""
    first_ifd_offset = block.read_number(4, "L")
    start = block.exif_ifd_offset(block.first_ifd) - len(_OWN_MARKER)
    is_ours = (
        8 <= start < first_ifd_offset
        and block.data[start : start + len(_OWN_MARKER)] == _OWN_MARKER
    )
    # Another program may have appended something since: then they stay, as nothing may move.
    ifd_end = first_ifd_offset + 2 + 12 * block.read_number(first_ifd_offset, "H") + 4
    is_last = ifd_end == len(block.data)
    return block.data[:start] if is_ours and is_last else block.data


def _build_ifd(block: _Block, offset: int, ifd: _Ifd, values: Mapping[int, bytes]) -> bytes:
    """Return a directory for an offset of the block, with new values after it, of even length."""
    entries = dict(ifd.entries)
    count = len(entries) + len(values)
    if count > _MAX_TAGS:
        raise PictureError("The image has too many EXIF tags.", "")
    values_offset = offset + 2 + 12 * count + 4
    value_data = b""
    for tag, value in values.items():
        position = values_offset + len(value_data)
        entries[tag] = struct.pack(block.byte_order + "HHLL", tag, _UNDEFINED, len(value), position)
        value_data += value + b"\0" * (len(value) % 2)
    # TIFF requires entries in ascending order.
    entry_bytes = b"".join(entries[tag] for tag in sorted(entries))
    count_bytes = struct.pack(block.byte_order + "H", len(entries))
    next_bytes = struct.pack(block.byte_order + "L", ifd.next_offset)
    return count_bytes + entry_bytes + next_bytes + value_data
