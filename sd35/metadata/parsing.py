"""Values of a record, out of what other programs wrote: text, numbers, JSON; each is checked, none is trusted. Pure."""

import json
import re
from typing import Any

from sd35.metadata.model import MAX_NUMBER, MAX_TEXT

__all__ = ["as_label", "as_name", "as_number", "as_text", "as_whole", "read_object", "take_loras"]


_NAMES = {"lora": "LoRA", "lyco": "LyCORIS", "hypernet": "Hypernetwork"}
_TAG = re.compile(r"(?:, ?| )?<(lora|lyco|hypernet):([^<>]{1,200})>", re.IGNORECASE)


def take_loras(prompt: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return the prompt without them, for they mean nothing here, and what they ask for as names and values."""
    found = tuple((_NAMES[tag[1].lower()], tag[2]) for tag in _TAG.finditer(prompt))
    return (
        (_TAG.sub("", prompt).strip().removeprefix(",").strip(), found) if found else (prompt, ())
    )


MAX_LABEL = 2000
"""Characters of a value that is only shown."""

_NUMBER = re.compile(r"[-+]?\d{1,16}(\.\d{1,20})?(e[-+]?\d{1,3})?", re.ASCII | re.IGNORECASE)
_WEIGHTS = re.compile(r"\.(safetensors|ckpt|sft|gguf|pt|pth|bin)", re.IGNORECASE)


def read_object(text: str) -> dict[str, Any]:
    """Return the JSON object that the text is; an empty one where it is none."""
    if text[:1] not in {"{", " ", "\n", "\t", "\r"}:
        return {}
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def as_text(value: object) -> str:
    """Return a text that fits into a record; empty where it is none."""
    return value[:MAX_TEXT] if isinstance(value, str) else ""


def as_number(value: object) -> float | None:
    """Return a number that fits into a record, also one that is written as text."""
    if isinstance(value, str):
        written = value.strip()
        value = float(written) if _NUMBER.fullmatch(written) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) < MAX_NUMBER else None


def as_whole(value: object) -> int | None:
    """Return a whole number that fits into a record, also one that is written as text."""
    number = as_number(value)
    return int(number) if number is not None and number == int(number) else None


def as_label(value: object) -> str:
    """Return a value as it is shown: text, a number, or several of them; empty where it is anything else."""
    if isinstance(value, list):
        labels = (as_label(each) for each in value[:50] if not isinstance(each, list))
        return ", ".join(label for label in labels if label)[:MAX_LABEL]
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if value.bit_length() < 100 else ""
    return str(value)[:MAX_LABEL] if isinstance(value, str | float) else ""


def as_name(value: object) -> str:
    """Return a model's name: of a file's path, the name without folders and its usual ending."""
    name = as_label(value).replace("\\", "/").rpartition("/")[2]
    stem, dot, ending = name.rpartition(".")
    return stem if stem and _WEIGHTS.fullmatch(dot + ending) else name
