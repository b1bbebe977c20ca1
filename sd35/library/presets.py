"""Presets: settings of the form under names, in a file that the owner of the library may edit.

    {"presets": [{"name": "Portrait", "settings": {"size": "2:3", "num_inference_steps": 40}}]}

What the settings mean is the form's business. Whatever else is in the file stays there.
"""

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from filelock import FileLock, Timeout

from sd35.core.atomic_files import atomic_write, os_error_text, write_errors
from sd35.core.errors import InvalidRequestError, LibraryError
from sd35.library.layout import PRESETS_FILE, STATE_DIR
from sd35.library.library import Library
from sd35.library.library_file import open_library_file

__all__ = ["PresetFile", "PresetList"]

MAX_BYTES: Final = 500_000
MAX_PRESETS: Final = 200
MAX_NAME_LENGTH: Final = 60

LOCK_TIMEOUT: Final = 5.0


@dataclass(frozen=True, slots=True)
class PresetList:
    """The presets, as objects of JSON, and the version of the file that they are from."""

    presets: list[dict[str, Any]]
    version: str = ""


class PresetFile:
    """The file of presets of a library, for any number of pages and programs.

    Each method raises LibraryError if the file, which anybody may have edited, isn't valid.
    """

    def __init__(self, library: Library) -> None:
        self._library = library
        self._path = library.folder / PRESETS_FILE

    def read(self) -> PresetList:
        """Return the presets; none if there is no file."""
        tree, version = self._read_tree()
        return PresetList(tree["presets"], version)

    def write(self, presets: object, version: str) -> PresetList | None:
        """Replace the presets that have this version; return `None` if they have another by now.

        Raises:
            InvalidRequestError: they aren't presets, or too many.
            WriteError: the file can't be written.
        """
        try:
            checked_presets = _checked_presets(presets)
        except ValueError as error:
            raise InvalidRequestError(f"The presets can't be saved: {error}.", "") from error
        self._library.check_writable()
        with write_errors(PRESETS_FILE), self._lock():
            tree, current_version = self._read_tree()
            if current_version != version:
                return None
            text = json.dumps(tree | {"presets": checked_presets}, ensure_ascii=False, indent=2)
            data = f"{text}\n".encode()
            if len(data) > MAX_BYTES:
                raise InvalidRequestError("The presets are too large to be saved.", "Delete some.")
            atomic_write(self._path, data)
        return PresetList(checked_presets, _version(data))

    @contextmanager
    def _lock(self) -> Iterator[None]:
        try:
            with FileLock(self._path.parent / STATE_DIR / "presets.lock", timeout=LOCK_TIMEOUT):
                yield
        except Timeout as error:
            raise LibraryError("Another program is saving presets.", "Try again.") from error

    def _read_tree(self) -> tuple[dict[str, Any], str]:
        try:
            data = self._read_bytes()
            return _parse(data), _version(data)
        except OSError as error:
            reason = os_error_text(error)
        except json.JSONDecodeError as error:
            reason = f"line {error.lineno}: {error.msg}"
        except (ValueError, RecursionError) as error:
            reason = str(error)
        message = f"Couldn't read the presets in {self._path}: {reason}."
        raise LibraryError(message, "Repair or remove the file.")

    def _read_bytes(self) -> bytes:
        try:
            with open_library_file(self._path.parent, PRESETS_FILE) as file:
                return file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            if os.path.lexists(self._path):
                raise OSError(errno.EINVAL, "it isn't a regular file") from None
            return b""


def _version(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest() if data else ""


def _parse(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES / 1e6:g} MB")
    tree = json.loads(data.decode("utf-8-sig")) if data else {"presets": []}
    if not isinstance(tree, dict):
        raise ValueError('it has no "presets"')  # noqa: TRY004  # the file's fault, not a caller's
    return tree | {"presets": _checked_presets(tree.get("presets", []))}


def _checked_presets(presets: object) -> list[dict[str, Any]]:
    if not isinstance(presets, list) or not all(isinstance(preset, dict) for preset in presets):
        raise ValueError('"presets" isn\'t a list of objects')
    if len(presets) > MAX_PRESETS:
        raise ValueError(f"there are more than {MAX_PRESETS}")
    names: set[str] = set()
    for preset in presets:
        name = preset.get("name")
        if not isinstance(name, str) or not name.strip() or len(name) > MAX_NAME_LENGTH:
            raise ValueError(f"each needs a name of up to {MAX_NAME_LENGTH} characters")
        if name.strip().casefold() in names:
            raise ValueError(f"there are two called “{name.strip()}”")
        names.add(name.strip().casefold())
        if not isinstance(preset.get("settings"), dict):
            raise ValueError(f'“{name.strip()}” has no "settings"')  # noqa: TRY004  # as above
    return presets
