"""Folder for images that can't be saved in the library when the program ends.

It is in the user's home, or else among the temporary files, and has the paths of the library below
it. Only this user can read it, as it may hold visitors' images. The next start moves the images
into the library.
"""

import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from sd35.core.atomic_files import write_errors, write_exclusive
from sd35.core.errors import PictureError, WriteError
from sd35.core.picture import Picture, open_picture
from sd35.library.layout import (
    directory_for,
    filename_for,
    is_library_path,
    remove_empty_folders,
    walk_pictures,
)
from sd35.library.library_file import make_real_folder, read_library_file
from sd35.library.picture_file import creation_time, find_identical
from sd35.metadata.embedding import embed_or_original
from sd35.metadata.model import GenerationMetadata

__all__ = ["move_into_library", "move_picture", "save_in_fallback_folder"]

FOLDER_NAME: Final = "SD 3.5 Studio unsaved"

_PRIVATE_FOLDER: Final = 0o700
_PRIVATE_FILE: Final = 0o600


def save_in_fallback_folder(
    library_folder: Path, picture: Picture, metadata: GenerationMetadata, owner: str
) -> Path:
    """Save an image outside of the library that it belongs to, and return its path.

    Raises:
        WriteError: the file couldn't be written anywhere.
    """
    made_at = creation_time(metadata, time.time_ns())
    directory = directory_for(owner, made_at)
    name = filename_for(metadata, made_at, picture.suffix)
    data = embed_or_original(picture, metadata).data
    error = WriteError("Couldn't save the image: no other folder can be used.")
    for folder in _make_folders(library_folder):
        try:
            with write_errors("the image"):
                parent = make_real_folder(folder, directory)
                return write_exclusive(parent, name, data, _PRIVATE_FILE)
        except WriteError as write_error:
            error = write_error
    raise error


def move_into_library(library_folder: Path) -> tuple[int, list[Path]]:
    """Move images from the fallback folders into the library.

    Return their number, and the folders of images that there still is no room for.
    """
    moved_count = 0
    full_folders = []
    for folder in _candidate_folders(library_folder):
        if not _is_private(folder):
            continue
        try:
            for file_info in walk_pictures(folder):
                moved_count += move_picture(folder, file_info.path, library_folder)
        except OSError:
            full_folders.append(folder)
        remove_empty_folders(folder)
        with suppress(OSError):
            folder.rmdir()
            folder.parent.rmdir()
    return moved_count, full_folders


def move_picture(folder: Path, path: str, library_folder: Path) -> bool:
    """Move an image to the same path in the library; return `False` for another or damaged file.

    Raises:
        OSError: it couldn't be moved.
    """
    try:
        data, status = read_library_file(folder, path)
        open_picture(data)
    except (FileNotFoundError, PictureError):
        return False
    if not is_library_path(path):
        return False
    target = make_real_folder(library_folder, Path(path).parent.as_posix()) / Path(path).name
    # A program that was killed may have left it in both.
    file = find_identical(target, data) or write_exclusive(target.parent, target.name, data)
    os.utime(file, ns=(status.st_mtime_ns, status.st_mtime_ns))
    (folder / path).unlink()
    return True


def _candidate_folders(library_folder: Path) -> Iterator[Path]:
    """Yield the fallback folders of a library, the best one first."""
    key = hashlib.sha256(os.fsencode(library_folder.resolve())).hexdigest()[:12]
    with suppress(RuntimeError):  # without a home
        yield Path.home() / FOLDER_NAME / key
    user_id = os.getuid() if hasattr(os, "getuid") else 0
    yield Path(tempfile.gettempdir()) / f"{FOLDER_NAME} {user_id}" / key


def _make_folders(library_folder: Path) -> Iterator[Path]:
    """Create and yield folders that only this user can read, as long as more are needed."""
    for folder in _candidate_folders(library_folder):
        with suppress(OSError):
            _make_private(folder)
            yield folder
    # Under an unknown name: the next start won't find it, but nobody can have taken it.
    with suppress(OSError):
        yield Path(tempfile.mkdtemp(prefix=f"{FOLDER_NAME} "))


def _make_private(folder: Path) -> None:
    """Create a folder that only this user can read, and its parent.

    Raises:
        OSError: it can't be created, or somebody else has created it.
    """
    for part in (folder.parent, folder):
        with suppress(FileExistsError):
            part.mkdir(_PRIVATE_FOLDER)
    if not _is_private(folder):
        raise PermissionError("the folder for it isn't private")


def _is_private(folder: Path) -> bool:
    # Among the temporary files, anybody can create a folder of this name, and read what is in it.
    with suppress(OSError):
        return all(
            stat.S_ISDIR(status.st_mode)
            and (not hasattr(os, "getuid") or status.st_uid == os.getuid())
            and (os.name == "nt" or stat.S_IMODE(status.st_mode) == _PRIVATE_FOLDER)
            for status in (folder.lstat(), folder.parent.lstat())
        )
    return False
