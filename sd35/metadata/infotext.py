"""Infotext: generation parameters as text, in AUTOMATIC1111's format, which most tools read.

A prompt, a negative prompt, and a last line of pairs: `Steps: 40, Sampler: Euler, CFG scale: 4.5`.
The format is ambiguous: a line of the prompt that begins with `Negative prompt:` is read as the
negative prompt. Therefore this program's own metadata is embedded beside it as JSON.
"""

import json
import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain, islice
from typing import Any

from sd35.core.version import __version__
from sd35.metadata.budget import Budget
from sd35.metadata.civitai import read_civitai_resources
from sd35.metadata.dates import parse_date
from sd35.metadata.model import THIS_TOOL, GenerationMetadata
from sd35.metadata.parsing import (
    MAX_EXTRA,
    MAX_TEXT_LENGTH,
    format_setting,
    model_name,
    parse_generation_seed,
    parse_int,
    parse_json_object,
    parse_number,
    parse_size,
    parse_text,
)
from sd35.metadata.resources import merge_numbered_resources, separate_resources
from sd35.metadata.tool_version import parse_tool

__all__ = ["has_parameters", "read_infotext", "write_infotext"]

DEMO_MODEL = "demo painter"

_NEGATIVE_PREFIX = "Negative prompt:"
# As the format has it, or else in any case.
_NEGATIVE_LINES = tuple(
    re.compile(rf"^[ \t]*{_NEGATIVE_PREFIX}", re.MULTILINE | flags) for flags in (0, re.IGNORECASE)
)
_NEGATIVE_IN_LINE = re.compile(rf"(?<=\S)[ \t]+(?={_NEGATIVE_PREFIX})")
_DEFAULT_SAMPLER = "Euler"  # of the SD 3.5 pipeline; a Space doesn't name its sampler
_GENERATION_KEYS = frozenset({"steps", "sampler", "cfgscale", "seed"})  # as `_fold_key` has them
_SEPARATORS = str.maketrans("", "", " _-")
_GUIDANCE_KEYS = ("cfgscale", "guidancescale", "cfg")
_STEPS_KEYS = ("steps", "samplingsteps", "inferencesteps", "numinferencesteps")
_MODEL_KEYS = ("model", "modelname", "checkpoint", "unet")
_CIVITAI_KEYS = ("civitairesources", "civitaimetadata")
_STANDARD_KEYS = frozenset(
    {*_GENERATION_KEYS, "size", "width", "height", "version", "app", "createddate"}
    | {*_GUIDANCE_KEYS, *_STEPS_KEYS, *_MODEL_KEYS, *_CIVITAI_KEYS}
)

_MAX_LENGTH = 4 * MAX_TEXT_LENGTH  # both prompts, the parameters, and templates
_MIN_PAIRS = 3  # AUTOMATIC1111's own rule: a line with fewer pairs belongs to the prompt
_MIN_GENERATION_PAIRS = 2  # cameras write comments of pairs, too, such as a model and a place
_MAX_JSON_VALUES = 20  # each failed attempt scans the rest of the line; real files have two
_JSON_DECODER = json.JSONDecoder()

# Bounded and possessive quantifiers: with plain ones a crafted line takes quadratic time. A number
# with commas is one value: 1,234 isn't the seed 1.
_PAIR_PATTERN = re.compile(
    r'(\w[\w \-/]{1,60}+):\s*("(?:\\.|[^\\"])++"|\d++(?:,\d++)++|[^,]*)(?:,|$)'
)
_STEPS_LINE = re.compile(r"^[ \t]*(?P<steps>steps:[ \t]*\d)", re.MULTILINE | re.IGNORECASE)
_STEPS_IN_LINE = re.compile(r"[^,\s][ \t]+(?P<steps>Steps: ?\d+,)")
_KEY_START = re.compile(r"\w[\w \-/]{1,60}+:")
_TEMPLATE_PATTERN = re.compile(r"^((?:Negative )?Template):", re.MULTILINE)
_VALID_KEY = re.compile(r"\w[\w \-/]{0,59}[\w\-/]")


