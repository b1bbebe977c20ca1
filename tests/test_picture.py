"""Images: checks before they are opened, and smaller copies."""

import base64
import io
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sd35.core.errors import PictureError
from sd35.core.picture import open_picture, shrink


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


def test_a_large_preview_is_shrunk_to_a_jpeg() -> None:
    small = shrink(open_picture(encode_picture("PNG", (1000, 500))), 100)
    assert (small.format, small.width, small.height) == ("JPEG", 100, 50)
