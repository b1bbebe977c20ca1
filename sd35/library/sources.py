"""Where pictures are brought in from: a folder, a picture, or a .zip, whose every word is somebody else's."""

import datetime as dt
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sd35.errors import LibraryError, PictureError, PictureTooLargeError
from sd35.library.folder import is_shown_picture, stamp_of, walk
from sd35.library.inspecting import MAX_BYTES, read_file

try:
    import lzma
except ImportError:  # Python may be built without it
    lzma = None  # type: ignore[assignment]

__all__ = ["Source", "pictures_in"]

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
        raise LibraryError(f"{place} is no folder, no .zip and no picture.", "Name one that is.") from error
    with archive:
        yield [_in_zip(archive, place, info) for info in archive.infolist() if is_shown_picture(_name_of(info))]


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
