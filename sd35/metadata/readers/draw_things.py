"""Draw Things: JSON with short names in a comment, which its PNG files have in XMP."""

from collections.abc import Mapping
from typing import Any, Final

from sd35.metadata.model import GenerationMetadata
from sd35.metadata.readers.json_settings import metadata_from_settings
from sd35.metadata.tool_texts import ToolTexts

__all__ = ["read_draw_things"]

_NAMES: Final = {"c": "prompt", "uc": "negative_prompt", "scale": "guidance_scale"}
_IGNORED_KEYS: Final = frozenset({"profile", "v2"})


def read_draw_things(texts: ToolTexts) -> GenerationMetadata | None:
    """Return the metadata that Draw Things wrote."""
    values = texts.json_object(texts.get("UserComment", ""))
    if not {"c", "model", "sampler"} <= values.keys():
        return None
    names: Mapping[str, Any] = {
        _NAMES.get(key, key): value for key, value in values.items() if key not in _IGNORED_KEYS
    }
    return metadata_from_settings(names, "Draw Things")
