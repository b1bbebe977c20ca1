"""Made-up pictures with as many bytes as real ones: noise, so that they come out as large as they should."""

import io

import numpy as np
from PIL import Image

__all__ = ["final", "preview"]


def preview(seed: int, quality: int = 83) -> bytes:
    """A JPEG of 512² with about as many bytes as a real preview; each number gives another.

    60 KB at quality 83, and 45 KB at 70.
    """
    coarse = np.random.default_rng(seed).integers(0, 255, (56, 56, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(coarse).resize((512, 512), Image.Resampling.BICUBIC).save(
        out, "JPEG", quality=quality
    )
    return out.getvalue()


def final() -> bytes:
    """A PNG of 1024² with about as many bytes as a real one, some 1.5 MB."""
    noise = np.random.default_rng(0).integers(0, 10, (1024, 1024, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise * 16).save(out, "PNG")
    return out.getvalue()
