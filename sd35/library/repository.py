"""Rows of images in the index: `Entry`, and functions that read and write it within a transaction.

The functions take the connection of a transaction of `Database`, so that a caller can change files
and several rows under one write lock.
"""

import datetime as dt
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from sqlite3 import Connection
from typing import Any, Final

from sd35.core.errors import IndexDamagedError
from sd35.core.origin import MAX_SET_SIZE, source_prompt
from sd35.library.layout import is_in_trash, is_library_path, owner_from_path
from sd35.library.schema import sqlite_seed
from sd35.library.text_index import fts_document, sqlite_text
from sd35.metadata.model import GenerationMetadata, metadata_from_json

__all__ = [
    "SELECT_ENTRY",
    "Entry",
    "check_labels",
    "checked_count",
    "checked_text",
    "delete_entry",
    "entry_from_row",
    "find_id_at",
    "get_entry",
    "list_set",
    "mark_missing",
    "move_entry",
    "shown_paths",
    "trashed_ids",
    "upsert_entry",
]


@dataclass(frozen=True, slots=True)
class Entry:
    """An image in the library.

    Attributes:
        path: file below the library's folder, with slashes.
        owner: key of the owner; empty for the local user.
        format: PNG, JPEG or WEBP.
        width: in pixels, of the file; as is `height`.
        made_at: in UTC; the file's time if the metadata has none.
        is_missing: whether the file has been moved or deleted outside of the library.
    """

    id: str
    path: str
    owner: str
    metadata: GenerationMetadata
    format: str
    width: int
    height: int
    size_bytes: int
    made_at: dt.datetime
    is_trashed: bool = False
    is_missing: bool = False

    def with_id(self, id_: str) -> "Entry":
        """Return the entry with another ID, in its metadata, too."""
        return replace(self, id=id_, metadata=replace(self.metadata, id=id_))


# Range of `made_at`: the years 1970 to 9999, which every function of `datetime` takes.
MIN_TIMESTAMP: Final = 0
MAX_TIMESTAMP: Final = 253_370_000_000

MAX_SET_ENTRIES: Final = 4 * MAX_SET_SIZE  # one may be generated again

# Beginning of a query whose rows `entry_from_row` takes.
SELECT_ENTRY: Final = (
    "SELECT id, path, owner, record, format, width, height, size_bytes, made_at,"
    " trashed_at IS NOT NULL, is_missing FROM pictures"
)


def entry_from_row(row: tuple[Any, ...]) -> Entry:
    """Return the entry of a row that `SELECT_ENTRY` has read.

    Raises:
        IndexDamagedError: no image has such values.
    """
    id_, path, owner, record, format_, width, height, size_bytes, made_at, trashed, missing = row
    is_valid = (
        all(isinstance(text, str) for text in (id_, path, owner, record))
        # The owner decides who may see an image, and the path which file is opened.
        and is_library_path(path)
        and owner == owner_from_path(path)
        and format_ in {"PNG", "JPEG", "WEBP"}
        and all(isinstance(number, int) for number in (width, height, size_bytes))
        and min(width, height, size_bytes) >= 0
        and isinstance(made_at, float | int)
        and MIN_TIMESTAMP <= made_at <= MAX_TIMESTAMP
    )
    metadata = metadata_from_json(record) if is_valid else None
    if metadata is None:
        raise IndexDamagedError
    return Entry(
        id=id_,
        path=path,
        owner=owner,
        metadata=metadata,
        format=format_,
        width=width,
        height=height,
        size_bytes=size_bytes,
        made_at=dt.datetime.fromtimestamp(made_at, dt.UTC),
        is_trashed=bool(trashed) or is_in_trash(path),
        is_missing=bool(missing),
    )


def checked_count(value: object) -> int:
    """Return a number of images or bytes.

    Raises:
        IndexDamagedError: it isn't one.
    """
    if not isinstance(value, int) or value < 0:
        raise IndexDamagedError
    return value


