"""Texts in PNG, JPEG and WebP files: put in and read without a pixel, or anything of somebody else's, being touched."""

import io
import struct
import zlib
from collections.abc import Iterator
from functools import cache

import piexif  # type: ignore[import-untyped]
import piexif.helper  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from sd35.core.errors import PictureError
from sd35.metadata.embedding import INFOTEXT_KEY, RECORD_KEY, embed, read_texts

SIZE = (43, 31)
COMMENT = "Steps: 1, Seed: 2, Model: 猫"

IMAGE_KINDS: dict[str, tuple[str, str, dict[str, object]]] = {
    "PNG": ("PNG", "RGB", {}),
    "PNG with alpha": ("PNG", "RGBA", {}),
    "PNG in parts": ("PNG", "P", {"interlace": 1}),
    "JPEG": ("JPEG", "RGB", {}),
    "progressive JPEG": ("JPEG", "RGB", {"progressive": True}),
    "grey JPEG": ("JPEG", "L", {}),
    "lossy WebP": ("WEBP", "RGB", {}),
    "lossy WebP with alpha": ("WEBP", "RGBA", {}),
    "lossless WebP": ("WEBP", "RGB", {"lossless": True}),
    "lossless WebP with alpha": ("WEBP", "RGBA", {"lossless": True}),
}
EACH_KIND = pytest.mark.parametrize("kind", IMAGE_KINDS)


@cache
def encode_picture(kind: str, *, is_rich: bool = False) -> bytes:
    """A picture of a kind; a rich one carries a camera's EXIF, a colour profile and XMP."""
    format_, mode, options = IMAGE_KINDS[kind]
    noise = Image.effect_noise(SIZE, 90)
    image = Image.merge("RGBA", [noise, noise.rotate(90), noise.rotate(180), noise]).convert(mode)
    out = io.BytesIO()
    rich = (
        {"exif": camera_exif(), "icc_profile": colour_profile(mode), "xmp": b"<x:xmpmeta/>"}
        if is_rich
        else {}
    )
    image.save(out, format_, **options, **rich)
    return out.getvalue()


def camera_exif() -> bytes:
    thumbnail = io.BytesIO()
    Image.new("RGB", (8, 8), "teal").save(thumbnail, "JPEG")
    block: bytes = piexif.dump(
        {
            "0th": {piexif.ImageIFD.Make: "A camera", piexif.ImageIFD.Orientation: 6},
            "Exif": {
                piexif.ExifIFD.DateTimeOriginal: "2024:02:29 12:00:00",
                piexif.ExifIFD.UserComment: b"ASCII\0\0\0x",
            },
            "GPS": {piexif.GPSIFD.GPSLatitudeRef: "N"},
            "1st": {piexif.ImageIFD.Compression: 6},
            "thumbnail": thumbnail.getvalue(),
        }
    )
    return block


@cache
def colour_profile(mode: str) -> bytes | None:
    return (
        None if mode == "L" else ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    )


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at < len(data):
        length, name = struct.unpack_from(">L4s", data, at)
        yield name, data[at : at + 12 + length]
        at += 12 + length


def riff_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 12
    while at < len(data):
        name, length = struct.unpack_from("<4sL", data, at)
        yield name, data[at : at + 8 + length]
        at += 8 + length + length % 2


