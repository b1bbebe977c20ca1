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
from sd35.metadata.model import MAX_OTHERS, MAX_TEXT, OURS, Record
from sd35.metadata.parsing import as_number, as_text, as_whole, take_loras

__all__ = ["DEMO_MODEL", "has_parameters", "read_infotext", "write_infotext"]

DEMO_MODEL = "demo painter"

_NEGATIVE = "Negative prompt:"
_SAMPLER = "Euler"  # what the pipeline is documented to use; a Space doesn't say
_OWN_KEYS = {"Steps", "Sampler", "CFG scale", "Seed", "Size", "Model", "Version"}

_JSON = json.JSONDecoder()
_MIN_PAIRS = 3
MAX_OBJECTS = 20
"""Values of a line that are read as JSON; what is written on civitai.com has two."""

_PAIR = re.compile(
    r'(\w[\w \-/]{1,60}+):\s*("(?:\\.|[^\\"])++"|[^,]*)(?:,|$)'
)  # bounded: no line takes hours
_TEMPLATE = re.compile(r"^((?:Negative )?Template):", re.MULTILINE)
_WHOLE_KEY = re.compile(r"\w[\w \-/]{0,59}[\w\-/]")
_SIZE = re.compile(r"(\d{1,6})x(\d{1,6})", re.ASCII)
_NAMED_VERSION = re.compile(r"(?P<name>[^\W\d].*?)(?:\s+(?P<version>v?\d\S*))?", re.DOTALL)
_BARE_VERSION = re.compile(r"(?P<fork>f?)v?\d[\w.+\-]*|[0-9a-f]{7,40}")


def write_infotext(record: Record, width: int, height: int) -> str:
    """Return the infotext of a picture of this size in pixels, which is the picture's own.

    There's always a line of the negative prompt, and the well-known pairs come first: stricter
    readers want that.
    """
    prompt, negative = (text.replace("\0", "") for text in (record.prompt, record.negative_prompt))
    return f"{prompt}\n{_NEGATIVE} {negative}\n{', '.join(_written_pairs(record, width, height))}"


def _written_pairs(record: Record, width: int, height: int) -> Iterator[str]:
    others = dict(record.others)
    pairs: list[tuple[str, object]] = [
        ("Steps", record.num_inference_steps),
        ("Sampler", others.get("Sampler", _SAMPLER if _is_sampled_here(record) else None)),
        ("CFG scale", _plain(record.guidance_scale)),
        ("Seed", record.seed),
        ("Size", f"{width}x{height}"),
        ("Model", DEMO_MODEL if record.is_demo else record.model or None),
        *((name, value) for name, value in record.others if _can_be_key(name)),
        ("Version", _version(record)),
    ]
    return (f"{name}: {_quoted(str(value))}" for name, value in pairs if value is not None)


def _is_sampled_here(record: Record) -> bool:
    """Whether this program's sampler is known; the demo painter draws, and samples nothing."""
    return record.tool == OURS and not record.is_demo


def _plain(number: float | None) -> float | None:
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _can_be_key(name: str) -> bool:
    return _WHOLE_KEY.fullmatch(name) is not None and name not in _OWN_KEYS


def _version(record: Record) -> str | None:
    """Return the tool's name with its version: with a bare number below 1.7 AUTOMATIC1111 does as it did then."""
    version = record.versions.get(record.tool, __version__ if record.tool == OURS else "")
    return f"{record.tool} {version}".strip() or None


def _quoted(value: str) -> str:
    value = value.replace("\0", "")
    is_special = any(mark in value for mark in ",:\n") or value[:1] == '"'
    return json.dumps(value, ensure_ascii=False) if is_special else value


def has_parameters(text: str) -> bool:
    """Whether the last line holds enough pairs to be one of parameters, and a well-known one among them."""
    return len(pairs := _split(text)[1]) >= _MIN_PAIRS and any(
        name in _OWN_KEYS for name, _ in pairs
    )


def read_infotext(text: str) -> Record | None:
    """Return the record that an infotext tells, as AUTOMATIC1111 reads it; `None` where there is no text.

    Without a line of parameters it is a prompt, and no tool's. What can't be asked for here, is in
    `others`.
    """
    body, pairs = _split(text)
    prompt, negative = _prompts(body)
    if not (prompt or negative or pairs):
        return None
    record = _of_pairs(pairs)
    if record.tool == OURS:
        return replace(record, prompt=prompt, negative_prompt=negative)
    prompt, loras = take_loras(prompt)
    return replace(
        record,
        prompt=prompt,
        negative_prompt=negative,
        others=(*record.others, *loras)[:MAX_OTHERS],
    )


