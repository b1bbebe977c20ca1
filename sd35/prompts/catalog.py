"""The wildcards and styles that a prompt may name: shipped ones, and those of the owner."""

import logging
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Final

from sd35.core.errors import InvalidRequestError
from sd35.prompts.styles import SHIPPED_STYLES, StyleBook, load_styles
from sd35.prompts.wildcards import SHIPPED_WILDCARDS, WildcardFolders

__all__ = ["PromptCatalog"]

log = logging.getLogger(__name__)

# A prompt is planned again and again while it is typed; a folder may have thousands of files.
REFRESH_SECONDS: Final = 5.0


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
        self._wildcard_folder = wildcard_folder
        self._styles_file = styles_file
        self._clock = clock
        self._owner_wildcards: tuple[float, WildcardFolders] | None = None
        self._owner_styles: tuple[tuple[int, int], StyleBook] | None = None

    @cached_property
    def _shipped_wildcards(self) -> WildcardFolders:
        return WildcardFolders(SHIPPED_WILDCARDS)

    @cached_property
    def _shipped_styles(self) -> StyleBook:
        return load_styles(SHIPPED_STYLES)

    def wildcards(self, *, is_owner: bool) -> WildcardFolders:
        """Return the wildcards; the owner's are at most some seconds old."""
        if not is_owner:
            return self._shipped_wildcards
        now = self._clock()
        if self._owner_wildcards is None or now - self._owner_wildcards[0] > REFRESH_SECONDS:
            self._owner_wildcards = now, WildcardFolders(SHIPPED_WILDCARDS, self._wildcard_folder)
        return self._owner_wildcards[1]

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