def segments(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 2
    while data[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        yield data[at : at + 2], data[at:end]
        at = end
    yield b"scan", data[at:]


def non_text_parts(data: bytes) -> list[tuple[bytes, bytes]]:
    """Everything in a file that isn't texts of ours: what may not change."""
    if data.startswith(b"RIFF"):
        return [part for part in riff_chunks(data) if part[0] not in {b"EXIF", b"VP8X"}]
    if data.startswith(b"\xff\xd8"):
        return [
            part
            for part in segments(data)
            if b"Exif\0" not in part[1][:12] and b"sd35-studio" not in part[1][:20]
        ]
    text_chunk_names = {b"tEXtparameters", b"iTXtparameters", b"iTXtsd35"}
    return [
        part for part in png_chunks(data) if part[1][4:].partition(b"\0")[0] not in text_chunk_names
    ]


@EACH_KIND
@pytest.mark.parametrize("is_rich", [False, True], ids=["plain", "rich"])
def test_only_texts_are_put_in(kind: str, is_rich: bool) -> None:  # noqa: FBT001  # a table's column
    """A pixel changes, or a profile, a camera's EXIF or its thumbnail is lost; or texts don't come back."""
    original = encode_picture(kind, is_rich=is_rich)
    embedded = embed(original, COMMENT, '{"format":1}')
    texts = read_texts(embedded)
    comment = texts.texts[INFOTEXT_KEY if kind.startswith("PNG") else "UserComment"]
    assert (comment, texts.texts[RECORD_KEY], texts.size) == (COMMENT, '{"format":1}', SIZE)
    assert non_text_parts(embedded) == non_text_parts(original)
    with Image.open(io.BytesIO(original)) as old, Image.open(io.BytesIO(embedded)) as new:
        assert (old.mode, old.size, old.tobytes()) == (new.mode, new.size, new.tobytes())
        assert old.info.get("icc_profile") == new.info.get("icc_profile")
        assert old.info.get("xmp") == new.info.get("xmp")
    with Image.open(io.BytesIO(embedded)) as new:
        new.verify()


@EACH_KIND
def test_putting_in_again_replaces(kind: str) -> None:
    """A file that is starred and tagged again and again grows, or tells of what it no longer is."""
    first = embed(encode_picture(kind, is_rich=True), "an old one", '{"format":0}')
    assert embed(first, COMMENT, "{}") == embed(encode_picture(kind, is_rich=True), COMMENT, "{}")


@pytest.mark.parametrize("kind", ["JPEG", "lossy WebP"])
def test_a_camera_s_exif_stays(kind: str) -> None:
    """What a camera or another program wrote into EXIF goes, or can't be read by another program any more."""
    embedded = embed(encode_picture(kind, is_rich=True), COMMENT, "{}")
    block = embedded if kind == "JPEG" else b"Exif\0\0" + dict(riff_chunks(embedded))[b"EXIF"][8:]
    value_before, now = piexif.load(camera_exif()), piexif.load(block)
    assert (now["0th"][piexif.ImageIFD.Make], now["0th"][piexif.ImageIFD.Orientation]) == (
        b"A camera",
        6,
    )
    assert now["Exif"][piexif.ExifIFD.DateTimeOriginal] == b"2024:02:29 12:00:00"
    assert (now["GPS"], now["thumbnail"]) == (value_before["GPS"], value_before["thumbnail"])
    assert piexif.helper.UserComment.load(now["Exif"][piexif.ExifIFD.UserComment]) == COMMENT


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"UNICODE\0" + "a 猫".encode("utf-16-be"), "a 猫"),
        (b"UNICODE\0" + "a 猫".encode("utf-16-le"), "a 猫"),
        (b"UNICODE\0" + "a 猫".encode("utf-16"), "a 猫"),
        (b"UNICODE\0" + "a long 猫".encode(), "a long 猫"),
        (b"ASCII\0\0\0a cat\0\0", "a cat"),
        (b"\0" * 8 + "a 猫".encode(), "a 猫"),
        (b"a cat, as it is", "a cat, as it is"),
        (b"un caf\xe9", "un café"),
    ],
)
@pytest.mark.parametrize("order", ["big", "little"])
def test_comments_as_they_are_found(value: bytes, text: str, order: str) -> None:
    """A comment that another program wrote in its own way is read as something else."""
    mark = {"big": ">", "little": "<"}[order]
    pointer = struct.pack(f"{mark}HHHLLL", 1, 0x8769, 4, 1, 26, 0)
    entry = struct.pack(f"{mark}HHHLLL", 1, 0x9286, 7, len(value), 44, 0)
    block = (
        {"big": b"MM\0*", "little": b"II*\0"}[order]
        + struct.pack(f"{mark}L", 8)
        + pointer
        + entry
        + value
    )
    out = io.BytesIO()
    Image.new("RGB", SIZE).save(out, "WEBP", exif=block)
    assert read_texts(out.getvalue()).texts == {"UserComment": text}


