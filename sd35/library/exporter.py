"""Export of pictures into a folder or a ZIP file, with a manifest."""

import datetime as dt
import json
import os
import tempfile
import zipfile
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final, Protocol, Self

from sd35.core.atomic_files import TEMP_SUFFIX, rename_exclusive, write_errors, write_exclusive
from sd35.core.errors import LibraryError, PictureError
from sd35.library.layout import original_path
from sd35.library.picture_file import _find_identical, read_file
from sd35.library.repository import Entry

__all__ = ["MANIFEST_NAME", "ExportResult", "export_pictures", "manifest_entry", "manifest_line"]


MANIFEST_NAME: Final = "pictures.jsonl"
"""The file of an export that has a line for each picture."""


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What was written.

    Attributes:
        path: of the folder, or the .zip.
        pictures: how many are in it.
        unreadable: paths in the library of those that aren't, since their files are gone or can't
            be read.

    """

    path: Path
    pictures: int
    unreadable: tuple[str, ...]


def export_pictures(
    root: Path, entries: Iterable[Entry], target: Path, owner: str | None
) -> ExportResult:
    """Copy these pictures of the library at `root`; documented at `Library.export`."""
    target, library_root = target.expanduser().absolute(), root.resolve()
    if library_root in target.resolve().parents or target.resolve() == library_root:
        raise LibraryError(f"{target} lies in the library.", "Name a folder outside of it.")
    manifest_lines, unreadable = list[str](), list[str]()
    with write_errors("The export"), _open_target(target) as export_target:
        for entry in entries:
            try:
                data = read_file(root / entry.path)
            except (OSError, PictureError):
                unreadable.append(entry.path)
                continue
            manifest_lines.append(
                manifest_line(
                    entry, export_target.write(_export_path(entry, owner), data, entry.made_at)
                )
            )
        export_target.write(MANIFEST_NAME, "".join(manifest_lines).encode("ascii"), None)
    return ExportResult(target, len(manifest_lines), tuple(unreadable))


def _export_path(entry: Entry, owner: str | None) -> str:
    """The path in the library, but that an owner's pictures aren't in a folder with the owner's name."""
    parts = PurePosixPath(original_path(entry.path)).parts
    return "/".join(parts[2:] if owner and len(parts) > 2 else parts)


def manifest_entry(entry: Entry, path: object) -> dict[str, Any]:
    """Return what is told of a picture whose file is at this path, in a list of exported ones."""
    return {
        "path": str(path),
        "id": entry.id,
        "record": json.loads(entry.record.to_json()),
        "width": entry.width,
        "height": entry.height,
        "format": entry.format,
        "size": entry.size_bytes,
    }


def manifest_line(entry: Entry, path: str) -> str:
    """Return the line of a picture in a list of exported ones."""
    return json.dumps(manifest_entry(entry, path)) + "\n"


class _ExportTarget(Protocol):
    """Where an export goes."""

    def write(self, path: str, data: bytes, made_at: dt.datetime | None) -> str:
        """Write a file, and return the path that it has there: another one where this is taken."""


def _open_target(path: Path) -> AbstractContextManager[_ExportTarget]:
    output_file = path if path.suffix.lower() == ".zip" else path / MANIFEST_NAME
    if os.path.lexists(output_file):
        raise LibraryError(
            f"{output_file} is there already.", "Name a folder or a .zip that isn't there yet."
        )
    return _ZipTarget(path) if output_file == path else _FolderTarget(path)


class _FolderTarget:
    """A folder. Its list comes last: without it, the export wasn't done."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written_paths: set[Path] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def write(self, path: str, data: bytes, made_at: dt.datetime | None) -> str:
        target = self._path / path
        file = _find_identical(target, data, self._written_paths) or write_exclusive(
            target.parent, target.name, data
        )
        self._written_paths.add(file)
        if made_at is not None:
            os.utime(file, (made_at.timestamp(), made_at.timestamp()))
        return file.relative_to(self._path).as_posix()


class _ZipTarget:
    """A .zip, that has its name when it is whole. Pictures are as small as they get, and are stored as they are."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temp_name = tempfile.mkstemp(prefix=".", suffix=TEMP_SUFFIX, dir=path.parent)
        self._temp_file = Path(temp_name)
        os.close(handle)
        self._zip = zipfile.ZipFile(temp_name, "w", zipfile.ZIP_STORED)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type: object, *_: object) -> None:
        try:
            self._zip.close()
            if exc_type is None:
                self._temp_file.chmod(0o644)
                rename_exclusive(self._temp_file, self._path)
        finally:
            self._temp_file.unlink(missing_ok=True)

    def write(self, path: str, data: bytes, made_at: dt.datetime | None) -> str:
        local_time = (made_at or dt.datetime.now(dt.UTC)).astimezone()
        year = min(max(local_time.year, 1980), 2107)  # all that a .zip knows
        info = zipfile.ZipInfo(path, (year, *local_time.timetuple()[1:6]))
        info.external_attr = 0o644 << 16
        self._zip.writestr(info, data)
        return path
