"""Layout of the library's folder: owners' directories, file names, and a walk through files.

    2026-11-24/120000-7-a-lighthouse.png                      images of the local user
    visitors/<owner key>/2026-11-24/120000-7-a-lighthouse.png images of a visitor
    .studio/                                                  index, thumbnails, locks
    .studio/trash/<the same paths>                            deleted images

Paths within the library are strings with slashes, relative to its folder, on every system.
"""

import datetime as dt
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from sd35.core.atomic_files import TEMP_SUFFIX
from sd35.core.file_names import make_slug
from sd35.library.skipped_files import SkipReason
from sd35.metadata.model import GenerationMetadata

__all__ = [
    "ANONYMOUS_KEY",
    "LOCAL_OWNER_KEY",
    "PRESETS_FILE",
    "STALE_AFTER",
    "STATE_DIR",
    "STYLES_FILE",
    "TRASH_DIR",
    "WILDCARDS_DIR",
    "FileInfo",
    "OnProgress",
    "OnSkip",
    "directory_for",
    "file_version",
    "filename_for",
    "is_in_trash",
    "is_library_path",
    "is_visible_picture",
    "original_path",
    "owner_from_path",
    "owner_key",
    "remove_empty_folders",
    "remove_if_stale",
    "skip_reason",
    "walk_pictures",
]

# Callback that gets the number of files processed, and the total.
OnProgress = Callable[[int, int], None]

# Callback that gets the path of a file that is passed over, below the folder that is walked.
OnSkip = Callable[[SkipReason, str], None]

LOCAL_OWNER: Final = "here"  # owner that stands for the local user
LOCAL_OWNER_KEY: Final = ""
ANONYMOUS_KEY: Final = "nobody"  # key of all visitors without an identity

STATE_DIR: Final = ".studio"
TRASH_DIR: Final = f"{STATE_DIR}/trash"
VISITORS_DIR: Final = "visitors"

WILDCARDS_DIR: Final = "wildcards"  # the user's own, as are the files of styles and presets
STYLES_FILE: Final = "styles.json"
PRESETS_FILE: Final = "presets.json"

MAX_SLUG_LENGTH: Final = 60  # characters of the prompt in a file's name

STALE_AFTER: Final = 3600.0  # seconds until a temporary file or a lock counts as abandoned

