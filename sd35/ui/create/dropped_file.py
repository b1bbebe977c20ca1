"""What a browser tells of a picture that was dropped on the page, and of the form before; all of it hostile. Pure."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import astuple, replace
from typing import Any, Final

import orjson

from sd35.metadata.embedding import read_texts, record_in
from sd35.metadata.model import Record
from sd35.ui.create.form import FIELDS, FormValues

__all__ = ["pack", "read_dropped", "unpack", "unpack_draft"]

MAX_CHARACTERS: Final = 1_000_000
MAX_NAME: Final = 120


def read_dropped(told: Mapping[str, Any]) -> tuple[str, Record | None]:
    """Return a dropped picture's name and record, of its file without the image data; `None` where there is none.

    Args:
        told: `name`, and `data`: the file in Base64.

    """
    name, data = told.get("name"), told.get("data")
    shown = name[:MAX_NAME] if isinstance(name, str) else "this file"
    if not isinstance(data, str) or len(data) > MAX_CHARACTERS:
        return shown, None
    try:
        file = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return shown, None
    read = read_texts(file)
    record, size = record_in(read), read.size
    if record is not None and size is not None and (record.width is None or record.height is None):
        record = replace(record, width=size[0], height=size[1])
    return shown, record


def pack(values: FormValues) -> str:
    """Return what the form holds as text, for the browser to keep."""
    return orjson.dumps(astuple(values), default=str).decode()


def unpack(text: object) -> FormValues | None:
    """Return what the form held; `None` if this isn't it."""
    told = _list(text)
    return FormValues(*told) if len(told) == len(FIELDS) else None


def unpack_draft(text: object) -> tuple[str, str] | None:
    """Return the prompt and the negative prompt that were typed before a reload; `None` if this isn't them."""
    told = _list(text)
    if len(told) != 2 or not all(isinstance(words, str) for words in told):
        return None
    return told[0], told[1]


def _list(text: object) -> list[Any]:
    try:
        told = orjson.loads(text) if isinstance(text, str) else None
    except orjson.JSONDecodeError:
        return []
    return told if isinstance(told, list) else []
