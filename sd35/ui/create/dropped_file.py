"""Dropped images and stored form values as the browser sends them: all of it untrusted."""

from collections.abc import Hashable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

import orjson

from sd35.metadata.embedding import EmbeddedTexts, metadata_from_texts
from sd35.metadata.model import GenerationMetadata
from sd35.metadata.parsing import parse_int, parse_list
from sd35.server.fair_worker import FairWorker
from sd35.ui.create.form import FIELD_NAMES, FormValues

__all__ = ["DroppedFileReader", "dump_form", "load_form", "parse_dropped_file"]

# import.js sends no more than 900,000 bytes: anything larger was sent by something else.
MAX_CHARACTERS: Final = 1_000_000


class DroppedFileReader:
    """Reader of dropped images that leaves the event loop and other visitors alone."""

    def __init__(self) -> None:
        self._worker = FairWorker()

    async def read(
        self, payload: Mapping[str, Any], visitor_key: Hashable
    ) -> GenerationMetadata | None:
        """Return what `parse_dropped_file` does, when it is this visitor's turn."""
        return await self._worker.run(partial(parse_dropped_file, payload), visitor_key)


def parse_dropped_file(payload: Mapping[str, Any]) -> GenerationMetadata | None:
    """Return the metadata of a dropped image; `None` if it has no metadata.

    `payload` has `texts`, those of the file that hold settings, by name as `read_texts` returns
    them, and `size` in pixels. Neither is kept: only what a reader understands is in the metadata.
    """
    texts = payload.get("texts")
    items = texts.items() if isinstance(texts, dict) else ()
    known_texts = {name: text for name, text in items if isinstance(text, str)}
    if sum(map(len, known_texts.values())) > MAX_CHARACTERS:
        return None
    metadata = metadata_from_texts(EmbeddedTexts(known_texts))
    sides = [parse_int(side) for side in parse_list(payload.get("size"), 2)]
    # Many tools don't record the size, but the file has one.
    if metadata is None or len(sides) != 2:
        return metadata
    if metadata.width is None or metadata.height is None:
        metadata = replace(metadata, width=sides[0], height=sides[1])
    return metadata


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
