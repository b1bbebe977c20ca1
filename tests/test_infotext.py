"""The infotext: written for other tools, and read as AUTOMATIC1111 reads it."""

import datetime as dt
import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd35.core.seed import MAX_SEED
from sd35.metadata.infotext import read_infotext, write_infotext
from sd35.metadata.model import THIS_TOOL, GenerationMetadata

METADATA = GenerationMetadata(
    prompt="a red fox,\n(snow:1.3)",
    negative_prompt="blurry, text",
    width=1024,
    height=768,
    guidance_scale=4.5,
    num_inference_steps=40,
    seed=123,
    model="stable-diffusion-3.5-large",
    versions={THIS_TOOL: "0.1"},
)

PARSE_LIMIT = 1_000_000

INFOTEXT = """a red fox,
(snow:1.3)
Negative prompt: blurry, text
Steps: 40, Sampler: Euler, CFG scale: 4.5, Seed: 123, Size: 1024x768, \
Model: stable-diffusion-3.5-large, Version: SD 3.5 Studio 0.1"""

CIVITAI_RESOURCES = (
    '[{"type":"checkpoint","modelVersionId":128078,"modelName":"SD XL","modelVersionName":"v1.0"},'
    '{"type":"lora","weight":0.85,"modelVersionId":210432,"modelName":"Ink: fine"},'
    '{"air":"urn:air:sdxl:embed:civitai:1@2"}, 3]'
)

INFOTEXT_WITH_EXTRAS = """a
Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: -1, Size: 512x768, \
Model hash: 6ce0161689, Model: "v1, 5", Clip skip: 2, Version: v1.10.1"""

EMPTY_METADATA = GenerationMetadata(tool="AUTOMATIC1111")


def parse_reference(text: str) -> tuple[str, str, dict[str, str]]:
    """Return prompts and pairs by the rules of the format, independently of our reader."""
    *lines, last = text.strip().split("\n")
    pairs = re.findall(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)', last)
    if len(pairs) < 3:
        lines = [*lines, last]
        pairs = []
    prompts: dict[bool, list[str]] = {False: [], True: []}
    is_negative = False
    for line in map(str.strip, lines):
        if line.startswith("Negative prompt:"):
            is_negative = True
        prompts[is_negative].append(line.removeprefix("Negative prompt:").strip())
    values = {
        key: json.loads(value) if value[:1] == value[-1:] == '"' else value for key, value in pairs
    }
    return "\n".join(prompts[False]), "\n".join(prompts[True]), values


def test_infotext_is_written_in_the_standard_order() -> None:
    """Pairs have the standard order, and the line of the negative prompt is always there."""
    assert write_infotext(METADATA, 1024, 768) == INFOTEXT
    assert (
        write_infotext(replace(METADATA, negative_prompt=""), 8, 8).splitlines()[2]
        == "Negative prompt: "
    )


def test_demo_images_have_no_sampler() -> None:
    """The infotext of a demo image names the demo painter and no sampler."""
    infotext = write_infotext(replace(METADATA, is_demo=True), 1024, 768)
    assert "Sampler" not in infotext
    assert "Model: demo painter" in infotext
    metadata = read_infotext(infotext)
    assert metadata is not None
    assert (metadata.is_demo, metadata.model) == (True, "")


def prompt_lines() -> st.SearchStrategy[str]:
    """Return prompts that the format can express: stripped lines without the negative prefix."""
    letters = st.characters(exclude_categories=["Cs"], exclude_characters="\n\0")
    line = (
        st.text(letters).map(str.strip).filter(lambda text: not text.startswith("Negative prompt:"))
    )
    return st.lists(line, max_size=4).map("\n".join).map(str.strip)


text_values = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")).map(
    str.strip
)

