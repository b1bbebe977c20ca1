"""Thumbnails: small, upright, harmless and bounded."""

import io
import os
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sd35.core.picture import open_picture
from sd35.library.library import Library
from sd35.library.style_thumbnails import StyleThumbnails
from sd35.library.thumbnails import ThumbnailCache, render_thumbnail
from sd35.metadata.model import GenerationMetadata
from tests.library_fixtures import encode_picture, folder, library

__all__ = ["folder", "library"]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_thumbnails_are_small_and_upright(library: Library, kind: str) -> None:
    """A thumbnail is a small WebP, turned as the image's EXIF says."""
    data = encode_picture(1, kind, (900, 450))
    small = library.thumbnail(library.add(open_picture(data), GenerationMetadata(), "").id)
    assert small is not None
    with Image.open(small) as image:
        assert (image.format, image.size) == ("WEBP", (320, 160))
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    Image.new("RGB", (90, 45)).save(out, kind, exif=exif)
    rotated_thumbnail = library.thumbnail(
        library.add(open_picture(out.getvalue()), GenerationMetadata(), "").id
    )
    assert rotated_thumbnail is not None
    with Image.open(rotated_thumbnail) as image:
        assert image.size == (45, 90)


def test_thumbnail_of_a_style_outlives_its_image(library: Library) -> None:
    """It goes away an hour after its style, so that a deletion of the style can be undone."""
    thumbnails = StyleThumbnails(library)
    entry = library.add(open_picture(encode_picture()), GenerationMetadata(), "")
    paths = [thumbnails.path(thumbnails.add(entry.id)) for _ in range(3)]
    library.trash([entry.id], "")
    library.empty_trash("")
    (used, new, old) = filter(None, paths)
    for path in (used, old):
        os.utime(path, (1, 1))
    thumbnails.remove_unused({used.stem})
    assert used.exists()
    assert new.exists()
    assert not old.exists()
    assert not library.rescan().skipped_files
    assert thumbnails.path("own-../../../etc/passwd") is None
    assert not thumbnails.add("missing")


def test_16_bit_image_keeps_its_brightness() -> None:
    """A 16-bit grey image is as bright in its thumbnail."""
    out = io.BytesIO()
    Image.new("I;16", (64, 64), 0x8000).save(out, "PNG")
    with Image.open(io.BytesIO(render_thumbnail(out.getvalue()))) as image:
        assert image.convert("L").getpixel((32, 32)) == pytest.approx(128, abs=2)


def decompression_bomb() -> bytes:
    """Return a PNG of some hundred bytes that claims 3.6 gigapixels."""
    chunks = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in (
            (b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)),
            (b"IDAT", zlib.compress(bytes(10**5))),
            (b"IEND", b""),
        )
    )
    return b"\x89PNG\r\n\x1a\n" + chunks


@given(st.sampled_from(["PNG", "JPEG", "WEBP"]), st.data())
def test_damaged_image_has_no_thumbnail(
    tmp_path_factory: pytest.TempPathFactory, kind: str, choose: st.DataObject
) -> None:
    """A damaged image or a decompression bomb has no thumbnail, and breaks nothing."""
    data = bytearray(encode_picture(1, kind, (64, 48)))
    for _ in range(choose.draw(st.integers(1, 8))):
        data[choose.draw(st.integers(0, len(data) - 1))] = choose.draw(st.integers(0, 255))
    directory = tmp_path_factory.mktemp("damaged")
    (directory / "x").write_bytes(
        choose.draw(
            st.sampled_from([bytes(data), bytes(data[: len(data) // 2]), decompression_bomb()])
        )
    )
    small = ThumbnailCache(directory / "small").get("x", (directory / "x").read_bytes)
    assert small is None or small.is_file()


def test_least_used_thumbnails_are_deleted(tmp_path: Path) -> None:
    """Thumbnails stay below a size; those in use stay."""
    source = tmp_path / "x"
    source.write_bytes(encode_picture(1, size=(64, 64)))
    size = len(ThumbnailCache(tmp_path / "one").get("x", source.read_bytes).read_bytes())  # type: ignore[union-attr]
    small = ThumbnailCache(tmp_path / "small", limit_bytes=size * 5)
    for index in range(12):
        assert small.get("looked at", source.read_bytes) is not None
        assert small.get(str(index), source.read_bytes) is not None
        viewed_thumbnail = small.get("looked at", source.read_bytes)
        assert viewed_thumbnail is not None
        assert small.size_bytes() <= size * 5
