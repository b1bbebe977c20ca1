"""Metadata in image files: embedded, read back, and readable by other programs."""

import datetime as dt
import io
import os
import shutil
import struct
import subprocess
import zlib
from dataclasses import replace
from pathlib import Path

import piexif  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from sd_parsers import ParserManager

from sd35.core.errors import PictureError
from sd35.metadata.embedding import embed_metadata, embed_texts, read_metadata, read_texts
from sd35.metadata.model import GenerationMetadata, metadata_from_json
from sd35.metadata.png import JSON_KEY
from tests.test_containers import EACH_KIND, IMAGE_KINDS, SIZE, encode_image

METADATA = GenerationMetadata(
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

parameter_texts = st.text() | st.sampled_from(
    [
        "a\nNegative prompt: b\nSteps: 1, Seed: 2, Size: 3x4",
        "\0",
        "<lora:x:1>",
        "\n" * 9,
        "猫" * 40_000,
        '"',
    ]
)


@given(st.sampled_from(list(IMAGE_KINDS)), st.booleans(), parameter_texts, parameter_texts)
# Hypothesis draws the values.
def test_metadata_comes_back(kind: str, is_rich: bool, prompt: str, negative: str) -> None:  # noqa: FBT001
    """Metadata survives the file unchanged, whatever the prompt is, and so do the pixels."""
    record = replace(METADATA, prompt=prompt, negative_prompt=negative)
    data = embed_metadata(encode_image(kind, is_rich=is_rich), record)
    assert read_metadata(data) == record
    with (
        Image.open(io.BytesIO(data)) as image,
        Image.open(io.BytesIO(encode_image(kind, is_rich=is_rich))) as original,
    ):
        assert image.tobytes() == original.tobytes()


@EACH_KIND
def test_other_programs_read_the_infotext(kind: str) -> None:
    """Another program finds prompts, parameters and the actual size in the file."""
    prompt_info = ParserManager().parse(
        io.BytesIO(embed_metadata(encode_image(kind, is_rich=True), METADATA))
    )
    assert prompt_info is not None
    assert prompt_info.full_prompt == METADATA.prompt
    assert prompt_info.full_negative_prompt == METADATA.negative_prompt
    assert prompt_info.metadata["Size"] == f"{SIZE[0]}x{SIZE[1]}", (
        "the actual size, not the requested one"
    )
    (sampler,) = prompt_info.samplers
    assert (sampler.name, sampler.parameters) == (
        "Euler",
        {"steps": "40", "cfg_scale": "4.5", "seed": "123"},
    )
    assert sampler.model is not None
    assert sampler.model.name == METADATA.model


def run_exiftool(*arguments: str | Path) -> list[str]:
    """Return the lines that ExifTool prints, without the names of files."""
    exiftool = shutil.which("exiftool")
    if exiftool is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(
            "No ExifTool to test with. Debian: apt install libimage-exiftool-perl"
        )
    command = [exiftool, "-q", *arguments]
    process = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # ours
    lines = (process.stdout + process.stderr).splitlines()
    return [" ".join(line.split()) for line in lines if not line.startswith("=====")]


def test_exiftool_edits_what_was_embedded(tmp_path: Path) -> None:
    """ExifTool finds no fault, and sets and copies tags; metadata and infotext survive that."""
    record = replace(METADATA, prompt="a 'fox' & <b>\N{CAT FACE}</b>\x01\x7f")
    paths = [tmp_path / f"{kind}.image" for kind in ("PNG", "JPEG", "lossy WebP", "lossless WebP")]
    for path in paths:
        path.write_bytes(embed_metadata(encode_image(path.stem), record))
    old_texts = [read_texts(path.read_bytes()).texts for path in paths]
    camera = tmp_path / "camera.jpg"
    camera.write_bytes(encode_image("JPEG", is_rich=True))
    edits = ("-Rating=4", "-Artist=Me", "-XMP:Subject=fox", "-tagsFromFile", camera, "-Make")
    assert run_exiftool(*edits, *paths) == []
    originals = [path.with_name(f"{path.name}_original") for path in paths]
    faults = run_exiftool("-validate", "-warning", "-error", "-a", "-u", *originals, *paths)
    assert faults == ["Validate : OK"] * 2 * len(paths)
    for path, texts in zip(paths, old_texts, strict=True):
        data = path.read_bytes()
        assert texts.items() <= read_texts(data).texts.items()
        starred = replace(record, is_starred=True)
        assert read_metadata(data) == record
        assert read_metadata(embed_metadata(data, starred)) == starred


INFOTEXT = "a fox <lora:ink:0.8>\nSteps: 30, Seed: 1, Size: 8x8, Hires upscale: 2, Version: v1.9.4"
SWARMUI_TEXT = (
    '{"sui_image_params": {"prompt": "a fox", "seed": 1}, "sui_extra_data": {"date": "today"}}'
)


def encode_with_parameters(kind: str, text: str, **kwargs: bytes) -> bytes:
    """Return an image with parameters as another program writes them, and a camera's maker note."""
    out = io.BytesIO()
    info = PngInfo()
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


@pytest.mark.parametrize("text", [INFOTEXT, SWARMUI_TEXT], ids=["AUTOMATIC1111", "SwarmUI"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_texts_of_other_programs_stay(kind: str, text: str) -> None:
    """A star or tag changes nothing that another program wrote, nor a camera's maker note."""
    original = encode_with_parameters(kind, text)
    record = read_metadata(original)
    assert record is not None
    for changed in (replace(record, is_starred=True), replace(record, tags=("fox",)), record):
        updated = embed_metadata(original, changed)
        assert read_metadata(updated) == changed
        texts = dict(read_texts(updated).texts)
        assert texts.pop(JSON_KEY) == changed.to_json()
        assert texts == read_texts(original).texts
        assert embed_metadata(updated, record) == embed_metadata(original, record), (
            "nothing is left behind"
        )


def test_infotext_is_only_added_with_a_prompt() -> None:
    """A star alone adds no infotext; a prompt from the index does."""
    starred = embed_metadata(encode_image("PNG"), GenerationMetadata(tool="", is_starred=True))
    assert set(read_texts(starred).texts) == {JSON_KEY}
    embedded = embed_metadata(encode_image("PNG"), replace(METADATA, tool="InvokeAI"))
    assert read_texts(embedded).texts["parameters"].startswith(METADATA.prompt), (
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
        ("Comment", "Model: a camera, Size: 8x8, Version: 1, Place: Rome", None),
        ("Comment", '{"prompt": "fox, artist:x, rating:y, year:z", "steps": 1}', None),
        ("Comment", "a fox\nSteps: 1, Seed: 2, Size: 8x8", "a fox"),
    ],
)
def test_infotext_is_told_from_json_and_comments(name: str, text: str, prompt: str | None) -> None:
    """A prompt may begin with a brace; a comment is an infotext only with parameters."""
    info = PngInfo()
    out = io.BytesIO()
    info.add_text(name, text)
    Image.new("RGB", (8, 8)).save(out, "PNG", pnginfo=info)
    metadata = read_metadata(out.getvalue())
    assert (None if metadata is None else metadata.prompt) == prompt


@pytest.mark.parametrize(
    ("encoded_text", "text"), [("Füchse".encode(), "Füchse"), (b"F\xfcchse", "Füchse")]
)
def test_utf_8_in_latin_1_chunks_is_read(encoded_text: bytes, text: str) -> None:
    """Text chunks are read as UTF-8 where they are valid, and else as Latin-1."""
    data = encode_image("PNG")
    body = b"tEXtparameters\0" + encoded_text
    chunk = struct.pack(">L", len(body) - 4) + body + struct.pack(">L", zlib.crc32(body))
    metadata = read_metadata(data[:33] + chunk + data[33:])
    assert metadata is not None
    assert metadata.prompt == text


def test_own_json_wins_over_the_infotext() -> None:
    """Valid JSON of this program counts before an infotext, and invalid JSON is ignored."""
    infotext = "a dog\nNegative prompt: \nSteps: 1, Seed: 2, Size: 3x4"
    assert read_metadata(embed_texts(encode_image("PNG"), infotext, METADATA.to_json())) == METADATA
    for invalid_json in ("", "{", "[]", '{"prompt":"a cat"}', "1" * 5000):
        metadata = read_metadata(embed_texts(encode_image("PNG"), infotext, invalid_json))
        assert metadata is not None
        assert (metadata.prompt, metadata.tool) == ("a dog", "AUTOMATIC1111")
    assert read_metadata(encode_image("PNG")) is None
    assert read_metadata(b"") is None


def test_invalid_values_are_left_out() -> None:
    """Crafted JSON with values out of range is read without them."""
    metadata = metadata_from_json(
        '{"format":1,"seed":1'
        + "0" * 400
        + ',"guidance_scale":NaN,"width":1e999,"tags":[{}],"others":3}'
    )
    assert metadata == GenerationMetadata(tool="")


def test_other_files_are_rejected() -> None:
    """A file that is no image can't take metadata."""
    with pytest.raises(PictureError):
        embed_metadata(b"<html>login</html>", METADATA)


@given(st.sampled_from(list(IMAGE_KINDS)), st.floats(0, 1), st.binary(max_size=20))
def test_truncated_and_patched_files_can_be_read(kind: str, position: float, patch: bytes) -> None:
    """Reading a truncated or patched file never fails, and never yields wrong metadata."""
    data = embed_metadata(encode_image(kind, is_rich=True), METADATA)
    at = int(position * len(data))
    assert read_texts(data[:at]).texts.get(JSON_KEY, METADATA.to_json()) == METADATA.to_json()
    read_metadata(data[:at])
    read_metadata(data[:at] + patch + data[at:])
