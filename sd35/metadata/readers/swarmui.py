"""SwarmUI: JSON with `sui_image_params`, where others write an infotext. Pure."""

from collections.abc import Mapping
from typing import Any

from sd35.metadata.model import GenerationMetadata
from sd35.metadata.parsing import format_value, parse_json_object
from sd35.metadata.readers.json_fields import FieldMapping, format_lora, metadata_from_fields

__all__ = ["read_swarmui"]

TOOL = "SwarmUI"

_FIELD_MAPPING = FieldMapping(
    negative_prompt="negativeprompt",
    guidance_scale="cfgscale",
    ignored_keys=frozenset(
        {"swarm_version", "loras", "loraweights", "original_prompt", "original_negativeprompt"}
    ),
)


def read_swarmui(texts: Mapping[str, str]) -> GenerationMetadata | None:
    """Return what SwarmUI says of a picture; `None` where it doesn't. Of a file without PNG's texts, it is in EXIF."""
    for text in texts.values():
        params = (
            parse_json_object(text).get("sui_image_params")
            if "sui_image_params" in text[:1000]
            else None
        )
        if isinstance(params, dict):
            return metadata_from_fields(
                TOOL,
                format_value(params.get("swarm_version")),
                params,
                _FIELD_MAPPING,
                _loras(params),
            )
    return None


def _loras(params: Mapping[str, Any]) -> list[tuple[str, str]]:
    names, weights = params.get("loras"), params.get("loraweights")
    if not isinstance(names, list):
        return []
    weights = weights if isinstance(weights, list) else []
    return [
        format_lora(name, weights[index] if index < len(weights) else None)
        for index, name in enumerate(names[:50])
    ]
