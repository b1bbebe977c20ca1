"""Export of images to a folder or a ZIP archive, with a manifest."""

import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from zipstream import ZIP_STORED, ZipStream  # type: ignore[import-untyped]

from sd35.core.atomic_files import TEMP_SUFFIX, rename_exclusive, write_errors, write_exclusive
from sd35.core.errors import LibraryError, PictureError
from sd35.core.home_folder import expand_home
from sd35.library.layout import original_path
from sd35.library.library_file import (
    open_library_file,
    path_of_open_file,
    read_library_file,
)
from sd35.library.picture_file import find_identical
from sd35.library.repository import Entry

__all__ = ["ExportResult", "ZipExport", "export_pictures", "manifest_entry"]

MANIFEST_NAME: Final = "pictures.jsonl"  # file of an export that has a JSON line per image


@dataclass(frozen=True, slots=True)
class ExportResult:
    """Outcome of an export: the folder or ZIP file, and the number of images in it."""

    path: Path
    pictures: int
    unreadable: tuple[str, ...]  # paths in the library


class ZipExport:
    """ZIP archive of images, produced while it is iterated over, so that it is never in memory."""

    def __init__(self, folder: Path, entries: Iterable[Entry], owner: str | None) -> None:
        self.unreadable: list[str] = []  # paths of files that were left out so far
        self.picture_count = 0  # of the finished archive
        self._folder = folder
        self._entries = entries
        self._owner = owner

    def __iter__(self) -> Iterator[bytes]:
        # Images are compressed already: to deflate them again costs time and saves nothing.
        archive = ZipStream(compress_type=ZIP_STORED)
        manifest_lines: list[str] = []
        used_names: set[str] = set()
        for entry in self._entries:
            name = _export_path(entry, self._owner)
            # A trashed image may have the name of one that isn't.
            name = f"{entry.id}/{name}" if name in used_names else name
            try:
                file = open_library_file(self._folder, entry.path)
            except OSError:
                self.unreadable.append(entry.path)
                continue
            # zipstream opens a file by its path, after it has sent the header: that one may have
            # gone by then, or be another.
            with file:
                path = path_of_open_file(file, self._folder / entry.path)
                archive.add_path(path, name, recurse=False)
                yield from archive.all_files()
            used_names.add(name)
            manifest_lines.append(_manifest_line(entry, name))
        self.picture_count = len(manifest_lines)
        archive.add("".join(manifest_lines).encode("ascii"), MANIFEST_NAME)
        yield from archive.finalize()


def export_pictures(
    folder: Path, entries: Iterable[Entry], target: Path, owner: str | None
) -> ExportResult:
    """Copy images of the library in this folder; see `Library.export`."""
    target = expand_home(target).absolute()
    library_root = folder.resolve()
    if library_root in target.resolve().parents or target.resolve() == library_root:
        raise LibraryError(f"{target} is in the library.", "Choose a folder outside of it.")
    is_zip = target.suffix.lower() == ".zip"
    output_file = target if is_zip else target / MANIFEST_NAME
    if os.path.lexists(output_file):
        raise LibraryError(f"{output_file} already exists.", "Choose a new folder or .zip file.")
    with write_errors("the export"):
        if is_zip:
            return _export_zip(ZipExport(folder, entries, owner), target)
        return _export_folder(folder, entries, target, owner)


def _export_zip(archive: ZipExport, target: Path) -> ExportResult:
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temp_name = tempfile.mkstemp(prefix=".", suffix=TEMP_SUFFIX, dir=target.parent)
    temp_path = Path(temp_name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(archive)
        temp_path.chmod(0o644)  # mkstemp lets only the owner read it
        path = rename_exclusive(temp_path, target)
    finally:
        temp_path.unlink(missing_ok=True)
    return ExportResult(path, archive.picture_count, tuple(archive.unreadable))


def _export_folder(
    folder: Path, entries: Iterable[Entry], target: Path, owner: str | None
) -> ExportResult:
    manifest_lines: list[str] = []
    unreadable: list[str] = []
    written_paths: set[Path] = set()
    for entry in entries:
        try:
            data, _ = read_library_file(folder, entry.path)
        except (OSError, PictureError):
            unreadable.append(entry.path)
            continue
        file = target / _export_path(entry, owner)
        # A repeated export reuses the files of one that was killed; but two images with the same
        # bytes stay two files.
        file = find_identical(file, data, written_paths) or write_exclusive(
            file.parent, file.name, data
        )
        written_paths.add(file)
        os.utime(file, (entry.made_at.timestamp(), entry.made_at.timestamp()))
        manifest_lines.append(_manifest_line(entry, file.relative_to(target).as_posix()))
    # Last, so that a folder without a manifest is known to be incomplete.
    write_exclusive(target, MANIFEST_NAME, "".join(manifest_lines).encode("ascii"))
    return ExportResult(target, len(manifest_lines), tuple(unreadable))


def _export_path(entry: Entry, owner: str | None) -> str:
    """Return the path of an image in an export: as in the library, without the owner's folder."""
    parts = PurePosixPath(original_path(entry.path)).parts
    return "/".join(parts[2:] if owner and len(parts) > 2 else parts)


def manifest_entry(entry: Entry, path: object) -> dict[str, Any]:
    """Return the manifest's JSON object for an image whose file is at this path."""
    return {
        "path": str(path),
        "id": entry.id,
        "record": json.loads(entry.metadata.to_json()),
        "width": entry.width,
        "height": entry.height,
        "format": entry.format,
        "size": entry.size_bytes,
    }


def _manifest_line(entry: Entry, path: str) -> str:
    return json.dumps(manifest_entry(entry, path)) + "\n"