metadata_values = st.builds(
    GenerationMetadata,
    prompt=prompt_lines(),
    negative_prompt=prompt_lines(),
    width=st.integers(1, 99_999),
    height=st.integers(1, 99_999),
    guidance_scale=st.none() | st.integers(0, 100) | st.floats(0, 50),
    num_inference_steps=st.none() | st.integers(1, 1000),
    seed=st.none() | st.integers(0, MAX_SEED),
    model=text_values,
    versions=st.just({THIS_TOOL: "0.1"}),
    extra=st.dictionaries(
        st.sampled_from(["Schedule type", "Hires upscale", "LoRA", "a/b-c_1"]), text_values
    ).map(lambda pairs: tuple(pairs.items())),
)


@given(metadata_values)
def test_infotext_is_read_back(record: GenerationMetadata) -> None:
    """Whatever the format can express is read back, by us and by the rules of the format."""
    assert record.width is not None
    assert record.height is not None
    infotext = write_infotext(record, record.width, record.height)
    assert read_infotext(infotext) == record
    prompt, negative, pairs = parse_reference(infotext)
    assert (prompt, negative) == (record.prompt, record.negative_prompt)
    assert pairs["Size"] == f"{record.width}x{record.height}"
    assert pairs.get("Model", "") == record.model
    assert {name: pairs[name] for name, _ in record.extra} == dict(record.extra)