def test_texts_of_a_png() -> None:
    """A text of one of PNG's three kinds isn't found, or none behind the picture, where some programs write it."""
    info = PngInfo()
    info.add_text("one", "café")
    info.add_text("two", "long " * 200, zip=True)
    info.add_itxt("three", "猫", lang="ja", tkey="みっつ")
    info.add_itxt("four", "猫" * 300, zip=True)
    out = io.BytesIO()
    Image.new("RGB", SIZE).save(out, "PNG", pnginfo=info)
    end = png_chunk(b"tEXt", b"five\0behind") + png_chunk(b"IEND", b"")
    texts = read_texts(out.getvalue()[:-12] + end)
    expected_texts = {
        "one": "café",
        "two": "long " * 200,
        "three": "猫",
        "four": "猫" * 300,
        "five": "behind",
    }
    assert (texts.texts, texts.size) == (expected_texts, SIZE)


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">L", len(body)) + name + body + struct.pack(">L", zlib.crc32(name + body))


def test_a_bomb_among_the_texts() -> None:
    """Some kilobytes of compressed text fill the memory, or a thousand of them take an hour."""
    complete_data = zlib.compress(b"x" * (40 << 20), 9)
    damaged = zlib.compress(b"x" * (4 << 20), 9)[:-1] + b"!"
    bomb = (
        png_chunk(b"zTXt", b"bomb\0\0" + complete_data)
        + png_chunk(b"zTXt", b"\0\0" + complete_data)
        + png_chunk(b"zTXt", b"a\0\0" + damaged)
    )
    data = (
        encode_picture("PNG")[:33]
        + png_chunk(b"tEXt", b"parameters\0a cat")
        + bomb * 300
        + encode_picture("PNG")[33:]
    )
    assert read_texts(data).texts == {"parameters": "a cat"}


def test_where_texts_are_in_a_png() -> None:
    """Texts stand behind the picture, where many readers have stopped; or one in Latin 1 is in a newer chunk."""
    order = [name for name, _ in png_chunks(embed(encode_picture("PNG"), "café", "{}"))]
    assert order == [b"IHDR", b"tEXt", b"iTXt", b"IDAT", b"IEND"]
    assert [name for name, _ in png_chunks(embed(encode_picture("PNG"), COMMENT, "{}"))][
        1
    ] == b"iTXt"


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_the_header_of_a_webp(mode: str) -> None:
    """A lossless picture's transparency is ignored, for its new header doesn't speak of it; or sizes don't add up."""
    embedded = embed(
        encode_picture("lossless WebP" + (" with alpha" if mode == "RGBA" else "")), COMMENT, "{}"
    )
    header = dict(riff_chunks(embedded))[b"VP8X"][8:]
    assert header == bytes(
        [0x18 if mode == "RGBA" else 0x08, 0, 0, 0, SIZE[0] - 1, 0, 0, SIZE[1] - 1, 0, 0]
    )
    assert int.from_bytes(embedded[4:8], "little") == len(embedded) - 8
    assert len(embedded) % 2 == 0


def test_a_moving_webp_keeps_moving() -> None:
    """A film is a still once it has a text."""
    frames = [Image.new("RGB", SIZE, colour) for colour in ("red", "green", "blue")]
    out = io.BytesIO()
    frames[0].save(out, "WEBP", save_all=True, append_images=frames[1:], duration=100)
    with Image.open(io.BytesIO(embed(out.getvalue(), COMMENT, "{}"))) as image:
        assert image.n_frames == 3  # type: ignore[attr-defined]


@pytest.mark.parametrize("length", [30_000, 40_000, 200_000])
def test_much_text_in_a_jpeg(length: int) -> None:
    """A long prompt is cut, or makes a file that nobody can open: a segment holds 65,533 bytes."""
    embedded = embed(encode_picture("JPEG", is_rich=True), "a" * length, "b" * length)
    texts = read_texts(embedded).texts
    assert texts[RECORD_KEY] == "b" * length
    assert texts.get("UserComment") == ("a" * length if length == 30_000 else None)
    with Image.open(io.BytesIO(embedded)) as image:
        image.load()
        assert image.getexif()[piexif.ImageIFD.Make] == "A camera"


