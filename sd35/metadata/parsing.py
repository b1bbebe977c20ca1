"""Values of a record, out of what other programs wrote: text, numbers, JSON; each is checked, none is trusted. Pure."""

import json
import re
from typing import Any

from sd35.metadata.model import MAX_NUMBER, MAX_TEXT_LENGTH

__all__ = [
    "extract_loras",
    "format_value",
    "model_name",
    "parse_int",
    "parse_json_object",
    "parse_number",
    "parse_text",
]


_TAG_TITLES = {"lora": "LoRA", "lyco": "LyCORIS", "hypernet": "Hypernetwork"}
_TAG_PATTERN = re.compile(r"(?:, ?| )?<(lora|lyco|hypernet):([^<>]{1,200})>", re.IGNORECASE)


def extract_loras(prompt: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return the prompt without them, for they mean nothing here, and what they ask for as names and values."""
    loras = tuple((_TAG_TITLES[tag[1].lower()], tag[2]) for tag in _TAG_PATTERN.finditer(prompt))
    return (
        (_TAG_PATTERN.sub("", prompt).strip().removeprefix(",").strip(), loras)
        if loras
        else (prompt, ())
    )


MAX_VALUE_LENGTH = 2000
"""Characters of a value that is only shown."""

_NUMBER_PATTERN = re.compile(
    r"[-+]?\d{1,16}(\.\d{1,20})?(e[-+]?\d{1,3})?", re.ASCII | re.IGNORECASE
)
_WEIGHTS_SUFFIX = re.compile(r"\.(safetensors|ckpt|sft|gguf|pt|pth|bin)", re.IGNORECASE)


def parse_json_object(text: str) -> dict[str, Any]:
    """Return the JSON object that the text is; an empty one where it is none."""
    if text[:1] not in {"{", " ", "\n", "\t", "\r"}:
        return {}
    try:
        payload = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return payload if isinstance(payload, dict) else {}


def parse_text(value: object) -> str:
    """Return a text that fits into a record; empty where it is none."""
    return value[:MAX_TEXT_LENGTH] if isinstance(value, str) else ""


def parse_number(value: object) -> float | None:
    """Return a number that fits into a record, also one that is written as text."""
    if isinstance(value, str):
        stripped = value.strip()
        value = float(stripped) if _NUMBER_PATTERN.fullmatch(stripped) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) < MAX_NUMBER else None


def parse_int(value: object) -> int | None:
    """Return a whole number that fits into a record, also one that is written as text."""
    number = parse_number(value)
    return int(number) if number is not None and number == int(number) else None


def format_value(value: object) -> str:
    """Return a value as it is shown: text, a number, or several of them; empty where it is anything else."""
    if isinstance(value, list):
        labels = (format_value(item) for item in value[:50] if not isinstance(item, list))
        return ", ".join(label for label in labels if label)[:MAX_VALUE_LENGTH]
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if value.bit_length() < 100 else ""
    return str(value)[:MAX_VALUE_LENGTH] if isinstance(value, str | float) else ""


def model_name(value: object) -> str:
    """Return a model's name: of a file's path, the name without folders and its usual ending."""
    name = format_value(value).replace("\\", "/").rpartition("/")[2]
    stem, dot, suffix = name.rpartition(".")
    return stem if stem and _WEIGHTS_SUFFIX.fullmatch(dot + suffix) else name
