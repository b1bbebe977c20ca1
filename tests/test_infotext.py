"""The infotext, which AUTOMATIC1111 made and most tools read: written for them, and read as they do."""

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd35.metadata.infotext import read_infotext, write_infotext
from sd35.metadata.model import OURS, Record

RECORD = Record(
    prompt="a red fox,\n(snow:1.3)",
    negative_prompt="blurry, text",
    width=1024,
    height=768,
    guidance_scale=4.5,
    num_inference_steps=40,
    seed=123,
    model="stable-diffusion-3.5-large",
    versions={OURS: "0.1"},
)

MANY = 1_000_000

INFOTEXT = """a red fox,
(snow:1.3)
Negative prompt: blurry, text
Steps: 40, Sampler: Euler, CFG scale: 4.5, Seed: 123, Size: 1024x768, Model: stable-diffusion-3.5-large, \
Version: SD 3.5 Studio 0.1"""

OTHERS = """a
Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: -1, Size: 512x768, \
Model hash: 6ce0161689, Model: "v1, 5", Clip skip: 2, Version: v1.10.1"""

BARE = Record(tool="AUTOMATIC1111")


def read_by_the_rules(text: str) -> tuple[str, str, dict[str, str]]:
    """The prompt, the negative one and the pairs as the format's own rules have them: another reader than ours."""
    *lines, last = text.strip().split("\n")
    pairs = re.findall(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)', last)
    if len(pairs) < 3:
        lines, pairs = [*lines, last], []
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


def test_how_it_is_written() -> None:
    """Another tool doesn't find a pair where it looks for it: the order, the line of the negative prompt."""
    assert write_infotext(RECORD, 1024, 768) == INFOTEXT
    assert (
        write_infotext(replace(RECORD, negative_prompt=""), 8, 8).splitlines()[2]
        == "Negative prompt: "
    )


def test_whose_pictures_have_no_sampler() -> None:
    """A drawing of the demo painter passes for one of Stable Diffusion's, sampler and all."""
    written = write_infotext(replace(RECORD, is_demo=True), 1024, 768)
    assert "Sampler" not in written
    assert "Model: demo painter" in written
    read = read_infotext(written)
    assert read is not None
    assert (read.is_demo, read.model) == (True, "")


def lines_of_prompts() -> st.SearchStrategy[str]:
    """What the format can express: lines without blanks around them, none of which begins the negative prompt."""
    letters = st.characters(exclude_categories=["Cs"], exclude_characters="\n\0")
    line = (
        st.text(letters).map(str.strip).filter(lambda text: not text.startswith("Negative prompt:"))
    )
    return st.lists(line, max_size=4).map("\n".join).map(str.strip)


VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")).map(str.strip)

RECORDS = st.builds(
    Record,
    prompt=lines_of_prompts(),
    negative_prompt=lines_of_prompts(),
    width=st.integers(1, 99_999),
    height=st.integers(1, 99_999),
    guidance_scale=st.none() | st.integers(0, 100) | st.floats(0, 50),
    num_inference_steps=st.none() | st.integers(1, 1000),
    seed=st.none() | st.integers(0, 2**32),
    model=VALUES,
    versions=st.just({OURS: "0.1"}),
    others=st.dictionaries(
        st.sampled_from(["Schedule type", "Hires upscale", "LoRA", "a/b-c_1"]), VALUES
    ).map(lambda pairs: tuple(pairs.items())),
)


@given(RECORDS)
def test_what_is_written_is_read_again(record: Record) -> None:
    """What the format can express is read as something else, by us or by the format's own rules."""
    assert record.width is not None
    assert record.height is not None
    written = write_infotext(record, record.width, record.height)
    assert read_infotext(written) == record
    prompt, negative, pairs = read_by_the_rules(written)
    assert (prompt, negative) == (record.prompt, record.negative_prompt)
    assert pairs["Size"] == f"{record.width}x{record.height}"
    assert pairs.get("Model", "") == record.model
    assert {name: pairs[name] for name, _ in record.others} == dict(record.others)


