"""Rescan of the folder: brings the index up to date with files changed outside of the program."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from sqlite3 import Connection
from typing import Final

from filelock import FileLock, Timeout

from sd35.core.atomic_files import os_error_text
from sd35.core.errors import LibraryError
from sd35.library.database import Database
from sd35.library.layout import (
    TRASH_DIR,
    FileInfo,
    OnProgress,
    file_version,
    is_prompt_file,
    walk_pictures,
)
from sd35.library.library_file import read_library_file, stat_library_file
from sd35.library.picture_file import build_entry, derive_copy_id, load_picture
from sd35.library.repository import (
    Entry,
    check_labels,
    checked_text,
    delete_entry,
    find_id_at,
    get_entry,
    mark_missing,
    upsert_entry,
)
from sd35.library.schema import check_integrity
from sd35.library.skipped_files import (
    SkippedFileError,
    SkippedFiles,
    SkippedFilesCounter,
    SkipReason,
)
from sd35.library.text_index import fold, sqlite_text
from sd35.library.thumbnails import ThumbnailCache

__all__ = ["LOCK_TIMEOUT", "ScanResult", "Scanner"]

BATCH_SIZE: Final = 100  # images written per transaction: other programs can't write meanwhile
LOCK_TIMEOUT: Final = 600.0  # seconds to wait for another program's scan


@dataclass(frozen=True, slots=True)
class ScanResult:
    """Outcome of a scan: numbers of images, and the files that were passed over."""

    added: int = 0
    moved: int = 0
    changed: int = 0
    missing: int = 0
    back: int = 0  # missing images whose files are where they were again
    skipped_files: tuple[SkippedFiles, ...] = ()  # with their paths in the library


@dataclass(frozen=True, slots=True)
class _ScannedFile:
    """Image file that was read; without its content, as a batch of them is in memory."""

    entry: Entry
    mtime_ns: int
    has_embedded_id: bool
    has_metadata: bool


# The listing goes into temporary tables of SQLite, to be joined with the index there: a hundred
# thousand paths take no memory of Python's.
_CREATE_WALKED: Final = (
    "CREATE TEMP TABLE walked (rank INTEGER, path TEXT, size_bytes INTEGER, mtime_ns INTEGER)"
)
_CREATE_FILES: Final = (
    "CREATE TEMP TABLE files"
    " (number INTEGER PRIMARY KEY, path TEXT UNIQUE, size_bytes INTEGER, mtime_ns INTEGER)"
)

# Of several files with the same embedded ID, the first one keeps it: the original rather than a
# copy, which has a longer name ("x copy.png") or is elsewhere.
_INSERT_FILES: Final = """
INSERT INTO temp.files (path, size_bytes, mtime_ns)
    SELECT path, size_bytes, mtime_ns FROM temp.walked ORDER BY rank, length(path), path
"""

# Path of an image that was never moved.
_DATED_PATH: Final = re.compile(r"(visitors/[^/]+/)?[0-9]{4}-[0-9]{2}-[0-9]{2}/[^/]+")

_CHANGED_FILES: Final = """
FROM temp.files AS files JOIN pictures ON pictures.path = files.path AND pictures.is_missing = 0
    WHERE (files.size_bytes, files.mtime_ns) != (pictures.size_bytes, pictures.mtime_ns)
"""

_NEW_FILES: Final = """
FROM temp.files AS files WHERE NOT EXISTS
    (SELECT 1 FROM pictures WHERE pictures.path = files.path AND pictures.is_missing = 0)
"""

_SELECT_UNLISTED: Final = """
SELECT number, id FROM pictures WHERE is_missing = 0 AND number > ? AND NOT EXISTS
    (SELECT 1 FROM temp.files AS files WHERE files.path = pictures.path) ORDER BY number LIMIT ?
