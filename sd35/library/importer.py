"""Import of images from a folder, a ZIP file or a single file."""

import datetime as dt
import hashlib
import os
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO, Final

from sd35.core.atomic_files import os_error_text, write_errors, write_exclusive
from sd35.core.errors import LibraryError, PictureError
from sd35.core.home_folder import expand_home
from sd35.library.database import Database
from sd35.library.exporter import MANIFEST_NAME
from sd35.library.layout import (
    OnProgress,
    OnSkip,
    directory_for,
    file_version,
    filename_for,
    is_visible_picture,
    skip_reason,
    walk_pictures,
)
from sd35.library.library_file import (
    MAX_FILE_BYTES,
    make_real_folder,
    open_file,
    open_library_file,
    read_library_file,
)
from sd35.library.picture_file import (
    InspectedPicture,
    build_entry,
    creation_time,
    derive_copy_id,
    find_identical,
    load_picture,
)
from sd35.library.repository import get_entry, shown_paths, upsert_entry
from sd35.library.skipped_files import (
    SkippedFileError,
    SkippedFiles,
    SkippedFilesCounter,
    SkipReason,
)
from sd35.metadata.embedding import embed_or_original, embed_texts
from sd35.metadata.sidecar import MAX_SIDECAR_BYTES, read_sidecar, sidecar_paths

__all__ = ["ImportResult", "Importer"]

try:
    from lzma import LZMAError
except ImportError:  # Python may have been built without it
    LZMAError = EOFError  # type: ignore[assignment,misc]

# What zipfile raises for damaged and hostile archives: RuntimeError for a password or an unknown
# compression, ValueError for an offset before the file's beginning.
_UNPACK_ERRORS: Final = (
    OSError,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    LZMAError,
    RuntimeError,
    ValueError,
)

_MAX_SAME_NAMES: Final = 20

# Bytes per byte in a ZIP: as much as Deflate can, and far more than images need. Other methods
# would make gigabytes out of a kilobyte.
_MAX_RATIO: Final = 1032

_IS_ENCRYPTED: Final = 0x01  # flag of a file in a ZIP

_UNSET_DATE_TIME: Final = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class ImportResult:
    """Outcome of an import: numbers of images, and the files that were passed over."""

    added: int
    duplicates: int  # they were in the library already
    skipped_files: tuple[SkippedFiles, ...] = ()  # with their paths in the source


