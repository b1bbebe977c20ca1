"""Libraries with many pictures, as the program would have made them: small PNGs with their records in them."""

import datetime as dt
import io
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from PIL import Image

from sd35.library.layout import name_for, place_for
from sd35.metadata.embedding import embed_record
from sd35.metadata.model import Record

__all__ = ["fill", "moment"]

FIRST: Final = dt.datetime(2025, 1, 1, 12, 0, tzinfo=dt.UTC)
APART: Final = dt.timedelta(minutes=17)
"""50,000 pictures take some 19 months."""

_WHAT: Final = (
    *(
        "lighthouse",
        "harbour",
        "cathedral",
        "fox",
        "astronaut",
        "teapot",
        "glacier",
        "violin",
        "market",
        "owl",
    ),
    *(
        "waterfall",
        "robot",
        "orchard",
        "train",
        "island",
        "dancer",
        "library",
        "canyon",
        "bicycle",
        "whale",
    ),
    *(
        "灯台",
        "compass",
        "greenhouse",
        "lantern",
        "volcano",
        "bridge",
        "carousel",
        "mushroom",
        "shipwreck",
        "balcony",
    ),
)
_HOW: Final = (
    *(
        "ancient",
        "misty",
        "golden",
        "tiny",
        "abandoned",
        "glowing",
        "snowy",
        "crowded",
        "quiet",
        "rusty",
    ),
    *(
        "floating",
        "painted",
        "broken",
        "colossal",
        "sunlit",
        "velvet",
        "crystal",
        "wooden",
        "midnight",
        "paper",
    ),
)
_STYLE: Final = (
    "oil painting",
    "photograph, 35 mm",
    "watercolour",
    "charcoal sketch",
    "film still",
    "isometric render",
)
_SIZES: Final = ((64, 64), (64, 36), (36, 64))


def moment(number: int) -> dt.datetime:
    """Return when the picture of this number was made; the last one is the newest."""
    return FIRST + number * APART


def fill(folder: Path, pictures: int) -> None:
    """Write so many pictures' files; the index learns of them by a rescan."""
    plain = [
        _encoded(size, color) for size in _SIZES for color in ("teal", "maroon", "navy", "olive")
    ]
    for record in _records(pictures):
        assert record.made_at is not None
        file = folder / place_for("", record.made_at) / name_for(record, record.made_at, ".png")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(embed_record(plain[(record.seed or 0) % len(plain)], record))


def _records(pictures: int) -> Iterator[Record]:
    chance = random.Random(7)  # noqa: S311
    for number in range(pictures):
        one, other = chance.sample(_WHAT, 2)
        yield Record(
            id=f"{number:022d}",
            prompt=f"{chance.choice(_HOW)} {one} near a {chance.choice(_HOW)} {other}, {chance.choice(_STYLE)},"
            f" variation {chance.randrange(5000)}",
            negative_prompt="blurry, watermark" if chance.random() < 0.3 else "",
            width=1024,
            height=1024,
            guidance_scale=4.5,
            num_inference_steps=chance.choice([28, 40]),
            seed=chance.randrange(2**31),
            model=chance.choice(["stable-diffusion-3.5-large", "stable-diffusion-3.5-medium"]),
            space="stabilityai/stable-diffusion-3.5-large",
            made_at=moment(number),
            took_seconds=round(chance.uniform(8, 40), 3),
            is_starred=chance.random() < 0.02,
            tags=("sea",) if chance.random() < 0.01 else (),
        )


def _encoded(size: tuple[int, int], color: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, color).save(out, "PNG")
    return out.getvalue()