def write_infotext(metadata: GenerationMetadata, width: int, height: int) -> str:
    """Return the infotext of an image with this actual size in pixels.

    Strict readers expect a line for the negative prompt, even an empty one, and the standard pairs
    first.
    """
    prompt = metadata.prompt.replace("\0", "")
    negative = metadata.negative_prompt.replace("\0", "")
    pairs = ", ".join(_format_pairs(metadata, width, height))
    return f"{prompt}\n{_NEGATIVE_PREFIX} {negative}\n{pairs}"


def _format_pairs(metadata: GenerationMetadata, width: int, height: int) -> Iterator[str]:
    # The demo painter draws without a sampler.
    is_sampler_known = metadata.tool == THIS_TOOL and not metadata.is_demo
    sampler = _DEFAULT_SAMPLER if is_sampler_known else None
    pairs: list[tuple[str, object]] = [
        ("Steps", metadata.num_inference_steps),
        ("Sampler", dict(metadata.extra).get("Sampler", sampler)),
        ("CFG scale", _without_trailing_zero(metadata.guidance_scale)),
        ("Seed", metadata.seed),
        ("Size", f"{width}x{height}"),
        ("Model", DEMO_MODEL if metadata.is_demo else metadata.model or None),
        *((name, value) for name, value in metadata.extra if _is_valid_key(name)),
        ("Version", _format_version(metadata)),
    ]
    return (f"{name}: {_quote(str(value))}" for name, value in pairs if value is not None)


def _without_trailing_zero(value: float | None) -> float | None:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _is_valid_key(name: str) -> bool:
    return _VALID_KEY.fullmatch(name) is not None and _fold_key(name) not in _STANDARD_KEYS


def _format_version(metadata: GenerationMetadata) -> str | None:
    # Never a bare number: AUTOMATIC1111 imitates its own old behavior for versions below 1.7.
    default = __version__ if metadata.tool == THIS_TOOL else ""
    version = metadata.versions.get(metadata.tool, default)
    return f"{metadata.tool} {version}".strip() or None


def _quote(value: str) -> str:
    value = value.replace("\0", "")
    is_special = any(char in value for char in ",:\n") or value[:1] == '"'
    return json.dumps(value, ensure_ascii=False) if is_special else value


def has_parameters(text: str, budget: Budget) -> bool:
    """Return whether a text ends with parameters of image generation; import.js checks the same.

    Raises:
        BudgetExceededError: the text takes too much work to read.
    """
    _, pairs = _split_parameters(text, budget)
    return _has_generation_pairs(pairs)


def read_infotext(text: str, budget: Budget | None = None) -> GenerationMetadata | None:
    """Return the metadata in an infotext, read as AUTOMATIC1111 does; `None` if it is empty.

    A text without parameters is a prompt of no tool. Parameters without a field go to `extra`.

    Raises:
        BudgetExceededError: the text takes too much work to read.
    """
    body, pairs = _split_parameters(text, budget or Budget())
    prompt, negative_prompt = _split_prompts(body)
    if not (prompt or negative_prompt or pairs):
        return None
    metadata = _metadata_from_pairs(pairs)
    return separate_resources(replace(metadata, prompt=prompt, negative_prompt=negative_prompt))


def _split_parameters(text: str, budget: Budget) -> tuple[str, list[tuple[str, str]]]:
    """Split a text into prompts and parameters."""
    text = text[:_MAX_LENGTH].strip()
    budget.spend_on_text(len(text))
    # The extension sd-dynamic-prompts appends its templates after the line of parameters.
    template = _TEMPLATE_PATTERN.search(text)
    ends = [len(text), template.start()] if template else [len(text)]
    for end in ends:
        start, pairs = _find_parameters(text[:end].rstrip(), budget)
        if pairs:
            _, *parts = _TEMPLATE_PATTERN.split(text[end:], maxsplit=MAX_EXTRA)
            templates = zip(parts[::2], map(str.strip, parts[1::2]), strict=True)
            return _end_lines(text[:start]), [*pairs, *templates]
    return text, []


