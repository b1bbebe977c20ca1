"""Libraries with images in them, for tests."""

import datetime as dt
import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sd35.core.picture import open_picture
from sd35.library.library import Library
from sd35.library.query import MATCH_ALL, Query
from sd35.library.repository import Entry
from sd35.metadata.model import GenerationMetadata

ANN = "a" * 32
BOB = "b" * 32
"""Owner keys of two visitors."""

NOON = dt.datetime(2026, 11, 24, 12, 0, tzinfo=dt.UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "library"


@contextmanager
def folder_in_memory() -> Iterator[Path]:
    """Yield a folder in memory, if possible: each transaction is flushed to the disk."""
    memory = Path("/dev/shm")  # noqa: S108  # the folder in it is a new one
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture
def library(folder: Path) -> Iterator[Library]:
    with Library.open(folder) as opened_library:
        yield opened_library


def encode_picture(index: int = 0, kind: str = "PNG", size: tuple[int, int] = (32, 24)) -> bytes:
    """Return an image file; each index is another colour."""
    out = io.BytesIO()
    Image.new("RGB", size, (index * 40 % 256, index // 6, 90)).save(out, kind)
    return out.getvalue()


def add_picture(
    library: Library,
    index: int = 0,
    owner: str = "",
    kind: str = "PNG",
    **fields: Any,  # noqa: ANN401
) -> Entry:
    """Add an image made `index` minutes after noon; `fields` are of its metadata."""
    data = encode_picture(index, kind)
    record = GenerationMetadata(
        **{"prompt": f"picture {index}", "made_at": NOON + dt.timedelta(minutes=index), **fields}
    )
    return library.add(open_picture(data), record, owner)


def find_ids(library: Library, query: Query = MATCH_ALL, owner: str | None = None) -> list[str]:
    """Return the IDs of a query's results, newest first."""
    return [entry.id for entry in library.search(query, owner, limit=500).entries]


def read_pixels(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB").tobytes()
