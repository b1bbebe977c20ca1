"""Estimates of how long images take, from those in the library."""

from pathlib import Path
from statistics import median
from typing import Final

from sd35.core.errors import LibraryError
from sd35.core.request import GenerationRequest
from sd35.library.layout import STATE_DIR
from sd35.library.library import Library
from sd35.library.query import parse_query

__all__ = ["typical_seconds"]

MAX_IMAGES: Final = 50


def typical_seconds(folder: Path, space: str, request: GenerationRequest) -> float | None:
    """Return how long the last such images of a Space took; `None` if there are none.

    Args:
        folder: of the library, which isn't made if it is missing.
        space: its name, as in the metadata.
        request: whose size and steps the images have.
    """
    steps = request.num_inference_steps
    query = parse_query(f"size:{request.width}x{request.height} steps:{steps}")
    try:
        if not (folder / STATE_DIR).is_dir():
            return None
        with Library.open(folder) as library:
            entries = library.search(query, limit=MAX_IMAGES).entries
    except (LibraryError, OSError):  # nothing that would be a reason to make no images
        return None
    times = [
        entry.metadata.took_seconds
        for entry in entries
        if entry.metadata.space == space and entry.metadata.took_seconds
    ]
    return median(times) if times else None
