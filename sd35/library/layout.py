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

from sd35.core.atomic_files import TEMP_SUFFIX
from sd35.metadata.model import GenerationMetadata

__all__ = [
    "ANONYMOUS_KEY",
    "LOCAL_OWNER_KEY",
    "STATE_DIR",
    "TRASH_DIR",
    "FileInfo",
    "OnProgress",
    "directory_for",
    "file_version",
    "filename_for",
    "is_in_trash",
    "original_path",
    "owner_from_path",
    "owner_key",
    "remove_if_stale",
    "walk_pictures",
]


OnProgress = Callable[[int, int], None]
"""Hears how many files were looked at, and of how many."""


LOCAL_OWNER_KEY: Final = ""
"""The key of whoever runs the program."""

LOCAL_OWNER: Final = "here"
"""Whoever that is, as an owner."""

ANONYMOUS_KEY: Final = "nobody"
"""The key of whoever asks without having said who it is."""

STATE_DIR: Final = ".studio"
"""The folder in the library that holds what isn't a picture, or isn't shown."""

TRASH_DIR: Final = f"{STATE_DIR}/trash"

VISITORS_DIR: Final = "visitors"

MAX_SLUG_LENGTH: Final = 60
"""Characters of the prompt in a file's name."""

MAX_SLUG_BYTES: Final = 150
"""The same in UTF-8; a file system takes 255 for a name."""

STALE_AFTER: Final = 3600.0
"""A file that is still being written isn't that old."""

_PICTURE_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".jfif", ".webp")
_MAX_INTEGER: Final = 2**63 - 1
_OWNER_KEY_PATTERN: Final = re.compile(r"[0-9a-z]{0,64}")


def owner_key(owner: str | None) -> str:
    """Return the key that stands for somebody in paths and in the index; it doesn't tell who it is."""
    if owner == LOCAL_OWNER:
        return LOCAL_OWNER_KEY
    return (
        ANONYMOUS_KEY
        if owner is None
        else hashlib.sha256(owner.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    )


def owner_from_path(path: str) -> str:
    """Return the key of whose picture this is, by its path in the library."""
    parts = PurePosixPath(original_path(path)).parts
    if parts[0] != VISITORS_DIR:
        return LOCAL_OWNER_KEY
    return parts[1] if len(parts) > 2 else ANONYMOUS_KEY


def is_in_trash(path: str) -> bool:
    """Whether this path in the library lies in its trash."""
    return path.startswith(f"{TRASH_DIR}/")


def original_path(path: str) -> str:
    """Return the path where a picture was before it was put into the trash; its own if it wasn't."""
    return path.removeprefix(f"{TRASH_DIR}/")


def directory_for(owner: str, made_at: dt.datetime) -> str:
    """Return the path in the library of the folder for an owner's pictures of a day, as this machine's clock has it.

    Raises:
        ValueError: this is no owner's key.

    """
    if not _OWNER_KEY_PATTERN.fullmatch(owner):
        raise ValueError(f"An owner's key is of digits and small letters, not {owner[:80]!r}.")
    day = f"{_to_local_time(made_at):%Y-%m-%d}"
    return f"{VISITORS_DIR}/{owner}/{day}" if owner else day


def filename_for(
    record: GenerationMetadata, made_at: dt.datetime, suffix: str, fallback_text: str = ""
) -> str:
    """Return a file's name that says when, with which seed and of which prompt; of `words` where that has none."""
    slug = _slug(record.prompt) or _slug(fallback_text) or "picture"
    parts = (
        f"{_to_local_time(made_at):%H%M%S}",
        "" if record.seed is None else str(record.seed),
        slug,
    )
    return "-".join(part for part in parts if part) + suffix


def _to_local_time(moment: dt.datetime) -> dt.datetime:
    try:
        return moment.astimezone()
    except (ValueError, OverflowError, OSError):  # at the ends of the calendar
        return moment


def _slug(text: str) -> str:
    """The text's words with hyphens between, in whatever script they are; no mark that a file system minds."""
    chars = unicodedata.normalize("NFC", text[: 4 * MAX_SLUG_LENGTH]).lower()
    spaced_text = "".join(char if unicodedata.category(char)[0] in "LNM" else " " for char in chars)
    slug = "-".join(spaced_text.split())[:MAX_SLUG_LENGTH]
    return slug.encode("utf-8")[:MAX_SLUG_BYTES].decode("utf-8", "ignore").strip("-")


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A picture's file: its path below the folder that was walked, with slashes, and what tells that it changed."""

    path: str
    size_bytes: int
    mtime_ns: int


def walk_pictures(root: Path, *, exclude: Path | None = None) -> Iterator[FileInfo]:
    """Find the pictures' files below a folder, always in the same order, without following links.

    What is hidden is passed over, as is the folder `but`. What was left half written long ago is
    removed.
    """
    folders = [""]
    while folders:
        prefix = folders.pop()
        if root / prefix == exclude:
            continue
        entries = _list_folder(root / prefix)
        for entry in entries:
            if entry.name.startswith(".") and entry.name.endswith(TEMP_SUFFIX):
                remove_if_stale(Path(entry.path))
            elif is_visible_picture(entry.name):
                yield from _file_info(prefix, entry)
        folders += reversed(
            [f"{prefix}{entry.name}/" for entry in entries if _is_visible_folder(entry)]
        )


def is_visible_picture(path: str) -> bool:
    """Whether a file of this path below some folder, with slashes, is a picture's, and nothing on its way is hidden."""
    names = [name for name in path.split("/") if name not in {".", ".."}]
    return path.lower().endswith(_PICTURE_SUFFIXES) and not any(
        name.startswith(".") for name in names
    )


def file_version(stat_result: os.stat_result) -> tuple[int, int]:
    """Return a file's size in bytes and its time in nanoseconds, as far as a number in the index goes: to 2262."""
    return stat_result.st_size, max(min(stat_result.st_mtime_ns, _MAX_INTEGER), -_MAX_INTEGER)


def remove_if_stale(temp_file: Path) -> None:
    """Remove a file that was being written, unless it still may be."""
    with suppress(OSError):
        if time.time() - temp_file.lstat().st_mtime > STALE_AFTER:
            temp_file.unlink()


def _list_folder(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as listing:
            return sorted(listing, key=lambda entry: entry.name)
    except OSError:
        return []


def _is_visible_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _file_info(prefix: str, entry: os.DirEntry[str]) -> Iterator[FileInfo]:
    with suppress(OSError):
        if entry.is_file(follow_symlinks=False):
            yield FileInfo(prefix + entry.name, *file_version(entry.stat(follow_symlinks=False)))
