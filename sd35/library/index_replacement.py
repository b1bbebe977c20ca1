"""Replacement of a damaged index by a new one, which keeps the jobs that can be read.

Images, stars and tags are in the files, so the next scan finds them again. Jobs are only in the
index.
"""

import datetime as dt
import logging
import math
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from sqlite3 import Connection
from typing import Any, Final

from sd35.core.errors import IndexDamagedError
from sd35.library.schema import SCHEMA_VERSION, migrate

__all__ = ["check_is_index_file", "finish_replacement", "has_future_format", "replace_index"]

log = logging.getLogger(__name__)

MAX_DAMAGED_COPIES: Final = 3  # each is as large as the index
SALVAGE_TIMEOUT: Final = 30.0  # seconds: pages that refer to each other can be read without end
MAX_FAILED_READS: Final = 64  # in a row

SIDE_FILES: Final = ("-wal", "-shm", "-journal")

_HEADER_BYTES: Final = 20
_HIGHEST_FORMAT: Final = 2  # of the file format, for writing and reading; 2 is a write-ahead log

_COLUMN_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "TEXT": (str,),
    "INTEGER": (int,),
    "REAL": (float, int),
}

_READ_ERRORS: Final = (sqlite3.Error, UnicodeError, MemoryError, OverflowError)


def check_is_index_file(path: Path) -> None:
    """Check that the index can be opened as a file, and put aside what SQLite's other files aren't.

    Raises:
        IndexDamagedError: it is a folder or a device.
        OSError: it can't be examined.
    """
    for suffix in SIDE_FILES:
        file = path.with_name(path.name + suffix)
        if file.exists() and not file.is_file():
            file.rename(file.with_name(f"{_damaged_name(path)}{suffix}"))
    # A link is followed: an index may have been moved to another disk.
    if path.exists() and not path.is_file():
        raise IndexDamagedError


def has_future_format(path: Path) -> bool:
    """Return whether SQLite opens the file read-only, as its header names a format yet to come.

    Only for a file that can't be written: closing it again releases all of this program's locks.
    """
    with suppress(OSError), path.open("rb") as index_file:
        header = index_file.read(_HEADER_BYTES)
        return len(header) == _HEADER_BYTES and max(header[18:]) > _HIGHEST_FORMAT
    return False


def replace_index(path: Path) -> None:
    """Put the index at this path aside, and create a new one with its jobs.

    Raises:
        sqlite3.Error: the new index couldn't be written; the old one is unchanged.
        OSError: see above, or a file couldn't be renamed.
    """
    unfinished_path = path.with_name(f"{path.name}.part")
    _remove(unfinished_path)
    _remove(path.with_name(f"{unfinished_path.name}-journal"))
    with closing(sqlite3.connect(unfinished_path, isolation_level=None)) as connection:
        job_count = _create(connection, path)
    finished_path = _finished_path(path)
    _remove(finished_path)
    unfinished_path.rename(finished_path)
    name = _damaged_name(path)
    # The side files belong to their file: SQLite would replay a stale -wal into the new one. The
    # file goes last: as long as it is there, a program that was killed starts again from here.
    for suffix in (*SIDE_FILES, ""):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(path.with_name(name + suffix))
    finished_path.replace(path)
    log.warning(
        "The library's index was damaged. It was renamed to %s, and is rebuilt from the images;"
        " jobs that could be read: %d.",
        name,
        job_count,
    )
    _remove_old_copies(path)


def finish_replacement(path: Path) -> None:
    """Finish a replacement during which the program was killed, if there was one."""
    if not path.exists():
        with suppress(FileNotFoundError):
            _finished_path(path).replace(path)


def _finished_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.new")


def _damaged_name(path: Path) -> str:
    return f"{path.name}.damaged-{dt.datetime.now().astimezone():%Y%m%d-%H%M%S-%f}"


