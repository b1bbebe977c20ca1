"""The pictures in the index: each is kept, found by its id, and forgotten."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from sqlite3 import Connection
from typing import Any, Final

from sd35.library.layout import is_in_trash
from sd35.library.text_index import plain_text, searchable
from sd35.metadata.model import Record, read_record

__all__ = ["READ", "Entry", "entry_of", "find", "forget", "mark_missing", "put"]


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
    record: Record
    format: str
    width: int
    height: int
    size_bytes: int
    made_at: dt.datetime
    is_trashed: bool = False
    is_missing: bool = False


_NAMES: Final = (
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
_PUT: Final = f"""
INSERT INTO pictures ({", ".join(_NAMES)}) VALUES ({", ".join("?" * len(_NAMES))})
    ON CONFLICT (id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _NAMES[1:])}
    RETURNING number
"""  # noqa: S608  # our own names

READ: Final = (
    "SELECT id, path, owner, record, format, width, height, size_bytes, made_at, trashed_at IS NOT NULL, is_missing"
    " FROM pictures"
)
"""How a picture's row is read; the conditions follow."""


def put(
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
    told = (
        *(entry.id, entry.path, entry.owner, entry.made_at.timestamp()),
        *(
            plain_text(record.prompt),
            plain_text(record.negative_prompt),
            record.seed,
            entry.width,
            entry.height,
        ),
        *(
            record.num_inference_steps,
            record.guidance_scale,
            plain_text(record.model),
            plain_text(record.space),
        ),
        *(
            record.is_demo,
            plain_text(record.tool),
            entry.format,
            entry.size_bytes,
            mtime_ns,
            record.is_starred,
        ),
        *(trashed_at, entry.is_missing, record.as_json()),
    )
    number = connection.execute(_PUT, told).fetchone()[0]
    _put_words(connection, number, entry)


def _put_words(connection: Connection, number: int, entry: Entry) -> None:
    record = entry.record
    connection.execute("DELETE FROM tags WHERE picture = ?", (number,))
    tags = [(plain_text(tag).casefold(), number) for tag in record.tags]
    connection.executemany("INSERT OR IGNORE INTO tags (tag, picture) VALUES (?, ?)", tags)
    words = number, *searchable(record.prompt, " ".join(record.tags), entry.path)
    for table in ("words", "beginnings"):
        connection.execute(f"DELETE FROM {table} WHERE rowid = ?", (number,))  # noqa: S608  # our own names
        connection.execute(f"INSERT INTO {table} (rowid, prompt, others) VALUES (?, ?, ?)", words)  # noqa: S608


def mark_missing(connection: Connection, ids: Iterable[str]) -> None:
    """Say that these pictures' files aren't there. Belongs in a transaction."""
    connection.executemany(
        "UPDATE pictures SET is_missing = 1 WHERE id = ?", [(each,) for each in ids]
    )


def forget(connection: Connection, id_: str) -> None:
    """Keep nothing of a picture. Belongs in a transaction."""
    connection.execute("DELETE FROM pictures WHERE id = ?", (id_,))


def find(connection: Connection, id_: str, owner: str | None = None) -> Entry | None:
    """Return a picture, if it is this owner's; `None` for anybody's."""
    row = connection.execute(
        f"{READ} WHERE id = ? AND owner = coalesce(?, owner)", (plain_text(id_), owner)
    ).fetchone()
    return None if row is None else entry_of(row)


def entry_of(row: tuple[Any, ...]) -> Entry:
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
        record=read_record(record) or Record(),
        format=format_,
        width=width,
        height=height,
        size_bytes=size_bytes,
        made_at=dt.datetime.fromtimestamp(made_at, dt.UTC),
        is_trashed=bool(is_trashed) or is_in_trash(path),
        is_missing=bool(is_missing),
    )
