"""Images: checks before they are opened, and smaller copies."""

import base64
import io
import struct
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sd35.core.errors import PictureError
from sd35.core.picture import MAX_COLOR_PROFILES, MAX_READS, open_picture, open_preview, shrink
from sd35.library.thumbnails import render_thumbnail
from tests.fuzz.meter import measure
from tests.fuzz.mutation import mutations
from tests.photographs import PHOTOGRAPH_KINDS, find_private_details, take_photograph


def encode_picture(kind: str, size: tuple[int, int] = (40, 30)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, "teal").save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_an_image_keeps_its_bytes_and_has_its_format_and_size(kind: str) -> None:
    data = encode_picture(kind)
    picture = open_picture(data)
    assert (picture.data, picture.format, picture.width, picture.height) == (data, kind, 40, 30)
    assert (
        base64.b64decode(picture.data_url.removeprefix(f"data:image/{kind.lower()};base64,"))
        == data
    )


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_preview_is_checked_without_a_decoder(kind: str, options: dict[str, bool]) -> None:
    """A usual preview is recognized by its header; a cut or unusual one is left to the decoder."""
    out = io.BytesIO()
    Image.new("RGB", (300, 200), "teal").save(out, kind, **options)
    data = out.getvalue()
    preview = open_preview(data)
    assert preview is not None
    assert (preview.format, preview.width, preview.height) == (kind, 300, 200)
    assert not any(open_preview(data[:size]) for size in range(len(data) - 8))
    assert open_preview(decompression_bomb(60_000, 60_000) + b"IEND\xaeB`\x82") is None


def decompression_bomb(width: int, height: int) -> bytes:
    """Return a PNG of a few bytes that claims to be huge."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + header
        + struct.pack(">I", zlib.crc32(header))
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>login</html>",
        encode_picture("GIF"),
        b"GIF89a",
        b"RIFF....WAVE",
        encode_picture("PNG")[:20],
        decompression_bomb(60_000, 60_000),
    ],
    ids=["empty", "page", "gif", "short gif", "sound", "cut", "bomb"],
)
def test_pages_other_formats_and_bombs_are_refused(data: bytes) -> None:
    with pytest.raises(PictureError):
        open_picture(data)


@given(
    st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\x00\x00\x00\x00WEBPVP8 "]),
    st.binary(max_size=60),
)
def test_garbage_after_a_valid_signature_is_an_error_of_ours(
    signature: bytes, remainder: bytes
) -> None:
    try:
        open_picture(signature + remainder)
    except PictureError as error:
        assert str(error)


def png_chunk(name: bytes, body: bytes) -> bytes:
    checksum = zlib.crc32(name + body)
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", checksum)


def png_without_palette(side: int = 512) -> bytes:
    """Return a PNG of incompressible pixels whose colours, one of them transparent, are missing."""
    out = io.BytesIO()
    Image.effect_noise((side, side), 100).convert("P").save(out, "PNG", transparency=0)
    data = out.getvalue()
    start = data.index(b"PLTE") - 4
    return data[:start] + data[start + 12 + int.from_bytes(data[start : start + 4], "big") :]


def encode_with_segment(marker: bytes, body: bytes, count: int = 1) -> bytes:
    """Return a JPEG without a resolution, which begins with so many of these segments."""
    data = encode_picture("JPEG")
    segment = marker + struct.pack(">H", len(body) + 2) + body
    return data[:2] + segment * count + data[data.index(b"\xff\xdb") :]


def decode_in_every_way(data: bytes) -> None:
    """Decode an image as the program does: to check, to show, to shrink and to list."""
    picture = open_picture(data)
    for decode in (lambda: picture.image, lambda: shrink(picture, 20)):
        with suppress(PictureError):
            decode()
    render_thumbnail(data)


@given(
    mutations(
        [*map(encode_picture, ("PNG", "JPEG", "WEBP")), png_without_palette(8)],
        [b"PLTE", b"tRNS", b"iCCP", b"acTL", b"fcTL", b"eXIf", b"IHDR", b"\xff\xc4", b"VP8X"],
    )
)
def test_whatever_a_decoder_raises_is_an_error_of_ours(data: bytes) -> None:
    with suppress(PictureError):
        decode_in_every_way(data)


@pytest.mark.parametrize(
    "data",
    [
        encode_picture("PNG")[:33] + png_chunk(b"abcd", b"") * (MAX_READS // 2),
        encode_picture("JPEG")[:2] + b"\xff\xe0\x00\x02" * (MAX_READS // 2) + b"\xff\xd9",
        encode_picture("PNG")[:33] + png_chunk(b"iCCP", b"a\0\0") * (MAX_COLOR_PROFILES + 1),
    ],
    ids=["chunks", "segments", "profiles"],
)
def test_an_image_of_endless_parts_is_refused_early(data: bytes) -> None:
    with pytest.raises(PictureError, match="damaged"):
        open_picture(data)


def exif_of_equal_values(first_tag: int) -> bytes:
    """Return a block of 60 KB whose 3,000 values are all the same half of it."""
    entries = [struct.pack(">HHLL", first_tag + number, 7, 30_000, 8) for number in range(3000)]
    return b"MM\0*\0\0\0\x08\x0b\xb8" + b"".join(entries) + bytes(24_000)


EXIF = exif_of_equal_values(1)
MULTI_PICTURE = exif_of_equal_values(0xB001)


@pytest.mark.parametrize(
    "data",
    [
        encode_picture("PNG")[:33] + png_chunk(b"eXIf", EXIF) + encode_picture("PNG")[33:],
        encode_with_segment(b"\xff\xe1", b"Exif\0\0" + EXIF),
        encode_with_segment(b"\xff\xff\xe2", b"MPF\0" + MULTI_PICTURE),
        encode_with_segment(b"\xff\xe1", b"Exif\0\0" + bytes(2000), 3000),
    ],
    ids=["PNG", "JPEG", "multi-picture", "segments"],
)
def test_no_metadata_makes_an_image_costly(data: bytes) -> None:
    """Neither values that refer to the same bytes nor segments that belong together fill memory."""
    cost = measure(lambda: decode_in_every_way(data))
    assert cost.peak_bytes < 4 * len(data) + (2 << 20)


def test_a_large_preview_is_shrunk_to_a_jpeg() -> None:
    small = shrink(open_picture(encode_picture("PNG", (1000, 500))), 100)
    assert (small.format, small.width, small.height) == ("JPEG", 100, 50)


@pytest.mark.parametrize("kind", PHOTOGRAPH_KINDS)
def test_copies_have_no_metadata(kind: str) -> None:
    """A preview and a thumbnail of a photograph hold none of its private details."""
    data = take_photograph(kind)
    for copy in (shrink(open_picture(data), 20).data, render_thumbnail(data)):
        assert find_private_details(copy) == []