def _end_lines(body: str) -> str:
    """Return prompts, with the negative one in a line of its own also if parameters had none."""
    is_in_line = body.rstrip(" \t")[-1:] not in {"", "\n"}
    return _NEGATIVE_IN_LINE.sub("\n", body, count=1) if is_in_line else body


def _find_parameters(text: str, budget: Budget) -> tuple[int, list[tuple[str, str]]]:
    """Return where the parameters start, and their pairs; none if there are fewer than three."""
    last_line_start = text.rfind("\n") + 1
    last_pairs = _parse_pairs(text[last_line_start:], budget)
    if not any(_fold_key(name) in _STEPS_KEYS for name, _ in last_pairs):
        # Parameters of several lines, or in the line of a prompt: neither follows the rule.
        start = _steps_start(text)
        pairs = [] if start is None else _parse_pairs(_join_lines(text[start:]), budget)
        if start is not None and _has_generation_pairs(pairs):
            return start, pairs
    return last_line_start, last_pairs if len(last_pairs) >= _MIN_PAIRS else []


def _steps_start(text: str) -> int | None:
    """Return where the last line with steps starts, or else the first steps within a line."""
    matches = deque(_STEPS_LINE.finditer(text), maxlen=1)
    match = matches[0] if matches else _STEPS_IN_LINE.search(text)
    return None if match is None else match.start("steps")


def _join_lines(parameters: str) -> str:
    """Return parameters of several lines as one, where a line begins with a key."""
    lines = filter(None, map(str.strip, parameters[:MAX_TEXT_LENGTH].split("\n")))
    parts = [f"\n{line}" if _KEY_START.match(line) is None else f", {line}" for line in lines]
    return "".join(parts)


def _has_generation_pairs(pairs: list[tuple[str, str]]) -> bool:
    names = _GENERATION_KEYS.intersection(_fold_key(name) for name, _ in pairs)
    return len(pairs) >= _MIN_PAIRS and len(names) >= _MIN_GENERATION_PAIRS


def _fold_key(name: str) -> str:
    """Return a key as it is compared: tools spell it `CFG scale`, `CFG Scale` or `cfg_scale`."""
    return name.lower().translate(_SEPARATORS)


def _split_prompts(text: str) -> tuple[str, str]:
    """Split a text into prompt and negative prompt, each line stripped."""
    text = text[: 3 * MAX_TEXT_LENGTH].strip()
    prefix = next((prefix for prefix in _NEGATIVE_LINES if prefix.search(text)), None)
    prompt_lines: list[str] = []
    negative_lines: list[str] = []
    lines = prompt_lines
    for raw_line in text.split("\n"):
        line = raw_line.strip()
        match = prefix and prefix.match(line)
        if match:
            lines = negative_lines
            line = line[match.end() :].strip()
        if line or lines:
            lines.append(line)
    return parse_text("\n".join(prompt_lines)), parse_text("\n".join(negative_lines))


