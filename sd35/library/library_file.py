"""Access to the files of a library, without following a link out of it.

An image is a regular file in real folders. Whatever else is at its path (a link, a pipe, a device,
or a link in place of a folder) counts as a missing file: it would lead to a file that nobody has
put into the library, or never end.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from sd35.core.errors import PictureTooLargeError
from sd35.library.layout import STATE_DIR

__all__ = [
    "MAX_FILE_BYTES",
    "make_real_folder",
    "open_file",
    "open_library_file",
    "path_of_open_file",
    "read_file",
    "read_library_file",
    "stat_library_file",
]

MAX_FILE_BYTES: Final = 256 << 20  # no image that may be opened needs more

_NO_FOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)
# Without O_NONBLOCK, opening a pipe waits until somebody writes into it.
_READ_FLAGS: Final = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
_FOLDER_FLAGS: Final = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
_OPENS_IN_FOLDERS: Final = os.open in os.supports_dir_fd  # not on Windows

_LINK_ERRORS: Final = (errno.ELOOP, errno.ENOTDIR, errno.ENXIO)


def open_file(path: Path) -> BinaryIO:
    """Open a regular file that somebody has named, perhaps by a link, for reading.

    Raises:
        FileNotFoundError: there is none, but perhaps a pipe, a device or a folder.
        OSError: it can't be opened.
    """
    return _open_regular(str(path), None, follows_links=True)


def read_file(path: Path) -> bytes:
    """Return the content of an image file that somebody has named, perhaps by a link.

    Raises:
        OSError: the file can't be read.
        PictureTooLargeError: the file is larger than `MAX_FILE_BYTES`.
    """
    with open_file(path) as file:
        return _read(file, path.name)[0]


def open_library_file(folder: Path, path: str) -> BinaryIO:
    """Open the file at a path in a library, or below another folder, for reading.

    Raises:
        FileNotFoundError: there is no regular file, or a folder of the path is a link.
        OSError: it can't be opened.
    """
    with _parent_folder(folder, path) as (parent, name):
        return _open_regular(name, parent, follows_links=False)


def read_library_file(folder: Path, path: str) -> tuple[bytes, os.stat_result]:
    """Return the content of an image file in a library, and its status before it was read.

    Raises:
        FileNotFoundError: see `open_library_file`.
        OSError: the file can't be read.
        PictureTooLargeError: the file is larger than `MAX_FILE_BYTES`.
    """
    with open_library_file(folder, path) as file:
        return _read(file, path)


def stat_library_file(folder: Path, path: str) -> os.stat_result:
    """Return the status of the file at a path in a library.

    Raises:
        FileNotFoundError: see `open_library_file`.
        OSError: the file can't be examined.
    """
    with _parent_folder(folder, path) as (parent, name):
        return _stat_regular(name, parent, follows_links=False)


def make_real_folder(folder: Path, path: str) -> Path:
    """Create a folder at a path in a library, unless it exists, and return it.

    Raises:
        OSError: it can't be created, or a part of the path is a link.
    """
    # On an unmounted disk, a new one would be in the mount point, and hidden when it is back.
    if not folder.is_dir():
        raise FileNotFoundError(errno.ENOENT, "the library's folder is missing")
    current, relative_path = _split(folder, path)
    current.mkdir(parents=True, exist_ok=True)
    for name in filter(None, relative_path.split("/")):
        current /= name
        current.mkdir(exist_ok=True)
        if not stat.S_ISDIR(current.lstat().st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "a folder of the library is a link")
    return current


def path_of_open_file(file: BinaryIO, path: Path) -> Path:
    """Return a path that leads to an open file, whatever is at its own path by now.

    On systems without such paths, return its own one.
    """
    descriptor_path = Path(f"/dev/fd/{file.fileno()}")
    return descriptor_path if descriptor_path.exists() else path


def _split(folder: Path, path: str) -> tuple[Path, str]:
    """Return the folder that may be a link, as somebody has chosen it, and the path below it."""
    names = path.split("/")
    if names[0] == STATE_DIR:  # the trash, or the thumbnails
        return folder.joinpath(*names[:2]), "/".join(names[2:])
    return folder, path


@contextmanager
def _parent_folder(folder: Path, path: str) -> Iterator[tuple[int | None, str]]:
    """Yield a file's folder as a descriptor, and its name; or without descriptors, its path."""
    root, relative_path = _split(folder, path)
    *parents, name = relative_path.split("/")
    if any(part in {"", ".", ".."} for part in (*parents, name)):
        raise _no_file(path)
    if not _OPENS_IN_FOLDERS:
        parent_path = root
        for part in parents:
            parent_path /= part
            if parent_path.is_symlink():
                raise _no_file(path)
        yield None, str(parent_path / name)
        return
    with _link_errors(path):
        descriptor = os.open(root, _FOLDER_FLAGS)
        try:
            # One after the other: only the last part of a path is opened without following it.
            for part in parents:
                child = os.open(part, _FOLDER_FLAGS | _NO_FOLLOW, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = child
            yield descriptor, name
        finally:
            os.close(descriptor)


def _open_regular(name: str, parent: int | None, *, follows_links: bool) -> BinaryIO:
    # Before it is opened, as opening some devices has an effect; and of the open file, as another
    # one may have taken its place.
    _stat_regular(name, parent, follows_links=follows_links)
    flags = _READ_FLAGS if follows_links else _READ_FLAGS | _NO_FOLLOW
    with _link_errors(name):
        descriptor = os.open(name, flags, dir_fd=parent)
    file = os.fdopen(descriptor, "rb")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        raise _no_file(name)
    return file


def _stat_regular(name: str, parent: int | None, *, follows_links: bool) -> os.stat_result:
    status = os.stat(name, dir_fd=parent, follow_symlinks=follows_links)  # in a folder
    if not stat.S_ISREG(status.st_mode):
        raise _no_file(name)
    return status


def _read(file: BinaryIO, name: str) -> tuple[bytes, os.stat_result]:
    status = os.fstat(file.fileno())
    if status.st_size > MAX_FILE_BYTES:
        raise PictureTooLargeError(f"{name} is too large for an image: {status.st_size:,} bytes.")
    return file.read(MAX_FILE_BYTES), status


@contextmanager
def _link_errors(path: str) -> Iterator[None]:
    """Turn the error for a link, a pipe or a socket into FileNotFoundError."""
    try:
        yield
    except OSError as error:
        if error.errno in _LINK_ERRORS:
            raise _no_file(path) from error
        raise


def _no_file(path: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, "not a file", path)
