"""Pictures from elsewhere into the library, and out of it into a folder or a .zip."""

import datetime as dt
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection
from typing import Final

from sd35.core.atomic_files import unwritten, write_new
from sd35.core.errors import LibraryError, PictureError, PictureTooLargeError
from sd35.library.database import Database
from sd35.library.layout import Tell, is_shown_picture, name_for, place_for, stamp_of, walk
from sd35.library.picture_file import (
    MAX_BYTES,
    Inspected,
    _bytes_of,
    _written_before,
    copy_id,
    entry_for,
    inspect,
    moment_of,
    read_file,
)
from sd35.library.repository import find, put
from sd35.metadata.embedding import embed_record

__all__ = ["Imported", "Source", "import_pictures", "pictures_in"]


try:
    import lzma
except ImportError:  # Python may be built without it
    lzma = None  # type: ignore[assignment]


_NOT_UNPACKED: Final = (
    *(OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError),
    *(RuntimeError, ValueError),  # a password is needed; a place before the file's beginning
    *(() if lzma is None else (lzma.LZMAError,)),
)


_NO_TIME: Final = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Source:
    """A picture's file, elsewhere.

    Attributes:
        path: where it is; of what lies in a .zip, with the path therein.
        read: returns its bytes and its time in nanoseconds, or raises `OSError` or `PictureError`.

    """

    path: Path
    read: Callable[[], tuple[bytes, int]]


@contextmanager
def pictures_in(place: Path, *, but: Path) -> Iterator[list[Source]]:
    """Find the pictures' files in a folder or a .zip, always in the same order; what is hidden is passed over.

    Args:
        place: the folder, the .zip, or a picture's file.
        but: a folder that is passed over.

    Raises:
        LibraryError: it is none of these.

    """
    if place.is_dir():
        yield [_in_folder(place / found.path) for found in walk(place, but=but)]
        return
    if place.is_file() and is_shown_picture(place.name):
        yield [_in_folder(place)]
        return
    try:
        archive = zipfile.ZipFile(place)
    except _NOT_UNPACKED as error:
        raise LibraryError(
            f"{place} is no folder, no .zip and no picture.", "Name one that is."
        ) from error
    with archive:
        yield [
            _in_zip(archive, place, info)
            for info in archive.infolist()
            if is_shown_picture(_name_of(info))
        ]


def _in_folder(path: Path) -> Source:
    return Source(path, lambda: (read_file(path), stamp_of(path.stat())[1]))


def _in_zip(archive: zipfile.ZipFile, place: Path, info: zipfile.ZipInfo) -> Source:
    path = place / _name_of(info).lstrip("/")

    def read() -> tuple[bytes, int]:
        try:
            with archive.open(info) as file:
                data = file.read(MAX_BYTES + 1)  # whatever it says that it has
        except _NOT_UNPACKED as error:
            raise PictureError(f"{info.filename} can't be unpacked.") from error
        if len(data) > MAX_BYTES:
            raise PictureTooLargeError(f"{info.filename} is too large to be a picture.")
        return data, _time_of(info, place)

    return Source(path, read)


def _name_of(info: zipfile.ZipInfo) -> str:
    return info.filename.replace("\\", "/")  # as some programs on Windows write it


def _time_of(info: zipfile.ZipInfo, place: Path) -> int:
    """A .zip tells a file's time as the clock on the wall; where that is nonsense, its own time stands for it."""
    try:
        if info.date_time == _NO_TIME:
            return stamp_of(place.stat())[1]
        return int(dt.datetime(*info.date_time).astimezone().timestamp()) * 10**9
    except (ValueError, OverflowError, OSError):
        return stamp_of(place.stat())[1]


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of the pictures of a folder or a .zip.

    Attributes:
        added: how many are in the library now.
        already: how many were.
        unreadable: files that aren't pictures that may be opened.

    """

    added: int
    already: int
    unreadable: tuple[Path, ...]


def import_pictures(
    root: Path, database: Database, source: Path, owner: str, tell: Tell | None
) -> Imported:
    """Copy pictures into the library at `root`; documented at `Library.import_from`."""
    place_for(owner, dt.datetime.now(dt.UTC))  # is it a key?
    source, own = source.expanduser().resolve(), root.resolve()
    if source == own or own in source.parents:
        raise LibraryError(f"{source} belongs to the library already.", "Name another folder.")
    counts, unreadable = {True: 0, False: 0}, list[Path]()
    with pictures_in(source, but=own) as pictures:
        for number, picture in enumerate(pictures, 1):
            try:
                data, mtime_ns = picture.read()
                told = inspect(data)
            except (OSError, PictureError):
                unreadable.append(picture.path)
            else:
                counts[_bring_in(root, database, owner, told, mtime_ns, picture.path.stem)] += 1
            if tell is not None:
                tell(number, len(pictures))
    return Imported(counts[True], counts[False], tuple(unreadable))


def _bring_in(
    root: Path, database: Database, owner: str, told: Inspected, mtime_ns: int, words: str
) -> bool:
    """Whether the picture wasn't there, and is now. What is in the trash, or another owner's, isn't there."""
    with database.reading() as connection:
        known = find(connection, told.record.id)
        is_there = known is not None and not known.is_missing
        if is_there and _same(connection, root, owner, told):
            return False
    made_at = moment_of(told.record, mtime_ns)
    place, name = (
        place_for(owner, made_at),
        name_for(told.record, made_at, told.picture.suffix, words),
    )
    with unwritten("A picture"):
        file = _written_before(root / place / name, told.picture.data) or write_new(
            root / place, name, told.picture.data
        )
        os.utime(file, ns=(mtime_ns, mtime_ns))
        mtime_ns = stamp_of(file.stat())[1]
    path = f"{place}/{file.name}"
    entry = entry_for(told, path, mtime_ns, copy_id(told.record.id, path) if is_there else None)
    with database.writing() as connection:
        put(connection, entry, mtime_ns)
    return True


def _same(connection: Connection, root: Path, owner: str, told: Inspected) -> bool:
    """Whether the owner's shown pictures have this one: under its id, or under another one with the same bytes."""
    known = find(connection, told.record.id, owner)
    if (
        known is not None
        and not known.is_trashed
        and _differ_in_record(_bytes_of(root / known.path), told)
    ):
        return True
    rows = connection.execute(
        "SELECT path FROM pictures WHERE owner = ? AND size_bytes = ? AND trashed_at IS NULL AND is_missing = 0",
        (owner, len(told.picture.data)),
    )
    return any(_bytes_of(root / path) == told.picture.data for (path,) in rows)


def _differ_in_record(kept: bytes, told: Inspected) -> bool:
    """Whether they differ in our record at the most; an edited copy may still have it. What can't be read may be it."""
    try:
        return embed_record(kept, told.record) == embed_record(told.picture.data, told.record)
    except PictureError:
        return True
