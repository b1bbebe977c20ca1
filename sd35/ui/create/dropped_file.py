"""Dropped images and stored form values as the browser sends them: all of it untrusted."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import orjson

from sd35.metadata.embedding import metadata_from_texts, read_texts
from sd35.metadata.model import GenerationMetadata
from sd35.ui.create.form import FIELD_NAMES, FormValues

__all__ = ["dump_form", "load_form", "parse_dropped_file"]

# page.js sends no more than 700,000 bytes: anything larger was sent by something else.
MAX_BASE64_CHARACTERS: Final = 1_000_000
MAX_NAME_LENGTH: Final = 120


def parse_dropped_file(payload: Mapping[str, Any]) -> tuple[str, GenerationMetadata | None]:
    """Return the name and the metadata of a dropped image; `None` if it has no metadata.

    `payload` has `name` and, in Base64, `data`: the file without its image data.
    """
    name = payload.get("name")
    data = payload.get("data")
    display_name = name[:MAX_NAME_LENGTH] if isinstance(name, str) else "this file"
    if not isinstance(data, str) or len(data) > MAX_BASE64_CHARACTERS:
        return display_name, None
    try:
        file_bytes = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return display_name, None
    texts = read_texts(file_bytes)
    metadata = metadata_from_texts(texts)
    # Many tools don't record the size, but the file has one.
    if metadata is None or texts.size is None:
        return display_name, metadata
    if metadata.width is None or metadata.height is None:
        metadata = replace(metadata, width=texts.size[0], height=texts.size[1])
    return display_name, metadata


def dump_form(values: FormValues) -> str:
    """Return the form's values as a text that the browser stores for Undo."""
    return orjson.dumps(values.as_list(), default=str).decode()


def load_form(text: object) -> FormValues | None:
    """Return the values from a text of `dump_form`; `None` if it is something else."""
    items = _load_list(text)
    # The values go back as outputs, in which Gradio takes some objects for files or updates.
    is_form = len(items) == len(FIELD_NAMES) and not any(
        isinstance(item, dict | list) for item in items
    )
    return FormValues(*items) if is_form else None


def _load_list(text: object) -> list[Any]:
    try:
        items = orjson.loads(text) if isinstance(text, str) else None
    except orjson.JSONDecodeError:
        return []
    return items if isinstance(items, list) else []