@given(st.text(), st.text())
def test_any_prompt_can_be_written(prompt: str, negative: str) -> None:
    """Parameters are found after any prompt, even one that looks like parameters."""
    metadata = read_infotext(
        write_infotext(replace(METADATA, prompt=prompt, negative_prompt=negative), 1024, 768)
    )
    assert metadata is not None
    assert (metadata.seed, metadata.num_inference_steps, metadata.model) == (
        123,
        40,
        METADATA.model,
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        (" \n ", None),
        ("a cat", GenerationMetadata(prompt="a cat", tool="")),
        (
            "a cat\nSteps: 2, Seed: 3",
            GenerationMetadata(prompt="a cat\nSteps: 2, Seed: 3", tool=""),
        ),
        (
            "a cat\nNegative prompt: a dog\n\n of his",
            GenerationMetadata(prompt="a cat", negative_prompt="a dog\n\nof his", tool=""),
        ),
        (
            INFOTEXT_WITH_EXTRAS,
            replace(
                EMPTY_METADATA,
                prompt="a",
                num_inference_steps=20,
                guidance_scale=7,
                width=512,
                height=768,
                model="v1, 5",
                versions={"AUTOMATIC1111": "v1.10.1"},
                extra=(
                    ("Sampler", "DPM++ 2M"),
                    ("Schedule type", "Karras"),
                    ("Model hash", "6ce0161689"),
                    ("Clip skip", "2"),
                ),
            ),
        ),
        (
            (
                "a (red:1.2) fox, <lora:snow_v2:0.8>, <lora:x:1> in snow\n"
                "Steps: 1, Seed: 2, CFG scale: 3"
            ),
            replace(
                EMPTY_METADATA,
                prompt="a (red:1.2) fox in snow",
                num_inference_steps=1,
                seed=2,
                guidance_scale=3,
                extra=(("LoRA", "snow_v2:0.8"), ("LoRA", "x:1")),
            ),
        ),
        (
            (
                "Steps: many, Seed: 18446744073709551616, CFG scale: nan, Size: big, "
                'Hires: "un\\closed"'
            ),
            replace(
                EMPTY_METADATA,
                extra=(
                    ("Steps", "many"),
                    ("Seed", "18446744073709551616"),
                    ("CFG scale", "nan"),
                    ("Size", "big"),
                    ("Hires", '"un\\closed"'),
                ),
            ),
        ),
        (
            (
                'Seed: 1, Hashes: {"model": "6ce", "lora": "ab"}, Parts: [{"a":"Ink, b: v2"}], '
                'Broken: {"a": [1, Other: x'
            ),
            replace(
                EMPTY_METADATA,
                seed=1,
                extra=(
                    ("Hashes", '{"model": "6ce", "lora": "ab"}'),
                    ("Parts", '[{"a":"Ink, b: v2"}]'),
                    ("Broken", '{"a": [1'),
                    ("Other", "x"),
                ),
            ),
        ),
        (
            (
                "a red fox\nSteps: 2, Seed: 3, CFG scale: 4\n"
                "Template: a {red|blue}\nfox\n\nNegative Template: x"
            ),
            replace(
                EMPTY_METADATA,
                prompt="a red fox",
                num_inference_steps=2,
                seed=3,
                guidance_scale=4,
                extra=(("Template", "a {red|blue}\nfox"), ("Negative Template", "x")),
            ),
        ),
        (
            (
                "a\nnegative prompt: b\nSTEPS:2, cfg_scale: 7, SEED: 3, SIZE: 8x9, "
                "Model: SD\\x.safetensors [6ce0161689], VAE: d/v.pt, UNet: u, "
                "Lora_0 Model name: d/ink.pt, Lora_0 Model hash: 1, Lora_0 Strength model: 0.80, "
                "Lora_0 Strength clip: 1"
            ),
            replace(
                EMPTY_METADATA,
                prompt="a",
                negative_prompt="b",
                num_inference_steps=2,
                guidance_scale=7,
                seed=3,
                width=8,
                height=9,
                model="x",
                extra=(("VAE", "v"), ("UNet", "u"), ("LoRA", "ink:0.8")),
            ),
        ),
        (
            (
                "a\nNegative prompt: Steps: 2, Sampler: Euler, Seed: 3, Created Date: "
                f"2024-09-23T06:17:42.9952795Z, Civitai resources: {CIVITAI_RESOURCES}, "
                "Civitai metadata: {}"
            ),
            GenerationMetadata(
                prompt="a",
                num_inference_steps=2,
                seed=3,
                model="SD XL",
                tool="Civitai",
                made_at=dt.datetime(2024, 9, 23, 6, 17, 42, 995279, dt.UTC),
                extra=(
                    *(("Sampler", "Euler"), ("Model version", "v1.0")),
                    *(("LoRA", "Ink fine:0.85"), ("Embedding", "Civitai 2")),
                ),
            ),
        ),
        (
            "a Negative prompt: b Steps: 2, Seed: 3, Sampler: Euler, Hires Steps: 4",
            replace(
                EMPTY_METADATA,
                prompt="a",
                negative_prompt="b",
                num_inference_steps=2,
                seed=3,
                extra=(("Sampler", "Euler"), ("Hires Steps", "4")),
            ),
        ),
        (
            (
                "a\nSteps: 2, Seed: 3, CFG scale: 4, Text: x,\ny\n, Model: m\n\n"
                "Upscaler: u, By: 4, Up: 1"
            ),
            replace(
                EMPTY_METADATA,
                prompt="a",
                num_inference_steps=2,
                seed=3,
                guidance_scale=4,
                model="m",
                extra=(("Text", "x"), ("Upscaler", "u"), ("By", "4"), ("Up", "1")),
            ),
        ),
        (
            (
                "a fox <random:red|<preset:b>>, <embed:x.pt> <segment:face//cid=1> smile\n"
                "Negative prompt: embedding:bad.pt embedding:e, b, ((embedding:c/d:1.20)), "
                "[embedding:f, embedding:g], (h, embedding:i)\n"
                "Steps: 1, Seed: 2, CFG scale: 3, SIZE: 8X9"
            ),
            replace(
                EMPTY_METADATA,
                prompt="a fox",
                negative_prompt="b, (h, embedding:i)",
                width=8,
                height=9,
                num_inference_steps=1,
                seed=2,
                guidance_scale=3,
                extra=(
                    *(("Preset", "b"), ("Embedding", "x"), ("Random", "red|")),
                    *(("Segment", "face: smile"), ("Embedding", "bad"), ("Embedding", "e")),
                    *(("Embedding", name) for name in ("d:1.2", "f", "g", "i")),
                ),
            ),
        ),
        (
            (
                "a\nInference Steps: 2, CFG scale: 3, Civitai resources: "
                '[{"air": "urn:air:sd3:checkpoint:civitai:1@2"}]'
            ),
            GenerationMetadata(
                prompt="a",
                num_inference_steps=2,
                guidance_scale=3,
                model="Civitai 2",
                tool="Civitai",
            ),
        ),
    ],
    ids=[
        "empty",
        "blank",
        "prompt",
        "two pairs",
        "negative",
        "all",
        "weights",
        "nonsense",
        "objects",
        "templates",
        "any case",
        "Civitai",
        "one line",
        "several lines",
        "resources",
        "only a model",
    ],
)
def test_infotexts_of_other_tools_are_read(text: str, expected: GenerationMetadata | None) -> None:
    """Infotexts of other tools are read as these tools read them."""
    assert read_infotext(text) == expected


