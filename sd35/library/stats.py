"""How much there is of everything in a library."""

import datetime as dt
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sd35.library.database import Database
from sd35.library.thumbnails import ThumbnailCache

__all__ = ["Stats", "collect_stats", "used_bytes"]


_FROM_VISIBLE: Final = "FROM pictures WHERE trashed_at IS NULL AND is_missing = 0"

_COUNT_STARRED: Final = (
    f"SELECT sum(is_starred) FROM (SELECT is_starred {_FROM_VISIBLE} ORDER BY made_at)"  # noqa: S608
)
"""In the order of the index that holds it."""


@dataclass(frozen=True, slots=True)
class Stats:
    """What a library holds.

    Attributes:
        pictures: that are shown.
        starred: of those.
        free_bytes: on the disk; `None` where it doesn't tell.
        first: when the oldest picture was made that is shown, and `last` the newest; `None` without
            any.

    """

    pictures: int
    starred: int
    trashed: int
    missing: int
    picture_bytes: int
    index_bytes: int
    thumbnail_bytes: int
    trash_bytes: int
    free_bytes: int | None
    first: dt.datetime | None
    last: dt.datetime | None


def used_bytes(database: Database, owner: str, scope: str) -> int:
    """Return how much an owner's pictures take that are in this place: `shown`, `trash` or `missing`.

    Raises:
        LibraryError: the index can't be used.

    """
    with database.read_transaction() as connection:
        row = connection.execute(
            "SELECT bytes FROM counts WHERE owner = ? AND place = ?", (owner, scope)
        ).fetchone()
    return row[0] if row else 0


def collect_stats(folder: Path, database: Database, thumbnails: ThumbnailCache) -> Stats:
    """Count what is in a library.

    Raises:
        LibraryError: the index can't be used.

    """
    with database.read_transaction() as connection:
        rows = connection.execute(
            "SELECT place, sum(pictures), sum(bytes) FROM counts GROUP BY place"
        )
        counts = {scope: (pictures, size) for scope, pictures, size in rows}
        starred_count = connection.execute(_COUNT_STARRED).fetchone()[0]
        timestamps = [
            connection.execute(f"SELECT {suffix}(made_at) {_FROM_VISIBLE}").fetchone()[0]
            for suffix in ("min", "max")
        ]
    oldest_made_at, newest_made_at = (
        None if suffix is None else dt.datetime.fromtimestamp(suffix, dt.UTC)
        for suffix in timestamps
    )
    return Stats(
        pictures=counts.get("shown", (0, 0))[0],
        starred=starred_count or 0,
        trashed=counts.get("trash", (0, 0))[0],
        missing=counts.get("missing", (0, 0))[0],
        picture_bytes=counts.get("shown", (0, 0))[1],
        index_bytes=sum(
            _file_size(database.path.with_name(database.path.name + suffix))
            for suffix in ("", "-wal", "-shm")
        ),
        thumbnail_bytes=thumbnails.size_bytes(),
        trash_bytes=counts.get("trash", (0, 0))[1],
        free_bytes=_free_bytes(folder),
        first=oldest_made_at,
        last=newest_made_at,
    )


def _file_size(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0


def _free_bytes(folder: Path) -> int | None:
    with suppress(OSError):
        return shutil.disk_usage(folder).free
    return None
