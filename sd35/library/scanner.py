"""The index brought to what is in the folder: files that came, went, moved, were copied or edited meanwhile."""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from sqlite3 import Connection
from typing import Any, Final

from filelock import FileLock, Timeout

from sd35.core.errors import LibraryError, PictureError
from sd35.library.database import Database
from sd35.library.layout import (
    STATE_DIR,
    TRASH_DIR,
    FileInfo,
    OnProgress,
    file_version,
    is_in_trash,
    walk_pictures,
)
from sd35.library.picture_file import build_entry, derive_copy_id, inspect_picture, read_file
from sd35.library.repository import Entry, delete_entry, get_entry, mark_missing, upsert_entry
from sd35.library.text_index import sqlite_text
from sd35.library.thumbnails import ThumbnailCache

__all__ = ["ScanResult", "Scanner"]


BATCH_SIZE: Final = 100
"""Pictures that are written to the index before others may write to it."""


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What a rescan has found.

    Attributes:
        added: pictures that weren't known.
        moved: that are elsewhere now.
        changed: whose files were edited.
        missing: whose files are gone.
        back: whose files were gone, and are where they were.
        unreadable: the paths, in the library's folder, of files that aren't pictures that may be
            opened.

    """

    added: int = 0
    moved: int = 0
    changed: int = 0
    missing: int = 0
    back: int = 0
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _ScannedFile:
    """A file that was opened: what it tells, and whether its id stands in it."""

    file_info: FileInfo
    entry: Entry
    has_embedded_id: bool


_CREATE_WALKED: Final = (
    "CREATE TEMP TABLE walked (place INTEGER, path TEXT, size_bytes INTEGER, mtime_ns INTEGER)"
)
_CREATE_SEEN: Final = "CREATE TEMP TABLE seen (number INTEGER PRIMARY KEY, path TEXT UNIQUE, size_bytes INTEGER, mtime_ns INTEGER)"

_INSERT_SEEN: Final = """
INSERT INTO temp.seen (path, size_bytes, mtime_ns)
    SELECT path, size_bytes, mtime_ns FROM temp.walked ORDER BY place, length(path), path
"""
"""Of two files that tell the same id, the first one has it: not a copy, which has a longer name, or lies elsewhere."""

_DATED_PATH: Final = re.compile(r"(visitors/[^/]+/)?[0-9]{4}-[0-9]{2}-[0-9]{2}/[^/]+")
"""Where a picture lies that nobody has moved."""

_CHANGED_FILES: Final = """
FROM temp.seen AS seen JOIN pictures ON pictures.path = seen.path AND pictures.is_missing = 0
    WHERE (seen.size_bytes, seen.mtime_ns) != (pictures.size_bytes, pictures.mtime_ns)
"""

_NEW_FILES: Final = """
FROM temp.seen AS seen WHERE NOT EXISTS
    (SELECT 1 FROM pictures WHERE pictures.path = seen.path AND pictures.is_missing = 0)
"""

_SELECT_GONE: Final = """
SELECT number, id FROM pictures WHERE is_missing = 0 AND number > ? AND NOT EXISTS
    (SELECT 1 FROM temp.seen AS seen WHERE seen.path = pictures.path) ORDER BY number LIMIT ?
