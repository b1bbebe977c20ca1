"""A record goes into a picture's file and comes back as it was, and other programs read it too."""

import datetime as dt
import io
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sd_parsers import ParserManager

from sd35.errors import PictureError
from sd35.metadata.containers import RECORD_KEY, embed, read_texts
from sd35.metadata.embedding import embed_record, read_picture
from sd35.metadata.record import Record, read_record
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
    ["a\nNegative prompt: b\nSteps: 1, Seed: 2, Size: 3x4", "\0", "<lora:x:1>", "\n" * 9, "猫" * 40_000, '"', "\ud800"]
)


@given(st.sampled_from(list(KINDS)), st.booleans(), TEXTS, TEXTS)
def test_a_record_comes_back(kind: str, is_rich: bool, prompt: str, negative: str) -> None:  # noqa: FBT001  # drawn
    """What a picture was made with is lost or changed on the way through its file, whatever the prompt is."""
    record = replace(RECORD, prompt=prompt, negative_prompt=negative)
    data = embed_record(encoded(kind, is_rich=is_rich), record)
    assert read_picture(data) == record
    with Image.open(io.BytesIO(data)) as image, Image.open(io.BytesIO(encoded(kind, is_rich=is_rich))) as before:
        assert image.tobytes() == before.tobytes()


@BY_KIND
def test_another_program_reads_it(kind: str) -> None:
    """The picture tells other programs nothing, or something else."""
    read = ParserManager().parse(io.BytesIO(embed_record(encoded(kind, is_rich=True), RECORD)))
    assert read is not None
    assert read.full_prompt == RECORD.prompt
    assert read.full_negative_prompt == RECORD.negative_prompt
    assert read.metadata["Size"] == f"{SIZE[0]}x{SIZE[1]}", "the picture's own, and not what was asked for"
    (sampler,) = read.samplers
    assert (sampler.name, sampler.parameters) == ("Euler", {"steps": "40", "cfg_scale": "4.5", "seed": "123"})
    assert sampler.model is not None
    assert sampler.model.name == RECORD.model


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
        '{"format":1,"seed":1' + "0" * 400 + ',"guidance_scale":NaN,"width":1e999,"tags":[{}],"others":3}'
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
