"""Pictures as files: a name that says what it is, and a write that is whole or not at all."""

import os
import re
import tempfile
from itertools import count
from pathlib import Path

from sd35.picture import Picture

__all__ = ["file_name", "write_new"]

MAX_WORDS = 70
"""Characters of the model's name and the prompt in a file's name."""


def file_name(model: str, prompt: str, seed: int | None, picture: Picture) -> str:
    """Return a name that says what it is, on any file system: which model, which prompt, which seed, if known."""
    words = re.sub(r"[\W_]+", "-", f"{model} {prompt}", flags=re.ASCII).strip("-").lower()
    end = "" if seed is None else f"-seed-{seed}"
    return f"{words[:MAX_WORDS].rstrip('-') or 'picture'}{end}{picture.suffix}"


def write_new(folder: Path, name: str, data: bytes) -> Path:
    """Write a new file, whole or not at all, and return its path; one that is there already is left alone.

    Raises:
        OSError: it couldn't be written; nothing of it is left.

    """
    folder.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(prefix=".", suffix=".part", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(part).chmod(0o644)
        return _move(Path(part), folder / name)
    finally:
        Path(part).unlink(missing_ok=True)


def _move(part: Path, wanted: Path) -> Path:
    for number in count(1):
        path = wanted if number == 1 else wanted.with_stem(f"{wanted.stem}-{number}")
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
