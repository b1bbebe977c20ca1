"""The wildcards and styles that a prompt may name: shipped ones, and those of the owner."""

import logging
import math
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Final

from sd35.core.errors import InvalidRequestError, TemplateError
from sd35.prompts.styles import SHIPPED_STYLES, StyleBook, load_styles
from sd35.prompts.wildcards import NO_WILDCARDS, SHIPPED_WILDCARDS, WildcardFolders

__all__ = ["PromptCatalog"]

log = logging.getLogger(__name__)

# A prompt is planned again and again while it is typed; a folder may have thousands of files.
REFRESH_SECONDS: Final = 30.0
# After which it is looked for a file that wasn't there.
MISSING_SECONDS: Final = 2.0


class OwnWildcards:
    """The wildcards of a folder, and the shipped ones; read when a template uses one."""

    def __init__(self, folder: Path, clock: Callable[[], float]) -> None:
        self._folder = folder
        self._clock = clock
        self._read_at = -math.inf
        self._newest = NO_WILDCARDS

    @property
    def names(self) -> list[str]:
        """Names of all wildcards, in order."""
        return self._folders(REFRESH_SECONDS).names

    def values(self, pattern: str) -> tuple[str, ...]:
        """Return the values of all wildcards that match a pattern.

        Raises:
            TemplateError: there is no such wildcard, or it has no values.
        """
        try:
            return self._folders(REFRESH_SECONDS).values(pattern)
        except TemplateError:
            return self._folders(MISSING_SECONDS).values(pattern)

    def _folders(self, max_age: float) -> WildcardFolders:
        now = self._clock()
        if now - self._read_at > max_age:
            self._read_at = now
            self._newest = WildcardFolders(SHIPPED_WILDCARDS, self._folder)
        return self._newest


class PromptCatalog:
    """Catalog of the wildcards and styles of one library. It reads files.

    Others than the owner get the shipped ones alone: the owner's files are none of their business.
    """

    def __init__(
        self,
        wildcard_folder: Path,
        styles_file: Path,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._own_wildcards = OwnWildcards(wildcard_folder, clock)
        self._styles_file = styles_file
        self._owner_styles: tuple[tuple[int, int], StyleBook] | None = None

    @cached_property
    def _shipped_wildcards(self) -> WildcardFolders:
        return WildcardFolders(SHIPPED_WILDCARDS)

    @cached_property
    def _shipped_styles(self) -> StyleBook:
        return load_styles(SHIPPED_STYLES)

    def wildcards(self, *, is_owner: bool) -> WildcardFolders | OwnWildcards:
        """Return the wildcards; a change of the owner's is noticed within half a minute."""
        return self._own_wildcards if is_owner else self._shipped_wildcards

    def style_book(self, *, is_owner: bool) -> StyleBook:
        """Return the styles and negative presets; without the owner's if their file isn't valid."""
        version = _file_version(self._styles_file) if is_owner else None
        if version is None:
            return self._shipped_styles
        if self._owner_styles is None or self._owner_styles[0] != version:
            try:
                style_book = load_styles(SHIPPED_STYLES, self._styles_file)
            except InvalidRequestError as error:
                log.warning("%s", error)
                style_book = self._shipped_styles
            self._owner_styles = version, style_book
        return self._owner_styles[1]


def _file_version(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
