"""Previews of a run: on which steps, and how they are encoded."""

import io
from typing import Final

from PIL import Image

__all__ = ["LONGEST_SIDE", "MAX_BYTES", "PREVIEWS_PER_RUN", "encode_preview", "has_preview"]

PREVIEWS_PER_RUN: Final = 12
MAX_BYTES: Final = 50_000
LONGEST_SIDE: Final = 512  # pixels


def has_preview(step_number: int, total: int) -> bool:
    """Return whether a step, from 1, is followed by a preview; the last one by the image."""
    if step_number >= total:
        return False
    preview_numbers = (n * PREVIEWS_PER_RUN // (total - 1) for n in (step_number - 1, step_number))
    return len(set(preview_numbers)) > 1


def encode_preview(image: Image.Image) -> bytes:
    """Return a JPEG of at most `MAX_BYTES`, in the best quality that fits."""
    for quality in (85, 70, 50, 25):
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        if buffer.tell() <= MAX_BYTES:
            break
    return buffer.getvalue()
