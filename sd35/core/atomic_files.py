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

from sd35.core.errors import NotWrittenError
from sd35.core.picture import Picture

__all__ = ["PART", "file_name", "free_path", "move_new", "replace", "unwritten", "why", "write_new"]


def why(error: OSError) -> str:
    """Return why it couldn't be done, as the end of a sentence."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "the disk is full"
    return error.strerror or str(error)


@contextmanager
def unwritten(what: str) -> Iterator[None]:
    """Whatever can't be written in this block is a NotWrittenError, that begins with `what`."""
    try:
        yield
    except OSError as error:
        raise NotWrittenError(f"{what} couldn't be written: {why(error)}.") from error


PART: Final = ".part"
"""How the name of a file ends that is still being written; it begins with a dot."""

_UMASK: Final = os.umask(0o077)
os.umask(_UMASK)  # it can only be asked for by setting it

MAX_WORDS: Final = 70
"""Characters of the model's name and the prompt in a file's name."""


def file_name(model: str, prompt: str, seed: int | None, picture: Picture) -> str:
    """Return a name that says what it is, on any file system: which model, which prompt, which seed, if known."""
    words = re.sub(r"[\W_]+", "-", f"{model} {prompt}", flags=re.ASCII).strip("-").lower()
    end = "" if seed is None else f"-seed-{seed}"
    return f"{words[:MAX_WORDS].rstrip('-') or 'picture'}{end}{picture.suffix}"


def write_new(folder: Path, name: str, data: bytes) -> Path:
    """Write a new file, whole or not at all, and return its path; one that is there already is left alone.

    It is on the disk, and not just on its way there, when this returns.

    Raises:
        OSError: it couldn't be written; nothing of it is left.

    """
    folder.mkdir(parents=True, exist_ok=True)
    with _part(folder, data) as part:
        path = move_new(part, folder / name)
    _sync_folder(folder)
    return path


def replace(path: Path, data: bytes) -> None:
    """Write a file anew, whole or not at all; whoever reads it meanwhile reads the former one.

    Raises:
        OSError: it couldn't be written; the former one is as it was.

    """
    with _part(path.parent, data) as part:
        with suppress(FileNotFoundError):
            part.chmod(stat.S_IMODE(path.stat().st_mode))
        part.replace(path)
    _sync_folder(path.parent)


@contextmanager
def _part(folder: Path, data: bytes) -> Iterator[Path]:
    """A file with another name, that holds all of the data, and is gone at the end unless it was moved."""
    handle, name = tempfile.mkstemp(prefix=".", suffix=PART, dir=folder)
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.chmod(0o666 & ~_UMASK)
        yield part
    finally:
        part.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Have the names on the disk too, where the system lets folders be opened."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def free_path(wanted: Path) -> Path:
    """Return this path, or one beside it whose name has a number, that isn't there yet."""
    return next(path for path in _numbered(wanted) if not os.path.lexists(path))


def _numbered(wanted: Path) -> Iterator[Path]:
    yield wanted
    yield from (wanted.with_stem(f"{wanted.stem}-{number}") for number in count(2))


def move_new(part: Path, wanted: Path) -> Path:
    """Give a file this name, or one beside it that has a number, and return it; what is there already is left alone.

    It may keep its former name too.

    Raises:
        OSError: it couldn't be moved.

    """
    for path in _numbered(wanted):
        try:
            os.link(part, path)
        except FileExistsError:
            continue
        except OSError:  # a file system without links
            if path.exists():
                continue
            part.rename(path)
        return path
    raise AssertionError
