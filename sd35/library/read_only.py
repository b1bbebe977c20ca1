"""Libraries that can't be written, such as one on a read-only disk, or of another user.

They are searched with a copy of their index in a temporary folder, or a new one if theirs can't be
read.
"""

import errno
import os
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from sd35.library.database import damage_marker
from sd35.library.layout import STATE_DIR

__all__ = ["INDEX_NAME", "RUNNING_DIR", "copy_index", "is_read_only", "is_write_refusal"]

INDEX_NAME: Final = "library.sqlite3"
RUNNING_DIR: Final = "running"

_SUFFIXES: Final = ("", "-wal", "-shm")  # of the index and of SQLite's own files beside it

_REFUSALS: Final = (errno.EROFS, errno.EACCES, errno.EPERM)


def is_read_only(folder: Path) -> bool:
    """Return whether a library's folder, or its index, exists and can't be written."""
    state_folder = folder / STATE_DIR
    state_names = (RUNNING_DIR, "opening.lock", *(f"{INDEX_NAME}{suffix}" for suffix in _SUFFIXES))
    paths = (folder, state_folder, *(state_folder / name for name in state_names))
    return any(_can(path, os.F_OK) and not _can(path, os.W_OK) for path in paths)


def _can(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def is_write_refusal(error: BaseException | None) -> bool:
    """Return whether an error says that nothing may be written, and not that it can't for now."""
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        return code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}
    return isinstance(error, OSError) and error.errno in _REFUSALS


def copy_index(state_folder: Path, target_folder: Path) -> None:
    """Copy a library's index, as far as it can be read."""
    source = state_folder / INDEX_NAME
    target = target_folder / INDEX_NAME
    if not _can(source, os.R_OK) or _can(damage_marker(source), os.F_OK):
        return
    try:
        # With what other programs have written meanwhile.
        with (
            closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True)) as connection,
            closing(sqlite3.connect(target)) as copy,
        ):
            connection.backup(copy)
    except sqlite3.Error:
        # SQLite reads no write-ahead log if it can't create the file that it shares with others.
        for suffix in _SUFFIXES[:2]:
            with suppress(OSError):
                shutil.copyfile(f"{source}{suffix}", f"{target}{suffix}")
