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
from sd35.library.layout import HIDDEN, TRASH, Found, Tell, is_in_trash, stamp_of, walk
from sd35.library.picture_file import copy_id, entry_for, inspect, read_file
from sd35.library.repository import Entry, find, forget, mark_missing, put
from sd35.library.text_index import plain_text
from sd35.library.thumbnails import Thumbnails

__all__ = ["Changes", "Scan"]


AT_ONCE: Final = 100
"""Pictures that are written to the index before others may write to it."""


@dataclass(frozen=True, slots=True)
class Changes:
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
class _Opened:
    """A file that was opened: what it tells, and whether its id stands in it."""

    found: Found
    entry: Entry
    tells_id: bool


_WALKED: Final = (
    "CREATE TEMP TABLE walked (place INTEGER, path TEXT, size_bytes INTEGER, mtime_ns INTEGER)"
)
_SEEN: Final = "CREATE TEMP TABLE seen (number INTEGER PRIMARY KEY, path TEXT UNIQUE, size_bytes INTEGER, mtime_ns INTEGER)"

_IN_ORDER: Final = """
INSERT INTO temp.seen (path, size_bytes, mtime_ns)
    SELECT path, size_bytes, mtime_ns FROM temp.walked ORDER BY place, length(path), path
"""
"""Of two files that tell the same id, the first one has it: not a copy, which has a longer name, or lies elsewhere."""

_DAY: Final = re.compile(r"(visitors/[^/]+/)?[0-9]{4}-[0-9]{2}-[0-9]{2}/[^/]+")
"""Where a picture lies that nobody has moved."""

_CHANGED: Final = """
FROM temp.seen AS seen JOIN pictures ON pictures.path = seen.path AND pictures.is_missing = 0
    WHERE (seen.size_bytes, seen.mtime_ns) != (pictures.size_bytes, pictures.mtime_ns)
"""

_NEW: Final = """
FROM temp.seen AS seen WHERE NOT EXISTS
    (SELECT 1 FROM pictures WHERE pictures.path = seen.path AND pictures.is_missing = 0)
"""

_GONE: Final = """
SELECT number, id FROM pictures WHERE is_missing = 0 AND number > ? AND NOT EXISTS
    (SELECT 1 FROM temp.seen AS seen WHERE seen.path = pictures.path) ORDER BY number LIMIT ?
"""


WAIT_SECONDS: Final = 600.0
"""How long is waited for another program that looks through the folder."""