def checked_text(value: object) -> str:
    """Return the ID or the path of an image.

    Raises:
        IndexDamagedError: it isn't one.
    """
    if not isinstance(value, str):
        raise IndexDamagedError
    return value


def check_labels(connection: Connection) -> None:
    """Check that stars and tags are those of the records, and the trash that of the paths.

    Raises:
        IndexDamagedError: an image has others.
    """
    tags_by_number: dict[int, set[str]] = {}
    for number, tag in connection.execute("SELECT picture, tag FROM tags"):
        tags_by_number.setdefault(number, set()).add(tag)
    rows = connection.execute(
        "SELECT number, is_starred, record, trashed_at IS NOT NULL, path FROM pictures"
    )
    for number, is_starred, record, is_trashed, path in rows:
        metadata = metadata_from_json(checked_text(record))
        if metadata is None or bool(is_starred) is not metadata.is_starred:
            raise IndexDamagedError
        if bool(is_trashed) is not is_in_trash(checked_text(path)):
            raise IndexDamagedError
        if tags_by_number.pop(number, set()) != set(_tag_keys(metadata)):
            raise IndexDamagedError


def _tag_keys(metadata: GenerationMetadata) -> list[str]:
    # SQLite's lower() and NOCASE know ASCII only: casefold here, and in the query.
    return [sqlite_text(tag).casefold() for tag in metadata.tags]


def get_entry(connection: Connection, id_: str, owner: str | None = None) -> Entry | None:
    """Return an image if it exists and belongs to this owner; `None` stands for any owner."""
    row = connection.execute(
        f"{SELECT_ENTRY} WHERE id = ? AND owner = coalesce(?, owner)", (sqlite_text(id_), owner)
    ).fetchone()
    return None if row is None else entry_from_row(row)


def list_set(connection: Connection, set_id: str, owner: str | None = None) -> list[Entry]:
    """Return the images of a set, also those in the trash, the newest first."""
    rows = connection.execute(
        f"{SELECT_ENTRY} WHERE set_id = ? AND set_id != '' AND owner = coalesce(?, owner)"
        " ORDER BY made_at DESC, id DESC LIMIT ?",
        (sqlite_text(set_id), owner, MAX_SET_ENTRIES),
    )
    return [entry_from_row(row) for row in rows.fetchall()]


def find_id_at(connection: Connection, path: str) -> str | None:
    """Return the ID of the image at this path, unless it is missing."""
    row = connection.execute(
        "SELECT id FROM pictures WHERE path = ? AND is_missing = 0", (path,)
    ).fetchone()
    return None if row is None else checked_text(row[0])


def trashed_ids(connection: Connection, owner: str | None) -> list[str]:
    """Return the IDs of an owner's images in the trash; `None` stands for any owner."""
    sql = "SELECT id FROM pictures WHERE trashed_at IS NOT NULL AND owner = coalesce(?, owner)"
    return [checked_text(id_) for (id_,) in connection.execute(sql, (owner,))]


def shown_paths(connection: Connection, owner: str, size_bytes: int) -> list[str]:
    """Return the paths of an owner's images of this size, neither trashed nor missing."""
    sql = (
        "SELECT path FROM pictures WHERE owner = ? AND size_bytes = ?"
        " AND trashed_at IS NULL AND is_missing = 0"
    )
    return [checked_text(path) for (path,) in connection.execute(sql, (owner, size_bytes))]


