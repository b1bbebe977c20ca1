"""Pictures as files: a name that says what it is, and a write that is whole or not at all."""

import errno
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Final

from sd35.core.errors import WriteError
from sd35.core.picture import Picture

__all__ = [
    "TEMP_SUFFIX",
    "atomic_write",
    "file_name",
    "os_error_text",
    "rename_exclusive",
    "unique_path",
    "write_errors",
    "write_exclusive",
]


def os_error_text(error: OSError) -> str:
    """Return why it couldn't be done, as the end of a sentence."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "the disk is full"
    return error.strerror or str(error)


@contextmanager
def write_errors(subject: str) -> Iterator[None]:
    """Whatever can't be written in this block is a WriteError, that begins with `what`."""
    try:
        yield
    except OSError as error:
        raise WriteError(f"{subject} couldn't be written: {os_error_text(error)}.") from error


TEMP_SUFFIX: Final = ".part"
"""How the name of a file ends that is still being written; it begins with a dot."""

_UMASK: Final = os.umask(0o077)
os.umask(_UMASK)  # it can only be asked for by setting it

MAX_SLUG_CHARACTERS: Final = 70
"""Characters of the model's name and the prompt in a file's name."""


def file_name(model: str, prompt: str, seed: int | None, picture: Picture) -> str:
    """Return a name that says what it is, on any file system: which model, which prompt, which seed, if known."""
    slug = re.sub(r"[\W_]+", "-", f"{model} {prompt}", flags=re.ASCII).strip("-").lower()
    seed_suffix = "" if seed is None else f"-seed-{seed}"
    return f"{slug[:MAX_SLUG_CHARACTERS].rstrip('-') or 'picture'}{seed_suffix}{picture.suffix}"


def write_exclusive(folder: Path, name: str, data: bytes) -> Path:
    """Write a new file, whole or not at all, and return its path; one that is there already is left alone.

    It is on the disk, and not just on its way there, when this returns.

    Raises:
        OSError: it couldn't be written; nothing of it is left.

    """
    folder.mkdir(parents=True, exist_ok=True)
    with _temp_file(folder, data) as temp_path:
        path = rename_exclusive(temp_path, folder / name)
    _fsync_folder(folder)
    return path


def atomic_write(path: Path, data: bytes) -> None:
    """Write a file anew, whole or not at all; whoever reads it meanwhile reads the former one.

    Raises:
        OSError: it couldn't be written; the former one is as it was.

    """
    with _temp_file(path.parent, data) as temp_path:
        with suppress(FileNotFoundError):
            temp_path.chmod(stat.S_IMODE(path.stat().st_mode))
        temp_path.replace(path)
    _fsync_folder(path.parent)


@contextmanager
def _temp_file(folder: Path, data: bytes) -> Iterator[Path]:
    """A file with another name, that holds all of the data, and is gone at the end unless it was moved."""
    fd, name = tempfile.mkstemp(prefix=".", suffix=TEMP_SUFFIX, dir=folder)
    temp_path = Path(name)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temp_path.chmod(0o666 & ~_UMASK)
        yield temp_path
    finally:
        temp_path.unlink(missing_ok=True)


def _fsync_folder(folder: Path) -> None:
    """Have the names on the disk too, where the system lets folders be opened."""
    with suppress(OSError):
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def unique_path(target: Path) -> Path:
    """Return this path, or one beside it whose name has a number, that isn't there yet."""
    return next(path for path in _candidate_paths(target) if not os.path.lexists(path))


def _candidate_paths(target: Path) -> Iterator[Path]:
    yield target
    yield from (target.with_stem(f"{target.stem}-{counter}") for counter in count(2))


def rename_exclusive(temp_path: Path, target: Path) -> Path:
    """Give a file this name, or one beside it that has a number, and return it; what is there already is left alone.

    It may keep its former name too.

    Raises:
        OSError: it couldn't be moved.

    """
    for path in _candidate_paths(target):
        try:
            os.link(temp_path, path)
        except FileExistsError:
            continue
        except OSError:  # a file system without links
            if path.exists():
                continue
            temp_path.rename(path)
        return path
    raise AssertionError
