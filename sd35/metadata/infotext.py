"""Infotext: a picture's parameters as AUTOMATIC1111 writes them, and most tools read them. Pure.

A prompt, a negative prompt, and a last line of pairs: `Steps: 40, Sampler: Euler, CFG scale: 4.5,
    …`. Not everything
can be said in it: a prompt's own line that begins with `Negative prompt:` is read as what it looks
    like.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from sd35.core.version import __version__
from sd35.metadata.model import MAX_EXTRA, MAX_TEXT_LENGTH, THIS_TOOL, GenerationMetadata
from sd35.metadata.parsing import extract_loras, parse_int, parse_number, parse_text

__all__ = ["DEMO_MODEL", "has_parameters", "read_infotext", "write_infotext"]

DEMO_MODEL = "demo painter"

_NEGATIVE_PREFIX = "Negative prompt:"
_DEFAULT_SAMPLER = "Euler"  # what the pipeline is documented to use; a Space doesn't say
_STANDARD_KEYS = {"Steps", "Sampler", "CFG scale", "Seed", "Size", "Model", "Version"}

_JSON_DECODER = json.JSONDecoder()
_MIN_PAIRS = 3
MAX_JSON_VALUES = 20
"""Values of a line that are read as JSON; what is written on civitai.com has two."""

_PAIR_PATTERN = re.compile(
    r'(\w[\w \-/]{1,60}+):\s*("(?:\\.|[^\\"])++"|[^,]*)(?:,|$)'
)  # bounded: no line takes hours
_TEMPLATE_PATTERN = re.compile(r"^((?:Negative )?Template):", re.MULTILINE)
_VALID_KEY = re.compile(r"\w[\w \-/]{0,59}[\w\-/]")
_SIZE_PATTERN = re.compile(r"(\d{1,6})x(\d{1,6})", re.ASCII)
_NAMED_VERSION = re.compile(r"(?P<name>[^\W\d].*?)(?:\s+(?P<version>v?\d\S*))?", re.DOTALL)
_BARE_VERSION = re.compile(r"(?P<fork>f?)v?\d[\w.+\-]*|[0-9a-f]{7,40}")


def write_infotext(record: GenerationMetadata, width: int, height: int) -> str:
    """Return the infotext of a picture of this size in pixels, which is the picture's own.

    There's always a line of the negative prompt, and the well-known pairs come first: stricter
    readers want that.
    """
    prompt, negative = (text.replace("\0", "") for text in (record.prompt, record.negative_prompt))
    return f"{prompt}\n{_NEGATIVE_PREFIX} {negative}\n{', '.join(_format_pairs(record, width, height))}"


def _format_pairs(record: GenerationMetadata, width: int, height: int) -> Iterator[str]:
    extra = dict(record.others)
    pairs: list[tuple[str, object]] = [
        ("Steps", record.num_inference_steps),
        ("Sampler", extra.get("Sampler", _DEFAULT_SAMPLER if _has_known_sampler(record) else None)),
        ("CFG scale", _simplify_number(record.guidance_scale)),
        ("Seed", record.seed),
        ("Size", f"{width}x{height}"),
        ("Model", DEMO_MODEL if record.is_demo else record.model or None),
        *((name, value) for name, value in record.others if _is_valid_key(name)),
        ("Version", _format_version(record)),
    ]
    return (f"{name}: {_quote(str(value))}" for name, value in pairs if value is not None)


def _has_known_sampler(record: GenerationMetadata) -> bool:
    """Whether this program's sampler is known; the demo painter draws, and samples nothing."""
    return record.tool == THIS_TOOL and not record.is_demo


def _simplify_number(value: float | None) -> float | None:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _is_valid_key(name: str) -> bool:
    return _VALID_KEY.fullmatch(name) is not None and name not in _STANDARD_KEYS


def _format_version(record: GenerationMetadata) -> str | None:
    """Return the tool's name with its version: with a bare number below 1.7 AUTOMATIC1111 does as it did then."""
    version = record.versions.get(record.tool, __version__ if record.tool == THIS_TOOL else "")
    return f"{record.tool} {version}".strip() or None


def _quote(value: str) -> str:
    value = value.replace("\0", "")
    is_special = any(char in value for char in ",:\n") or value[:1] == '"'
    return json.dumps(value, ensure_ascii=False) if is_special else value


def has_parameters(text: str) -> bool:
    """Whether the last line holds enough pairs to be one of parameters, and a well-known one among them."""
    return len(pairs := _split_parameters(text)[1]) >= _MIN_PAIRS and any(
        name in _STANDARD_KEYS for name, _ in pairs
    )