def without_image_data(data: bytes) -> bytes:
    """A file without its image data, as a browser leaves it out before it asks what is in it."""
    if data.startswith(b"RIFF"):
        chunks = [
            body + b"\0" * (len(body) % 2)
            for name, body in riff_chunks(data)
            if name in {b"VP8X", b"EXIF"}
        ]
        return data[:12] + b"".join(chunks)
    if data.startswith(b"\xff\xd8"):
        return (
            b"\xff\xd8"
            + b"".join(body for name, body in segments(data) if name != b"scan")
            + b"\xff\xd9"
        )
    return data[:8] + b"".join(body for name, body in png_chunks(data) if name != b"IDAT")


@EACH_KIND
def test_a_skeleton_tells_as_much(kind: str) -> None:
    """A browser has to send a whole picture to be told what is in it."""
    complete_data = embed(encode_picture(kind, is_rich=True), COMMENT, "{}")
    without_image = without_image_data(complete_data)
    assert len(without_image) < len(complete_data) - 100
    texts = read_texts(without_image)
    assert (texts.texts[RECORD_KEY], texts.size) == ("{}", SIZE)
    assert {
        name: text for name, text in read_texts(complete_data).texts.items() if name != "XMP"
    }.items() <= texts.texts.items()


@EACH_KIND
@pytest.mark.parametrize("end", [0, 3, 12, 20, 40, -40])
def test_what_is_cut_off_takes_no_texts(kind: str, end: int) -> None:
    """Half a picture is saved as if it were one; or an error that nobody foresaw ends the saving."""
    with pytest.raises(PictureError):
        embed(encode_picture(kind)[:end], COMMENT, "{}")


@given(
    st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"RIFF\0\0\0\0WEBP", b""]),
    st.binary(max_size=300),
)
def test_garbage_has_no_texts(signature: bytes, remainder: bytes) -> None:
    """Reading a file that is none, or putting something into it, ends in an error that nobody foresaw."""
    read_texts(signature + remainder)
    with pytest.raises(PictureError):
        embed(signature + remainder, COMMENT, "{}")


@given(
    st.sampled_from(list(IMAGE_KINDS)),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255))),
)
def test_damage_is_survived(kind: str, changes: list[tuple[float, int]]) -> None:
    """A byte that flipped on the way makes reading fail, or what is written then can't be read."""
    data = bytearray(embed(encode_picture(kind, is_rich=True), COMMENT, "{}"))
    for position, value in changes:
        data[int(position**3 * len(data))] = value  # most of them where the texts are
    read_texts(bytes(data))
    try:
        embedded = embed(bytes(data), COMMENT, "{}")
    except PictureError:
        return
    assert read_texts(embedded).texts[RECORD_KEY] == "{}"


@pytest.mark.parametrize(
    "data",
    [
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"tEXt", b"") * 500_000,
        b"\xff\xd8" + b"\xff" * 8_000_000,
        b"\xff\xd8" + b"\xff\xe1\0\2" * 2_000_000,
        b"\xff\xd8" + b"\xff\0" * 4_000_000,
        b"RIFF\0\0\0\0WEBP" + b"EXIF\0\0\0\0" * 1_000_000,
        b"RIFF\0\0\0\0WEBPEXIF\xff\xff\0\0"
        b"MM\0*\0\0\0\x08\xff\xff" + b"\x01\x0e\0\2\0\0\xff\xff\0\0\0\0" * 5000,
    ],
    ids=["chunks", "fill", "segments", "stuffing", "riff", "table"],
)
def test_many_small_things_are_no_hang(data: bytes) -> None:
    """A file of nothing but beginnings keeps a core busy for minutes: this test would be the slowest of all."""
    assert not read_texts(data).texts