@given(st.text(), st.text())
def test_any_prompt_can_be_written(prompt: str, negative: str) -> None:
    """A prompt that looks like parameters breaks the writing, or the parameters behind it aren't the last ones."""
    read = read_infotext(
        write_infotext(replace(RECORD, prompt=prompt, negative_prompt=negative), 1024, 768)
    )
    assert read is not None
    assert (read.seed, read.num_inference_steps, read.model) == (123, 40, RECORD.model)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", None),
        (" \n ", None),
        ("a cat", Record(prompt="a cat", tool="")),
        ("a cat\nSteps: 2, Seed: 3", Record(prompt="a cat\nSteps: 2, Seed: 3", tool="")),
        (
            "a cat\nNegative prompt: a dog\n\n of his",
            Record(prompt="a cat", negative_prompt="a dog\n\nof his", tool=""),
        ),
        (
            OTHERS,
            replace(
                BARE,
                prompt="a",
                num_inference_steps=20,
                guidance_scale=7,
                width=512,
                height=768,
                model="v1, 5",
                versions={"AUTOMATIC1111": "v1.10.1"},
                others=(
                    ("Sampler", "DPM++ 2M"),
                    ("Schedule type", "Karras"),
                    ("Model hash", "6ce0161689"),
                    ("Clip skip", "2"),
                ),
            ),
        ),
        (
            "a (red:1.2) fox, <lora:snow_v2:0.8>, <lora:x:1> in snow\nSteps: 1, Seed: 2, CFG scale: 3",
            replace(
                BARE,
                prompt="a (red:1.2) fox in snow",
                num_inference_steps=1,
                seed=2,
                guidance_scale=3,
                others=(("LoRA", "snow_v2:0.8"), ("LoRA", "x:1")),
            ),
        ),
        (
            'Steps: many, Seed: 18446744073709551615, CFG scale: nan, Size: big, Hires: "un\\closed"',
            replace(
                BARE,
                others=(
                    ("Steps", "many"),
                    ("Seed", "18446744073709551615"),
                    ("CFG scale", "nan"),
                    ("Size", "big"),
                    ("Hires", '"un\\closed"'),
                ),
            ),
        ),
        (
            'Seed: 1, Hashes: {"model": "6ce", "lora": "ab"}, Parts: [{"a":"Ink, b: v2"}], Broken: {"a": [1, Other: x',
            replace(
                BARE,
                seed=1,
                others=(
                    ("Hashes", '{"model": "6ce", "lora": "ab"}'),
                    ("Parts", '[{"a":"Ink, b: v2"}]'),
                    ("Broken", '{"a": [1'),
                    ("Other", "x"),
                ),
            ),
        ),
        (
            "a red fox\nSteps: 2, Seed: 3, CFG scale: 4\nTemplate: a {red|blue}\nfox\n\nNegative Template: x",
            replace(
                BARE,
                prompt="a red fox",
                num_inference_steps=2,
                seed=3,
                guidance_scale=4,
                others=(("Template", "a {red|blue}\nfox"), ("Negative Template", "x")),
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
    ],
)
def test_how_it_is_read(text: str, wanted: Record | None) -> None:
    """An infotext of another program's is read otherwise than that program would."""
    assert read_infotext(text) == wanted


@pytest.mark.parametrize(
    ("version", "tool", "number"),
    [
        ("v1.10.1", "AUTOMATIC1111", "v1.10.1"),
        ("1.6.0", "AUTOMATIC1111", "1.6.0"),
        ("1.5.1-12-gabcdef", "AUTOMATIC1111", "1.5.1-12-gabcdef"),
        ("f2.0.1v1.10.1-previous-659-gc055f2d4", "Forge", "f2.0.1v1.10.1-previous-659-gc055f2d4"),
        ("Fooocus v2.5.5", "Fooocus", "v2.5.5"),
        ("ComfyUI", "ComfyUI", None),
        ("SD 3.5 Studio 0.1.0", OURS, "0.1.0"),
    ],
)
def test_whose_it_is(version: str, tool: str, number: str | None) -> None:
    """A picture is said to be another tool's."""
    read = read_infotext(f"a\nSteps: 1, Seed: 2, Version: {version}")
    assert read is not None
    assert (read.tool, read.versions) == (tool, {} if number is None else {tool: number})


@pytest.mark.parametrize(
    "text",
    [
        "a" * MANY,
        "a:" * MANY,
        'aa: "' + '\\"' * MANY,
        " " * MANY + "x",
        "\n" * MANY + "x",
        "aa: b, Version: x" + " " * MANY + "y",
        "<lora:" * MANY,
        ", " * MANY,
        'aa: "x' * MANY,
        "aa: [" * MANY,
        'aa: ["bb: [",' * MANY,
        "Template: x\n" * MANY,
    ],
    ids=[
        *("word", "keys", "quote", "blanks", "lines", "version", "loras", "commas", "quotes"),
        *("brackets", "lists", "templates"),
    ],
)
def test_no_line_takes_hours(text: str) -> None:
    """A megabyte of letters, made for it, keeps a core busy: this test would be the slowest of all."""
    read_infotext(f"{text}\nx: y")
    read_infotext(f"x\n{text}, Steps: 1, Seed: 2, CFG scale: 3")