def read_infotext(text: str) -> GenerationMetadata | None:
    """Return the record that an infotext tells, as AUTOMATIC1111 reads it; `None` where there is no text.

    Without a line of parameters it is a prompt, and no tool's. What can't be asked for here, is in
    `others`.
    """
    body, pairs = _split_parameters(text)
    prompt, negative = _split_prompts(body)
    if not (prompt or negative or pairs):
        return None
    record = _record_from_pairs(pairs)
    if record.tool == THIS_TOOL:
        return replace(record, prompt=prompt, negative_prompt=negative)
    prompt, loras = extract_loras(prompt)
    return replace(
        record,
        prompt=prompt,
        negative_prompt=negative,
        others=(*record.others, *loras)[:MAX_EXTRA],
    )


def _split_parameters(text: str) -> tuple[str, list[tuple[str, str]]]:
    """Return what stands before the parameters, and those; behind them sd-dynamic-prompts writes its templates."""
    text = text.strip()
    template = _TEMPLATE_PATTERN.search(text)
    for end in filter(None, (len(text), template and template.start())):
        body, _, last_line = text[:end].rstrip().rpartition("\n")
        pairs = _parse_pairs(last_line)
        if len(pairs) >= _MIN_PAIRS:
            _, *templates = _TEMPLATE_PATTERN.split(text[end:])
            return body, [
                *pairs,
                *(
                    (name, template_text.strip())
                    for name, template_text in zip(templates[::2], templates[1::2], strict=True)
                ),
            ]
    return text, []


def _split_prompts(text: str) -> tuple[str, str]:
    """Return the prompt and the negative one, their lines stripped."""
    parts: tuple[list[str], list[str]] = [], []
    is_negative = False
    for raw_line in text[: 3 * MAX_TEXT_LENGTH].strip().split("\n"):
        line = raw_line.strip()
        if line.startswith(_NEGATIVE_PREFIX):
            is_negative, line = True, line.removeprefix(_NEGATIVE_PREFIX).strip()
        if line or parts[is_negative]:
            parts[is_negative].append(line)
    return parse_text("\n".join(parts[0])), parse_text("\n".join(parts[1]))


def _parse_pairs(line: str) -> list[tuple[str, str]]:
    line, pairs, position, remaining_json = (
        line[:MAX_TEXT_LENGTH],
        list[tuple[str, str]](),
        0,
        MAX_JSON_VALUES,
    )
    while match := _PAIR_PATTERN.search(line, position):
        value, position = match[2], match.end()
        if remaining_json and value[:1] in {"{", "["}:
            remaining_json, end = remaining_json - 1, _find_json_end(line, match.start(2))
            value, position = (line[match.start(2) : end], end) if end else (value, position)
        pairs.append((match[1].strip(), _unquote(value.strip())))
    return pairs


def _find_json_end(line: str, start: int) -> int | None:
    """Return where the JSON ends that begins there; it is what some tools write without quoting it."""
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
    return decoded if isinstance(decoded, str) else value


def _record_from_pairs(pairs: list[tuple[str, str]]) -> GenerationMetadata:
    values = dict(pairs)
    tool, versions = _parse_tool(values)
    steps, guidance_scale = parse_int(values.get("Steps")), parse_number(values.get("CFG scale"))
    seed, (width, height) = parse_int(values.get("Seed")), _parse_size(values.get("Size", ""))
    model = parse_text(values.get("Model"))
    is_demo = tool == THIS_TOOL and model == DEMO_MODEL
    parsed_values = {"Steps": steps, "CFG scale": guidance_scale, "Seed": seed, "Size": width}
    used_names = {name for name, value in parsed_values.items() if value is not None} | {
        "Model",
        "Version",
    }
    extra = tuple(
        (name, value)
        for name, value in pairs
        if name not in used_names and not _is_default_sampler(tool, name, value)
    )
    return GenerationMetadata(
        width=width,
        height=height,
        guidance_scale=guidance_scale,
        num_inference_steps=steps,
        seed=None if seed == -1 else seed,
        model="" if is_demo else model,
        is_demo=is_demo,
        tool=tool,
        versions=versions,
        others=extra[:MAX_EXTRA],
    )


def _is_default_sampler(tool: str, name: str, value: str) -> bool:
    return tool == THIS_TOOL and (name, value) == ("Sampler", _DEFAULT_SAMPLER)


def _parse_size(text: str) -> tuple[int | None, int | None]:
    match = _SIZE_PATTERN.fullmatch(text)
    return (int(match[1]), int(match[2])) if match else (None, None)


def _parse_tool(values: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Return the tool's name, and its version by its name: the first programs wrote a bare number, later ones a name.

    Without one it is AUTOMATIC1111's format, whoever wrote it.
    """
    if not values:
        return "", {}
    version = values.get("Version", "")[:200]
    if "App" in values:  # SD.Next's way
        return values["App"], {values["App"]: version} if version else {}
    bare_match = _BARE_VERSION.fullmatch(version)
    if bare_match or not version:
        tool = "Forge" if bare_match and bare_match["fork"] else "AUTOMATIC1111"
        return tool, {tool: version} if version else {}
    named_match = _NAMED_VERSION.fullmatch(version)
    tool = parse_text(named_match["name"] if named_match else version)
    return tool, {tool: named_match["version"]} if named_match and named_match["version"] else {}
