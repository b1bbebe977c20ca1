"""Fooocus: JSON where others write an infotext; it can write that too, which is read as such. Pure."""

import re
from collections.abc import Mapping
from typing import Any

from sd35.metadata.model import GenerationMetadata
from sd35.metadata.parsing import format_value
from sd35.metadata.readers.json_fields import (
    FieldMapping,
    find_json_object,
    format_lora,
    metadata_from_fields,
)

__all__ = ["read_fooocus"]

TOOL = "Fooocus"

_FIELD_MAPPING = FieldMapping(
    guidance_scale="guidance_scale",
    model="base_model",
    ignored_keys=frozenset(
        {"version", "resolution", "loras", "metadata_scheme"}
        | {"full_prompt", "full_negative_prompt", "prompt_expansion", "base_model_hash"}
    ),
)
_RESOLUTION_PATTERN = re.compile(r"\(?\s*(\d{1,6})\s*[,x×*]\s*(\d{1,6})\s*\)?", re.ASCII)
_COMBINED_KEY_PATTERN = re.compile(r"lora_(?:combined_)?\d+|.*_hash")


def read_fooocus(texts: Mapping[str, str]) -> GenerationMetadata | None:
    """Return what Fooocus says of a picture; `None` where it doesn't."""
    values = {
        name.lower().replace(" ", "_"): value for name, value in find_json_object(texts).items()
    }
    is_fooocus = "fooocus" in (
        texts.get("fooocus_scheme"),
        texts.get("MakerNote"),
        values.get("metadata_scheme"),
    )
    if not values or not (
        is_fooocus or {"base_model", "performance", "sharpness"} <= values.keys()
    ):
        return None
    width, height = _parse_size(format_value(values.get("resolution")))
    plain_values = {
        name: value for name, value in values.items() if not _COMBINED_KEY_PATTERN.fullmatch(name)
    }
    version = format_value(values.get("version")).removeprefix(TOOL).strip()
    return metadata_from_fields(
        TOOL,
        version,
        {**plain_values, "width": width, "height": height},
        _FIELD_MAPPING,
        _loras(values),
    )


def _parse_size(text: str) -> tuple[int | None, int | None]:
    match = _RESOLUTION_PATTERN.fullmatch(text)
    return (int(match[1]), int(match[2])) if match else (None, None)


def _loras(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return them, each written as a name, a weight and a hash; or, formerly, as `name : weight` under its number."""
    raw_loras = values.get("loras")
    lora_entries = (
        [entry for entry in raw_loras[:50] if isinstance(entry, list) and entry]
        if isinstance(raw_loras, list)
        else []
    )
    if lora_entries:
        return [
            format_lora(entry[0], entry[1] if len(entry) > 1 else None) for entry in lora_entries
        ]
    combined_loras = [
        format_value(value).rpartition(" : ")
        for name, value in values.items()
        if _COMBINED_KEY_PATTERN.fullmatch(name)
    ]
    return [format_lora(name, weight) for name, _, weight in combined_loras[:50] if name]
