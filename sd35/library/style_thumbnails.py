"""Thumbnails of the user's own styles: copies of the thumbnails of images."""

import re
import secrets
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Final

from sd35.core.atomic_files import write_errors, write_exclusive
from sd35.library.layout import LOCAL_OWNER_KEY, STALE_AFTER, STATE_DIR
from sd35.library.library import Library
from sd35.library.library_file import make_real_folder

__all__ = ["StyleThumbnails"]

KEY_PREFIX: Final = "own-"

_FOLDER: Final = f"{STATE_DIR}/styles"
_KEY_PATTERN: Final = re.compile(rf"{KEY_PREFIX}[0-9a-f]{{32}}")


class StyleThumbnails:
    """Folder of thumbnails in a library. They outlive the images that they are of."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._folder = library.folder / _FOLDER

    def add(self, picture_id: str) -> str:
        """Copy the thumbnail of an image of the local user; return its key, or "" without one.

        Raises:
            LibraryError: the index can't be read.
            WriteError: the copy can't be written.
        """
        thumbnail = self._library.thumbnail(picture_id, LOCAL_OWNER_KEY)
        if thumbnail is None:
            return ""
        key = f"{KEY_PREFIX}{secrets.token_hex(16)}"
        with write_errors("the style's thumbnail"):
            data = self._library.read_path(thumbnail)
            make_real_folder(self._library.folder, _FOLDER)
            write_exclusive(self._folder, f"{key}.webp", data)
        return key

    def path(self, key: str) -> Path | None:
        """Return the path of a thumbnail, whether it exists or not; `None` for other keys."""
        is_key = _KEY_PATTERN.fullmatch(key) is not None
        return self._folder / f"{key}.webp" if is_key else None

    def remove_unused(self, keys: Collection[str]) -> None:
        """Remove the thumbnails without a style, but for those of styles that were just deleted."""
        for path in self._folder.glob(f"{KEY_PREFIX}*.webp"):
            with suppress(OSError):
                if path.stem not in keys and time.time() - path.stat().st_mtime > STALE_AFTER:
                    path.unlink()
