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
from sd35.core.atomic_files import os_error_text, write_errors, write_exclusive
from sd35.core.errors import LibraryError, PictureError
from sd35.core.picture import Picture
from sd35.library.database import Database
from sd35.library.layout import TRASH_DIR, directory_for, file_version, filename_for, original_path
from sd35.library.picture_file import (
    MAX_TAG_LENGTH,
    InspectedPicture,
    build_entry,
    creation_time,
    inspect_picture,
    read_file,
)
from sd35.library.repository import Entry, delete_entry, get_entry, mark_missing, upsert_entry
from sd35.library.thumbnails import ThumbnailCache
from sd35.metadata.embedding import embed_metadata
from sd35.metadata.model import MAX_TAGS, GenerationMetadata, new_id

__all__ = ["PictureStore", "add_picture", "with_tags"]


log = logging.getLogger(__name__)


def add_picture(
    root: Path,
    database: Database,
    data: bytes,
    picture: Picture,
    record: GenerationMetadata,
    owner: str,
) -> Entry:
    """Write a picture into the library at `root`; documented at `Library.add`."""
    record = replace(
        record, id=record.id or new_id(), made_at=record.made_at or dt.datetime.now(dt.UTC)
    )
    made_at = creation_time(record, 0)
    directory, name = directory_for(owner, made_at), filename_for(record, made_at, picture.suffix)
    inspected = InspectedPicture(
        replace(picture, data=_embed_or_original(record, data)), record, has_embedded_id=True
    )
    with write_errors("The picture"):
        file = write_exclusive(root / directory, name, inspected.picture.data)
        mtime_ns = file_version(file.stat())[1]
    entry = build_entry(inspected, f"{directory}/{file.name}", mtime_ns)
    try:
        with database.write_transaction() as connection:
            upsert_entry(connection, entry, mtime_ns)
    except (
        LibraryError
    ) as error:  # the picture itself is saved, and who would try again would have it twice
        log.warning(
            "%s isn't in the index before the folder is looked through: %s",
            entry.path,
            error.happened,
        )
    return entry


def _embed_or_original(record: GenerationMetadata, data: bytes) -> bytes:
    """The file with its record in it; as it came, where it can't carry one: it isn't lost for that."""
    try:
        return embed_metadata(data, record)
    except PictureError:
        return data


BATCH_SIZE: Final = 50
"""Files that are moved before others may write to the index."""


_Undo = Callable[[], object]
"""Puts a file back where it was."""


