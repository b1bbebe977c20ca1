"""A record goes into a picture's file and comes back as it was, and other programs read it too."""

import datetime as dt
import io
import struct
import zlib
from dataclasses import replace

import piexif  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from sd_parsers import ParserManager

from sd35.core.errors import PictureError
from sd35.metadata.embedding import RECORD_KEY, embed, embed_record, read_picture, read_texts
from sd35.metadata.model import Record, read_record
from tests.test_containers import BY_KIND, KINDS, SIZE, encoded

RECORD = Record(
    id="abc",
    prompt="a red fox, (snow:1.3)",
    negative_prompt="blurry, text",
    width=1024,
    height=768,
    guidance_scale=4.5,
    num_inference_steps=40,
    seed=123,
    model="stable-diffusion-3.5-large",
    made_at=dt.datetime(2025, 6, 1, 12, tzinfo=dt.UTC),
    tags=("fox", "猫"),
)

TEXTS = st.text() | st.sampled_from(
    [
        "a\nNegative prompt: b\nSteps: 1, Seed: 2, Size: 3x4",
        "\0",
        "<lora:x:1>",
        "\n" * 9,
        "猫" * 40_000,
        '"',
        "\ud800",
    ]
)


@given(st.sampled_from(list(KINDS)), st.booleans(), TEXTS, TEXTS)
def test_a_record_comes_back(kind: str, is_rich: bool, prompt: str, negative: str) -> None:  # noqa: FBT001  # drawn
    """What a picture was made with is lost or changed on the way through its file, whatever the prompt is."""
    record = replace(RECORD, prompt=prompt, negative_prompt=negative)
    data = embed_record(encoded(kind, is_rich=is_rich), record)
    assert read_picture(data) == record
    with (
        Image.open(io.BytesIO(data)) as image,
        Image.open(io.BytesIO(encoded(kind, is_rich=is_rich))) as before,
    ):
        assert image.tobytes() == before.tobytes()


@BY_KIND
def test_another_program_reads_it(kind: str) -> None:
    """The picture tells other programs nothing, or something else."""
    read = ParserManager().parse(io.BytesIO(embed_record(encoded(kind, is_rich=True), RECORD)))
    assert read is not None
    assert read.full_prompt == RECORD.prompt
    assert read.full_negative_prompt == RECORD.negative_prompt
    assert read.metadata["Size"] == f"{SIZE[0]}x{SIZE[1]}", (
        "the picture's own, and not what was asked for"
    )
    (sampler,) = read.samplers
    assert (sampler.name, sampler.parameters) == (
        "Euler",
        {"steps": "40", "cfg_scale": "4.5", "seed": "123"},
    )
    assert sampler.model is not None
    assert sampler.model.name == RECORD.model


INFOTEXT = "a fox <lora:ink:0.8>\nSteps: 30, Seed: 1, Size: 8x8, Hires upscale: 2, Version: v1.9.4"
SWARM = '{"sui_image_params": {"prompt": "a fox", "seed": 1}, "sui_extra_data": {"date": "today"}}'


def written(kind: str, text: str, **more: bytes) -> bytes:
    """A picture as another program writes it, with this as its parameters, and a camera's own notes."""
    out, info = io.BytesIO(), PngInfo()
    info.add_text("parameters", text)
    inner = {
        piexif.ExifIFD.UserComment: b"UNICODE\0" + text.encode("utf-16-be"),
        piexif.ExifIFD.MakerNote: b"Canon",
    }
    Image.new("RGB", (8, 8)).save(
        out,
        kind,
        **({"pnginfo": info} if kind == "PNG" else {"exif": piexif.dump({"Exif": inner})}),
    )
    return out.getvalue()


