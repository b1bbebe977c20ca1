"""Statistics of a library."""

import datetime as dt
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection
from typing import Final

from sd35.core.errors import IndexDamagedError
from sd35.library.database import Database
from sd35.library.repository import MAX_TIMESTAMP, MIN_TIMESTAMP, checked_count
from sd35.library.thumbnails import ThumbnailCache

__all__ = ["Stats", "collect_stats"]

# `counts` is kept by triggers: counting the rows of a large library takes too long for a page.
_TOTALS: Final = "SELECT scope, sum(pictures), sum(bytes) FROM counts GROUP BY scope"

# The order makes SQLite read the covering index, not the rows with their metadata.
_STARRED: Final = """
SELECT total(is_starred) FROM
    (SELECT is_starred FROM pictures WHERE trashed_at IS NULL AND is_missing = 0 ORDER BY made_at)
"""
# In two queries, each of which reads one end of the index; min and max in one read all of it.
_FIRST: Final = "SELECT min(made_at) FROM pictures WHERE trashed_at IS NULL AND is_missing = 0"
_LAST: Final = "SELECT max(made_at) FROM pictures WHERE trashed_at IS NULL AND is_missing = 0"


@dataclass(frozen=True, slots=True)
class Stats:
    """Contents of a library; the names of the fields are JSON keys of the command line."""

    pictures: int  # neither trashed nor missing
    starred: int  # of those
    trashed: int
    missing: int
    picture_bytes: int
    index_bytes: int
    thumbnail_bytes: int
    trash_bytes: int
    free_bytes: int | None  # on the disk
    first: dt.datetime | None  # when the oldest image was made
    last: dt.datetime | None


def collect_stats(folder: Path, database: Database, thumbnails: ThumbnailCache) -> Stats:
    """Return the statistics of a library.

    Raises:
        LibraryError: the index can't be used.
    """
    with database.read_transaction() as connection:
        totals = {
            scope: (checked_count(count), checked_count(size))
            for scope, count, size in connection.execute(_TOTALS)
        }
        starred_count = int(connection.execute(_STARRED).fetchone()[0])
        first = _query_time(connection, _FIRST)
        last = _query_time(connection, _LAST)
    shown_count, shown_bytes = totals.get("shown", (0, 0))
    trash_count, trash_bytes = totals.get("trash", (0, 0))
    index_files = (f"{database.path}{suffix}" for suffix in ("", "-wal", "-shm"))
    return Stats(
        pictures=shown_count,
        starred=starred_count,
        trashed=trash_count,
        missing=totals.get("missing", (0, 0))[0],
        picture_bytes=shown_bytes,
        index_bytes=sum(_file_size(Path(path)) for path in index_files),
        thumbnail_bytes=thumbnails.size_bytes(),
        trash_bytes=trash_bytes,
        free_bytes=_free_bytes(folder),
        first=first,
        last=last,
    )


def _query_time(connection: Connection, sql: str) -> dt.datetime | None:
    timestamp = connection.execute(sql).fetchone()[0]
    if timestamp is None:
        return None
    if not isinstance(timestamp, float | int) or not MIN_TIMESTAMP <= timestamp <= MAX_TIMESTAMP:
        raise IndexDamagedError
    return dt.datetime.fromtimestamp(timestamp, dt.UTC)


def _file_size(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0


def _free_bytes(folder: Path) -> int | None:
    with suppress(OSError):
        return shutil.disk_usage(folder).free
    return None
