"""Libraries with pictures in them, for tests."""

import datetime as dt
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sd35.core.picture import open_picture
from sd35.library.library import Library
from sd35.library.query import EVERYTHING, Query
from sd35.library.repository import Entry
from sd35.metadata.model import Record

ANN, BOB = "a" * 32, "b" * 32
"""Keys of visitors."""

NOON = dt.datetime(2026, 11, 24, 12, 0, tzinfo=dt.UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "library"


@pytest.fixture
def library(folder: Path) -> Iterator[Library]:
    with Library.open(folder) as opened:
        yield opened


def encoded(number: int = 0, kind: str = "PNG", size: tuple[int, int] = (32, 24)) -> bytes:
    """A picture's file; each number is another colour."""
    out = io.BytesIO()
    Image.new("RGB", size, (number * 40 % 256, number // 6, 90)).save(out, kind)
    return out.getvalue()


def put(
    library: Library, number: int = 0, owner: str = "", kind: str = "PNG", **told: Any  # noqa: ANN401
) -> Entry:
    """Add a picture that was made so many minutes after noon; `told` is of its record."""
    data = encoded(number, kind)
    record = Record(
        **{"prompt": f"picture {number}", "made_at": NOON + dt.timedelta(minutes=number), **told}
    )
    return library.add(data, open_picture(data), record, owner)


def ids(library: Library, query: Query = EVERYTHING, owner: str | None = None) -> list[str]:
    """What a query finds, newest first."""
    return [entry.id for entry in library.page(query, owner, limit=500).entries]


def pixels(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB").tobytes()