def _create(connection: Connection, damaged_path: Path) -> int:
    """Create an index with the jobs of a damaged one, and return their number."""
    job_count = 0
    with closing(_open_damaged(damaged_path)) as damaged:
        damaged_columns = _job_columns(damaged)
        for version in range(1, SCHEMA_VERSION + 1):
            migrate(connection, version)
            columns = _job_columns(connection)
            # Into the tables of the version that it has; the next migrations convert the jobs, too.
            is_same_version = columns.keys() == damaged_columns.keys() or (
                version == SCHEMA_VERSION and columns.keys() <= damaged_columns.keys()
            )
            if columns and is_same_version and not job_count:
                job_count = _copy_jobs(damaged, connection, columns)
    return job_count


def _open_damaged(path: Path) -> Connection:
    """Open a damaged index, or an empty one in memory where that is impossible."""
    try:
        check_is_index_file(path)
        connection = sqlite3.connect(path, isolation_level=None)
    except (IndexDamagedError, OSError, sqlite3.Error):
        return sqlite3.connect(":memory:")
    connection.text_factory = lambda data: data.decode("utf-8", "replace")
    # With this, SQLite opens a file of which only a part of the schema can be read.
    with suppress(*_READ_ERRORS):
        connection.execute("PRAGMA writable_schema = ON")
    end = time.monotonic() + SALVAGE_TIMEOUT
    connection.set_progress_handler(lambda: time.monotonic() > end, 100_000)
    return connection


def _job_columns(connection: Connection) -> dict[str, str]:
    """Return the columns of the table of jobs with their types; nothing without such a table."""
    try:
        rows = connection.execute("PRAGMA table_info(jobs)").fetchall()
    except _READ_ERRORS:
        return {}
    return {row[1]: row[2] for row in rows}


def _copy_jobs(damaged: Connection, connection: Connection, columns: dict[str, str]) -> int:
    """Copy the jobs that can be read, and return their number."""
    # Names of columns of our own tables, and placeholders.
    insert = (
        f"INSERT OR IGNORE INTO jobs ({', '.join(columns)})"  # noqa: S608  # see above
        f" VALUES ({', '.join('?' * len(columns))})"
    )
    # From both ends, as a page that can't be read ends the walk.
    rows = (
        row
        for is_ascending in (True, False)
        for row in _read_jobs(damaged, ", ".join(columns), is_ascending=is_ascending)
        if _has_types(row, columns)
    )
    connection.execute("BEGIN")
    connection.executemany(insert, rows)
    connection.execute("COMMIT")
    job_count: int = connection.execute("SELECT count(*) FROM jobs").fetchone()[0]
    return job_count


def _read_jobs(
    connection: Connection, columns: str, *, is_ascending: bool
) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of jobs, and skip what can't be read."""
    operator, order, step = (">", "ASC", 1) if is_ascending else ("<", "DESC", -1)
    sql = f"SELECT rowid, {columns} FROM jobs WHERE rowid {operator} ? ORDER BY rowid {order}"  # noqa: S608  # our names
    position = 0 if is_ascending else 2**62
    failure_count = 0
    while failure_count < MAX_FAILED_READS and abs(position) < 2**63:
        try:
            for rowid, *values in connection.execute(sql, (position,)):
                position = rowid
                failure_count = 0
                yield tuple(values)
        except _READ_ERRORS:
            position += step << failure_count
            failure_count += 1
        else:
            return


def _has_types(row: tuple[Any, ...], columns: dict[str, str]) -> bool:
    return all(
        value is None
        or (
            isinstance(value, _COLUMN_TYPES.get(column_type, ()))
            and not (isinstance(value, float) and not math.isfinite(value))
        )
        for value, column_type in zip(row, columns.values(), strict=True)
    )


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _remove_old_copies(path: Path) -> None:
    """Remove all but the newest damaged copies of the index."""
    copies_by_name: dict[str, list[Path]] = {}
    for file in path.parent.glob(f"{path.name}.damaged-*"):
        name = file.name
        for suffix in SIDE_FILES:
            name = name.removesuffix(suffix)
        copies_by_name.setdefault(name, []).append(file)
    for name in sorted(copies_by_name)[:-MAX_DAMAGED_COPIES]:
        for file in copies_by_name[name]:
            with suppress(OSError):
                _remove(file)