class Importer:
    """Importer of images for one owner, byte for byte and without duplicates."""

    def __init__(self, folder: Path, database: Database, owner: str) -> None:
        directory_for(owner, dt.datetime.now(dt.UTC))  # raises ValueError for an invalid key
        self._folder = folder
        self._database = database
        self._owner = owner
        self._name_counts: Counter[Path] = Counter()
        # Of the owner's images by size, each read once: thousands of one size and ID would
        # otherwise all be read for each of them.
        self._digests: dict[int, set[bytes]] = {}

    def run(self, source: Path, on_progress: OnProgress | None = None) -> ImportResult:
        """Import all images of a source; see `Library.import_from`."""
        source = expand_home(source).resolve()
        library_root = self._folder.resolve()
        if source == library_root or library_root in source.parents:
            raise LibraryError(f"{source} is in the library already.", "Choose another folder.")
        added = duplicates = 0
        skipped_files = SkippedFilesCounter()
        with _open_source(source, exclude=library_root, on_skip=skipped_files.add) as files:
            for index, file in enumerate(files, 1):
                try:
                    inspected, mtime_ns = load_picture(file.load)
                except SkippedFileError as error:
                    skipped_files.add(error.reason, file.path)
                else:
                    inspected, sidecar = _with_settings_beside(inspected, file)
                    if sidecar:
                        skipped_files.discard(SkipReason.OTHER_KIND, sidecar)
                    if self._import_one(inspected, mtime_ns, PurePosixPath(file.path).stem):
                        added += 1
                    else:
                        duplicates += 1
                if on_progress is not None:
                    on_progress(index, len(files))
        return ImportResult(added, duplicates, skipped_files.result())

    def _import_one(self, inspected: InspectedPicture, mtime_ns: int, fallback_name: str) -> bool:
        """Add an image, and return true, unless the owner has it already."""
        metadata = inspected.metadata
        data = inspected.picture.data
        with self._database.read_transaction() as connection:
            existing_entry = get_entry(connection, metadata.id)
        # The ID may belong to an image in the trash, or of another owner: then this is a copy.
        is_id_taken = existing_entry is not None and not existing_entry.is_missing
        if is_id_taken and self._is_duplicate(inspected):
            return False
        made_at = creation_time(metadata, mtime_ns)
        name = filename_for(metadata, made_at, inspected.picture.suffix, fallback_name)
        with write_errors("an image"):
            folder = make_real_folder(self._folder, directory_for(self._owner, made_at))
            target = self._name_apart(folder / name, data)
            file = find_identical(target, data) or write_exclusive(folder, target.name, data)
            os.utime(file, ns=(mtime_ns, mtime_ns))
            # Read back, as the file system may have rounded the time.
            mtime_ns = file_version(file.stat())[1]
        path = file.relative_to(self._folder).as_posix()
        entry = build_entry(inspected, path, mtime_ns)
        if is_id_taken:
            entry = entry.with_id(derive_copy_id(metadata.id, path))
        with self._database.write_transaction() as connection:
            upsert_entry(connection, entry, mtime_ns)
        if len(data) in self._digests:
            self._digests[len(data)].add(_digest(data))
        return True

    def _name_apart(self, target: Path, data: bytes) -> Path:
        """Return this path, or one after the content if many files of the import have this name."""
        # Trying the numbers one by one takes quadratic time.
        self._name_counts[target] += 1
        if self._name_counts[target] <= _MAX_SAME_NAMES:
            return target
        return target.with_stem(f"{target.stem}-{_digest(data).hex()[:16]}")

    def _is_duplicate(self, inspected: InspectedPicture) -> bool:
        """Return whether the owner has this image, under its ID or as a copy, outside the trash."""
        with self._database.read_transaction() as connection:
            entry = get_entry(connection, inspected.metadata.id, self._owner)
        if entry is not None and not entry.is_trashed:
            existing_data = self._read_or_empty(entry.path)
            if _matches_except_metadata(existing_data, inspected):
                return True
        return _digest(inspected.picture.data) in self._digests_of_size(len(inspected.picture.data))

    def _digests_of_size(self, size_bytes: int) -> set[bytes]:
        if size_bytes not in self._digests:
            with self._database.read_transaction() as connection:
                paths = shown_paths(connection, self._owner, size_bytes)
            self._digests[size_bytes] = {_digest(self._read_or_empty(path)) for path in paths}
        return self._digests[size_bytes]

    def _read_or_empty(self, path: str) -> bytes:
        """Return the content of an image in the library, or nothing where it can't be read."""
        try:
            return read_library_file(self._folder, path)[0]
        except (OSError, PictureError):
            return b""


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _matches_except_metadata(existing_data: bytes, inspected: InspectedPicture) -> bool:
    # The ID doesn't tell, as an image edited elsewhere keeps it; nor do the bytes, as the library's
    # file may have been starred since, or have got the settings of a file beside it. So both files
    # are compared with the same texts in them.
    metadata_json = inspected.metadata.to_json()
    try:
        existing_image = embed_texts(existing_data, "", metadata_json)
        return existing_image == embed_texts(inspected.picture.data, "", metadata_json)
    except PictureError:
        return True  # if in doubt, no second copy


@dataclass(frozen=True, slots=True)
class _SourceFile:
    """Image file to import; `load` returns its content and mtime in nanoseconds.

    It raises OSError, PictureError or SkippedFileError. `load_beside` returns the content of
    another file at a path in the source, and nothing if there is none or it is too large.
    """

    path: str  # in the source
    load: Callable[[], tuple[bytes, int]]
    load_beside: Callable[[str], bytes]


def _with_settings_beside(
    inspected: InspectedPicture, file: _SourceFile
) -> tuple[InspectedPicture, str]:
    """Return an image without settings with those of a file beside it, and that file's path."""
    if inspected.has_metadata:
        return inspected, ""
    for path in sidecar_paths(file.path):
        settings = read_sidecar(file.load_beside(path))
        if settings is not None and settings.prompt:
            own = inspected.metadata
            metadata = replace(settings, id=own.id, made_at=settings.made_at or own.made_at)
            # Into the image's file: the index is rebuilt from the images.
            picture = embed_or_original(inspected.picture, metadata)
            return InspectedPicture(picture, metadata, has_embedded_id=True), path
    return inspected, ""


@contextmanager
def _open_source(source: Path, *, exclude: Path, on_skip: OnSkip) -> Iterator[list[_SourceFile]]:
    """Yield the image files of a folder or a ZIP in a stable order, or a single file.

    Raises:
        LibraryError: the source is none of these.
    """
    if source.is_dir():
        walk = walk_pictures(source, exclude=exclude, on_skip=_without_manifest(on_skip))
        yield [_file_on_disk(source, file_info.path) for file_info in walk]
        return
    if source.is_file() and is_visible_picture(source.name.lstrip(".")):
        yield [_file_on_disk(source.parent, source.name)]
        return
    with _open_archive(source) as archive:
        yield list(_files_in_zip(archive, source, _without_manifest(on_skip)))


