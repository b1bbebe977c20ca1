"""How much there is of everything in a library."""

import datetime as dt
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sd35.jobs.repository import Jobs, Stage
from sd35.library.database import Database
from sd35.library.thumbnails import Thumbnails

__all__ = ["Stats", "bytes_of", "count_all"]


_SHOWN: Final = "FROM pictures WHERE trashed_at IS NULL AND is_missing = 0"

_STARRED: Final = f"SELECT sum(is_starred) FROM (SELECT is_starred {_SHOWN} ORDER BY made_at)"  # noqa: S608
"""In the order of the index that holds it."""


@dataclass(frozen=True, slots=True)
class Stats:
    """What a library holds.

    Attributes:
        pictures: that are shown.
        starred: of those.
        jobs: how many have come how far.
        free_bytes: on the disk; `None` where it doesn't tell.
        first: when the oldest picture was made that is shown, and `last` the newest; `None` without
            any.

    """

    pictures: int
    starred: int
    trashed: int
    missing: int
    jobs: Mapping[Stage, int]
    picture_bytes: int
    index_bytes: int
    thumbnail_bytes: int
    trash_bytes: int
    free_bytes: int | None
    first: dt.datetime | None
    last: dt.datetime | None


def bytes_of(database: Database, owner: str, place: str) -> int:
    """Return how much an owner's pictures take that are in this place: `shown`, `trash` or `missing`.

    Raises:
        LibraryError: the index can't be used.

    """
    with database.reading() as connection:
        found = connection.execute(
            "SELECT bytes FROM counts WHERE owner = ? AND place = ?", (owner, place)
        ).fetchone()
    return found[0] if found else 0


def count_all(folder: Path, database: Database, jobs: Jobs, thumbnails: Thumbnails) -> Stats:
    """Count what is in a library.

    Raises:
        LibraryError: the index can't be used.

    """
    with database.reading() as connection:
        rows = connection.execute(
            "SELECT place, sum(pictures), sum(bytes) FROM counts GROUP BY place"
        )
        counts = {place: (pictures, size) for place, pictures, size in rows}
        starred = connection.execute(_STARRED).fetchone()[0]
        ends = [
            connection.execute(f"SELECT {end}(made_at) {_SHOWN}").fetchone()[0]
            for end in ("min", "max")
        ]
    first, last = (None if end is None else dt.datetime.fromtimestamp(end, dt.UTC) for end in ends)
    return Stats(
        pictures=counts.get("shown", (0, 0))[0],
        starred=starred or 0,
        trashed=counts.get("trash", (0, 0))[0],
        missing=counts.get("missing", (0, 0))[0],
        jobs=jobs.counts(),
        picture_bytes=counts.get("shown", (0, 0))[1],
        index_bytes=sum(
            _size(database.path.with_name(database.path.name + end)) for end in ("", "-wal", "-shm")
        ),
        thumbnail_bytes=thumbnails.size_bytes(),
        trash_bytes=counts.get("trash", (0, 0))[1],
        free_bytes=_free(folder),
        first=first,
        last=last,
    )


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0


def _free(folder: Path) -> int | None:
    with suppress(OSError):
        return shutil.disk_usage(folder).free
    return None
