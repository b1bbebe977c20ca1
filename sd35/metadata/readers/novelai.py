"""NovelAI: JSON in a comment, and the model beside it. WebP has both in one JSON object."""

import re
from typing import Any, Final

from sd35.metadata.model import GenerationMetadata
from sd35.metadata.parsing import format_value, parse_list, parse_text
from sd35.metadata.readers.json_fields import (
    FieldMapping,
    find_json_object,
    metadata_from_fields,
)
from sd35.metadata.tool_texts import ToolTexts

__all__ = ["read_novelai"]

_FIELD_MAPPING: Final = FieldMapping(
    negative_prompt="uc",
    guidance_scale="scale",
    ignored_keys=frozenset(
        {"signed_hash", "request_type", "n_samples", "uncond_scale", "v4_prompt", "version"}
        | {"v4_negative_prompt", "legacy_v3_extend", "params_version", "lora_unet_weights"}
    ),
)
_MARKERS: Final = ({"uc", "scale", "sampler"}, {"v4_prompt"}, {"noise_schedule", "uc"})
_MAX_CHARACTERS: Final = 20
# The name ends with the hash of the weights.
_MODEL: Final = re.compile(r"(.{1,100}?)(?: [0-9A-F]{8})?", re.DOTALL)


def read_novelai(texts: ToolTexts) -> GenerationMetadata | None:
    """Return the metadata that NovelAI wrote."""
    outer = find_json_object(texts, ["UserComment", "Comment"])
    inner = texts.json_object(parse_text(outer.get("Comment")))
    values = inner or outer
    if not any(markers <= values.keys() for markers in _MARKERS):
        return None
    # The first version wrote the prompt beside the comment only.
    description = parse_text(outer.get("Description")) or texts.get("Description", "")
    source = parse_text(outer.get("Source")) or texts.get("Source", "")
    model = _MODEL.fullmatch(source[:200].strip())
    prompt, characters = _caption(values.get("v4_prompt"))
    negative_prompt, negative_characters = _caption(values.get("v4_negative_prompt"))
    fields = {
        **values,
        "prompt": prompt or values.get("prompt") or description,
        "uc": negative_prompt or values.get("uc"),
        "model": model[1] if model else "",
    }
    pairs = [
        *(("Character prompt", text) for text in characters),
        *(("Character negative prompt", text) for text in negative_characters),
    ]
    return metadata_from_fields("NovelAI", "", fields, _FIELD_MAPPING, pairs)


def _caption(value: object) -> tuple[str, list[str]]:
    """Return the prompt of version 4, and those of the characters in the image."""
    caption: Any = value.get("caption") if isinstance(value, dict) else None
    if not isinstance(caption, dict):
        return "", []
    entries = parse_list(caption.get("char_captions"), _MAX_CHARACTERS)
    characters = (
        format_value(entry.get("char_caption")) for entry in entries if isinstance(entry, dict)
    )
    return parse_text(caption.get("base_caption")), list(filter(None, characters))