@pytest.mark.parametrize(
    ("version", "tool", "version_number"),
    [
        ("v1.10.1", "AUTOMATIC1111", "v1.10.1"),
        ("1.6.0", "AUTOMATIC1111", "1.6.0"),
        ("1.5.1-12-gabcdef", "AUTOMATIC1111", "1.5.1-12-gabcdef"),
        ("f2.0.1v1.10.1-previous-659-gc055f2d4", "Forge", "f2.0.1v1.10.1-previous-659-gc055f2d4"),
        ("f1.0.0v2-v1.10.1RC-latest-2190-g9a9f", "reForge", "f1.0.0v2-v1.10.1RC-latest-2190-g9a9f"),
        ("f2.0.1-v1.10.1", "EasyReforge", "f2.0.1-v1.10.1"),
        ("classic", "Forge Classic", None),
        ("Neo-2.28, ADetailer Version: Neo", "Forge Neo", "2.28"),
        ("8b73cb6, App: SD.Next", "SD.Next", "8b73cb6"),
        ("3d3fe41, Parser: Full parser", "SD.Next", "3d3fe41"),
        ("Fooocus v2.5.5", "Fooocus", "v2.5.5"),
        ("ComfyUI", "ComfyUI", None),
        ("SD 3.5 Studio 0.1.0", THIS_TOOL, "0.1.0"),
    ],
)
def test_tool_and_version_are_read(version: str, tool: str, version_number: str | None) -> None:
    """Tool and version are recognized in each form of the version."""
    metadata = read_infotext(f"a\nSteps: 1, Seed: 2, Version: {version}")
    assert metadata is not None
    assert (metadata.tool, metadata.versions) == (
        tool,
        {} if version_number is None else {tool: version_number},
    )


@pytest.mark.parametrize(
    "text",
    [
        "a" * PARSE_LIMIT,
        "a:" * PARSE_LIMIT,
        'aa: "' + '\\"' * PARSE_LIMIT,
        " " * PARSE_LIMIT + "x",
        "\n" * PARSE_LIMIT + "x",
        "aa: b, Version: x" + " " * PARSE_LIMIT + "y",
        "<lora:" * PARSE_LIMIT,
        ", " * PARSE_LIMIT,
        'aa: "x' * PARSE_LIMIT,
        "aa: [" * PARSE_LIMIT,
        'aa: ["bb: [",' * PARSE_LIMIT,
        "Template: x\n" * PARSE_LIMIT,
        "Steps: 1\n" * PARSE_LIMIT,
        "<random[" * PARSE_LIMIT,
        "embedding:" * PARSE_LIMIT,
        f"Steps: 1, Seed: 2, Sampler: 3{chr(10) * PARSE_LIMIT}",
    ],
    ids=[
        *("word", "keys", "quote", "blanks", "lines", "version", "loras", "commas", "quotes"),
        *("brackets", "lists", "templates", "steps", "tags", "embeddings", "blank lines"),
    ],
)
def test_crafted_texts_are_read_quickly(text: str) -> None:
    """A crafted text of a megabyte is read in linear time."""
    read_infotext(f"{text}\nx: y")
    read_infotext(f"x\n{text}, Steps: 1, Seed: 2, CFG scale: 3")
