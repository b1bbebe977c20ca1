"""The library's folder: whose pictures are where, how their files are called, and which files there are."""

import datetime as dt
import hashlib
import os
import re
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from sd35.core.atomic_files import PART
from sd35.metadata.model import Record

__all__ = [
    "HERE",
    "HIDDEN",
    "NOBODY",
    "TRASH",
    "Found",
    "Tell",
    "is_in_trash",
    "name_for",
    "original_path",
    "owner_key",
    "owner_of",
    "place_for",
    "remove_if_old",
    "stamp_of",
    "walk",
]


Tell = Callable[[int, int], None]
"""Hears how many files were looked at, and of how many."""


HERE: Final = ""
"""The key of whoever runs the program."""

WHO_RUNS_IT: Final = "here"
"""Whoever that is, as an owner."""

NOBODY: Final = "nobody"
"""The key of whoever asks without having said who it is."""

HIDDEN: Final = ".studio"
"""The folder in the library that holds what isn't a picture, or isn't shown."""

TRASH: Final = f"{HIDDEN}/trash"

VISITORS: Final = "visitors"

MAX_WORDS: Final = 60
"""Characters of the prompt in a file's name."""

MAX_WORD_BYTES: Final = 150
"""The same in UTF-8; a file system takes 255 for a name."""

OLD_SECONDS: Final = 3600.0
"""A file that is still being written isn't that old."""

_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".jfif", ".webp")
_MOST: Final = 2**63 - 1
_KEY: Final = re.compile(r"[0-9a-z]{0,64}")


def owner_key(owner: str | None) -> str:
    """Return the key that stands for somebody in paths and in the index; it doesn't tell who it is."""
    if owner == WHO_RUNS_IT:
        return HERE
    return (
        NOBODY
        if owner is None
        else hashlib.sha256(owner.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    )


def owner_of(path: str) -> str:
    """Return the key of whose picture this is, by its path in the library."""
    parts = PurePosixPath(original_path(path)).parts
    if parts[0] != VISITORS:
        return HERE
    return parts[1] if len(parts) > 2 else NOBODY


def is_in_trash(path: str) -> bool:
    """Whether this path in the library lies in its trash."""
    return path.startswith(f"{TRASH}/")


def original_path(path: str) -> str:
    """Return the path where a picture was before it was put into the trash; its own if it wasn't."""
    return path.removeprefix(f"{TRASH}/")


def place_for(owner: str, made_at: dt.datetime) -> str:
    """Return the path in the library of the folder for an owner's pictures of a day, as this machine's clock has it.

    Raises:
        ValueError: this is no owner's key.

    """
    if not _KEY.fullmatch(owner):
        raise ValueError(f"An owner's key is of digits and small letters, not {owner[:80]!r}.")
    day = f"{_here(made_at):%Y-%m-%d}"
    return f"{VISITORS}/{owner}/{day}" if owner else day


def name_for(record: Record, made_at: dt.datetime, suffix: str, words: str = "") -> str:
    """Return a file's name that says when, with which seed and of which prompt; of `words` where that has none."""
    said = _slug(record.prompt) or _slug(words) or "picture"
    parts = (f"{_here(made_at):%H%M%S}", "" if record.seed is None else str(record.seed), said)
    return "-".join(part for part in parts if part) + suffix


def _here(moment: dt.datetime) -> dt.datetime:
    try:
        return moment.astimezone()
    except (ValueError, OverflowError, OSError):  # at the ends of the calendar
        return moment


def _slug(text: str) -> str:
    """The text's words with hyphens between, in whatever script they are; no mark that a file system minds."""
    letters = unicodedata.normalize("NFC", text[: 4 * MAX_WORDS]).lower()
    kept = "".join(
        letter if unicodedata.category(letter)[0] in "LNM" else " " for letter in letters
    )
    words = "-".join(kept.split())[:MAX_WORDS]
    return words.encode("utf-8")[:MAX_WORD_BYTES].decode("utf-8", "ignore").strip("-")


@dataclass(frozen=True, slots=True)
class Found:
    """A picture's file: its path below the folder that was walked, with slashes, and what tells that it changed."""

    path: str
    size_bytes: int
    mtime_ns: int


def walk(root: Path, *, but: Path | None = None) -> Iterator[Found]:
    """Find the pictures' files below a folder, always in the same order, without following links.

    What is hidden is passed over, as is the folder `but`. What was left half written long ago is
    removed.
    """
    folders = [""]
    while folders:
        prefix = folders.pop()
        if root / prefix == but:
            continue
        entries = _listed(root / prefix)
        for entry in entries:
            if entry.name.startswith(".") and entry.name.endswith(PART):
                remove_if_old(Path(entry.path))
            elif is_shown_picture(entry.name):
                yield from _found(prefix, entry)
        folders += reversed(
            [f"{prefix}{entry.name}/" for entry in entries if _is_shown_folder(entry)]
        )


def is_shown_picture(path: str) -> bool:
    """Whether a file of this path below some folder, with slashes, is a picture's, and nothing on its way is hidden."""
    names = [name for name in path.split("/") if name not in {".", ".."}]
    return path.lower().endswith(_SUFFIXES) and not any(name.startswith(".") for name in names)


def stamp_of(told: os.stat_result) -> tuple[int, int]:
    """Return a file's size in bytes and its time in nanoseconds, as far as a number in the index goes: to 2262."""
    return told.st_size, max(min(told.st_mtime_ns, _MOST), -_MOST)


def remove_if_old(part: Path) -> None:
    """Remove a file that was being written, unless it still may be."""
    with suppress(OSError):
        if time.time() - part.lstat().st_mtime > OLD_SECONDS:
            part.unlink()


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as listing:
            return sorted(listing, key=lambda entry: entry.name)
    except OSError:
        return []


def _is_shown_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _found(prefix: str, entry: os.DirEntry[str]) -> Iterator[Found]:
    with suppress(OSError):
        if entry.is_file(follow_symlinks=False):
            yield Found(prefix + entry.name, *stamp_of(entry.stat(follow_symlinks=False)))