def upsert_entry(connection: Connection, entry: Entry, mtime_ns: int) -> None:
    """Insert an image, or replace what the index has under its ID."""
    _free_path(connection, entry.path, entry.id)
    row = {**_columns(entry), "mtime_ns": mtime_ns}
    updates = [f"{name} = excluded.{name}" for name in row if name not in {"id", "trashed_at"}]
    # An image that stays in the trash keeps the time when it was moved there.
    updates.append(
        "trashed_at = iif(excluded.trashed_at, ifnull(trashed_at, excluded.trashed_at), NULL)"
    )
    # Not INSERT OR REPLACE: that deletes and inserts, and so changes the row's number, to which
    # the tags and both full-text tables refer.
    upsert = f"""
        INSERT INTO pictures ({", ".join(row)}) VALUES ({", ".join(f":{name}" for name in row)})
            ON CONFLICT (id) DO UPDATE SET {", ".join(updates)} RETURNING number
    """  # noqa: S608  # our column names
    rowid = connection.execute(upsert, row).fetchone()[0]
    _index_text(connection, rowid, entry)


def _free_path(connection: Connection, path: str, id_: str) -> None:
    """Mark another image at this path as missing, as those that aren't have unique paths."""
    connection.execute(
        "UPDATE pictures SET is_missing = 1 WHERE path = ? AND id != ? AND is_missing = 0",
        (path, id_),
    )


def _columns(entry: Entry) -> dict[str, object]:
    metadata = entry.metadata
    return {
        "id": entry.id,
        "path": entry.path,
        "owner": entry.owner,
        "made_at": entry.made_at.timestamp(),
        "prompt": sqlite_text(metadata.prompt),
        "negative_prompt": sqlite_text(metadata.negative_prompt),
        "seed": sqlite_seed(metadata.seed),
        "width": entry.width,
        "height": entry.height,
        "steps": metadata.num_inference_steps,
        "guidance": metadata.guidance_scale,
        "model": sqlite_text(metadata.model),
        "space": sqlite_text(metadata.space),
        "is_demo": metadata.is_demo,
        "tool": sqlite_text(metadata.tool),
        "format": entry.format,
        "size_bytes": entry.size_bytes,
        "is_starred": metadata.is_starred,
        "trashed_at": time.time() if entry.is_trashed else None,
        "is_missing": entry.is_missing,
        "record": metadata.to_json(),
        "set_id": sqlite_text(metadata.set_id),
        "source_prompt": sqlite_text(source_prompt(metadata.extra)),
    }


def _index_text(connection: Connection, rowid: int, entry: Entry) -> None:
    metadata = entry.metadata
    connection.execute("DELETE FROM tags WHERE picture = ?", (rowid,))
    tag_rows = [(key, rowid) for key in _tag_keys(metadata)]
    connection.executemany("INSERT OR IGNORE INTO tags (tag, picture) VALUES (?, ?)", tag_rows)
    # Without the template, nobody would find the image by the words that they have typed.
    texts = "\n".join(filter(None, (metadata.prompt, source_prompt(metadata.extra))))
    fts_row = rowid, *fts_document(texts, " ".join(metadata.tags), entry.path)
    # FTS5 tables know no upsert.
    connection.execute("DELETE FROM fts_stems WHERE rowid = ?", (rowid,))
    connection.execute("DELETE FROM fts_prefixes WHERE rowid = ?", (rowid,))
    values = "(rowid, prompt, others) VALUES (?, ?, ?)"
    connection.execute("INSERT INTO fts_stems " + values, fts_row)
    connection.execute("INSERT INTO fts_prefixes " + values, fts_row)


def move_entry(connection: Connection, id_: str, path: str, *, is_trashed: bool) -> None:
    """Record that an image was moved to this path."""
    _free_path(connection, path, id_)
    connection.execute(
        "UPDATE pictures SET path = ?, trashed_at = ? WHERE id = ?",
        (path, time.time() if is_trashed else None, id_),
    )


def mark_missing(connection: Connection, ids: Iterable[str]) -> None:
    """Record that the files of these images don't exist."""
    connection.executemany(
        "UPDATE pictures SET is_missing = 1 WHERE id = ?", [(id_,) for id_ in ids]
    )


def delete_entry(connection: Connection, id_: str) -> None:
    """Delete an image from the index; triggers delete its text and tags."""
    connection.execute("DELETE FROM pictures WHERE id = ?", (id_,))