def _split(text: str) -> tuple[str, list[tuple[str, str]]]:
    """Return what stands before the parameters, and those; behind them sd-dynamic-prompts writes its templates."""
    text = text.strip()
    template = _TEMPLATE.search(text)
    for end in filter(None, (len(text), template and template.start())):
        body, _, last = text[:end].rstrip().rpartition("\n")
        pairs = _pairs_of(last)
        if len(pairs) >= _MIN_PAIRS:
            _, *templates = _TEMPLATE.split(text[end:])
            return body, [
                *pairs,
                *(
                    (name, told.strip())
                    for name, told in zip(templates[::2], templates[1::2], strict=True)
                ),
            ]
    return text, []


def _prompts(text: str) -> tuple[str, str]:
    """Return the prompt and the negative one, their lines stripped."""
    parts: tuple[list[str], list[str]] = [], []
    is_negative = False
    for each in text[: 3 * MAX_TEXT].strip().split("\n"):
        line = each.strip()
        if line.startswith(_NEGATIVE):
            is_negative, line = True, line.removeprefix(_NEGATIVE).strip()
        if line or parts[is_negative]:
            parts[is_negative].append(line)
    return as_text("\n".join(parts[0])), as_text("\n".join(parts[1]))


def _pairs_of(line: str) -> list[tuple[str, str]]:
    line, pairs, at, left = line[:MAX_TEXT], list[tuple[str, str]](), 0, MAX_OBJECTS
    while found := _PAIR.search(line, at):
        value, at = found[2], found.end()
        if left and value[:1] in {"{", "["}:
            left, end = left - 1, _end_of_object(line, found.start(2))
            value, at = (line[found.start(2) : end], end) if end else (value, at)
        pairs.append((found[1].strip(), _unquoted(value.strip())))
    return pairs


def _end_of_object(line: str, start: int) -> int | None:
    """Return where the JSON ends that begins there; it is what some tools write without quoting it."""
    try:
        _, end = _JSON.raw_decode(line, start)
    except (ValueError, RecursionError):
        return None
    return end if line[end : end + 1] in {"", ","} else None


def _unquoted(value: str) -> str:
    if len(value) < 2 or value[0] != '"' or value[-1] != '"':
        return value
    try:
        read = json.loads(value)
    except ValueError:
        return value
    return read if isinstance(read, str) else value


def _of_pairs(pairs: list[tuple[str, str]]) -> Record:
    told = dict(pairs)
    tool, versions = _tool(told)
    steps, scale = as_whole(told.get("Steps")), as_number(told.get("CFG scale"))
    seed, (width, height) = as_whole(told.get("Seed")), _size(told.get("Size", ""))
    model = as_text(told.get("Model"))
    is_demo = tool == OURS and model == DEMO_MODEL
    known = {"Steps": steps, "CFG scale": scale, "Seed": seed, "Size": width}
    used = {name for name, value in known.items() if value is not None} | {"Model", "Version"}
    others = tuple(
        (name, value)
        for name, value in pairs
        if name not in used and not _is_ours(tool, name, value)
    )
    return Record(
        width=width,
        height=height,
        guidance_scale=scale,
        num_inference_steps=steps,
        seed=None if seed == -1 else seed,
        model="" if is_demo else model,
        is_demo=is_demo,
        tool=tool,
        versions=versions,
        others=others[:MAX_OTHERS],
    )


def _is_ours(tool: str, name: str, value: str) -> bool:
    return tool == OURS and (name, value) == ("Sampler", _SAMPLER)


def _size(text: str) -> tuple[int | None, int | None]:
    found = _SIZE.fullmatch(text)
    return (int(found[1]), int(found[2])) if found else (None, None)


def _tool(told: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Return the tool's name, and its version by its name: the first programs wrote a bare number, later ones a name.

    Without one it is AUTOMATIC1111's format, whoever wrote it.
    """
    if not told:
        return "", {}
    version = told.get("Version", "")[:200]
    if "App" in told:  # SD.Next's way
        return told["App"], {told["App"]: version} if version else {}
    bare = _BARE_VERSION.fullmatch(version)
    if bare or not version:
        tool = "Forge" if bare and bare["fork"] else "AUTOMATIC1111"
        return tool, {tool: version} if version else {}
    named = _NAMED_VERSION.fullmatch(version)
    tool = as_text(named["name"] if named else version)
    return tool, {tool: named["version"]} if named and named["version"] else {}
