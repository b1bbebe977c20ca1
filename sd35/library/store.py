"""What is done to pictures that are there: starred, tagged, thrown away and back. Files first, then the index."""

import datetime as dt
import logging
import time
import unicodedata
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from sqlite3 import Connection
from typing import Final

from sd35.core import atomic_files
from sd35.core.atomic_files import unwritten, why, write_new
from sd35.core.errors import LibraryError, PictureError
from sd35.core.picture import Picture
from sd35.library.database import Database
from sd35.library.layout import TRASH, name_for, original_path, place_for, stamp_of
from sd35.library.picture_file import MAX_TAG, Inspected, entry_for, inspect, moment_of, read_file
from sd35.library.repository import Entry, find, forget, mark_missing, put
from sd35.library.thumbnails import Thumbnails
from sd35.metadata.embedding import embed_record
from sd35.metadata.model import MAX_TAGS, Record, new_id

__all__ = ["Shelf", "add_picture", "retagged"]


log = logging.getLogger(__name__)


def add_picture(
    root: Path, database: Database, data: bytes, picture: Picture, record: Record, owner: str
) -> Entry:
    """Write a picture into the library at `root`; documented at `Library.add`."""
    record = replace(
        record, id=record.id or new_id(), made_at=record.made_at or dt.datetime.now(dt.UTC)
    )
    made_at = moment_of(record, 0)
    place, name = place_for(owner, made_at), name_for(record, made_at, picture.suffix)
    told = Inspected(replace(picture, data=_with(record, data)), record, tells_id=True)
    with unwritten("The picture"):
        file = write_new(root / place, name, told.picture.data)
        mtime_ns = stamp_of(file.stat())[1]
    entry = entry_for(told, f"{place}/{file.name}", mtime_ns)
    try:
        with database.writing() as connection:
            put(connection, entry, mtime_ns)
    except (
        LibraryError
    ) as error:  # the picture itself is saved, and who would try again would have it twice
        log.warning(
            "%s isn't in the index before the folder is looked through: %s",
            entry.path,
            error.happened,
        )
    return entry


def _with(record: Record, data: bytes) -> bytes:
    """The file with its record in it; as it came, where it can't carry one: it isn't lost for that."""
    try:
        return embed_record(data, record)
    except PictureError:
        return data


AT_ONCE: Final = 50
"""Files that are moved before others may write to the index."""


_Undo = Callable[[], object]
"""Puts a file back where it was."""