def _parse_pairs(line: str, budget: Budget) -> list[tuple[str, str]]:
    line = line[:MAX_TEXT_LENGTH]
    # The pattern tries up to 60 characters at each character.
    budget.spend(len(line) // 2)
    pairs: list[tuple[str, str]] = []
    position = 0
    remaining_json = _MAX_JSON_VALUES
    while match := _PAIR_PATTERN.search(line, position):
        value = match[2]
        position = match.end()
        if remaining_json and value[:1] in {"{", "["}:
            # Some tools write JSON without quoting it; its commas would end the pair too early.
            remaining_json -= 1
            budget.spend((len(line) - match.start(2)) // 8)
            end = _find_json_end(line, match.start(2))
            if end:
                value = line[match.start(2) : end]
                position = end
        pairs.append((match[1].strip(), _unquote(value.strip())))
    return pairs


def _find_json_end(line: str, start: int) -> int | None:
    try:
        _, end = _JSON_DECODER.raw_decode(line, start)
    except (ValueError, RecursionError):
        return None
    return end if line[end : end + 1] in {"", ","} else None


def _unquote(value: str) -> str:
    if len(value) < 2 or value[0] != '"' or value[-1] != '"':
        return value
    try:
        decoded = json.loads(value)
    except ValueError:
        return value
    return parse_text(decoded) if isinstance(decoded, str) else value


def _metadata_from_pairs(pairs: list[tuple[str, str]]) -> GenerationMetadata:
    values = {_fold_key(name): value for name, value in pairs}
    tool, versions = parse_tool(values)
    model, resources = _parse_model(values, tool)
    model_key = _first_key(values, _MODEL_KEYS)
    is_demo = tool == THIS_TOOL and model == DEMO_MODEL
    seed, seed_text = parse_generation_seed(values.get("seed"))
    parsed = _parse_values(values)
    # A value that can't be parsed goes to `extra`.
    used_keys = {key for key, value in parsed.items() if value is not None}
    # "SDCPP" repeats the parameters of stable-diffusion.cpp as JSON.
    used_keys |= {"version", "app", "sdcpp", model_key}
    used_keys |= set() if seed_text else {"seed"}
    has_civitai_list = bool(resources) or (model != "" and not values.get(model_key))
    used_keys |= set(_CIVITAI_KEYS) if has_civitai_list else set()
    default_pair = ("Sampler", _DEFAULT_SAMPLER) if tool == THIS_TOOL else None
    extra = [
        (name, value if tool == THIS_TOOL else format_setting(value))
        for name, value in pairs
        if _fold_key(name) not in used_keys and (name, value) != default_pair
    ]
    if tool != THIS_TOOL:
        extra = merge_numbered_resources(extra)
    return GenerationMetadata(
        width=parsed["width"],
        height=parsed["height"],
        guidance_scale=parsed[_first_key(values, _GUIDANCE_KEYS)],
        num_inference_steps=parsed[_first_key(values, _STEPS_KEYS)],
        seed=seed,
        model="" if is_demo else model,
        is_demo=is_demo,
        made_at=parsed["createddate"],
        tool=tool,
        versions=versions,
        extra=tuple(islice(chain(extra, resources), MAX_EXTRA)),
    )


def _parse_values(values: Mapping[str, str]) -> dict[str, Any]:
    """Return the parameters that have a field, by key; `None` for nonsense."""
    width, height = _parse_sides(values)
    guidance_key = _first_key(values, _GUIDANCE_KEYS)
    steps_key = _first_key(values, _STEPS_KEYS)
    return {
        guidance_key: parse_number(values.get(guidance_key)),
        steps_key: parse_int(values.get(steps_key)),
        "size": width,
        "width": width,
        "height": height,
        "createddate": parse_date(values.get("createddate")),
    }


def _parse_sides(values: Mapping[str, str]) -> tuple[int | None, int | None]:
    """Return width and height in pixels."""
    width, height = parse_size(values.get("size", ""))
    if width is None:
        return parse_int(values.get("width")), parse_int(values.get("height"))
    return width, height


def _parse_model(values: Mapping[str, str], tool: str) -> tuple[str, list[tuple[str, str]]]:
    """Return the model's name, and the resources that Civitai lists beside it."""
    name = values.get(_first_key(values, _MODEL_KEYS), "")
    if tool == THIS_TOOL:
        return name, []
    details = parse_json_object(values.get("civitaimetadata", ""))
    resources = parse_json_object(f'{{"": {values.get("civitairesources", "[]")}}}').get("")
    civitai_model, pairs = read_civitai_resources(resources or details.get("resources"))
    return model_name(name) or civitai_model or model_name(details.get("baseModel")), pairs


def _first_key(values: Mapping[str, str], keys: tuple[str, ...]) -> str:
    """Return the first of some keys that has a value."""
    return next((key for key in keys if values.get(key)), keys[0])