"""


LOCK_TIMEOUT: Final = 600.0
"""How long is waited for another program that looks through the folder."""


class Scanner:
    """One look through a library's folder. Only files are opened whose size or time isn't as it was."""

    def __init__(self, folder: Path, database: Database, thumbnails: ThumbnailCache) -> None:
        self._folder = folder
        self._database = database
        self._thumbnails = thumbnails
        self._counts: Counter[str] = Counter()
        self._unreadable: list[str] = []

    def run(
        self, on_progress: OnProgress | None = None, lock_timeout: float = LOCK_TIMEOUT
    ) -> ScanResult:
        """Look, and return what has changed. Two programs do so one after the other.

        Raises:
            LibraryError: the index can't be used; what was found until then is kept. Or another
                program has been looking for as long as is waited for it.

        """
        lock = FileLock(
            self._folder / STATE_DIR / "rescan.lock", timeout=lock_timeout, thread_local=False
        )
        try:
            with lock:
                self._run(on_progress)
        except Timeout as error:
            raise LibraryError(
                "Another program looks through the library.", "Try again when it is done."
            ) from error
        self._thumbnails.remove_stale()
        return ScanResult(**self._counts, unreadable=tuple(self._unreadable))

    def _run(self, on_progress: OnProgress | None) -> None:
        with self._database.dedicated_connection() as connection:
            self._list_files(connection)
            phases = ((_CHANGED_FILES, self._update_changed), (_NEW_FILES, self._add_new))
            total = sum(
                connection.execute(f"SELECT count(*) {files_sql}").fetchone()[0]
                for files_sql, _ in phases
            )
            processed_count = 0
            for files_sql, handler in phases:
                for batch in _batches(connection, files_sql):
                    self._process_batch(connection, batch, handler)
                    processed_count = min(processed_count + len(batch), total)
                    if on_progress is not None:
                        on_progress(processed_count, total)
            self._mark_gone(connection)

    def _list_files(self, connection: Connection) -> None:
        for table in (_CREATE_WALKED, _CREATE_SEEN):
            connection.execute(table)
        connection.execute("BEGIN")
        insert = "INSERT INTO temp.walked VALUES (?, ?, ?, ?)"
        connection.executemany(insert, self._walk_folder(self._folder, ""))
        connection.executemany(insert, self._walk_folder(self._folder / TRASH_DIR, f"{TRASH_DIR}/"))
        connection.execute(_INSERT_SEEN)
        connection.execute("COMMIT")

    def _walk_folder(self, root: Path, prefix: str) -> Iterator[tuple[int, str, int, int]]:
        for file_info in walk_pictures(root):
            path = prefix + file_info.path
            if path == sqlite_text(path):
                rank = 2 if prefix else 0 if _DATED_PATH.fullmatch(path) else 1
                yield rank, path, file_info.size_bytes, file_info.mtime_ns
            else:
                self._unreadable.append(sqlite_text(path))

    def _process_batch(
        self,
        connection: Connection,
        batch: list[FileInfo],
        handler: Callable[[Connection, _ScannedFile], None],
    ) -> None:
        """Files are opened first, one after the other, and only then do other writers have to wait."""
        scanned_files = [
            scanned_file for scanned_file in map(self._scan_file, batch) if scanned_file is not None
        ]
        with self._database.write_transaction_on(connection):
            for scanned_file in scanned_files:
                if self._is_unchanged(scanned_file):
                    handler(connection, scanned_file)

    def _scan_file(self, file_info: FileInfo) -> _ScannedFile | None:
        path = self._folder / file_info.path
        try:
            file_info = FileInfo(file_info.path, *file_version(path.stat()))
            inspected = inspect_picture(read_file(path))
        except FileNotFoundError:
            return None
        except (OSError, PictureError):
            self._unreadable.append(file_info.path)
            return None
        return _ScannedFile(
            file_info,
            build_entry(inspected, file_info.path, file_info.mtime_ns),
            inspected.has_embedded_id,
        )

    def _is_unchanged(self, scanned_file: _ScannedFile) -> bool:
        """Whether nobody has written or moved the file since."""
        try:
            version = file_version((self._folder / scanned_file.file_info.path).stat())
        except OSError:
            return False
        return version == (scanned_file.file_info.size_bytes, scanned_file.file_info.mtime_ns)

    def _update_changed(self, connection: Connection, scanned_file: _ScannedFile) -> None:
        """What tells another id than the file that was here is another picture: it comes with the new ones."""
        row = _get_row_by_path(connection, scanned_file.entry.path)
        if row is None:
            return
        id_, trashed_at = row
        embedded_id = scanned_file.entry.id
        if scanned_file.has_embedded_id and id_ not in {
            embedded_id,
            derive_copy_id(embedded_id, scanned_file.entry.path),
        }:
            mark_missing(connection, [id_])
            return
        existing_entry = get_entry(connection, id_)
        if (
            existing_entry is not None
            and not scanned_file.has_embedded_id
            and not scanned_file.entry.record.prompt
        ):
            scanned_file = _with_known_metadata(scanned_file, existing_entry)
        self._upsert(connection, scanned_file, id_, trashed_at)
        self._thumbnails.remove(id_)
        self._counts["changed"] += 1

    def _add_new(self, connection: Connection, scanned_file: _ScannedFile) -> None:
        entry = scanned_file.entry
        if _get_row_by_path(connection, entry.path) is not None:
            return
        existing_entry = get_entry(connection, entry.id)
        id_ = entry.id
        if (
            existing_entry is not None
            and not existing_entry.is_missing
            and not self._is_file_gone(existing_entry)
        ):
            id_ = derive_copy_id(entry.id, entry.path)
            existing_entry = get_entry(connection, id_)
        self._upsert(
            connection, scanned_file, id_, time.time() if is_in_trash(entry.path) else None
        )
        self._counts[
            "added"
            if existing_entry is None
            else "back"
            if existing_entry.path == entry.path
            else "moved"
        ] += 1

    def _upsert(
        self, connection: Connection, scanned_file: _ScannedFile, id_: str, trashed_at: float | None
    ) -> None:
        entry = replace(
            scanned_file.entry, id=id_, record=replace(scanned_file.entry.record, id=id_)
        )
        upsert_entry(connection, entry, scanned_file.file_info.mtime_ns, trashed_at)

    def _mark_gone(self, connection: Connection) -> None:
        last_number = 0
        while rows := connection.execute(_SELECT_GONE, (last_number, BATCH_SIZE)).fetchall():
            last_number = rows[-1][0]
            with self._database.write_transaction_on(connection):
                entries = [get_entry(connection, id_) for _, id_ in rows]
                gone_entries = [
                    entry for entry in entries if entry is not None and self._is_file_gone(entry)
                ]
                missing_ids = [entry.id for entry in gone_entries if not entry.is_trashed]
                mark_missing(connection, missing_ids)
                for entry in gone_entries:
                    if (
                        entry.is_trashed
                    ):  # it was to go; the program may have been killed while it emptied the trash
                        delete_entry(connection, entry.id)
                        self._thumbnails.remove(entry.id)
            self._counts["missing"] += len(missing_ids)

    def _is_file_gone(self, entry: Entry) -> bool:
        """Whether the file isn't there; of one that may not be looked at that can't be said."""
        try:
            (self._folder / entry.path).lstat()
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            return False
        return False


def _with_known_metadata(scanned_file: _ScannedFile, existing_entry: Entry) -> _ScannedFile:
    """A file that an editor has saved without what was told in it: the index still knows."""
    return replace(
        scanned_file,
        entry=replace(
            scanned_file.entry, record=existing_entry.record, made_at=existing_entry.made_at
        ),
    )


def _batches(connection: Connection, files_sql: str) -> Iterator[list[FileInfo]]:
    columns = "seen.number, seen.path, seen.size_bytes, seen.mtime_ns"
    sql = f"SELECT {columns} {files_sql} AND seen.number > ? ORDER BY seen.number LIMIT ?"  # our own parts
    last_number = 0
    while rows := connection.execute(sql, (last_number, BATCH_SIZE)).fetchall():
        last_number = rows[-1][0]
        yield [FileInfo(*row[1:]) for row in rows]


def _get_row_by_path(connection: Connection, path: str) -> tuple[Any, ...] | None:
    row: tuple[Any, ...] | None = connection.execute(
        "SELECT id, trashed_at FROM pictures WHERE path = ? AND is_missing = 0", (path,)
    ).fetchone()
    return row
