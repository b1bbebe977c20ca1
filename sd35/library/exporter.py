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

from sd35.core.atomic_files import PART, move_new, unwritten, write_new
from sd35.core.errors import LibraryError, PictureError
from sd35.library.layout import original_path
from sd35.library.picture_file import _written_before, read_file
from sd35.library.repository import Entry

__all__ = ["LIST", "Exported", "export_pictures", "line_of", "told_of"]


LIST: Final = "pictures.jsonl"
"""The file of an export that has a line for each picture."""


@dataclass(frozen=True, slots=True)
class Exported:
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
) -> Exported:
    """Copy these pictures of the library at `root`; documented at `Library.export`."""
    target, own = target.expanduser().absolute(), root.resolve()
    if own in target.resolve().parents or target.resolve() == own:
        raise LibraryError(f"{target} lies in the library.", "Name a folder outside of it.")
    lines, unreadable = list[str](), list[str]()
    with unwritten("The export"), _target(target) as out:
        for entry in entries:
            try:
                data = read_file(root / entry.path)
            except (OSError, PictureError):
                unreadable.append(entry.path)
                continue
            lines.append(
                line_of(entry, out.write(_path_outside(entry, owner), data, entry.made_at))
            )
        out.write(LIST, "".join(lines).encode("ascii"), None)
    return Exported(target, len(lines), tuple(unreadable))


def _path_outside(entry: Entry, owner: str | None) -> str:
    """The path in the library, but that an owner's pictures aren't in a folder with the owner's name."""
    parts = PurePosixPath(original_path(entry.path)).parts
    return "/".join(parts[2:] if owner and len(parts) > 2 else parts)


def told_of(entry: Entry, path: object) -> dict[str, Any]:
    """Return what is told of a picture whose file is at this path, in a list of exported ones."""
    return {
        "path": str(path),
        "id": entry.id,
        "record": json.loads(entry.record.as_json()),
        "width": entry.width,
        "height": entry.height,
        "format": entry.format,
        "size": entry.size_bytes,
    }


def line_of(entry: Entry, path: str) -> str:
    """Return the line of a picture in a list of exported ones."""
    return json.dumps(told_of(entry, path)) + "\n"


class _Target(Protocol):
    """Where an export goes."""

    def write(self, path: str, data: bytes, made_at: dt.datetime | None) -> str:
        """Write a file, and return the path that it has there: another one where this is taken."""


def _target(path: Path) -> AbstractContextManager[_Target]:
    taken = path if path.suffix.lower() == ".zip" else path / LIST
    if os.path.lexists(taken):
        raise LibraryError(
            f"{taken} is there already.", "Name a folder or a .zip that isn't there yet."
        )
    return _Zip(path) if taken == path else _Folder(path)


class _Folder:
    """A folder. Its list comes last: without it, the export wasn't done."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: set[Path] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def write(self, path: str, data: bytes, made_at: dt.datetime | None) -> str:
        wanted = self._path / path
        file = _written_before(wanted, data, self._written) or write_new(
            wanted.parent, wanted.name, data
        )
        self._written.add(file)
        if made_at is not None:
            os.utime(file, (made_at.timestamp(), made_at.timestamp()))
        return file.relative_to(self._path).as_posix()


class _Zip:
    """A .zip, that has its name when it is whole. Pictures are as small as they get, and are stored as they are."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(prefix=".", suffix=PART, dir=path.parent)
        self._part = Path(part)
        os.close(handle)
        self._zip = zipfile.ZipFile(part, "w", zipfile.ZIP_STORED)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            self._zip.close()
            if kind is None:
                self._part.chmod(0o644)
                move_new(self._part, self._path)
        finally:
            self._part.unlink(missing_ok=True)

    def write(self, path: str, data: bytes, made_at: dt.datetime | None) -> str:
        moment = (made_at or dt.datetime.now(dt.UTC)).astimezone()
        year = min(max(moment.year, 1980), 2107)  # all that a .zip knows
        info = zipfile.ZipInfo(path, (year, *moment.timetuple()[1:6]))
        info.external_attr = 0o644 << 16
        self._zip.writestr(info, data)
        return path
