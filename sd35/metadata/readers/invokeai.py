"""InvokeAI: JSON under `invokeai_metadata`, and formerly under `sd-metadata`. Pure."""

import re
from collections.abc import Mapping
from typing import Any

from sd35.metadata.model import Record
from sd35.metadata.parsing import as_label, as_text
from sd35.metadata.readers.json_fields import Keys, find_object, lora, of_object

__all__ = ["read_invokeai"]

TOOL = "InvokeAI"

_KEYS = Keys(
    prompt="positive_prompt",
    ignored=frozenset(
        {"app_version", "loras", "model_hash", "app_id", "variations", "model_weights"}
    ),
)
_NEGATIVE = re.compile(r"\[([^\[\]]{0,20000})\]")


def read_invokeai(texts: Mapping[str, str]) -> Record | None:
    """Return what InvokeAI says of a picture; `None` where it doesn't."""
    told = find_object(texts, ["invokeai_metadata"]) or _of_former(
        find_object(texts, ["sd-metadata"])
    )
    if not told:
        return None
    loras = told.get("loras")
    listed = (
        [_lora(each) for each in loras[:50] if isinstance(each, dict)]
        if isinstance(loras, list)
        else []
    )
    plain = {name: _name(value) for name, value in told.items()}
    return of_object(TOOL, as_label(told.get("app_version")), plain, _KEYS, listed)


def _name(value: object) -> object:
    """Return a value as it is, or the name of what it describes: models are told as `name`, formerly `model_name`."""
    if not isinstance(value, dict):
        return value
    return as_text(value.get("name")) or as_text(value.get("model_name")) or None


def _lora(told: Mapping[str, Any]) -> tuple[str, str]:
    return lora(_name(told.get("model", told.get("lora"))), told.get("weight"))


def _of_former(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return what version 2 told, as version 3 tells it: negative prompts were in square brackets in the prompt."""
    image = told.get("image")
    if not isinstance(image, dict):
        return {}
    prompt = _former_prompt(image.get("prompt"))
    return {
        **{name: value for name, value in told.items() if name not in {"image", "model"}},
        **{name: value for name, value in image.items() if name != "prompt"},
        "model": told.get("model_weights"),
        "positive_prompt": _NEGATIVE.sub("", prompt).strip(),
        "negative_prompt": ", ".join(found.strip() for found in _NEGATIVE.findall(prompt)),
    }


def _former_prompt(value: object) -> str:
    first = value[0] if isinstance(value, list) and value else value
    return as_text(first.get("prompt") if isinstance(first, dict) else first)
