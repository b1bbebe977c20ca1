"""Checked values from image files.

Anyone may have written a file, so these functions return an empty value for what they can't use,
limit what they return, and never raise.
"""

import json
import re
from collections.abc import Iterable
from typing import Any

from sd35.core.seed import RANDOM_SEED, parse_seed, parse_whole_number

__all__ = [
    "MAX_EXTRA",
    "MAX_TEXT_LENGTH",
    "MAX_VALUE_LENGTH",
    "decode_text",
    "format_setting",
    "format_value",
    "join_texts",
    "model_name",
    "parse_generation_seed",
    "parse_int",
    "parse_json_object",
    "parse_list",
    "parse_number",
    "parse_size",
    "parse_text",
]

MAX_TEXT_LENGTH = 100_000
MAX_EXTRA = 200  # name and value pairs in `GenerationMetadata.extra`

_MAX_NUMBER = 1e15  # below 2^53: a float holds every integer exactly, and so does JavaScript
MAX_VALUE_LENGTH = 2000
_MAX_LIST_ITEMS = 50
_MAX_JSON_STRINGS = 3  # one in another

_NUMBER_PATTERN = re.compile(
    r"[-+]?\d{1,16}(\.\d{1,20})?(e[-+]?\d{1,3})?", re.ASCII | re.IGNORECASE
)
_SIZE_PATTERN = re.compile(r"\(?\s*(\d{1,6})\s*[,xX×*]\s*(\d{1,6})\s*\)?", re.ASCII)
# The name of a weights file without its suffix, and with the hash that AUTOMATIC1111 appends.
_WEIGHTS_FILE = re.compile(
    r"(.*[^/])\.(?:safetensors?|ckpt|sft|gguf|dduf|pth?|bin|onnx)(?: \[[0-9a-f]{6,64}\])?",
    re.IGNORECASE,
)


def decode_text(encoded: bytes) -> str:
    """Return bytes as UTF-8 if they are valid, and else as Latin-1.

    The standards of PNG and EXIF demand Latin-1 or ASCII in most places; many tools write UTF-8.
    """
    try:
        return encoded.decode("utf-8")
    except UnicodeDecodeError:
        return encoded.decode("latin-1")


def parse_json_object(text: str) -> dict[str, Any]:
    """Return the JSON object in a text; empty if the text is anything else.

    Some tools write the object as a string of JSON, which holds the JSON of the object.
    """
    for _ in range(_MAX_JSON_STRINGS):
        # Prompts come through here, too: most of them end before the JSON parser is asked.
        if text[:1] not in {"{", '"', " ", "\n", "\t", "\r"}:
            return {}
        try:
            payload = json.loads(text, strict=False)  # some tools don't escape line breaks
        except (ValueError, RecursionError):  # deep nesting overflows the stack of the C parser
            return {}
        if not isinstance(payload, str):
            return payload if isinstance(payload, dict) else {}
        text = payload
    return {}


def parse_text(value: object) -> str:
    """Return a text as UTF-8 can encode it, cut to `MAX_TEXT_LENGTH`; empty for other types."""
    if not isinstance(value, str):
        return ""
    # JSON may hold half a surrogate pair, which would keep a page of the library from being sent.
    return value[:MAX_TEXT_LENGTH].encode("utf-8", "replace").decode("utf-8")


def parse_list(value: object, limit: int) -> list[Any]:
    """Return the first items of a list; an empty one for other types."""
    return value[:limit] if isinstance(value, list) else []


def parse_number(value: object) -> float | None:
    """Return a finite number, given as a number or as text."""
    if isinstance(value, str):
        stripped = value.strip()
        value = float(stripped) if _NUMBER_PATTERN.fullmatch(stripped) else None
    # `True` is an int in Python.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # NaN compares false with everything, so that this leaves it out, too.
    return value if abs(value) < _MAX_NUMBER else None


def parse_int(value: object) -> int | None:
    """Return an integer, given as a number or as text; 40.0 counts as one."""
    number = parse_number(value)
    return int(number) if number is not None and number == int(number) else None


def parse_generation_seed(value: object) -> tuple[int | None, tuple[tuple[str, str], ...]]:
    """Return the seed of an image, or else what stands in its place as a pair to display."""
    seed = parse_seed(value)
    # The random seed that was drawn isn't in the file.
    if seed is not None or parse_whole_number(value) == RANDOM_SEED:
        return seed, ()
    text = format_value(value).strip()
    return None, (("Seed", text),) if text else ()


def parse_size(text: str) -> tuple[int | None, int | None]:
    """Return width and height in pixels from a text such as `1024x768` or `(1024, 768)`."""
    match = _SIZE_PATTERN.fullmatch(text)
    return (int(match[1]), int(match[2])) if match else (None, None)


def format_value(value: object) -> str:
    """Return a text, number, or flat list of them as text to display; empty for other types."""
    if isinstance(value, list):
        items = (item for item in value[:_MAX_LIST_ITEMS] if not isinstance(item, list))
        return join_texts(filter(None, map(format_value, items)), ", ", MAX_VALUE_LENGTH)
    if isinstance(value, bool):
        return "true" if value else "false"
    # Python prints no integer of more than 4,300 digits, but neither does it read one from JSON.
    return parse_text(str(value)[:MAX_VALUE_LENGTH]) if isinstance(value, str | int | float) else ""


def join_texts(parts: Iterable[str], separator: str, limit: int) -> str:
    """Return the parts joined and cut to this length; nothing longer is built on the way."""
    pieces: list[str] = []
    remaining = limit
    for part in parts:
        for piece in (separator, part) if pieces else (part,):
            pieces.append(piece[:remaining])
            remaining -= len(pieces[-1])
        if not remaining:
            break
    return "".join(pieces)


def model_name(value: object) -> str:
    """Return a model's name: for the path of a weights file, the name without folder and suffix."""
    name = format_value(value).strip().replace("\\", "/").rstrip("/").rpartition("/")[2]
    match = _WEIGHTS_FILE.fullmatch(name)
    return match[1] if match else name


def format_setting(value: object) -> str:
    """Return a setting as text to display; the path of a weights file as the model's name."""
    if isinstance(value, list):
        names = (format_setting(item) for item in value[:_MAX_LIST_ITEMS] if type(item) is not list)
        return join_texts(filter(None, names), ", ", MAX_VALUE_LENGTH)
    text = format_value(value)
    return model_name(text) if _WEIGHTS_FILE.fullmatch(text.strip()) else text
