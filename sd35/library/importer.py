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

from sd35.core.atomic_files import write_errors, write_exclusive
from sd35.core.errors import LibraryError, PictureError, PictureTooLargeError
from sd35.library.database import Database
from sd35.library.layout import (
    OnProgress,
    directory_for,
    file_version,
    filename_for,
    is_visible_picture,
    walk_pictures,
)
from sd35.library.picture_file import (
    MAX_FILE_BYTES,
    InspectedPicture,
    _find_identical,
    _read_or_empty,
    build_entry,
    creation_time,
    derive_copy_id,
    inspect_picture,
    read_file,
)
from sd35.library.repository import get_entry, upsert_entry
from sd35.metadata.embedding import embed_metadata

__all__ = ["ImportFile", "ImportResult", "import_pictures", "open_source"]


try:
    import lzma
except ImportError:  # Python may be built without it
    lzma = None  # type: ignore[assignment]


_UNPACK_ERRORS: Final = (
    *(OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError),
    *(RuntimeError, ValueError),  # a password is needed; a place before the file's beginning
    *(() if lzma is None else (lzma.LZMAError,)),
)


_UNSET_DATE_TIME: Final = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class ImportFile:
    """A picture's file, elsewhere.

    Attributes:
        path: where it is; of what lies in a .zip, with the path therein.
        read: returns its bytes and its time in nanoseconds, or raises `OSError` or `PictureError`.

    """

    path: Path
    load: Callable[[], tuple[bytes, int]]


@contextmanager
def open_source(source: Path, *, exclude: Path) -> Iterator[list[ImportFile]]:  # noqa: D417
    """Find the pictures' files in a folder or a .zip, always in the same order; what is hidden is passed over.

    Args:
        place: the folder, the .zip, or a picture's file.
        but: a folder that is passed over.

    Raises:
        LibraryError: it is none of these.

    """
    if source.is_dir():
        yield [
            _file_on_disk(source / file_info.path)
            for file_info in walk_pictures(source, exclude=exclude)
        ]
        return
    if source.is_file() and is_visible_picture(source.name):
        yield [_file_on_disk(source)]
        return
    try:
        archive = zipfile.ZipFile(source)
    except _UNPACK_ERRORS as error:
        raise LibraryError(
            f"{source} is no folder, no .zip and no picture.", "Name one that is."
        ) from error
    with archive:
        yield [
            _file_in_zip(archive, source, info)
            for info in archive.infolist()
            if is_visible_picture(_posix_name(info))
        ]


def _file_on_disk(path: Path) -> ImportFile:
    return ImportFile(path, lambda: (read_file(path), file_version(path.stat())[1]))


def _file_in_zip(archive: zipfile.ZipFile, archive_path: Path, info: zipfile.ZipInfo) -> ImportFile:
    path = archive_path / _posix_name(info).lstrip("/")

    def load() -> tuple[bytes, int]:
        try:
            with archive.open(info) as file:
                data = file.read(MAX_FILE_BYTES + 1)  # whatever it says that it has
        except _UNPACK_ERRORS as error:
            raise PictureError(f"{info.filename} can't be unpacked.") from error
        if len(data) > MAX_FILE_BYTES:
            raise PictureTooLargeError(f"{info.filename} is too large to be a picture.")
        return data, _mtime_ns(info, archive_path)

    return ImportFile(path, load)


def _posix_name(info: zipfile.ZipInfo) -> str:
    return info.filename.replace("\\", "/")  # as some programs on Windows write it


def _mtime_ns(info: zipfile.ZipInfo, archive_path: Path) -> int:
    """A .zip tells a file's time as the clock on the wall; where that is nonsense, its own time stands for it."""
    try:
        if info.date_time == _UNSET_DATE_TIME:
            return file_version(archive_path.stat())[1]
        return int(dt.datetime(*info.date_time).astimezone().timestamp()) * 10**9
    except (ValueError, OverflowError, OSError):
        return file_version(archive_path.stat())[1]


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What became of the pictures of a folder or a .zip.

    Attributes:
        added: how many are in the library now.
        already: how many were.
        unreadable: files that aren't pictures that may be opened.

    """

    added: int
    skipped: int
    unreadable: tuple[Path, ...]


def import_pictures(
    root: Path, database: Database, source: Path, owner: str, on_progress: OnProgress | None
) -> ImportResult:
    """Copy pictures into the library at `root`; documented at `Library.import_from`."""
    directory_for(owner, dt.datetime.now(dt.UTC))  # is it a key?
    source, library_root = source.expanduser().resolve(), root.resolve()
    if source == library_root or library_root in source.parents:
        raise LibraryError(f"{source} belongs to the library already.", "Name another folder.")
    counts, unreadable = {True: 0, False: 0}, list[Path]()
    with open_source(source, exclude=library_root) as pictures:
        for index, picture in enumerate(pictures, 1):
            try:
                data, mtime_ns = picture.load()
                inspected = inspect_picture(data)
            except (OSError, PictureError):
                unreadable.append(picture.path)
            else:
                counts[
                    _import_one(root, database, owner, inspected, mtime_ns, picture.path.stem)
                ] += 1
            if on_progress is not None:
                on_progress(index, len(pictures))
    return ImportResult(counts[True], counts[False], tuple(unreadable))


def _import_one(
    root: Path,
    database: Database,
    owner: str,
    inspected: InspectedPicture,
    mtime_ns: int,
    fallback_name: str,
) -> bool:
    """Whether the picture wasn't there, and is now. What is in the trash, or another owner's, isn't there."""
    with database.read_transaction() as connection:
        existing_entry = get_entry(connection, inspected.record.id)
        is_present = existing_entry is not None and not existing_entry.is_missing
        if is_present and _is_duplicate(connection, root, owner, inspected):
            return False
    made_at = creation_time(inspected.record, mtime_ns)
    directory, name = (
        directory_for(owner, made_at),
        filename_for(inspected.record, made_at, inspected.picture.suffix, fallback_name),
    )
    with write_errors("A picture"):
        file = _find_identical(root / directory / name, inspected.picture.data) or write_exclusive(
            root / directory, name, inspected.picture.data
        )
        os.utime(file, ns=(mtime_ns, mtime_ns))
        mtime_ns = file_version(file.stat())[1]
    path = f"{directory}/{file.name}"
    entry = build_entry(
        inspected, path, mtime_ns, derive_copy_id(inspected.record.id, path) if is_present else None
    )
    with database.write_transaction() as connection:
        upsert_entry(connection, entry, mtime_ns)
    return True


def _is_duplicate(
    connection: Connection, root: Path, owner: str, inspected: InspectedPicture
) -> bool:
    """Whether the owner's shown pictures have this one: under its id, or under another one with the same bytes."""
    existing_entry = get_entry(connection, inspected.record.id, owner)
    if (
        existing_entry is not None
        and not existing_entry.is_trashed
        and _matches_except_metadata(_read_or_empty(root / existing_entry.path), inspected)
    ):
        return True
    rows = connection.execute(
        "SELECT path FROM pictures WHERE owner = ? AND size_bytes = ? AND trashed_at IS NULL AND is_missing = 0",
        (owner, len(inspected.picture.data)),
    )
    return any(_read_or_empty(root / path) == inspected.picture.data for (path,) in rows)


def _matches_except_metadata(existing_data: bytes, inspected: InspectedPicture) -> bool:
    """Whether they differ in our record at the most; an edited copy may still have it. What can't be read may be it."""
    try:
        return embed_metadata(existing_data, inspected.record) == embed_metadata(
            inspected.picture.data, inspected.record
        )
    except PictureError:
        return True
