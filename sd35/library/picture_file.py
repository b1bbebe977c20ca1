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

from sd35.core.atomic_files import unique_path
from sd35.core.errors import PictureError, PictureTooLargeError
from sd35.core.picture import Picture, open_picture
from sd35.library.layout import is_in_trash, owner_from_path
from sd35.library.repository import Entry
from sd35.metadata.embedding import read_metadata
from sd35.metadata.model import GenerationMetadata

__all__ = [
    "MAX_FILE_BYTES",
    "MAX_TAG_LENGTH",
    "InspectedPicture",
    "build_entry",
    "creation_time",
    "derive_copy_id",
    "inspect_picture",
    "read_file",
]


def _find_identical(target: Path, data: bytes, exclude: Collection[Path] = ()) -> Path | None:
    """The file under this name, or one with a number, that holds this: what was killed in the midst has left it."""
    unused_path = unique_path(target)
    for index in count(1):
        path = target if index == 1 else target.with_stem(f"{target.stem}-{index}")
        if path == unused_path:
            return None
        if (
            path not in exclude
            and path.stat().st_size == len(data)
            and _read_or_empty(path) == data
        ):
            return path
    raise AssertionError


def _read_or_empty(path: Path) -> bytes:
    try:
        return read_file(path)
    except (OSError, PictureError):
        return b""


MAX_FILE_BYTES: Final = 256 << 20
"""More than any picture has that may be opened."""

_UNREADABLE_MESSAGE: Final = "The file isn't a PNG, a JPEG or a WebP that may be opened: it is damaged, cut off, or too large."

MAX_TAG_LENGTH: Final = 100
"""Characters."""

_ID_PATTERN: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")

_MIN_TIME: Final = dt.datetime(1970, 1, 2, tzinfo=dt.UTC)
_MAX_TIME: Final = dt.datetime(9990, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class InspectedPicture:
    """What a picture's file says.

    Attributes:
        picture: its format and size, and all of its bytes.
        record: with the id that the file tells, or else one that follows from its content.
        tells_id: the id stands in the file.

    """

    picture: Picture
    record: GenerationMetadata
    has_embedded_id: bool


def read_file(path: Path) -> bytes:
    """Return what a picture's file holds.

    Raises:
        OSError: it can't be read.
        PictureTooLargeError: it is larger than a picture is.

    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_FILE_BYTES:
            raise PictureTooLargeError(f"{path.name} has {size:,} bytes, too many to be a picture.")
        return file.read(MAX_FILE_BYTES)


def inspect_picture(data: bytes) -> InspectedPicture:
    """Say what a picture is and what is told in it.

    Raises:
        PictureError: it isn't one that may be opened.

    """
    picture = _open_valid_picture(data)
    record = read_metadata(data) or GenerationMetadata(tool="")
    record = replace(record, tags=tuple(tag[:MAX_TAG_LENGTH] for tag in record.tags))
    if _ID_PATTERN.fullmatch(record.id):
        return InspectedPicture(picture, record, has_embedded_id=True)
    return InspectedPicture(
        picture,
        replace(record, id=f"h{hashlib.sha256(data).hexdigest()[:21]}"),
        has_embedded_id=False,
    )


def _open_valid_picture(data: bytes) -> Picture:
    try:
        picture = open_picture(data)
    except PictureError as error:
        raise PictureError(_UNREADABLE_MESSAGE, "Choose another picture.") from error
    if not picture.width or not picture.height:
        raise PictureError(_UNREADABLE_MESSAGE, "Choose another picture.")
    return picture


def derive_copy_id(id_: str, path: str) -> str:
    """Return the id of a second file that tells an id; always the same for the same path."""
    return f"c{hashlib.sha256(f'{id_} {path}'.encode()).hexdigest()[:21]}"


def creation_time(record: GenerationMetadata, mtime_ns: int) -> dt.datetime:
    """Return when a picture was made: as it is told, or else its file's time; a nonsensical one is made sensible."""
    if record.made_at is not None and _MIN_TIME <= record.made_at <= _MAX_TIME:
        return record.made_at
    seconds = min(max(mtime_ns / 1e9, _MIN_TIME.timestamp()), _MAX_TIME.timestamp())
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


def build_entry(
    inspected: InspectedPicture, path: str, mtime_ns: int, id_: str | None = None
) -> Entry:
    """Return what the library keeps of a file at this path; `id_` where it isn't the one that is told."""
    picture = inspected.picture
    return Entry(
        id=inspected.record.id if id_ is None else id_,
        path=path,
        owner=owner_from_path(path),
        record=inspected.record if id_ is None else replace(inspected.record, id=id_),
        format=picture.format,
        width=picture.width,
        height=picture.height,
        size_bytes=len(picture.data),
        made_at=creation_time(inspected.record, mtime_ns),
        is_trashed=is_in_trash(path),
    )
