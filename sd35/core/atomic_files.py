"""Files that are written completely or not at all."""

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Final

from sd35.core.errors import WriteError

__all__ = [
    "TEMP_SUFFIX",
    "atomic_write",
    "fsync_file",
    "fsync_folder",
    "os_error_text",
    "rename_exclusive",
    "unique_path",
    "write_errors",
    "write_exclusive",
]


def os_error_text(error: OSError) -> str:
    """Return the reason in lower case, for the end of a sentence."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "the disk is full"
    return error.strerror or str(error)


@contextmanager
def write_errors(subject: str) -> Iterator[None]:
    """Turn an OSError in this block into a WriteError about `subject`."""
    try:
        yield
    except OSError as error:
        raise WriteError(f"Couldn't save {subject}: {os_error_text(error)}.") from error


# The suffix of files that are still being written, whose names begin with a dot. The library's
# scanner skips them, and removes old ones that a crash has left.
TEMP_SUFFIX: Final = ".part"

# POSIX has no call that only reads the umask. At import no other thread can create a file with the
# wrong mode in between.
_UMASK: Final = os.umask(0o077)
os.umask(_UMASK)


def write_exclusive(
    folder: Path, name: str, data: bytes, mode: int | None = None, *, is_durable: bool = True
) -> Path:
    """Write a new file and return its path; existing files are never overwritten.

    Its permissions are `mode`, or else those of other new files. If it isn't durable, it outlives
    the program, but not a power failure.

    Raises:
        OSError: it couldn't be written; nothing is left behind.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _temp_file(folder, data, mode, is_durable=is_durable) as temp_path:
        path = rename_exclusive(temp_path, folder / name)
    if is_durable:
        fsync_folder(folder)
    return path


def atomic_write(path: Path, data: bytes, mode: int | None = None) -> None:
    """Replace a file, durably; readers see either the old content or the new.

    Its permissions become `mode`, or else stay as they were.

    Raises:
        OSError: it couldn't be written; the old content is unchanged.
    """
    if mode is None:
        with suppress(FileNotFoundError):
            mode = stat.S_IMODE(path.stat().st_mode)
    with _temp_file(path.parent, data, mode) as temp_path:
        temp_path.replace(path)
    fsync_folder(path.parent)


@contextmanager
def _temp_file(
    folder: Path, data: bytes, mode: int | None = None, *, is_durable: bool = True
) -> Iterator[Path]:
    """Yield a hidden file with this data; it is deleted at the end unless it was renamed."""
    fd, name = tempfile.mkstemp(prefix=".", suffix=TEMP_SUFFIX, dir=folder)
    temp_path = Path(name)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            if is_durable:
                # Otherwise ext4 and others may keep the new name and lose the data in a power cut.
                os.fsync(file.fileno())
        # mkstemp creates files that only their owner can read.
        temp_path.chmod(0o666 & ~_UMASK if mode is None else mode)
        yield temp_path
    finally:
        temp_path.unlink(missing_ok=True)


def fsync_file(path: Path) -> None:
    """Make the content of a file durable.

    Raises:
        OSError: it couldn't be written to the disk, or is gone.
    """
    with path.open("rb+") as file:  # Windows flushes only files that may be written
        os.fsync(file.fileno())


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable, which syncing the files doesn't."""
    # Windows doesn't let folders be opened.
    with suppress(OSError):
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def unique_path(target: Path) -> Path:
    """Return this path, or with a number the first one beside it that doesn't exist."""
    # lexists, as Path.exists follows links, and reports a dangling one as missing.
    return next(path for path in _candidate_paths(target) if not os.path.lexists(path))


def _candidate_paths(target: Path) -> Iterator[Path]:
    yield target
    yield from (target.with_stem(f"{target.stem}-{counter}") for counter in count(2))


def rename_exclusive(temp_path: Path, target: Path) -> Path:
    """Give a file this name, or one with a number if that is taken, and return the path.

    The file may keep its old name too.

    Raises:
        OSError: it couldn't be renamed.
    """
    for path in _candidate_paths(target):
        try:
            # A link fails if the name exists, while a rename would replace that file.
            os.link(temp_path, path)
        except FileExistsError:
            continue
        except OSError:  # FAT, some network file systems and Android have no links
            if path.exists():
                continue
            temp_path.rename(path)
        return path
    raise AssertionError