class PictureStore:
    """The files of a library, and its index, which follows them.

    Each change is made while no other program can make one. One that is killed between a file and
    the index leaves the file, from which the next rescan learns it.
    """

    def __init__(self, folder: Path, database: Database, thumbnails: ThumbnailCache) -> None:
        self._folder = folder
        self._database = database
        self._thumbnails = thumbnails

    def update_metadata(
        self,
        ids: Iterable[str],
        owner: str | None,
        update: Callable[[GenerationMetadata], GenerationMetadata],
    ) -> tuple[str, ...]:
        """Change the records in pictures' files, and return the ids of those whose was another then."""
        return tuple(id_ for id_ in _unique(ids) if self._update_one(id_, owner, update))

    def _update_one(
        self,
        id_: str,
        owner: str | None,
        update: Callable[[GenerationMetadata], GenerationMetadata],
    ) -> bool:
        with self._database.write_transaction() as connection:
            entry = get_entry(connection, id_, owner)
            if entry is None or entry.is_missing:
                return False
            try:
                data = read_file(self._folder / entry.path)
            except FileNotFoundError:
                mark_missing(connection, [id_])
                return False
            except OSError as error:
                raise LibraryError(
                    f"{entry.path} can't be read: {os_error_text(error)}.", ""
                ) from error
            return self._rewrite_file(connection, entry, data, update)

    def _rewrite_file(
        self,
        connection: Connection,
        entry: Entry,
        data: bytes,
        update: Callable[[GenerationMetadata], GenerationMetadata],
    ) -> bool:
        """What the file says counts, and not what the index remembers of it; unless it says nothing any more."""
        inspected = inspect_picture(data)
        has_no_metadata = not inspected.has_embedded_id and inspected.record.prompt == ""
        record = replace(
            entry.record if has_no_metadata else inspected.record,
            id=entry.id,
            made_at=entry.made_at,
        )
        updated_record = update(record)
        if updated_record == record:
            return False
        path = self._folder / entry.path
        inspected = replace(
            inspected,
            picture=replace(inspected.picture, data=embed_metadata(data, updated_record)),
            record=updated_record,
        )
        with write_errors("The picture"):
            atomic_files.atomic_write(path, inspected.picture.data)
            mtime_ns = file_version(path.stat())[1]
        upsert_entry(
            connection,
            build_entry(inspected, entry.path, mtime_ns),
            mtime_ns,
            _get_trashed_at(connection, entry.id),
        )
        return True

    def trash(self, ids: Iterable[str], owner: str | None) -> tuple[str, ...]:
        """Move files into the trash, and return the ids of those that are there now and weren't."""
        return self._apply(
            ids, lambda connection, id_: self._move(connection, id_, owner, is_trashed=True)
        )

    def restore(self, ids: Iterable[str], owner: str | None) -> tuple[str, ...]:
        """Move files out of the trash, and return the ids of those that were in it."""
        return self._apply(
            ids, lambda connection, id_: self._move(connection, id_, owner, is_trashed=False)
        )

    def empty_trash(self, owner: str | None) -> int:
        """Delete the files that are in the trash, and return how many there were."""
        with self._database.read_transaction() as connection:
            rows = connection.execute(
                "SELECT id FROM pictures WHERE trashed_at IS NOT NULL AND owner = coalesce(?, owner)",
                (owner,),
            ).fetchall()
        deleted_ids = self._apply(
            [id_ for (id_,) in rows],
            lambda connection, id_: self._delete(connection, id_, must_be_trashed=True),
        )
        _remove_empty_folders(self._folder / TRASH_DIR)
        return len(deleted_ids)

    def delete(self, ids: Iterable[str], owner: str | None) -> tuple[str, ...]:
        """Delete files, wherever they are, and return the ids of those that were known."""
        return self._apply(ids, lambda connection, id_: self._delete(connection, id_, owner=owner))

    def remove_missing(self, ids: Iterable[str], owner: str | None) -> tuple[str, ...]:
        """Keep nothing of pictures whose files are gone, and return the ids of those that were known."""
        return self._apply(
            ids, lambda connection, id_: self._delete_if_missing(connection, id_, owner)
        )

    def _delete_if_missing(
        self, connection: Connection, id_: str, owner: str | None
    ) -> _Undo | None:
        entry = get_entry(connection, id_, owner)
        return (
            self._delete(connection, id_, owner=owner)
            if entry is not None and entry.is_missing
            else None
        )

    def _apply(
        self, ids: Iterable[str], operation: Callable[[Connection, str], _Undo | None]
    ) -> tuple[str, ...]:
        """Do this with pictures, some at a time; where a file refuses, what was done before it is kept."""
        unique_ids, changed_ids = _unique(ids), list[str]()
        for start in range(0, len(unique_ids), BATCH_SIZE):
            undo_by_id: dict[str, _Undo] = {}
            try:
                with self._database.write_transaction() as connection:
                    os_error = _apply_until_error(
                        connection, unique_ids[start : start + BATCH_SIZE], operation, undo_by_id
                    )
            except LibraryError:
                for undo in reversed(undo_by_id.values()):
                    with suppress(OSError):
                        undo()
                raise
            changed_ids += undo_by_id
            if os_error is not None:
                raise LibraryError(
                    f"A picture can't be moved: {os_error_text(os_error)}."
                ) from os_error
        return tuple(changed_ids)

    def _move(
        self, connection: Connection, id_: str, owner: str | None, *, is_trashed: bool
    ) -> _Undo | None:
        entry = get_entry(connection, id_, owner)
        if entry is None or entry.is_missing or entry.is_trashed == is_trashed:
            return None
        source, original_relative_path = self._folder / entry.path, original_path(entry.path)
        target = (
            self._folder / TRASH_DIR / original_relative_path
            if is_trashed
            else self._folder / original_relative_path
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            path = atomic_files.unique_path(target)
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
        entry = get_entry(connection, id_, owner)
        if entry is None or (must_be_trashed and not entry.is_trashed):
            return None
        if not entry.is_missing:
            (self._folder / entry.path).unlink(missing_ok=True)
        delete_entry(connection, id_)
        self._thumbnails.remove(id_)
        return lambda: None  # what is gone is gone, and found to be missing


def _apply_until_error(
    connection: Connection,
    ids: Iterable[str],
    operation: Callable[[Connection, str], _Undo | None],
    undo_by_id: dict[str, _Undo],
) -> OSError | None:
    for id_ in ids:
        try:
            undo = operation(connection, id_)
        except OSError as error:
            return error
        if undo is not None:
            undo_by_id[id_] = undo
    return None


def with_tags(
    record: GenerationMetadata, add: Iterable[str], remove: Iterable[str]
) -> GenerationMetadata:
    """Return the record with these words and without those; upper and lower case are the same word."""
    removed_keys = {_normalize_tag(tag).casefold() for tag in remove}
    tags_by_key = {
        tag.casefold(): tag
        for tag in record.tags
        if _normalize_tag(tag).casefold() not in removed_keys
    }
    for tag in map(_normalize_tag, add):
        if tag:
            tags_by_key.setdefault(tag.casefold(), tag)
    return replace(record, tags=tuple(tags_by_key.values())[:MAX_TAGS])


def _normalize_tag(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text[: 4 * MAX_TAG_LENGTH]).split())[
        :MAX_TAG_LENGTH
    ]


def _unique(ids: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(ids))


def _get_trashed_at(connection: Connection, id_: str) -> float | None:
    row = connection.execute("SELECT trashed_at FROM pictures WHERE id = ?", (id_,)).fetchone()
    return None if row is None else row[0]


def _remove_empty_folders(root: Path) -> None:
    for folder in sorted((path for path in root.rglob("*") if path.is_dir()), reverse=True):
        with suppress(OSError):
            folder.rmdir()