def _without_manifest(on_skip: OnSkip) -> OnSkip:
    """Return a callback that passes on every file but the manifest of this program's exports."""

    def pass_on(reason: SkipReason, path: str) -> None:
        if path != MANIFEST_NAME:
            on_skip(reason, path)

    return pass_on


def _open_archive(source: Path) -> zipfile.ZipFile:
    try:
        # A pipe is no archive: opening it by its path would wait for somebody who writes into it.
        file = open_file(source)
    except OSError as error:
        raise LibraryError(
            f"Couldn't read {source}: {os_error_text(error)}.", "Choose another source."
        ) from error
    try:
        archive = zipfile.ZipFile(file)
    except _UNPACK_ERRORS as error:
        file.close()
        if source.suffix.lower() == ".zip":
            message = f"{source} is no .zip file, or it is damaged or incomplete."
            raise LibraryError(message, "Copy or download it again.") from error
        message = f"{source} isn't a folder, a .zip file, or a PNG, JPEG or WebP image."
        remedy = "Unpack other archives, and import the folder."
        raise LibraryError(message, remedy) from error
    # Thousands of names for the same bytes would be unpacked thousands of times.
    if sum(info.compress_size for info in archive.infolist()) > source.stat().st_size:
        archive.close()
        raise LibraryError(f"The files in {source} overlap.", "Choose another source.")
    return archive


def _file_on_disk(folder: Path, path: str) -> _SourceFile:
    def load() -> tuple[bytes, int]:
        data, status = read_library_file(folder, path)
        return data, file_version(status)[1]

    def load_beside(path: str) -> bytes:
        try:
            with open_library_file(folder, path) as file:
                return _read_sidecar_bytes(file)
        except OSError:
            return b""

    return _SourceFile(path, load, load_beside)


def _read_sidecar_bytes(file: IO[bytes]) -> bytes:
    data = file.read(MAX_SIDECAR_BYTES + 1)
    return data if len(data) <= MAX_SIDECAR_BYTES else b""


def _files_in_zip(
    archive: zipfile.ZipFile, archive_path: Path, on_skip: OnSkip
) -> Iterator[_SourceFile]:
    others: dict[str, zipfile.ZipInfo] = {}

    def load_beside(path: str) -> bytes:
        try:
            with archive.open(others[path]) as file:
                return _read_sidecar_bytes(file)
        except (KeyError, *_UNPACK_ERRORS):
            return b""

    for info in archive.infolist():
        # The path is for messages only. A name such as ../../x in an archive is harmless: the
        # library generates the file's name.
        path = info.filename.replace("\\", "/")  # as some Windows programs write it
        if path.endswith("/"):
            continue
        reason = skip_reason(path)
        if reason is None and stat.S_ISLNK(info.external_attr >> 16):
            reason = SkipReason.LINK
        if reason is None:
            yield _file_in_zip(archive, archive_path, info, path, load_beside)
        else:
            others[path] = info
            on_skip(reason, path)


def _file_in_zip(
    archive: zipfile.ZipFile,
    archive_path: Path,
    info: zipfile.ZipInfo,
    path: str,
    load_beside: Callable[[str], bytes],
) -> _SourceFile:
    max_bytes = min(MAX_FILE_BYTES, info.compress_size * _MAX_RATIO)

    def load() -> tuple[bytes, int]:
        if info.flag_bits & _IS_ENCRYPTED:
            raise SkippedFileError(SkipReason.LOCKED)
        try:
            with archive.open(info) as file:
                # The header's size can't be trusted: a ZIP bomb unpacks to more.
                data = file.read(max_bytes + 1)
        except NotImplementedError as error:
            raise SkippedFileError(SkipReason.UNKNOWN_METHOD) from error
        except _UNPACK_ERRORS as error:
            raise SkippedFileError(SkipReason.DAMAGED) from error
        if len(data) > max_bytes:
            raise SkippedFileError(SkipReason.TOO_LARGE)
        return data, _mtime_ns(info, archive_path)

    return _SourceFile(path, load, load_beside)


def _mtime_ns(info: zipfile.ZipInfo, archive_path: Path) -> int:
    if info.date_time != _UNSET_DATE_TIME:
        # A ZIP has local time without a zone, and an archive may claim a 13th month.
        with suppress(ValueError, OverflowError, OSError):
            return int(dt.datetime(*info.date_time).astimezone().timestamp()) * 10**9
    return file_version(archive_path.stat())[1]