@pytest.mark.parametrize("text", [INFOTEXT, SWARM], ids=["AUTOMATIC1111", "SwarmUI"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_what_another_program_wrote_stays(kind: str, text: str) -> None:
    """A star takes away what the program that made the picture reads from it, or a camera's notes."""
    before = written(kind, text)
    record = read_picture(before)
    assert record is not None
    for changed in (replace(record, is_starred=True), replace(record, tags=("fox",)), record):
        after = embed_record(before, changed)
        assert read_picture(after) == changed
        told = dict(read_texts(after).texts)
        assert told.pop(RECORD_KEY) == changed.as_json()
        assert told == read_texts(before).texts
        assert embed_record(after, record) == embed_record(before, record), "nothing is left behind"


def test_a_bare_picture_stays_so() -> None:
    """A picture that nothing is known of tells other programs of an empty prompt, once it is starred."""
    starred = embed_record(encoded("PNG"), Record(tool="", is_starred=True))
    assert set(read_texts(starred).texts) == {RECORD_KEY}
    told = embed_record(encoded("PNG"), replace(RECORD, tool="InvokeAI"))
    assert read_texts(told).texts["parameters"].startswith(RECORD.prompt), (
        "what only the index knew is told"
    )


@pytest.mark.parametrize(
    ("name", "text", "prompt"),
    [
        ("parameters", "{red|blue} fox", "{red|blue} fox"),
        (
            "parameters",
            '{"a scene": 1}\nNegative prompt: \nSteps: 1, Seed: 2, Size: 8x8',
            '{"a scene": 1}',
        ),
        ("parameters", '{"cut off": 1, "b', None),
        ("Comment", "Photographer: Anna, Place: Rome, Date: today", None),
        ("Comment", '{"prompt": "fox, artist:x, rating:y, year:z", "steps": 1}', None),
        ("Comment", "a fox\nSteps: 1, Seed: 2, Size: 8x8", "a fox"),
    ],
)
def test_what_is_an_infotext(name: str, text: str, prompt: str | None) -> None:
    """A prompt that begins with a bracket isn't read, or a comment about something else is."""
    info, out = PngInfo(), io.BytesIO()
    info.add_text(name, text)
    Image.new("RGB", (8, 8)).save(out, "PNG", pnginfo=info)
    read = read_picture(out.getvalue())
    assert (None if read is None else read.prompt) == prompt


@pytest.mark.parametrize(
    ("coded", "text"), [("Füchse".encode(), "Füchse"), (b"F\xfcchse", "Füchse")]
)
def test_what_isn_t_latin_1(coded: bytes, text: str) -> None:
    """Letters of a program that writes UTF-8 where Latin-1 belongs come out wrong."""
    data, body = encoded("PNG"), b"tEXtparameters\0" + coded
    chunk = struct.pack(">L", len(body) - 4) + body + struct.pack(">L", zlib.crc32(body))
    read = read_picture(data[:33] + chunk + data[33:])
    assert read is not None
    assert read.prompt == text


def test_whose_record_wins() -> None:
    """A prompt that the infotext can't express is changed; or a record that is no record hides what else is there."""
    infotext = "a dog\nNegative prompt: \nSteps: 1, Seed: 2, Size: 3x4"
    assert read_picture(embed(encoded("PNG"), infotext, RECORD.as_json())) == RECORD
    for broken in ("", "{", "[]", '{"prompt":"a cat"}', "1" * 5000):
        read = read_picture(embed(encoded("PNG"), infotext, broken))
        assert read is not None
        assert (read.prompt, read.tool) == ("a dog", "AUTOMATIC1111")
    assert read_picture(encoded("PNG")) is None
    assert read_picture(b"") is None


def test_a_record_of_somebody_else_s_making() -> None:
    """A number that no machine can hold, in a file that somebody made, ends in an error that nobody foresaw."""
    read = read_record(
        '{"format":1,"seed":1'
        + "0" * 400
        + ',"guidance_scale":NaN,"width":1e999,"tags":[{}],"others":3}'
    )
    assert read == Record(tool="")


def test_what_is_no_picture_takes_no_record() -> None:
    """A page that came in a picture's place is kept as a picture."""
    with pytest.raises(PictureError):
        embed_record(b"<html>login</html>", RECORD)


@given(st.sampled_from(list(KINDS)), st.floats(0, 1), st.binary(max_size=20))
def test_cut_and_patched_files_are_survived(kind: str, place: float, patch: bytes) -> None:
    """Half a file makes reading fail."""
    data = embed_record(encoded(kind, is_rich=True), RECORD)
    at = int(place * len(data))
    assert read_texts(data[:at]).texts.get(RECORD_KEY, RECORD.as_json()) == RECORD.as_json()
    read_picture(data[:at])
    read_picture(data[:at] + patch + data[at:])