# The last ones are what some browsers call a saved JPEG.
_PICTURE_SUFFIXES: Final = (
    *(".png", ".apng", ".webp", ".jpg", ".jpeg"),
    *(".jpe", ".jfif", ".jif", ".pjpeg", ".pjp"),
)
_ARCHIVE_SUFFIXES: Final = (".zip", ".7z", ".rar", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst")
_MAX_INTEGER: Final = 2**63 - 1
_OWNER_KEY_PATTERN: Final = re.compile(r"[0-9a-z]{0,64}")


def owner_key(owner: str | None) -> str:
    """Return the key of an owner, which stands for them in paths and in the index."""
    if owner is None:
        return ANONYMOUS_KEY
    if owner == LOCAL_OWNER:
        return LOCAL_OWNER_KEY
    # Hashed, so that folder names don't reveal who has logged in, and no name becomes a path; in
    # lower case, because Windows and macOS ignore the case of names.
    return hashlib.sha256(owner.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def owner_from_path(path: str) -> str:
    """Return the key of the owner of the image at this path in the library."""
    parts = PurePosixPath(original_path(path)).parts
    if parts[0] != VISITORS_DIR:
        return LOCAL_OWNER_KEY
    return parts[1] if len(parts) > 2 else ANONYMOUS_KEY


def is_in_trash(path: str) -> bool:
    """Return whether a path in the library is in its trash."""
    return path.startswith(f"{TRASH_DIR}/")


def is_library_path(path: str) -> bool:
    """Return whether a path in the index can be that of an image in the library."""
    parts = original_path(path).split("/")
    return (
        is_visible_picture(original_path(path))
        and not any(part in {"", ".", ".."} for part in parts)
        and "\0" not in path
        # On Windows, these would lead to another drive or folder.
        and (os.sep == "/" or not any(char in path for char in ":\\"))
    )


def original_path(path: str) -> str:
    """Return the path of an image before it was moved to the trash."""
    return path.removeprefix(f"{TRASH_DIR}/")


def directory_for(owner: str, made_at: dt.datetime) -> str:
    """Return the directory in the library for an owner's images of a day, in local time.

    Raises:
        ValueError: `owner` isn't an owner's key.
    """
    if not _OWNER_KEY_PATTERN.fullmatch(owner):
        raise ValueError(f"An owner's key has digits and small letters only: {owner[:80]!r}")
    day = f"{_to_local_time(made_at):%Y-%m-%d}"
    return f"{VISITORS_DIR}/{owner}/{day}" if owner else day


def filename_for(
    metadata: GenerationMetadata, made_at: dt.datetime, suffix: str, fallback_text: str = ""
) -> str:
    """Return a file name of time, seed and prompt, or `fallback_text` without a prompt."""
    texts = (metadata.prompt, fallback_text, "picture")
    slug = next(filter(None, (make_slug(text, MAX_SLUG_LENGTH) for text in texts)))
    seed = "" if metadata.seed is None else f"{metadata.seed}-"
    return f"{_to_local_time(made_at):%H%M%S}-{seed}{slug}{suffix}"


def _to_local_time(moment: dt.datetime) -> dt.datetime:
    try:
        return moment.astimezone()
    except (ValueError, OverflowError, OSError):  # years 1 and 9999, and Windows before 1970
        return moment


@dataclass(frozen=True, slots=True)
class FileInfo:
    """An image file: its path below the folder that was walked, and its version."""

    path: str
    size_bytes: int
    mtime_ns: int


def walk_pictures(
    root: Path, *, exclude: Path | None = None, on_skip: OnSkip | None = None
) -> Iterator[FileInfo]:
    """Yield the image files below a folder in a stable order, and remove stale temporary files.

    Whatever else there is goes to `on_skip`, but for the folder `exclude`. What is hidden, and
    what a link leads to, is skipped.
    """
    on_skip = on_skip or _ignore
    # A stack instead of recursion: folders may be nested deeper than Python recurses.
    folders = [""]
    while folders:
        prefix = folders.pop()
        if root / prefix == exclude:
            continue
        subfolders: list[str] = []
        for entry in _list_folder(root, prefix, on_skip):
            path = prefix + entry.name
            try:
                reason = _reason_to_skip(entry)
                if reason is not None:
                    on_skip(reason, path)
                elif entry.is_dir(follow_symlinks=False):
                    subfolders.append(f"{path}/")
                else:
                    yield FileInfo(path, *file_version(entry.stat(follow_symlinks=False)))
            except OSError:
                on_skip(SkipReason.NO_ACCESS, path)
        folders += reversed(subfolders)


def _ignore(_reason: SkipReason, _path: str) -> None:
    pass


def _reason_to_skip(entry: os.DirEntry[str]) -> SkipReason | None:
    """Return why an entry of a folder is passed over; `None` for a folder or an image file."""
    if entry.name.startswith("."):
        if entry.name.endswith(TEMP_SUFFIX):
            remove_if_stale(Path(entry.path))
        return SkipReason.HIDDEN
    if entry.is_symlink():  # it would lead out of the library, or round in circles
        return SkipReason.LINK
    if entry.is_dir(follow_symlinks=False):
        return None
    return skip_reason(entry.name) if entry.is_file() else SkipReason.SPECIAL


def skip_reason(path: str) -> SkipReason | None:
    """Return why a file with this path, with slashes, is passed over; `None` for an image file."""
    if any(part.startswith(".") and part not in {".", ".."} for part in path.split("/")):
        return SkipReason.HIDDEN
    if path.lower().endswith(_PICTURE_SUFFIXES):
        return None
    return SkipReason.ARCHIVE if path.lower().endswith(_ARCHIVE_SUFFIXES) else SkipReason.OTHER_KIND


def is_prompt_file(path: str) -> bool:
    """Return whether a path in a library, with slashes, is of wildcards, styles or presets."""
    return path in {STYLES_FILE, PRESETS_FILE} or path.startswith(f"{WILDCARDS_DIR}/")


def is_visible_picture(path: str) -> bool:
    """Return whether a path, with slashes, names an image file without a hidden part."""
    return skip_reason(path) is None


def file_version(stat_result: os.stat_result) -> tuple[int, int]:
    """Return a file's size in bytes and mtime in nanoseconds, which tell whether it has changed."""
    # The size as well: FAT has a granularity of two seconds, so that an edit soon after a write
    # leaves the time as it was. SQLite's integers end in 2262, file times may be later.
    return stat_result.st_size, max(min(stat_result.st_mtime_ns, _MAX_INTEGER), -_MAX_INTEGER)


def remove_empty_folders(root: Path) -> None:
    """Remove the empty folders below a folder."""
    # Deepest first; rmdir refuses a folder that isn't empty.
    for folder in sorted((path for path in root.rglob("*") if path.is_dir()), reverse=True):
        with suppress(OSError):
            folder.rmdir()


def remove_if_stale(temp_file: Path) -> None:
    """Remove a temporary file unless another program may still be writing it."""
    with suppress(OSError):
        if time.time() - temp_file.lstat().st_mtime > STALE_AFTER:
            temp_file.unlink()


def _list_folder(root: Path, prefix: str, on_skip: OnSkip) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(root / prefix) as listing:
            return sorted(listing, key=lambda entry: entry.name)
    except FileNotFoundError:
        return []
    except OSError:
        on_skip(SkipReason.NO_ACCESS, prefix or ".")
        return []