class Shelf:
    """The files of a library, and its index, which follows them.

    Each change is made while no other program can make one. One that is killed between a file and
    the index leaves the file, from which the next rescan learns it.
    """

    def __init__(self, folder: Path, database: Database, thumbnails: Thumbnails) -> None:
        self._folder = folder
        self._database = database
        self._thumbnails = thumbnails

    def revise(
        self, ids: Iterable[str], owner: str | None, change: Callable[[Record], Record]
    ) -> tuple[str, ...]:
        """Change the records in pictures' files, and return the ids of those whose was another then."""
        return tuple(id_ for id_ in _once(ids) if self._revise(id_, owner, change))

    def _revise(self, id_: str, owner: str | None, change: Callable[[Record], Record]) -> bool:
        with self._database.writing() as connection:
            entry = find(connection, id_, owner)
            if entry is None or entry.is_missing:
                return False
            try:
                data = read_file(self._folder / entry.path)
            except FileNotFoundError:
                mark_missing(connection, [id_])
                return False
            except OSError as error:
                raise LibraryError(f"{entry.path} can't be read: {why(error)}.", "") from error
            return self._rewrite(connection, entry, data, change)

    def _rewrite(
        self, connection: Connection, entry: Entry, data: bytes, change: Callable[[Record], Record]
    ) -> bool:
        """What the file says counts, and not what the index remembers of it; unless it says nothing any more."""
        told = inspect(data)
        is_bare = not told.tells_id and told.record.prompt == ""
        record = replace(
            entry.record if is_bare else told.record, id=entry.id, made_at=entry.made_at
        )
        changed = change(record)
        if changed == record:
            return False
        path = self._folder / entry.path
        told = replace(
            told, picture=replace(told.picture, data=embed_record(data, changed)), record=changed
        )
        with unwritten("The picture"):
            atomic_files.replace(path, told.picture.data)
            mtime_ns = stamp_of(path.stat())[1]
        put(
            connection,
            entry_for(told, entry.path, mtime_ns),
            mtime_ns,
            _trashed_at(connection, entry.id),
        )
        return True

    def trash(self, ids: Iterable[str], owner: str | None) -> tuple[str, ...]:
        """Move files into the trash, and return the ids of those that are there now and weren't."""
        return self._each(
            ids, lambda connection, id_: self._move(connection, id_, owner, is_trashed=True)
        )

    def restore(self, ids: Iterable[str], owner: str | None) -> tuple[str, ...]:
        """Move files out of the trash, and return the ids of those that were in it."""
        return self._each(
            ids, lambda connection, id_: self._move(connection, id_, owner, is_trashed=False)
        )

    def empty_trash(self, owner: str | None) -> int:
        """Delete the files that are in the trash, and return how many there were."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT id FROM pictures WHERE trashed_at IS NOT NULL AND owner = coalesce(?, owner)",
                (owner,),
            ).fetchall()
        gone = self._each(
            [id_ for (id_,) in rows],
            lambda connection, id_: self._delete(connection, id_, must_be_trashed=True),
        )
        _remove_empty_folders(self._folder / TRASH)
        return len(gone)

    def discard(self, ids: Iterable[str], owner: str | None) -> tuple[str, ...]:
        """Delete files, wherever they are, and return the ids of those that were known."""
        return self._each(ids, lambda connection, id_: self._delete(connection, id_, owner=owner))

    def forget_missing(self, ids: Iterable[str], owner: str | None) -> tuple[str, ...]:
        """Keep nothing of pictures whose files are gone, and return the ids of those that were known."""
        return self._each(ids, lambda connection, id_: self._forget_missing(connection, id_, owner))

    def _forget_missing(self, connection: Connection, id_: str, owner: str | None) -> _Undo | None:
        entry = find(connection, id_, owner)
        return (
            self._delete(connection, id_, owner=owner)
            if entry is not None and entry.is_missing
            else None
        )

    def _each(
        self, ids: Iterable[str], act: Callable[[Connection, str], _Undo | None]
    ) -> tuple[str, ...]:
        """Do this with pictures, some at a time; where a file refuses, what was done before it is kept."""
        wanted, done = _once(ids), list[str]()
        for start in range(0, len(wanted), AT_ONCE):
            some: dict[str, _Undo] = {}
            try:
                with self._database.writing() as connection:
                    refusal = _until_one_refuses(
                        connection, wanted[start : start + AT_ONCE], act, some
                    )
            except LibraryError:
                for undo in reversed(some.values()):
                    with suppress(OSError):
                        undo()
                raise
            done += some
            if refusal is not None:
                raise LibraryError(f"A picture can't be moved: {why(refusal)}.") from refusal
        return tuple(done)

    def _move(
        self, connection: Connection, id_: str, owner: str | None, *, is_trashed: bool
    ) -> _Undo | None:
        entry = find(connection, id_, owner)
        if entry is None or entry.is_missing or entry.is_trashed == is_trashed:
            return None
        source, original = self._folder / entry.path, original_path(entry.path)
        wanted = self._folder / TRASH / original if is_trashed else self._folder / original
        wanted.parent.mkdir(parents=True, exist_ok=True)
        try:
            path = atomic_files.free_path(wanted)
            source.rename(
                path
            )  # in one step: killed between a link and its removal, the picture would be there twice
        except FileNotFoundError:
            mark_missing(connection, [id_])
            return None
        connection.execute(
            "UPDATE pictures SET path = ?, trashed_at = ? WHERE id = ?",
            (path.relative_to(self._folder).as_posix(), time.time() if is_trashed else None, id_),
        )
        return lambda: path.rename(source)

    def _delete(
        self,
        connection: Connection,
        id_: str,
        *,
        owner: str | None = None,
        must_be_trashed: bool = False,
    ) -> _Undo | None:
        entry = find(connection, id_, owner)
        if entry is None or (must_be_trashed and not entry.is_trashed):
            return None
        if not entry.is_missing:
            (self._folder / entry.path).unlink(missing_ok=True)
        forget(connection, id_)
        self._thumbnails.forget(id_)
        return lambda: None  # what is gone is gone, and found to be missing


def _until_one_refuses(
    connection: Connection,
    ids: Iterable[str],
    act: Callable[[Connection, str], _Undo | None],
    done: dict[str, _Undo],
) -> OSError | None:
    for id_ in ids:
        try:
            undo = act(connection, id_)
        except OSError as error:
            return error
        if undo is not None:
            done[id_] = undo
    return None


def retagged(record: Record, add: Iterable[str], remove: Iterable[str]) -> Record:
    """Return the record with these words and without those; upper and lower case are the same word."""
    gone = {_tag(word).casefold() for word in remove}
    kept = {word.casefold(): word for word in record.tags if _tag(word).casefold() not in gone}
    for word in map(_tag, add):
        if word:
            kept.setdefault(word.casefold(), word)
    return replace(record, tags=tuple(kept.values())[:MAX_TAGS])


def _tag(word: str) -> str:
    return " ".join(unicodedata.normalize("NFC", word[: 4 * MAX_TAG]).split())[:MAX_TAG]


def _once(ids: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(ids))


def _trashed_at(connection: Connection, id_: str) -> float | None:
    row = connection.execute("SELECT trashed_at FROM pictures WHERE id = ?", (id_,)).fetchone()
    return None if row is None else row[0]


def _remove_empty_folders(top: Path) -> None:
    for folder in sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True):
        with suppress(OSError):
            folder.rmdir()
