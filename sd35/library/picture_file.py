"""Image files as they are found: format, embedded metadata, and the ID that the library uses."""

import datetime as dt
import hashlib
import os
import re
import stat
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Final, TypeVar

from sd35.core.errors import PictureError
from sd35.core.picture import Picture, open_picture
from sd35.library.layout import is_in_trash, owner_from_path
from sd35.library.library_file import read_file
from sd35.library.repository import Entry
from sd35.library.skipped_files import SkippedFileError, SkipReason, skip_errors
from sd35.metadata.dates import NOON, read_date
from sd35.metadata.embedding import metadata_from_texts, read_texts
from sd35.metadata.model import GenerationMetadata

__all__ = [
    "InspectedPicture",
    "build_entry",
    "creation_time",
    "derive_copy_id",
    "find_identical",
    "inspect_picture",
    "load_picture",
]

T = TypeVar("T")

_UNREADABLE_MESSAGE: Final = "Not a readable PNG, JPEG or WebP: damaged, incomplete or too large."

_ID_PATTERN: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")

_MIN_TIME: Final = dt.datetime(1970, 1, 2, tzinfo=dt.UTC)
_MAX_TIME: Final = dt.datetime(9990, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class InspectedPicture:
    """An image file's content, and its metadata with the embedded ID or one derived from it."""

    picture: Picture
    metadata: GenerationMetadata
    has_embedded_id: bool

    @property
    def has_metadata(self) -> bool:
        """Return whether the file holds an ID or a prompt."""
        return self.has_embedded_id or self.metadata.prompt != ""


def find_identical(target: Path, data: bytes, exclude: Collection[Path] = ()) -> Path | None:
    """Return the file of this name, or of this name with a number, that has this content."""
    # An import or export that was killed has left such files; repeated, it must not double them.
    for counter in count(1):
        path = target if counter == 1 else target.with_stem(f"{target.stem}-{counter}")
        if not os.path.lexists(path):
            return None
        if path not in exclude and _has_content(path, data):
            return path
    raise AssertionError


def _has_content(path: Path, data: bytes) -> bool:
    try:
        status = path.lstat()
        # A link isn't identical: the caller would change the file that it leads to.
        if not stat.S_ISREG(status.st_mode) or status.st_size != len(data):
            return False
        return read_file(path) == data
    except (OSError, PictureError):
        return False


def inspect_picture(data: bytes) -> InspectedPicture:
    """Return what an image file holds.

    Raises:
        PictureTooLargeError: the image has too many pixels.
        PictureError: the data isn't an image that may be opened.
    """
    try:
        picture = open_picture(data)
    except PictureError as error:
        raise type(error)(_UNREADABLE_MESSAGE, "Choose another image.") from error
    if not picture.width or not picture.height:
        raise PictureError(_UNREADABLE_MESSAGE, "Choose another image.")
    embedded = read_texts(data)
    metadata = metadata_from_texts(embedded) or GenerationMetadata(tool="")
    if metadata.made_at is None:
        metadata = replace(metadata, made_at=read_date(embedded.texts))
    has_embedded_id = _ID_PATTERN.fullmatch(metadata.id) is not None
    if not has_embedded_id:
        # From the content, so that the file has the same ID when the index is rebuilt.
        metadata = replace(metadata, id=f"h{hashlib.sha256(data).hexdigest()[:21]}")
    return InspectedPicture(picture, metadata, has_embedded_id)


def load_picture(load: Callable[[], tuple[bytes, T]]) -> tuple[InspectedPicture, T]:
    """Return what an image file holds, and what `load` returns beside its content.

    Raises:
        SkippedFileError: there is no such file, or no image in it that may be opened.
    """
    with skip_errors():
        data, status = load()
        if not data:
            raise SkippedFileError(SkipReason.EMPTY)
        return inspect_picture(data), status


def derive_copy_id(id_: str, path: str) -> str:
    """Return the ID of a copy at this path, whose embedded ID belongs to another file."""
    return f"c{hashlib.sha256(f'{id_} {path}'.encode()).hexdigest()[:21]}"


def creation_time(metadata: GenerationMetadata, mtime_ns: int) -> dt.datetime:
    """Return when an image was made, by its metadata or file time, within 1970 to 9990."""
    seconds = min(max(mtime_ns / 1e9, _MIN_TIME.timestamp()), _MAX_TIME.timestamp())
    file_time = dt.datetime.fromtimestamp(seconds, dt.UTC)
    made_at = metadata.made_at
    if made_at is None or not _MIN_TIME <= made_at <= _MAX_TIME:
        return file_time
    local_time = made_at.astimezone()
    # Of a date without a time, the file's time orders the images of that day.
    is_same_day = local_time.time() == NOON and file_time.astimezone().date() == local_time.date()
    return file_time if is_same_day else made_at


def build_entry(inspected: InspectedPicture, path: str, mtime_ns: int) -> Entry:
    """Return the library's entry for a file at this path."""
    picture = inspected.picture
    metadata = inspected.metadata
    return Entry(
        id=metadata.id,
        path=path,
        owner=owner_from_path(path),
        metadata=metadata,
        format=picture.format,
        width=picture.width,
        height=picture.height,
        size_bytes=len(picture.data),
        made_at=creation_time(metadata, mtime_ns),
        is_trashed=is_in_trash(path),
    )
