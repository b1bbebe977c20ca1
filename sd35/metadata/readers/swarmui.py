"""SwarmUI: a JSON object with `sui_image_params`, under AUTOMATIC1111's key or in EXIF."""

from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

from sd35.metadata.model import GenerationMetadata
from sd35.metadata.parsing import format_value, parse_list
from sd35.metadata.readers.json_fields import (
    MAX_LORAS,
    FieldMapping,
    format_lora,
    metadata_from_fields,
)
from sd35.metadata.tool_texts import ToolTexts

__all__ = ["read_swarmui"]

_FIELD_MAPPING = FieldMapping(
    negative_prompt="negativeprompt",
    guidance_scale="cfgscale",
    ignored_keys=frozenset(
        {"swarm_version", "loras", "loraweights", "original_prompt", "original_negativeprompt"}
        | {"date"}
    ),
)


def read_swarmui(texts: ToolTexts) -> GenerationMetadata | None:
    """Return the metadata that SwarmUI wrote."""
    for text in texts.values():
        if "sui_image_params" not in text:  # parsing every text would be slow
            continue
        values = texts.json_object(text)
        params = values.get("sui_image_params")
        if isinstance(params, dict):
            version = format_value(params.get("swarm_version"))
            # Versions before 0.9.2 wrote the date among the settings.
            extra_data = values.get("sui_extra_data")
            date = extra_data.get("date") if isinstance(extra_data, dict) else params.get("date")
            return metadata_from_fields(
                "SwarmUI", version, params, _FIELD_MAPPING, _loras(params), date
            )
    return None


def _loras(params: Mapping[str, Any]) -> list[tuple[str, str]]:
    names = parse_list(params.get("loras"), MAX_LORAS)
    weights = parse_list(params.get("loraweights"), len(names))
    return [format_lora(name, weight) for name, weight in zip_longest(names, weights)]
