"""InvokeAI: JSON under `invokeai_metadata`, and formerly under `sd-metadata`. Pure."""

import re
from collections.abc import Mapping
from typing import Any

from sd35.metadata.model import GenerationMetadata
from sd35.metadata.parsing import format_value, parse_text
from sd35.metadata.readers.json_fields import (
    FieldMapping,
    find_json_object,
    format_lora,
    metadata_from_fields,
)

__all__ = ["read_invokeai"]

TOOL = "InvokeAI"

_FIELD_MAPPING = FieldMapping(
    prompt="positive_prompt",
    ignored_keys=frozenset(
        {"app_version", "loras", "model_hash", "app_id", "variations", "model_weights"}
    ),
)
_NEGATIVE_PATTERN = re.compile(r"\[([^\[\]]{0,20000})\]")


def read_invokeai(texts: Mapping[str, str]) -> GenerationMetadata | None:
    """Return what InvokeAI says of a picture; `None` where it doesn't."""
    values = find_json_object(texts, ["invokeai_metadata"]) or _from_version_2(
        find_json_object(texts, ["sd-metadata"])
    )
    if not values:
        return None
    loras = values.get("loras")
    lora_entries = (
        [_parse_lora(entry) for entry in loras[:50] if isinstance(entry, dict)]
        if isinstance(loras, list)
        else []
    )
    plain_values = {name: _name_or_value(value) for name, value in values.items()}
    return metadata_from_fields(
        TOOL, format_value(values.get("app_version")), plain_values, _FIELD_MAPPING, lora_entries
    )


def _name_or_value(value: object) -> object:
    """Return a value as it is, or the name of what it describes: models are told as `name`, formerly `model_name`."""
    if not isinstance(value, dict):
        return value
    return parse_text(value.get("name")) or parse_text(value.get("model_name")) or None


def _parse_lora(entry: Mapping[str, Any]) -> tuple[str, str]:
    return format_lora(_name_or_value(entry.get("model", entry.get("lora"))), entry.get("weight"))


def _from_version_2(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what version 2 told, as version 3 tells it: negative prompts were in square brackets in the prompt."""
    image = values.get("image")
    if not isinstance(image, dict):
        return {}
    prompt = _version_2_prompt(image.get("prompt"))
    return {
        **{name: value for name, value in values.items() if name not in {"image", "model"}},
        **{name: value for name, value in image.items() if name != "prompt"},
        "model": values.get("model_weights"),
        "positive_prompt": _NEGATIVE_PATTERN.sub("", prompt).strip(),
        "negative_prompt": ", ".join(
            negative.strip() for negative in _NEGATIVE_PATTERN.findall(prompt)
        ),
    }


def _version_2_prompt(value: object) -> str:
    prompt_entry = value[0] if isinstance(value, list) and value else value
    return parse_text(
        prompt_entry.get("prompt") if isinstance(prompt_entry, dict) else prompt_entry
    )
