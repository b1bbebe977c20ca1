"""Infotext: generation parameters as text, in AUTOMATIC1111's format, which most tools read.

A prompt, a negative prompt, and a last line of pairs: `Steps: 40, Sampler: Euler, CFG scale: 4.5`.
The format is ambiguous: a line of the prompt that begins with `Negative prompt:` is read as the
negative prompt. Therefore this program's own metadata is embedded beside it as JSON.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice

from sd35.core.version import __version__
from sd35.metadata.budget import Budget
from sd35.metadata.model import THIS_TOOL, GenerationMetadata
from sd35.metadata.parsing import (
    MAX_EXTRA,
    MAX_TEXT_LENGTH,
    extract_loras,
    parse_generation_seed,
    parse_int,
    parse_number,
    parse_size,
    parse_text,
)

__all__ = ["has_parameters", "read_infotext", "write_infotext"]

DEMO_MODEL = "demo painter"

_NEGATIVE_PREFIX = "Negative prompt:"
_DEFAULT_SAMPLER = "Euler"  # of the SD 3.5 pipeline; a Space doesn't name its sampler
_GENERATION_KEYS = {"Steps", "Sampler", "CFG scale", "Seed"}
_STANDARD_KEYS = _GENERATION_KEYS | {"Size", "Model", "Version"}

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
_TEMPLATE_PATTERN = re.compile(r"^((?:Negative )?Template):", re.MULTILINE)
_VALID_KEY = re.compile(r"\w[\w \-/]{0,59}[\w\-/]")
_NAMED_VERSION = re.compile(r"(?P<name>[^\W\d].*?)(?:\s+(?P<version>v?\d\S*))?", re.DOTALL)
_BARE_VERSION = re.compile(r"(?P<fork>f?)v?\d[\w.+\-]*|[0-9a-f]{7,40}")


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
    return _VALID_KEY.fullmatch(name) is not None and name not in _STANDARD_KEYS


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
    names = _GENERATION_KEYS.intersection(name for name, _ in pairs)
    return len(pairs) >= _MIN_PAIRS and len(names) >= _MIN_GENERATION_PAIRS


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
    loras: tuple[tuple[str, str], ...] = ()
    if metadata.tool != THIS_TOOL:  # which has no LoRAs: angle brackets are part of the prompt
        prompt, loras = extract_loras(prompt)
    return replace(
        metadata,
        prompt=prompt,
        negative_prompt=negative_prompt,
        extra=(*metadata.extra, *loras)[:MAX_EXTRA],
    )


def _split_parameters(text: str, budget: Budget) -> tuple[str, list[tuple[str, str]]]:
    """Split a text into prompts and parameters."""
    text = text[:_MAX_LENGTH].strip()
    budget.spend_on_text(len(text))
    # The extension sd-dynamic-prompts appends its templates after the line of parameters.
    template = _TEMPLATE_PATTERN.search(text)
    ends = [len(text), template.start()] if template else [len(text)]
    for end in ends:
        body, _, last_line = text[:end].rstrip().rpartition("\n")
        pairs = _parse_pairs(last_line, budget)
        if len(pairs) >= _MIN_PAIRS:
            _, *parts = _TEMPLATE_PATTERN.split(text[end:], maxsplit=MAX_EXTRA)
            templates = zip(parts[::2], map(str.strip, parts[1::2]), strict=True)
            return body, [*pairs, *templates]
    return text, []


def _split_prompts(text: str) -> tuple[str, str]:
    """Split a text into prompt and negative prompt, each line stripped."""
    prompt_lines: list[str] = []
    negative_lines: list[str] = []
    lines = prompt_lines
    for raw_line in text[: 3 * MAX_TEXT_LENGTH].strip().split("\n"):
        line = raw_line.strip()
        if line.startswith(_NEGATIVE_PREFIX):
            lines = negative_lines
            line = line.removeprefix(_NEGATIVE_PREFIX).strip()
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
    values = dict(pairs)
    tool, versions = _parse_tool(values)
    steps = parse_int(values.get("Steps"))
    guidance_scale = parse_number(values.get("CFG scale"))
    seed, seed_text = parse_generation_seed(values.get("Seed"))
    width, height = parse_size(values.get("Size", ""))
    model = parse_text(values.get("Model"))
    is_demo = tool == THIS_TOOL and model == DEMO_MODEL
    # A value that can't be parsed goes to `extra`.
    parsed = {"Steps": steps, "CFG scale": guidance_scale, "Size": width}
    used_keys = {"Model", "Version"} | {key for key, value in parsed.items() if value is not None}
    if not seed_text:
        used_keys.add("Seed")
    default_pair = ("Sampler", _DEFAULT_SAMPLER) if tool == THIS_TOOL else None
    extra = (pair for pair in pairs if pair[0] not in used_keys and pair != default_pair)
    return GenerationMetadata(
        width=width,
        height=height,
        guidance_scale=guidance_scale,
        num_inference_steps=steps,
        seed=seed,
        model="" if is_demo else model,
        is_demo=is_demo,
        tool=tool,
        versions=versions,
        extra=tuple(islice(extra, MAX_EXTRA)),
    )


def _parse_tool(values: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Return the tool and its version, as `GenerationMetadata.versions` holds it."""
    if not values:
        return "", {}
    version = values.get("Version", "")[:200]
    if "App" in values:  # SD.Next
        return values["App"], {values["App"]: version} if version else {}
    bare_match = _BARE_VERSION.fullmatch(version)
    if bare_match or not version:  # AUTOMATIC1111 and its fork write no name, other tools do
        tool = "Forge" if bare_match and bare_match["fork"] else "AUTOMATIC1111"
        return tool, {tool: version} if version else {}
    named_match = _NAMED_VERSION.fullmatch(version)
    if named_match is None:
        return version, {}
    tool = named_match["name"]
    version_number = named_match["version"]
    return tool, {tool: version_number} if version_number else {}
