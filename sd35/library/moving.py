"""Pictures from elsewhere into the library, and out of it into a folder or a .zip."""

import datetime as dt
import json
import os
import tempfile
import zipfile
from collections.abc import Collection, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import count
from pathlib import Path, PurePosixPath
from sqlite3 import Connection
from typing import Any, Final, Protocol, Self

from sd35.errors import LibraryError, PictureError
from sd35.files import PART, free_path, move_new, write_new
from sd35.library.database import Database
from sd35.library.folder import name_for, original_path, place_for, stamp_of
from sd35.library.inspecting import Inspected, copy_id, entry_for, inspect, moment_of, read_file
from sd35.library.pictures import Entry, find, put
from sd35.library.scan import Tell
from sd35.library.sources import pictures_in
from sd35.library.unwritten import unwritten
from sd35.metadata.embedding import embed_record

__all__ = ["LIST", "Exported", "Imported", "export_pictures", "import_pictures", "line_of", "told_of"]

LIST: Final = "pictures.jsonl"
"""The file of an export that has a line for each picture."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of the pictures of a folder or a .zip.

    Attributes:
        added: how many are in the library now.
        already: how many were.
        unreadable: files that aren't pictures that may be opened.

    """

    added: int
    already: int
    unreadable: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        path: of the folder, or the .zip.
        pictures: how many are in it.
        unreadable: paths in the library of those that aren't, since their files are gone or can't be read.

    """

    path: Path
    pictures: int
    unreadable: tuple[str, ...]


def import_pictures(root: Path, database: Database, source: Path, owner: str, tell: Tell | None) -> Imported:
    """Copy pictures into the library at `root`; documented at `Library.import_from`."""
    place_for(owner, dt.datetime.now(dt.UTC))  # is it a key?
    source, own = source.expanduser().resolve(), root.resolve()
    if source == own or own in source.parents:
        raise LibraryError(f"{source} belongs to the library already.", "Name another folder.")
    counts, unreadable = {True: 0, False: 0}, list[Path]()
    with pictures_in(source, but=own) as pictures:
        for number, picture in enumerate(pictures, 1):
            try:
                data, mtime_ns = picture.read()
                told = inspect(data)
            except (OSError, PictureError):
                unreadable.append(picture.path)
            else:
                counts[_bring_in(root, database, owner, told, mtime_ns, picture.path.stem)] += 1
            if tell is not None:
                tell(number, len(pictures))
    return Imported(counts[True], counts[False], tuple(unreadable))


def _bring_in(root: Path, database: Database, owner: str, told: Inspected, mtime_ns: int, words: str) -> bool:
    """Whether the picture wasn't there, and is now. What is in the trash, or another owner's, isn't there."""
    with database.reading() as connection:
        known = find(connection, told.record.id)
        is_there = known is not None and not known.is_missing
        if is_there and _same(connection, root, owner, told):
            return False
    made_at = moment_of(told.record, mtime_ns)
    place, name = place_for(owner, made_at), name_for(told.record, made_at, told.picture.suffix, words)
    with unwritten("A picture"):
        file = _written_before(root / place / name, told.picture.data) or write_new(
            root / place, name, told.picture.data
        )
        os.utime(file, ns=(mtime_ns, mtime_ns))
        mtime_ns = stamp_of(file.stat())[1]
    path = f"{place}/{file.name}"
    entry = entry_for(told, path, mtime_ns, copy_id(told.record.id, path) if is_there else None)
    with database.writing() as connection:
        put(connection, entry, mtime_ns)
    return True


def _same(connection: Connection, root: Path, owner: str, told: Inspected) -> bool:
    """Whether the owner's shown pictures have this one: under its id, or under another one with the same bytes."""
    known = find(connection, told.record.id, owner)
    if known is not None and not known.is_trashed and _differ_in_record(_bytes_of(root / known.path), told):
        return True
    rows = connection.execute(
        "SELECT path FROM pictures WHERE owner = ? AND size_bytes = ? AND trashed_at IS NULL AND is_missing = 0",
        (owner, len(told.picture.data)),
    )
    return any(_bytes_of(root / path) == told.picture.data for (path,) in rows)


def _differ_in_record(kept: bytes, told: Inspected) -> bool:
    """Whether they differ in our record at the most; an edited copy may still have it. What can't be read may be it."""
    try:
        return embed_record(kept, told.record) == embed_record(told.picture.data, told.record)
    except PictureError:
        return True


def _written_before(wanted: Path, data: bytes, but: Collection[Path] = ()) -> Path | None:
    """The file under this name, or one with a number, that holds this: what was killed in the midst has left it."""
    free = free_path(wanted)
    for number in count(1):
        path = wanted if number == 1 else wanted.with_stem(f"{wanted.stem}-{number}")
        if path == free:
            return None
        if path not in but and path.stat().st_size == len(data) and _bytes_of(path) == data:
            return path
    raise AssertionError


def _bytes_of(path: Path) -> bytes:
    try:
        return read_file(path)
    except (OSError, PictureError):
        return b""


def export_pictures(root: Path, entries: Iterable[Entry], target: Path, owner: str | None) -> Exported:
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
            lines.append(line_of(entry, out.write(_path_outside(entry, owner), data, entry.made_at)))
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
        raise LibraryError(f"{taken} is there already.", "Name a folder or a .zip that isn't there yet.")
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
        file = _written_before(wanted, data, self._written) or write_new(wanted.parent, wanted.name, data)
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