class Scan:
    """One look through a library's folder. Only files are opened whose size or time isn't as it was."""

    def __init__(self, folder: Path, database: Database, thumbnails: Thumbnails) -> None:
        self._folder = folder
        self._database = database
        self._thumbnails = thumbnails
        self._counts: Counter[str] = Counter()
        self._unreadable: list[str] = []

    def run(self, tell: Tell | None = None, limit_seconds: float = WAIT_SECONDS) -> Changes:
        """Look, and return what has changed. Two programs do so one after the other.

        Raises:
            LibraryError: the index can't be used; what was found until then is kept. Or another
                program has been looking for as long as is waited for it.

        """
        lock = FileLock(
            self._folder / HIDDEN / "rescan.lock", timeout=limit_seconds, thread_local=False
        )
        try:
            with lock:
                self._run(tell)
        except Timeout as error:
            raise LibraryError(
                "Another program looks through the library.", "Try again when it is done."
            ) from error
        self._thumbnails.tidy()
        return Changes(**self._counts, unreadable=tuple(self._unreadable))

    def _run(self, tell: Tell | None) -> None:
        with self._database.own() as connection:
            self._look(connection)
            parts = ((_CHANGED, self._take_changed), (_NEW, self._take_new))
            total = sum(
                connection.execute(f"SELECT count(*) {part}").fetchone()[0] for part, _ in parts
            )
            done = 0
            for part, take in parts:
                for batch in _batches(connection, part):
                    self._take(connection, batch, take)
                    done = min(done + len(batch), total)
                    if tell is not None:
                        tell(done, total)
            self._take_gone(connection)

    def _look(self, connection: Connection) -> None:
        for table in (_WALKED, _SEEN):
            connection.execute(table)
        connection.execute("BEGIN")
        insert = "INSERT INTO temp.walked VALUES (?, ?, ?, ?)"
        connection.executemany(insert, self._walk(self._folder, ""))
        connection.executemany(insert, self._walk(self._folder / TRASH, f"{TRASH}/"))
        connection.execute(_IN_ORDER)
        connection.execute("COMMIT")

    def _walk(self, root: Path, prefix: str) -> Iterator[tuple[int, str, int, int]]:
        for found in walk(root):
            path = prefix + found.path
            if path == plain_text(path):
                place = 2 if prefix else 0 if _DAY.fullmatch(path) else 1
                yield place, path, found.size_bytes, found.mtime_ns
            else:
                self._unreadable.append(plain_text(path))

    def _take(
        self,
        connection: Connection,
        batch: list[Found],
        take: Callable[[Connection, _Opened], None],
    ) -> None:
        """Files are opened first, one after the other, and only then do other writers have to wait."""
        opened = [each for each in map(self._open, batch) if each is not None]
        with self._database.writing_on(connection):
            for each in opened:
                if self._is_as_opened(each):
                    take(connection, each)

    def _open(self, found: Found) -> _Opened | None:
        path = self._folder / found.path
        try:
            found = Found(found.path, *stamp_of(path.stat()))
            inspected = inspect(read_file(path))
        except FileNotFoundError:
            return None
        except (OSError, PictureError):
            self._unreadable.append(found.path)
            return None
        return _Opened(found, entry_for(inspected, found.path, found.mtime_ns), inspected.tells_id)

    def _is_as_opened(self, opened: _Opened) -> bool:
        """Whether nobody has written or moved the file since."""
        try:
            stamp = stamp_of((self._folder / opened.found.path).stat())
        except OSError:
            return False
        return stamp == (opened.found.size_bytes, opened.found.mtime_ns)

    def _take_changed(self, connection: Connection, opened: _Opened) -> None:
        """What tells another id than the file that was here is another picture: it comes with the new ones."""
        row = _row_at(connection, opened.entry.path)
        if row is None:
            return
        id_, trashed_at = row
        told = opened.entry.id
        if opened.tells_id and id_ not in {told, copy_id(told, opened.entry.path)}:
            mark_missing(connection, [id_])
            return
        known = find(connection, id_)
        if known is not None and not opened.tells_id and not opened.entry.record.prompt:
            opened = _remembering(opened, known)
        self._put(connection, opened, id_, trashed_at)
        self._thumbnails.forget(id_)
        self._counts["changed"] += 1

    def _take_new(self, connection: Connection, opened: _Opened) -> None:
        entry = opened.entry
        if _row_at(connection, entry.path) is not None:
            return
        known = find(connection, entry.id)
        id_ = entry.id
        if known is not None and not known.is_missing and not self._is_gone(known):
            id_ = copy_id(entry.id, entry.path)
            known = find(connection, id_)
        self._put(connection, opened, id_, time.time() if is_in_trash(entry.path) else None)
        self._counts[
            "added" if known is None else "back" if known.path == entry.path else "moved"
        ] += 1

    def _put(
        self, connection: Connection, opened: _Opened, id_: str, trashed_at: float | None
    ) -> None:
        entry = replace(opened.entry, id=id_, record=replace(opened.entry.record, id=id_))
        put(connection, entry, opened.found.mtime_ns, trashed_at)

    def _take_gone(self, connection: Connection) -> None:
        last = 0
        while rows := connection.execute(_GONE, (last, AT_ONCE)).fetchall():
            last = rows[-1][0]
            with self._database.writing_on(connection):
                known = [find(connection, id_) for _, id_ in rows]
                gone = [entry for entry in known if entry is not None and self._is_gone(entry)]
                missing = [entry.id for entry in gone if not entry.is_trashed]
                mark_missing(connection, missing)
                for entry in gone:
                    if (
                        entry.is_trashed
                    ):  # it was to go; the program may have been killed while it emptied the trash
                        forget(connection, entry.id)
                        self._thumbnails.forget(entry.id)
            self._counts["missing"] += len(missing)

    def _is_gone(self, entry: Entry) -> bool:
        """Whether the file isn't there; of one that may not be looked at that can't be said."""
        try:
            (self._folder / entry.path).lstat()
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            return False
        return False


def _remembering(opened: _Opened, known: Entry) -> _Opened:
    """A file that an editor has saved without what was told in it: the index still knows."""
    return replace(opened, entry=replace(opened.entry, record=known.record, made_at=known.made_at))


def _batches(connection: Connection, part: str) -> Iterator[list[Found]]:
    columns = "seen.number, seen.path, seen.size_bytes, seen.mtime_ns"
    text = (
        f"SELECT {columns} {part} AND seen.number > ? ORDER BY seen.number LIMIT ?"  # our own parts
    )
    last = 0
    while rows := connection.execute(text, (last, AT_ONCE)).fetchall():
        last = rows[-1][0]
        yield [Found(*row[1:]) for row in rows]


def _row_at(connection: Connection, path: str) -> tuple[Any, ...] | None:
    row: tuple[Any, ...] | None = connection.execute(
        "SELECT id, trashed_at FROM pictures WHERE path = ? AND is_missing = 0", (path,)
    ).fetchone()
    return row
