"""InvokeAI: JSON under `invokeai_metadata`, or under `sd-metadata` by version 2."""

import re
from collections.abc import Mapping
from typing import Any

from sd35.metadata.model import GenerationMetadata
from sd35.metadata.parsing import format_value, parse_list, parse_text
from sd35.metadata.readers.json_fields import (
    MAX_LORAS,
    FieldMapping,
    find_json_object,
    format_lora,
    metadata_from_fields,
)
from sd35.metadata.tool_texts import ToolTexts

__all__ = ["read_invokeai"]

_FIELD_MAPPING = FieldMapping(
    prompt="positive_prompt",
    ignored_keys=frozenset(
        {"app_version", "loras", "model_hash", "app_id", "variations", "model_weights"}
    ),
)
_NEGATIVE_PATTERN = re.compile(r"\[([^\[\]]{0,20000})\]")


def read_invokeai(texts: ToolTexts) -> GenerationMetadata | None:
    """Return the metadata that InvokeAI wrote."""
    values = find_json_object(texts, ["invokeai_metadata"]) or _convert_version_2(
        find_json_object(texts, ["sd-metadata"])
    )
    if not values:
        return None
    loras = [
        format_lora(_name_or_value(entry.get("model", entry.get("lora"))), entry.get("weight"))
        for entry in parse_list(values.get("loras"), MAX_LORAS)
        if isinstance(entry, dict)
    ]
    fields = {key: _name_or_value(value) for key, value in values.items()}
    version = format_value(values.get("app_version"))
    return metadata_from_fields("InvokeAI", version, fields, _FIELD_MAPPING, loras)


def _name_or_value(value: object) -> object:
    """Return the name of an object that describes a model, or any other value itself."""
    if not isinstance(value, dict):
        return value
    return parse_text(value.get("name")) or parse_text(value.get("model_name")) or None


def _convert_version_2(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return version 2's metadata in the form of version 3; empty if it is anything else."""
    image = values.get("image")
    if not isinstance(image, dict):
        return {}
    prompts = image.get("prompt")
    entry = prompts[0] if isinstance(prompts, list) and prompts else prompts
    prompt = parse_text(entry.get("prompt") if isinstance(entry, dict) else entry)
    # Version 2 had no separate negative prompt: it stood in square brackets in the prompt.
    negatives = [negative.strip() for negative in _NEGATIVE_PATTERN.findall(prompt)]
    return {
        **{key: value for key, value in values.items() if key not in {"image", "model"}},
        **{key: value for key, value in image.items() if key != "prompt"},
        "model": values.get("model_weights"),
        "positive_prompt": _NEGATIVE_PATTERN.sub("", prompt).strip(),
        "negative_prompt": ", ".join(negatives),
    }
