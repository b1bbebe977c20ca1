"""Made-up images of realistic size in bytes: they consist of noise, which doesn't compress well."""

import io

import numpy as np
from PIL import Image

__all__ = ["final", "preview"]


def preview(seed: int, quality: int = 83) -> bytes:
    """Return a JPEG of 512² pixels: 60 KB at quality 83, 45 KB at 70; each seed gives another."""
    coarse = np.random.default_rng(seed).integers(0, 255, (56, 56, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((512, 512), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()


def final() -> bytes:
    """Return a PNG of 1024² pixels, some 1.5 MB."""
    noise = np.random.default_rng(0).integers(0, 10, (1024, 1024, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise * 16).save(out, "PNG")
    return out.getvalue()
