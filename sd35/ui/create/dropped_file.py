"""What a browser tells of a picture that was dropped on the page, and of the form before; all of it hostile. Pure."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import astuple, replace
from typing import Any, Final

import orjson

from sd35.metadata.embedding import metadata_from_texts, read_texts
from sd35.metadata.model import GenerationMetadata
from sd35.ui.create.form import FIELD_NAMES, FormValues

__all__ = ["dump_form", "load_draft", "load_form", "parse_dropped_file"]

MAX_BASE64_CHARACTERS: Final = 1_000_000
MAX_NAME_LENGTH: Final = 120


def parse_dropped_file(payload: Mapping[str, Any]) -> tuple[str, GenerationMetadata | None]:  # noqa: D417
    """Return a dropped picture's name and record, of its file without the image data; `None` where there is none.

    Args:
        told: `name`, and `data`: the file in Base64.

    """
    name, data = payload.get("name"), payload.get("data")
    display_name = name[:MAX_NAME_LENGTH] if isinstance(name, str) else "this file"
    if not isinstance(data, str) or len(data) > MAX_BASE64_CHARACTERS:
        return display_name, None
    try:
        file_bytes = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return display_name, None
    embedded_texts = read_texts(file_bytes)
    metadata, size = metadata_from_texts(embedded_texts), embedded_texts.size
    if (
        metadata is not None
        and size is not None
        and (metadata.width is None or metadata.height is None)
    ):
        metadata = replace(metadata, width=size[0], height=size[1])
    return display_name, metadata


def dump_form(values: FormValues) -> str:
    """Return what the form holds as text, for the browser to keep."""
    return orjson.dumps(astuple(values), default=str).decode()


def load_form(text: object) -> FormValues | None:
    """Return what the form held; `None` if this isn't it."""
    items = _load_list(text)
    return FormValues(*items) if len(items) == len(FIELD_NAMES) else None


def load_draft(text: object) -> tuple[str, str] | None:
    """Return the prompt and the negative prompt that were typed before a reload; `None` if this isn't them."""
    items = _load_list(text)
    if len(items) != 2 or not all(isinstance(item, str) for item in items):
        return None
    return items[0], items[1]


def _load_list(text: object) -> list[Any]:
    try:
        items = orjson.loads(text) if isinstance(text, str) else None
    except orjson.JSONDecodeError:
        return []
    return items if isinstance(items, list) else []
