"""Helpers for tools that write a flat JSON object, with one key per setting."""

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from itertools import chain, islice
from typing import Any

from sd35.metadata.dates import parse_date
from sd35.metadata.model import GenerationMetadata
from sd35.metadata.parsing import (
    MAX_EXTRA,
    format_setting,
    model_name,
    parse_generation_seed,
    parse_int,
    parse_number,
    parse_text,
)
from sd35.metadata.tool_texts import ToolTexts

__all__ = ["MAX_LORAS", "FieldMapping", "find_json_object", "format_lora", "metadata_from_fields"]

MAX_LORAS = 50  # of one tool in a file

_UNSET_VALUES = frozenset({"", "None", "(None)", "False", "null"})

_COMMENT_KEYS = ("parameters", "UserComment", "Comment", "ImageDescription")


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldMapping:
    """Keys of a tool for our fields; `ignored_keys` hold nothing that is worth showing."""

    prompt: str = "prompt"
    negative_prompt: str = "negative_prompt"
    guidance_scale: str = "cfg_scale"
    steps: str = "steps"
    seed: str = "seed"
    model: str = "model"
    width: str = "width"
    height: str = "height"
    ignored_keys: frozenset[str] = frozenset()


def find_json_object(texts: ToolTexts, keys: Iterable[str] = _COMMENT_KEYS) -> dict[str, Any]:
    """Return the first non-empty JSON object under these keys; empty if there is none."""
    objects = (texts.json_object(texts.get(key, "")) for key in keys)
    return next(filter(None, objects), {})


def format_lora(name: object, weight: object) -> tuple[str, str]:
    """Return a LoRA as a pair for `GenerationMetadata.extra`."""
    factor = parse_number(weight)
    return "LoRA", model_name(name) if factor is None else f"{model_name(name)}:{factor:g}"


def metadata_from_fields(
    tool: str,
    version: str,
    values: Mapping[str, Any],
    mapping: FieldMapping,
    loras: Iterable[tuple[str, str]] = (),
    date: object = None,
) -> GenerationMetadata:
    """Return metadata from a JSON object; unmapped keys go to `extra` under readable names."""
    seed, seed_text = parse_generation_seed(values.get(mapping.seed))
    mapped_keys = {*astuple(mapping)[:-1], *mapping.ignored_keys}
    other_values = (
        (_humanize(key), format_setting(value))
        for key, value in values.items()
        if key not in mapped_keys and value is not None and value is not False
    )
    pairs = chain(seed_text, loras, other_values)
    extra = (pair for pair in pairs if pair[1] not in _UNSET_VALUES)
    return GenerationMetadata(
        prompt=parse_text(values.get(mapping.prompt)),
        negative_prompt=parse_text(values.get(mapping.negative_prompt)),
        width=parse_int(values.get(mapping.width)),
        height=parse_int(values.get(mapping.height)),
        guidance_scale=parse_number(values.get(mapping.guidance_scale)),
        num_inference_steps=parse_int(values.get(mapping.steps)),
        seed=seed,
        made_at=parse_date(date),
        model=model_name(values.get(mapping.model)),
        tool=tool,
        versions={tool: version} if version else {},
        extra=tuple(islice(extra, MAX_EXTRA)),
    )


def _humanize(key: str) -> str:
    text = parse_text(key)[:100].replace("_", " ").strip()
    return text[:1].upper() + text[1:]