"""


class Scanner:
    """Scan of a library's folder, which reads only files whose size or time has changed.

    `recover_staged` moves what killed programs have left into the folder.
    """

    def __init__(
        self,
        folder: Path,
        database: Database,
        thumbnails: ThumbnailCache,
        recover_staged: Callable[[], None],
    ) -> None:
        self._folder = folder
        self._database = database
        self._thumbnails = thumbnails
        self._recover_staged = recover_staged
        self._counts: Counter[str] = Counter()
        self._skipped_files = SkippedFilesCounter()

    def run(
        self,
        on_progress: OnProgress | None = None,
        lock_timeout: float = LOCK_TIMEOUT,
        *,
        checks_index: bool = False,
    ) -> ScanResult:
        """Scan, and return what has changed; `checks_index` looks for damage of the index, too.

        Raises:
            IndexDamagedError: the index is damaged.
            LibraryError: the index can't be used, or another program was scanning for longer than
                `lock_timeout` seconds; what was found until then is kept.
        """
        # Two scans at once would both find the same moved file, and one take it for a copy.
        lock_path = self._database.path.with_name("rescan.lock")
        try:
            with FileLock(lock_path, timeout=lock_timeout, thread_local=False):
                if checks_index:
                    self._check_index()
                self._recover_staged()
                self._run(on_progress)
        except Timeout as error:
            raise LibraryError("Another scan is running.", "Try again later.") from error
        except OSError as error:
            message = f"Couldn't scan the library: {os_error_text(error)}."
            raise LibraryError(message) from error
        self._thumbnails.remove_stale()
        return ScanResult(**self._counts, skipped_files=self._skipped_files.result())

    def _check_index(self) -> None:
        # One state of the index: what another program writes meanwhile would contradict it.
        with self._database.read_transaction() as connection:
            check_integrity(connection)
            check_labels(connection)

    def _run(self, on_progress: OnProgress | None) -> None:
        with self._database.dedicated_connection() as connection:
            self._list_files(connection)
            # Changed files first: a file that has taken the place of another one frees the other's
            # ID, under which it may be found among the new files, moved.
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
            # Last: a moved file would count as missing until its new path is known.
            self._mark_gone(connection)
            self._database.mark_scanned(connection)

    def _list_files(self, connection: Connection) -> None:
        connection.execute(_CREATE_WALKED)
        connection.execute(_CREATE_FILES)
        connection.execute("BEGIN")
        insert = "INSERT INTO temp.walked VALUES (?, ?, ?, ?)"
        connection.executemany(insert, self._walk_folder(self._folder, ""))
        connection.executemany(insert, self._walk_folder(self._folder / TRASH_DIR, f"{TRASH_DIR}/"))
        connection.execute(_INSERT_FILES)
        connection.execute("COMMIT")

    def _walk_folder(self, root: Path, prefix: str) -> Iterator[tuple[int, str, int, int]]:
        def count_skipped(reason: SkipReason, path: str) -> None:
            # What is hidden isn't meant to be in the library, such as the library's own state.
            is_other_file = reason is SkipReason.OTHER_KIND and is_prompt_file(prefix + path)
            if reason is not SkipReason.HIDDEN and not is_other_file:
                self._skipped_files.add(reason, prefix + path)

        for file_info in walk_pictures(root, on_skip=count_skipped):
            path = prefix + file_info.path
            # On Linux, a name may be any bytes; one that isn't UTF-8 can't be a path in the index.
            if path != sqlite_text(path):
                self._skipped_files.add(SkipReason.UNDECODABLE_NAME, sqlite_text(path))
                continue
            if prefix:
                rank = 2
            elif _DATED_PATH.fullmatch(path):
                rank = 0
            else:
                rank = 1
            yield rank, path, file_info.size_bytes, file_info.mtime_ns

    def _process_batch(
        self,
        connection: Connection,
        batch: list[FileInfo],
        handler: Callable[[Connection, _ScannedFile], None],
    ) -> None:
        # Files are read outside of the transaction, so that other programs don't wait for a slow
        # disk. A file that was changed meanwhile is left to the next scan.
        scanned_files = [file for file in map(self._scan_file, batch) if file is not None]
        with self._database.write_transaction_on(connection):
            for file in scanned_files:
                if self._is_unchanged(file):
                    handler(connection, file)

    def _scan_file(self, file_info: FileInfo) -> _ScannedFile | None:
        try:
            # The time before it is read: written to meanwhile, the file gets a later one, and is
            # read again by the next scan.
            inspected, status = load_picture(
                lambda: read_library_file(self._folder, file_info.path)
            )
        except SkippedFileError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                self._skipped_files.add(error.reason, file_info.path)
            return None
        mtime_ns = file_version(status)[1]
        entry = build_entry(inspected, file_info.path, mtime_ns)
        return _ScannedFile(entry, mtime_ns, inspected.has_embedded_id, inspected.has_metadata)

    def _is_unchanged(self, file: _ScannedFile) -> bool:
        try:
            version = file_version(stat_library_file(self._folder, file.entry.path))
        except OSError:
            return False
        return version == (file.entry.size_bytes, file.mtime_ns)

    def _update_changed(self, connection: Connection, file: _ScannedFile) -> None:
        path = file.entry.path
        embedded_id = file.entry.id
        id_ = find_id_at(connection, path)
        if id_ is None:
            return
        if file.has_embedded_id and id_ not in {embedded_id, derive_copy_id(embedded_id, path)}:
            # Another image has replaced this one: it follows with the new files.
            mark_missing(connection, [id_])
            return
        entry = file.entry
        known_entry = get_entry(connection, id_)
        if known_entry is not None and not file.has_metadata:
            # An editor has saved the file without its metadata: the index still has it.
            entry = replace(entry, metadata=known_entry.metadata, made_at=known_entry.made_at)
        upsert_entry(connection, entry.with_id(id_), file.mtime_ns)
        self._thumbnails.remove(id_)
        self._counts["changed"] += 1

    def _add_new(self, connection: Connection, file: _ScannedFile) -> None:
        path = file.entry.path
        id_ = file.entry.id
        if find_id_at(connection, path) is not None:
            return
        known_entry = get_entry(connection, id_)
        is_copy = (
            known_entry is not None
            and not known_entry.is_missing
            and not self._is_file_gone(known_entry)
            and not self._is_respelled(known_entry.path, path)
        )
        if is_copy:
            id_ = derive_copy_id(id_, path)
            known_entry = get_entry(connection, id_)
        upsert_entry(connection, file.entry.with_id(id_), file.mtime_ns)
        if known_entry is None:
            self._counts["added"] += 1
        elif known_entry.path == path:
            self._counts["back"] += 1
        else:
            self._counts["moved"] += 1

    def _mark_gone(self, connection: Connection) -> None:
        last_number = 0
        while rows := connection.execute(_SELECT_UNLISTED, (last_number, BATCH_SIZE)).fetchall():
            last_number = rows[-1][0]
            with self._database.write_transaction_on(connection):
                for _, id_ in rows:
                    # Read again: added, moved or restored since the folder was listed, an image
                    # has a file that isn't in the list.
                    entry = get_entry(connection, checked_text(id_))
                    if entry is not None and self._is_file_gone(entry):
                        self._remove_or_mark(connection, entry)

    def _remove_or_mark(self, connection: Connection, entry: Entry) -> None:
        if entry.is_trashed:
            # It was to be deleted: the program may have been killed while it emptied the trash.
            delete_entry(connection, entry.id)
            self._thumbnails.remove(entry.id)
        else:
            mark_missing(connection, [entry.id])
            self._counts["missing"] += 1

    def _is_file_gone(self, entry: Entry) -> bool:
        try:
            stat_library_file(self._folder, entry.path)
        except FileNotFoundError:
            return True
        except OSError:
            return False  # without access to its folder, the file may still exist
        return False

    def _is_respelled(self, known_path: str, path: str) -> bool:
        # Where capitals or accents make no difference (Windows, macOS), a file that was renamed
        # from Fox.png to fox.png is still found under its old name: taken for a copy, it would be
        # two images with one file.
        with suppress(OSError):
            is_same_file = (self._folder / known_path).samefile(self._folder / path)
            return is_same_file and fold(known_path) == fold(path)
        return False


def _batches(connection: Connection, files_sql: str) -> Iterator[list[FileInfo]]:
    columns = "files.number, files.path, files.size_bytes, files.mtime_ns"
    # By number instead of one cursor: an open SELECT would keep its state of the index, and the
    # write transaction on the same connection would fail with SQLITE_BUSY_SNAPSHOT.
    sql = f"SELECT {columns} {files_sql} AND files.number > ? ORDER BY files.number LIMIT ?"
    last_number = 0
    while rows := connection.execute(sql, (last_number, BATCH_SIZE)).fetchall():
        last_number = rows[-1][0]
        yield [FileInfo(*row[1:]) for row in rows]
