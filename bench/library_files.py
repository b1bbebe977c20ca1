"""Libraries with many images: small PNG files with metadata, as the program writes them."""

import datetime as dt
import io
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from PIL import Image

from sd35.library.layout import directory_for, filename_for
from sd35.metadata.embedding import embed_metadata
from sd35.metadata.model import GenerationMetadata

__all__ = ["created_at", "write_pictures"]

FIRST_PICTURE_AT: Final = dt.datetime(2025, 1, 1, 12, 0, tzinfo=dt.UTC)
PICTURE_INTERVAL: Final = dt.timedelta(minutes=17)  # 50,000 images take some 19 months

_SUBJECTS: Final = """
lighthouse harbour cathedral fox astronaut teapot glacier violin market owl
waterfall robot orchard train island dancer library canyon bicycle whale 灯台
compass greenhouse lantern volcano bridge carousel mushroom shipwreck
balcony
"""
_ADJECTIVES: Final = """
ancient misty golden tiny abandoned glowing snowy crowded quiet rusty
floating painted broken colossal sunlit velvet crystal wooden midnight paper
"""
_STYLES: Final = (
    "oil painting",
    "photograph, 35 mm",
    "watercolour",
    "charcoal sketch",
    "film still",
    "isometric render",
)
_SIZES: Final = ((64, 64), (64, 36), (36, 64))


def created_at(index: int) -> dt.datetime:
    """Return when the image with this index was made; the last one is the newest."""
    return FIRST_PICTURE_AT + index * PICTURE_INTERVAL


def write_pictures(folder: Path, count: int) -> None:
    """Write so many image files; a rescan adds them to the index."""
    plain = [
        _encode_png(size, color) for size in _SIZES for color in ("teal", "maroon", "navy", "olive")
    ]
    for record in _records(count):
        assert record.made_at is not None
        file = (
            folder
            / directory_for("", record.made_at)
            / filename_for(record, record.made_at, ".png")
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(embed_metadata(plain[(record.seed or 0) % len(plain)], record))


def _records(count: int) -> Iterator[GenerationMetadata]:
    rng = random.Random(7)  # noqa: S311  # the same library in each run
    subjects = _SUBJECTS.split()
    adjectives = _ADJECTIVES.split()
    for index in range(count):
        first_subject, second_subject = rng.sample(subjects, 2)
        prompt = (
            f"{rng.choice(adjectives)} {first_subject} near a {rng.choice(adjectives)}"
            f" {second_subject}, {rng.choice(_STYLES)}, variation {rng.randrange(5000)}"
        )
        yield GenerationMetadata(
            id=f"{index:022d}",
            prompt=prompt,
            negative_prompt="blurry, watermark" if rng.random() < 0.3 else "",
            width=1024,
            height=1024,
            guidance_scale=4.5,
            num_inference_steps=rng.choice([28, 40]),
            seed=rng.randrange(2**31),
            model=rng.choice(["stable-diffusion-3.5-large", "stable-diffusion-3.5-medium"]),
            space="stabilityai/stable-diffusion-3.5-large",
            made_at=created_at(index),
            took_seconds=round(rng.uniform(8, 40), 3),
            is_starred=rng.random() < 0.02,
            tags=("sea",) if rng.random() < 0.01 else (),
        )


def _encode_png(size: tuple[int, int], color: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, color).save(out, "PNG")
    return out.getvalue()
