"""Files that an import or a scan passes over: why, how many, and the first names."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from typing import Final

from sd35.core.errors import PictureError, PictureTooLargeError
from sd35.core.text import one_line, pluralize

__all__ = ["SkipReason", "SkippedFileError", "SkippedFiles", "SkippedFilesCounter", "skip_errors"]

MAX_NAMES: Final = 20  # of each reason
MAX_SHOWN_NAMES: Final = 3
MAX_NAME_LENGTH: Final = 200  # in characters: a ZIP may have names of 65,535


class SkipReason(Enum):
    """Reason for passing over a file: its name in JSON, the noun, and the explanation."""

    DAMAGED = ("damaged", "file", "damaged, or not an image")
    EMPTY = ("empty", "file", "empty")
    TOO_LARGE = ("too-large", "file", "too large for an image")
    LOCKED = ("locked", "file", "locked with a password")
    UNKNOWN_METHOD = ("unknown-method", "file", "compressed by an unknown method")
    NO_ACCESS = ("no-access", "item", "can't be read")
    UNDECODABLE_NAME = ("undecodable-name", "file", "the name isn't UTF-8")
    LINK = ("link", "link", "links aren't followed")
    SPECIAL = ("special", "item", "a pipe, a socket or a device")
    ARCHIVE = ("archive", "archive", "not opened")
    OTHER_KIND = ("other-kind", "file", "not PNG, JPEG or WebP")
    HIDDEN = ("hidden", "item", "hidden")

    @property
    def json_name(self) -> str:
        """The reason's name in JSON."""
        return self.value[0]


@dataclass(frozen=True, slots=True)
class SkippedFiles:
    """Files that were passed over for one reason: their number, and the first paths."""

    reason: SkipReason
    count: int
    paths: tuple[str, ...]

    def __str__(self) -> str:
        _, noun, explanation = self.reason.value
        names = [one_line(path) for path in self.paths[:MAX_SHOWN_NAMES]]
        if self.count > len(names):
            names.append("…")
        return f"Skipped {pluralize(self.count, noun)}: {explanation} ({', '.join(names)})."


class SkippedFilesCounter:
    """Counter of the files that are passed over."""

    def __init__(self) -> None:
        self._counts: dict[SkipReason, int] = {}
        self._paths: dict[SkipReason, list[str]] = {}

    def add(self, reason: SkipReason, path: str) -> None:
        """Count a file."""
        self._counts[reason] = self._counts.get(reason, 0) + 1
        paths = self._paths.setdefault(reason, [])
        if len(paths) < MAX_NAMES:
            paths.append(path[:MAX_NAME_LENGTH])

    def discard(self, reason: SkipReason, path: str) -> None:
        """Take back a file that turned out to be of use."""
        if self._counts.get(reason, 0) > 1:
            self._counts[reason] -= 1
        else:
            self._counts.pop(reason, None)
        with suppress(KeyError, ValueError):
            self._paths[reason].remove(path[:MAX_NAME_LENGTH])

    def result(self) -> tuple[SkippedFiles, ...]:
        """Return the files by reason, first those that were meant to be images."""
        return tuple(
            SkippedFiles(reason, self._counts[reason], tuple(self._paths[reason]))
            for reason in SkipReason
            if reason in self._counts
        )


class SkippedFileError(Exception):
    """A file can't be imported or indexed."""

    def __init__(self, reason: SkipReason) -> None:
        super().__init__(reason.json_name)
        self.reason = reason


@contextmanager
def skip_errors() -> Iterator[None]:
    """Raise a SkippedFileError for whatever keeps a file from being read as an image."""
    try:
        yield
    except PictureTooLargeError as error:
        raise SkippedFileError(SkipReason.TOO_LARGE) from error
    except PictureError as error:
        raise SkippedFileError(SkipReason.DAMAGED) from error
    except OSError as error:
        raise SkippedFileError(SkipReason.NO_ACCESS) from error
