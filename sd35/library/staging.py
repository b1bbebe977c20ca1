"""Staging area for new images: files that outlive the program, but not yet a power failure.

An image can be shown as soon as it is here. It is then flushed to the disk and moved to its place,
together with others. Each program has a folder of its own, with the paths of the library below it:
what a killed program has left is moved into the library by the next scan.
"""

import logging
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sd35.core.atomic_files import fsync_file, fsync_folder, rename_exclusive, write_exclusive
from sd35.library.fallback_folder import move_picture
from sd35.library.layout import STATE_DIR, walk_pictures
from sd35.library.library_file import make_real_folder

__all__ = ["StagedFile", "StagingArea"]

log = logging.getLogger(__name__)

STAGING_DIR: Final = f"{STATE_DIR}/staging"

MAX_FLUSHES: Final = 8  # at once: the file system writes its journal once for all of them


@dataclass(frozen=True, slots=True)
class StagedFile:
    """File that waits for its move to `directory`, a path in the library."""

    path: Path
    directory: str
    data: bytes

    @property
    def name(self) -> str:
        """The name that the file will have, unless that is taken."""
        return self.path.name


class StagingArea:
    """The folder in a library where this program stages images."""

    def __init__(self, library_folder: Path, instance_id: str) -> None:
        self._library_folder = library_folder
        self._root = library_folder / STAGING_DIR
        self._folder = self._root / instance_id

    def write(self, directory: str, name: str, data: bytes) -> StagedFile:
        """Write a file that will be moved to a directory of the library.

        Raises:
            OSError: it couldn't be written; nothing is left behind.
        """
        # On an unmounted disk, a new folder would be in the mount point.
        make_real_folder(self._library_folder, directory)
        path = write_exclusive(self._folder / directory, name, data, is_durable=False)
        return StagedFile(path, directory, data)

    def move_all(self, files: Iterable[StagedFile]) -> list[Path | OSError]:
        """Move files to their places, durably; return their paths, or why there is none."""
        with ThreadPoolExecutor(MAX_FLUSHES) as pool:
            results = list(pool.map(self._move, files))
        folders = {result.parent for result in results if isinstance(result, Path)}
        for folder in folders:
            fsync_folder(folder)
        return results

    def _move(self, file: StagedFile) -> Path | OSError:
        try:
            folder = make_real_folder(self._library_folder, file.directory)
            try:
                fsync_file(file.path)
                path = rename_exclusive(file.path, folder / file.name)
            except OSError:  # somebody has deleted the file, or the folder is on another disk
                path = write_exclusive(folder, file.name, file.data)
            file.path.unlink(missing_ok=True)
        except OSError as error:
            return error
        return path

    def recover(self, is_alive: Callable[[str], bool]) -> None:
        """Move what dead programs have left to its place.

        Only one program at a time may do so: two would make a copy.
        """
        for folder in self._abandoned_folders(is_alive):
            self._recover_from(folder)

    def has_abandoned(self, is_alive: Callable[[str], bool]) -> bool:
        """Return whether a dead program has left something."""
        return any(self._abandoned_folders(is_alive))

    def _abandoned_folders(self, is_alive: Callable[[str], bool]) -> list[Path]:
        try:
            folders = list(self._root.iterdir())
        except OSError:
            return []
        return [
            folder for folder in folders if not folder.is_symlink() and not is_alive(folder.name)
        ]

    def _recover_from(self, folder: Path) -> None:
        try:
            for file_info in list(walk_pictures(folder)):
                move_picture(folder, file_info.path, self._library_folder)
        except OSError as error:
            log.warning("Images of a program that was killed are still in %s: %s", folder, error)
        else:
            # What is left is the beginning of an image.
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Remove the folder, unless an image is still there."""
        for folder in [*sorted(self._folder.rglob("*"), reverse=True), self._folder, self._root]:
            with suppress(OSError):
                folder.rmdir()
