"""A picture's file as it is found: what it is, what is told in it, and the id that it has here."""

import datetime as dt
import hashlib
import os
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Final

from sd35.core.atomic_files import free_path
from sd35.core.errors import PictureError, PictureTooLargeError
from sd35.core.picture import Picture, open_picture
from sd35.library.layout import is_in_trash, owner_of
from sd35.library.repository import Entry
from sd35.metadata.embedding import read_picture
from sd35.metadata.model import Record

__all__ = [
    "MAX_BYTES",
    "MAX_TAG",
    "Inspected",
    "copy_id",
    "entry_for",
    "inspect",
    "moment_of",
    "read_file",
]


def _written_before(wanted: Path, data: bytes, but: Collection[Path] = ()) -> Path | None:
    """The file under this name, or one with a number, that holds this: what was killed in the midst has left it."""
    free = free_path(wanted)
    for number in count(1):
        path = wanted if number == 1 else wanted.with_stem(f"{wanted.stem}-{number}")
        if path == free:
            return None
        if path not in but and path.stat().st_size == len(data) and _bytes_of(path) == data:
            return path
    raise AssertionError


def _bytes_of(path: Path) -> bytes:
    try:
        return read_file(path)
    except (OSError, PictureError):
        return b""


MAX_BYTES: Final = 256 << 20
"""More than any picture has that may be opened."""

_UNREADABLE: Final = "The file isn't a PNG, a JPEG or a WebP that may be opened: it is damaged, cut off, or too large."

MAX_TAG: Final = 100
"""Characters."""

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")

_FIRST: Final = dt.datetime(1970, 1, 2, tzinfo=dt.UTC)
_LAST: Final = dt.datetime(9990, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class Inspected:
    """What a picture's file says.

    Attributes:
        picture: its format and size, and all of its bytes.
        record: with the id that the file tells, or else one that follows from its content.
        tells_id: the id stands in the file.

    """

    picture: Picture
    record: Record
    tells_id: bool


def read_file(path: Path) -> bytes:
    """Return what a picture's file holds.

    Raises:
        OSError: it can't be read.
        PictureTooLargeError: it is larger than a picture is.

    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_BYTES:
            raise PictureTooLargeError(f"{path.name} has {size:,} bytes, too many to be a picture.")
        return file.read(MAX_BYTES)


def inspect(data: bytes) -> Inspected:
    """Say what a picture is and what is told in it.

    Raises:
        PictureError: it isn't one that may be opened.

    """
    picture = _opened(data)
    record = read_picture(data) or Record(tool="")
    record = replace(record, tags=tuple(tag[:MAX_TAG] for tag in record.tags))
    if _ID.fullmatch(record.id):
        return Inspected(picture, record, tells_id=True)
    return Inspected(
        picture, replace(record, id=f"h{hashlib.sha256(data).hexdigest()[:21]}"), tells_id=False
    )


def _opened(data: bytes) -> Picture:
    try:
        picture = open_picture(data)
    except PictureError as error:
        raise PictureError(_UNREADABLE, "Choose another picture.") from error
    if not picture.width or not picture.height:
        raise PictureError(_UNREADABLE, "Choose another picture.")
    return picture


def copy_id(id_: str, path: str) -> str:
    """Return the id of a second file that tells an id; always the same for the same path."""
    return f"c{hashlib.sha256(f'{id_} {path}'.encode()).hexdigest()[:21]}"


def moment_of(record: Record, mtime_ns: int) -> dt.datetime:
    """Return when a picture was made: as it is told, or else its file's time; a nonsensical one is made sensible."""
    if record.made_at is not None and _FIRST <= record.made_at <= _LAST:
        return record.made_at
    seconds = min(max(mtime_ns / 1e9, _FIRST.timestamp()), _LAST.timestamp())
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


def entry_for(told: Inspected, path: str, mtime_ns: int, id_: str | None = None) -> Entry:
    """Return what the library keeps of a file at this path; `id_` where it isn't the one that is told."""
    picture = told.picture
    return Entry(
        id=told.record.id if id_ is None else id_,
        path=path,
        owner=owner_of(path),
        record=told.record if id_ is None else replace(told.record, id=id_),
        format=picture.format,
        width=picture.width,
        height=picture.height,
        size_bytes=len(picture.data),
        made_at=moment_of(told.record, mtime_ns),
        is_trashed=is_in_trash(path),
    )
