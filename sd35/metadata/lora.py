"""`<lora:name:0.8>` in a prompt: an order to AUTOMATIC1111 and its kin to load other weights. Pure."""

import re

__all__ = ["take_loras"]

_NAMES = {"lora": "LoRA", "lyco": "LyCORIS", "hypernet": "Hypernetwork"}
_TAG = re.compile(r"(?:, ?| )?<(lora|lyco|hypernet):([^<>]{1,200})>", re.IGNORECASE)


def take_loras(prompt: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return the prompt without them, for they mean nothing here, and what they ask for as names and values."""
    found = tuple((_NAMES[tag[1].lower()], tag[2]) for tag in _TAG.finditer(prompt))
    return (_TAG.sub("", prompt).strip().removeprefix(",").strip(), found) if found else (prompt, ())
