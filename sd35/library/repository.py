"""The pictures in the index: each is kept, found by its id, and forgotten."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from sqlite3 import Connection
from typing import Any, Final

from sd35.library.layout import is_in_trash
from sd35.library.text_index import fts_document, sqlite_text
from sd35.metadata.model import GenerationMetadata, metadata_from_json

__all__ = [
    "SELECT_ENTRY",
    "Entry",
    "delete_entry",
    "entry_from_row",
    "get_entry",
    "mark_missing",
    "upsert_entry",
]


@dataclass(frozen=True, slots=True)
class Entry:
    """A picture in the library.

    Attributes:
        path: of its file in the library's folder, with slashes.
        owner: the key of whose it is; empty for who runs the program.
        record: what is known of it.
        format: PNG, JPEG or WEBP.
        width: of the picture in its file, in pixels, as is `height`.
        made_at: with its time zone; the file's time where its record has none.
        is_missing: the file was there once, and isn't.

    """

    id: str
    path: str
    owner: str
    record: GenerationMetadata
    format: str
    width: int
    height: int
    size_bytes: int
    made_at: dt.datetime
    is_trashed: bool = False
    is_missing: bool = False


_COLUMNS: Final = (
    *(
        "id",
        "path",
        "owner",
        "made_at",
        "prompt",
        "negative_prompt",
        "seed",
        "width",
        "height",
        "steps",
        "guidance",
    ),
    *(
        "model",
        "space",
        "is_demo",
        "tool",
        "format",
        "size_bytes",
        "mtime_ns",
        "is_starred",
        "trashed_at",
    ),
    *("is_missing", "record"),
)
_UPSERT: Final = f"""
INSERT INTO pictures ({", ".join(_COLUMNS)}) VALUES ({", ".join("?" * len(_COLUMNS))})
    ON CONFLICT (id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _COLUMNS[1:])}
    RETURNING number
"""  # noqa: S608  # our own names

SELECT_ENTRY: Final = (
    "SELECT id, path, owner, record, format, width, height, size_bytes, made_at, trashed_at IS NOT NULL, is_missing"
    " FROM pictures"
)
"""How a picture's row is read; the conditions follow."""


def upsert_entry(
    connection: Connection, entry: Entry, mtime_ns: int, trashed_at: float | None = None
) -> None:
    """Keep a picture as it is told here, in the place of what was kept under its id. Belongs in a transaction.

    What is at its path under another id is taken to be missing.
    """
    connection.execute(
        "UPDATE pictures SET is_missing = 1 WHERE path = ? AND id != ? AND is_missing = 0",
        (entry.path, entry.id),
    )
    record = entry.record
    params = (
        *(entry.id, entry.path, entry.owner, entry.made_at.timestamp()),
        *(
            sqlite_text(record.prompt),
            sqlite_text(record.negative_prompt),
            record.seed,
            entry.width,
            entry.height,
        ),
        *(
            record.num_inference_steps,
            record.guidance_scale,
            sqlite_text(record.model),
            sqlite_text(record.space),
        ),
        *(
            record.is_demo,
            sqlite_text(record.tool),
            entry.format,
            entry.size_bytes,
            mtime_ns,
            record.is_starred,
        ),
        *(trashed_at, entry.is_missing, record.to_json()),
    )
    rowid = connection.execute(_UPSERT, params).fetchone()[0]
    _index_text(connection, rowid, entry)


def _index_text(connection: Connection, rowid: int, entry: Entry) -> None:
    record = entry.record
    connection.execute("DELETE FROM tags WHERE picture = ?", (rowid,))
    tag_rows = [(sqlite_text(tag).casefold(), rowid) for tag in record.tags]
    connection.executemany("INSERT OR IGNORE INTO tags (tag, picture) VALUES (?, ?)", tag_rows)
    fts_row = rowid, *fts_document(record.prompt, " ".join(record.tags), entry.path)
    for table in ("words", "beginnings"):
        connection.execute(f"DELETE FROM {table} WHERE rowid = ?", (rowid,))  # noqa: S608  # our own names
        connection.execute(f"INSERT INTO {table} (rowid, prompt, others) VALUES (?, ?, ?)", fts_row)  # noqa: S608


def mark_missing(connection: Connection, ids: Iterable[str]) -> None:
    """Say that these pictures' files aren't there. Belongs in a transaction."""
    connection.executemany(
        "UPDATE pictures SET is_missing = 1 WHERE id = ?", [(id_,) for id_ in ids]
    )


def delete_entry(connection: Connection, id_: str) -> None:
    """Keep nothing of a picture. Belongs in a transaction."""
    connection.execute("DELETE FROM pictures WHERE id = ?", (id_,))


def get_entry(connection: Connection, id_: str, owner: str | None = None) -> Entry | None:
    """Return a picture, if it is this owner's; `None` for anybody's."""
    row = connection.execute(
        f"{SELECT_ENTRY} WHERE id = ? AND owner = coalesce(?, owner)", (sqlite_text(id_), owner)
    ).fetchone()
    return None if row is None else entry_from_row(row)


def entry_from_row(row: tuple[Any, ...]) -> Entry:
    """Return the picture whose row `READ` has read."""
    (
        id_,
        path,
        owner,
        record,
        format_,
        width,
        height,
        size_bytes,
        made_at,
        is_trashed,
        is_missing,
    ) = row
    return Entry(
        id=id_,
        path=path,
        owner=owner,
        record=metadata_from_json(record) or GenerationMetadata(),
        format=format_,
        width=width,
        height=height,
        size_bytes=size_bytes,
        made_at=dt.datetime.fromtimestamp(made_at, dt.UTC),
        is_trashed=bool(is_trashed) or is_in_trash(path),
        is_missing=bool(is_missing),
    )
