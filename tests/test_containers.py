"""Texts in PNG, JPEG and WebP files: embedded and read without changing anything else."""

import io
import re
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
from sd35.metadata.embedding import embed_texts, read_texts
from sd35.metadata.exif import MAKER_NOTE, USER_COMMENT, merge_exif
from sd35.metadata.png import INFOTEXT_KEY, JSON_KEY

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
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-'
    b'syntax-ns#"><rdf:Description rdf:about="uuid:1"><a/></rdf:Description></rdf:RDF></x:xmpmeta>'
)
OWN_XMP_PATTERN = re.compile(
    rb'<rdf:Description rdf:about="[^"]*" xmlns:sd35="urn:sd35-studio:1.0/" sd35:record="[^"]*"/>'
)
EACH_KIND = pytest.mark.parametrize("kind", IMAGE_KINDS)


@cache
def encode_image(kind: str, *, is_rich: bool = False) -> bytes:
    """Return an image; a rich one has a camera's EXIF, a color profile and XMP."""
    format_, mode, options = IMAGE_KINDS[kind]
    noise = Image.effect_noise(SIZE, 90)
    image = Image.merge("RGBA", [noise, noise.rotate(90), noise.rotate(180), noise]).convert(mode)
    out = io.BytesIO()
    rich = (
        {"exif": camera_exif(), "icc_profile": color_profile(mode), "xmp": XMP} if is_rich else {}
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
def color_profile(mode: str) -> bytes | None:
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


def other_parts(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return the parts of a file that embedding must not change."""
    if data.startswith(b"RIFF"):
        return [part for part in riff_chunks(data) if part[0] not in {b"EXIF", b"XMP ", b"VP8X"}]
    if data.startswith(b"\xff\xd8"):
        return [
            part
            for part in segments(data)
            if part[1][4:9] not in {b"Exif\0", b"http:"} and b"sd35-studio" not in part[1][:20]
        ]
    text_chunk_names = {b"tEXtparameters", b"iTXtparameters", b"iTXtsd35"}
    return [
        part for part in png_chunks(data) if part[1][4:].partition(b"\0")[0] not in text_chunk_names
    ]


@EACH_KIND
@pytest.mark.parametrize("is_rich", [False, True], ids=["plain", "rich"])
def test_only_texts_change(kind: str, is_rich: bool) -> None:  # noqa: FBT001  # a table's column
    """Embedding changes no pixel, profile, or other part, and the texts can be read back."""
    original = encode_image(kind, is_rich=is_rich)
    embedded = embed_texts(original, COMMENT, '{"format":1}')
    texts = read_texts(embedded)
    comment = texts.texts[INFOTEXT_KEY if kind.startswith("PNG") else "UserComment"]
    assert (comment, texts.texts[JSON_KEY], texts.size) == (COMMENT, '{"format":1}', SIZE)
    assert other_parts(embedded) == other_parts(original)
    with Image.open(io.BytesIO(original)) as old, Image.open(io.BytesIO(embedded)) as new:
        assert (old.mode, old.size, old.tobytes()) == (new.mode, new.size, new.tobytes())
        assert old.info.get("icc_profile") == new.info.get("icc_profile")
        if "xmp" in old.info:
            assert OWN_XMP_PATTERN.sub(b"", new.info["xmp"]) == old.info["xmp"]
    with Image.open(io.BytesIO(embedded)) as new:
        new.verify()


@EACH_KIND
def test_embedding_again_replaces(kind: str) -> None:
    """Embedding again gives the same file as embedding once."""
    first = embed_texts(encode_image(kind, is_rich=True), "an old one", '{"format":0}')
    assert embed_texts(first, COMMENT, "{}") == embed_texts(
        encode_image(kind, is_rich=True), COMMENT, "{}"
    )


@pytest.mark.parametrize("kind", ["JPEG", "lossy WebP"])
def test_camera_exif_stays(kind: str) -> None:
    """EXIF of a camera stays, and other programs can still read it."""
    embedded = embed_texts(encode_image(kind, is_rich=True), COMMENT, "{}")
    block = embedded if kind == "JPEG" else b"Exif\0\0" + dict(riff_chunks(embedded))[b"EXIF"][8:]
    before = piexif.load(camera_exif())
    now = piexif.load(block)
    assert (now["0th"][piexif.ImageIFD.Make], now["0th"][piexif.ImageIFD.Orientation]) == (
        b"A camera",
        6,
    )
    assert now["Exif"][piexif.ExifIFD.DateTimeOriginal] == b"2024:02:29 12:00:00"
    assert (now["GPS"], now["thumbnail"]) == (before["GPS"], before["thumbnail"])
    assert piexif.helper.UserComment.load(now["Exif"][piexif.ExifIFD.UserComment]) == COMMENT


@pytest.mark.parametrize("kind", ["JPEG", "lossy WebP"])
@pytest.mark.parametrize(
    "record",
    [
        "<s:record>{}</s:record>",
        "<s:record xml:lang='en'\n>{&quot;a&quot;: &#39;&#x27;&apos;&amp;amp;}</s:record >",
        "<rdf:Description a='1' s:record = '{}' b='2'/>",
        '<rdf:Description s:record="{}"></rdf:Description>',
    ],
)
def test_json_is_found_where_other_programs_put_it(kind: str, record: str) -> None:
    """Programs that edit XMP write our JSON in their own form, in which it is read and replaced."""
    head, _, tail = XMP.decode().partition("<a/>")
    packet = f"{head}<a/>{record}{tail}".replace("<a/>", "<a xmlns:s='urn:sd35-studio:1.0/'/>")
    out = io.BytesIO()
    Image.new("RGB", SIZE).save(out, kind.rsplit(maxsplit=1)[-1], xmp=packet.encode())
    value = "{\"a\": '''&amp;}" if "quot" in record else "{}"
    assert read_texts(out.getvalue()).texts == {JSON_KEY: value}
    embedded = embed_texts(out.getvalue(), None, '["\'<\x7f"]')
    assert read_texts(embedded).texts == {JSON_KEY: '["\'<\\u007f"]'}
    with Image.open(io.BytesIO(embedded)) as image:
        new_packet = image.info["xmp"].decode()
    assert new_packet.replace("[&quot;&apos;&lt;\\u007f&quot;]", "{}") == re.sub(
        "{.*}", "{}", packet
    )


@pytest.mark.parametrize("maker_note", [b"sd35-studio\0{}", b"Canon"], ids=["ours", "a camera's"])
def test_webp_of_earlier_versions_is_read(maker_note: bytes) -> None:
    """JSON in the maker note or in a chunk of its own is read, and moves to XMP when it changes."""
    values = {MAKER_NOTE: maker_note, USER_COMMENT: b"ASCII\0\0\0" + COMMENT.encode()}
    out = io.BytesIO()
    Image.new("RGB", SIZE).save(out, "WEBP", exif=merge_exif(b"", values))
    data = out.getvalue()
    if maker_note == b"Canon":
        data += b"sd35" + struct.pack("<L", 14) + b"sd35-studio\0{}"
        data = data[:4] + struct.pack("<L", len(data) - 8) + data[8:]
    note = {"MakerNote": "Canon"} if maker_note == b"Canon" else {}
    assert read_texts(data).texts == {"UserComment": COMMENT, JSON_KEY: "{}", **note}
    embedded = embed_texts(data, None, "[]")
    assert read_texts(embedded).texts == {"UserComment": COMMENT, JSON_KEY: "[]", **note}
    assert [name for name, _ in riff_chunks(embedded)] == [b"VP8X", b"VP8 ", b"EXIF", b"XMP "]
    assert b"sd35-studio\0" not in embedded, "ExifTool doesn't change a file with such a note"


@pytest.mark.parametrize("packet", [b"<x:xmpmeta/>", XMP.decode().encode("utf-16")])
@pytest.mark.parametrize("kind", ["JPEG", "lossy WebP"])
def test_unusable_xmp_stays(kind: str, packet: bytes) -> None:
    """A packet to which nothing can be added stays as it is; the JSON is stored elsewhere."""
    out = io.BytesIO()
    Image.new("RGB", SIZE).save(out, kind.rsplit(maxsplit=1)[-1], xmp=packet)
    embedded = embed_texts(embed_texts(out.getvalue(), None, "{}"), None, "[]")
    assert read_texts(embedded).texts == {JSON_KEY: "[]"}
    with Image.open(io.BytesIO(embedded)) as image:
        assert image.info["xmp"] == packet


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
def test_user_comments_are_decoded(value: bytes, text: str, order: str) -> None:
    """A UserComment is decoded in each form that programs write, and in both byte orders."""
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


def test_png_texts_are_read() -> None:
    """All three kinds of text chunks are read, also after the image data."""
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


def test_decompression_bombs_are_skipped() -> None:
    """Compressed texts that inflate beyond the limit cost neither memory nor time."""
    complete_data = zlib.compress(b"x" * (40 << 20), 9)
    damaged = zlib.compress(b"x" * (4 << 20), 9)[:-1] + b"!"
    bomb = (
        png_chunk(b"zTXt", b"bomb\0\0" + complete_data)
        + png_chunk(b"zTXt", b"\0\0" + complete_data)
        + png_chunk(b"zTXt", b"a\0\0" + damaged)
    )
    data = (
        encode_image("PNG")[:33]
        + png_chunk(b"tEXt", b"parameters\0a cat")
        + bomb * 300
        + encode_image("PNG")[33:]
    )
    assert read_texts(data).texts == {"parameters": "a cat"}


def test_png_texts_come_before_the_image_data() -> None:
    """Texts stand before the image data, and in the oldest kind of chunk that can hold them."""
    order = [name for name, _ in png_chunks(embed_texts(encode_image("PNG"), "café", "{}"))]
    assert order == [b"IHDR", b"tEXt", b"iTXt", b"IDAT", b"IEND"]
    assert [name for name, _ in png_chunks(embed_texts(encode_image("PNG"), COMMENT, "{}"))][
        1
    ] == b"iTXt"


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_webp_header_is_extended(mode: str) -> None:
    """A simple WebP gets a header with its size, transparency, and flags of EXIF and XMP."""
    embedded = embed_texts(
        encode_image("lossless WebP" + (" with alpha" if mode == "RGBA" else "")), COMMENT, "{}"
    )
    header = dict(riff_chunks(embedded))[b"VP8X"][8:]
    assert header == bytes(
        [0x1C if mode == "RGBA" else 0x0C, 0, 0, 0, SIZE[0] - 1, 0, 0, SIZE[1] - 1, 0, 0]
    )
    assert int.from_bytes(embedded[4:8], "little") == len(embedded) - 8
    assert len(embedded) % 2 == 0


def test_animated_webp_keeps_its_frames() -> None:
    """An animation keeps all its frames."""
    frames = [Image.new("RGB", SIZE, color) for color in ("red", "green", "blue")]
    out = io.BytesIO()
    frames[0].save(out, "WEBP", save_all=True, append_images=frames[1:], duration=100)
    with Image.open(io.BytesIO(embed_texts(out.getvalue(), COMMENT, "{}"))) as image:
        assert image.n_frames == 3  # type: ignore[attr-defined]


@pytest.mark.parametrize("length", [30_000, 40_000, 200_000])
def test_long_texts_fit_into_a_jpeg(length: int) -> None:
    """A long record is split over segments; an infotext that fits into none is left out."""
    embedded = embed_texts(encode_image("JPEG", is_rich=True), "a" * length, "b" * length)
    texts = read_texts(embedded).texts
    assert texts[JSON_KEY] == "b" * length
    assert texts.get("UserComment") == ("a" * length if length == 30_000 else None)
    with Image.open(io.BytesIO(embedded)) as image:
        image.load()
        assert image.getexif()[piexif.ImageIFD.Make] == "A camera"


def without_image_data(data: bytes) -> bytes:
    """Return a file without its image data."""
    if data.startswith(b"RIFF"):
        chunks = [
            body + b"\0" * (len(body) % 2)
            for name, body in riff_chunks(data)
            if name in {b"VP8X", b"EXIF", b"XMP "}
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
def test_image_data_is_not_needed_for_reading(kind: str) -> None:
    """A file without its image data yields the same texts and size."""
    complete_data = embed_texts(encode_image(kind, is_rich=True), COMMENT, "{}")
    without_image = without_image_data(complete_data)
    assert len(without_image) < len(complete_data) - 100
    texts = read_texts(without_image)
    assert (texts.texts[JSON_KEY], texts.size) == ("{}", SIZE)
    assert texts == read_texts(complete_data)


@EACH_KIND
@pytest.mark.parametrize("end", [0, 3, 12, 20, 40, -40])
def test_incomplete_files_are_rejected(kind: str, end: int) -> None:
    """Embedding into an incomplete file raises a PictureError."""
    with pytest.raises(PictureError):
        embed_texts(encode_image(kind)[:end], COMMENT, "{}")


@given(
    st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"RIFF\0\0\0\0WEBP", b""]),
    st.binary(max_size=300),
)
def test_garbage_is_rejected(signature: bytes, remainder: bytes) -> None:
    """Any bytes can be read without an error, and embedding into garbage is refused."""
    read_texts(signature + remainder)
    with pytest.raises(PictureError):
        embed_texts(signature + remainder, COMMENT, "{}")


@given(
    st.sampled_from(list(IMAGE_KINDS)),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255))),
)
def test_damaged_files_are_read_or_rejected(kind: str, changes: list[tuple[float, int]]) -> None:
    """A damaged file can be read; embedding into it either works or is refused."""
    data = bytearray(embed_texts(encode_image(kind, is_rich=True), COMMENT, "{}"))
    for position, value in changes:
        data[int(position**3 * len(data))] = value  # most of them where the texts are
    read_texts(bytes(data))
    try:
        embedded = embed_texts(bytes(data), COMMENT, "{}")
    except PictureError:
        return
    assert read_texts(embedded).texts[JSON_KEY] == "{}"


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
        *(
            b"RIFF\0\0\0\0WEBPXMP " + struct.pack("<L", len(packet)) + packet
            for part in (b"<s:record>", b" s:record", b' s:record="<', b"xmlns:s ", b"<s:record ")
            for packet in [b" xmlns:s='urn:sd35-studio:1.0/'" + part * (3_000_000 // len(part))]
        ),
    ],
    ids=[
        "chunks",
        "fill",
        "segments",
        "stuffing",
        "riff",
        "table",
        *(f"XMP {i}" for i in range(5)),
    ],
)
def test_many_small_parts_are_read_quickly(data: bytes) -> None:
    """Files of millions of tiny parts are read in linear time."""
    assert not read_texts(data).texts
