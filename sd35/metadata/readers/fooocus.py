"""Fooocus: a flat JSON object under AUTOMATIC1111's key or in a comment.

Fooocus can write an infotext instead, which `automatic1111` reads.
"""

import re
from collections.abc import Mapping
from itertools import islice
from typing import Any

from sd35.metadata.model import GenerationMetadata
from sd35.metadata.parsing import format_value, parse_list, parse_size
from sd35.metadata.readers.json_fields import (
    MAX_LORAS,
    FieldMapping,
    find_json_object,
    format_lora,
    metadata_from_fields,
)
from sd35.metadata.tool_texts import ToolTexts

__all__ = ["read_fooocus"]

_FIELD_MAPPING = FieldMapping(
    guidance_scale="guidance_scale",
    model="base_model",
    ignored_keys=frozenset(
        {"version", "resolution", "loras", "metadata_scheme", "base_model_hash"}
        | {"software", "user", "full_prompt", "full_negative_prompt", "prompt_expansion"}
    ),
)
_NUMBERED_LORA = re.compile(r"lora_(?:combined_)?\d+|[lw]\d|.*_hash")


def read_fooocus(texts: ToolTexts) -> GenerationMetadata | None:
    """Return the metadata that Fooocus wrote."""
    json_object = find_json_object(texts)
    texts.budget.spend(2 * len(json_object))
    # Older versions wrote titles such as `Base Model` as keys.
    values = {key.lower().replace(" ", "_"): value for key, value in json_object.items()}
    schemes = (texts.get("fooocus_scheme"), texts.get("MakerNote"), values.get("metadata_scheme"))
    has_typical_keys = {"base_model", "performance", "sharpness"} <= values.keys()
    if not values or not ("fooocus" in schemes or has_typical_keys):
        return None
    fields = {key: value for key, value in values.items() if not _NUMBERED_LORA.fullmatch(key)}
    width, height = parse_size(format_value(values.get("resolution")))
    if width is not None:
        fields |= {"width": width, "height": height}
    if "guidance_scale" not in fields:  # Fooocus MRE
        fields["guidance_scale"] = fields.pop("cfg", None)
    tool, version = _tool_and_version(values)
    return metadata_from_fields(tool, version, fields, _FIELD_MAPPING, _loras(values))


def _tool_and_version(values: Mapping[str, Any]) -> tuple[str, str]:
    text = format_value(values.get("version", values.get("software")))
    tool = "FooocusPlus" if text.startswith("FooocusPlus") else "Fooocus"
    return tool, text.removeprefix(tool).strip()


def _loras(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return LoRAs from lists of name, weight and hash, or else from numbered `name : weight`."""
    loras = [
        format_lora(entry[0], entry[1] if len(entry) > 1 else None)
        for entry in parse_list(values.get("loras"), MAX_LORAS)
        if isinstance(entry, list) and entry
    ]
    if loras:
        return loras
    numbered_loras = (
        format_value(value).rpartition(" : ")
        for key, value in values.items()
        if _NUMBERED_LORA.fullmatch(key)
    )
    return [
        format_lora(name, weight) for name, _, weight in islice(numbered_loras, MAX_LORAS) if name
    ] or [
        format_lora(values[f"l{number}"], values.get(f"w{number}"))  # Fooocus MRE
        for number in range(1, MAX_LORAS)
        if f"l{number}" in values
    ]
