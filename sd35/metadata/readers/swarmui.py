"""SwarmUI: JSON with `sui_image_params`, where others write an infotext. Pure."""

from collections.abc import Mapping
from typing import Any

from sd35.metadata.model import Record
from sd35.metadata.parsing import as_label, read_object
from sd35.metadata.readers.json_fields import Keys, lora, of_object

__all__ = ["read_swarmui"]

TOOL = "SwarmUI"

_KEYS = Keys(
    negative_prompt="negativeprompt",
    guidance_scale="cfgscale",
    ignored=frozenset(
        {"swarm_version", "loras", "loraweights", "original_prompt", "original_negativeprompt"}
    ),
)


def read_swarmui(texts: Mapping[str, str]) -> Record | None:
    """Return what SwarmUI says of a picture; `None` where it doesn't. Of a file without PNG's texts, it is in EXIF."""
    for text in texts.values():
        told = (
            read_object(text).get("sui_image_params") if "sui_image_params" in text[:1000] else None
        )
        if isinstance(told, dict):
            return of_object(TOOL, as_label(told.get("swarm_version")), told, _KEYS, _loras(told))
    return None


def _loras(told: Mapping[str, Any]) -> list[tuple[str, str]]:
    names, weights = told.get("loras"), told.get("loraweights")
    if not isinstance(names, list):
        return []
    weights = weights if isinstance(weights, list) else []
    return [
        lora(name, weights[at] if at < len(weights) else None) for at, name in enumerate(names[:50])
    ]
