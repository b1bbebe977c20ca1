"""The library: a folder of images, and an index of it."""

import os
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, Self

from sd35.core.errors import IndexDamagedError, LibraryError
from sd35.core.home_folder import expand_home
from sd35.library.database import Database
from sd35.library.exporter import ExportResult, ZipExport, export_pictures
from sd35.library.importer import Importer, ImportResult
from sd35.library.layout import STATE_DIR, TRASH_DIR, OnProgress, walk_pictures
from sd35.library.library_file import open_library_file, read_library_file
from sd35.library.process_lock import ProcessLock
from sd35.library.query import MATCH_ALL, Query
from sd35.library.read_only import (
    INDEX_NAME,
    RUNNING_DIR,
    copy_index,
    is_read_only,
    is_write_refusal,
)
from sd35.library.repository import Entry, checked_count, get_entry, list_set, mark_missing
from sd35.library.scanner import LOCK_TIMEOUT, Scanner, ScanResult
from sd35.library.search import MAX_PAGE, PicturePage, adjacent_id, find_all, find_page
from sd35.library.staging import StagingArea
from sd35.library.stats import Stats, collect_stats
from sd35.library.store import PictureStore
from sd35.library.thumbnails import ThumbnailCache

__all__ = ["Library"]


class _ReadOnlyError(Exception):
    """The library's folder or index can't be written."""


class Library(PictureStore):
    """An open library, for any number of threads; several programs may have one folder open.

    An `owner` is a key that `owner_key` returns: other owners' images are treated as if they didn't
    exist. `None` stands for the local user, and gives access to all images.

    Every method raises LibraryError if the index can't be used, and WriteError if a file can't be
    written. A method for several images keeps what it did before an error.
    """

    def __init__(self, folder: Path, state_folder: Path) -> None:
        process_lock = ProcessLock(state_folder / RUNNING_DIR)
        try:
            database = Database(state_folder / INDEX_NAME, process_lock.reacquire)
        except LibraryError:
            process_lock.close()
            raise
        staging = StagingArea(folder, process_lock.instance_id)
        super().__init__(folder, database, ThumbnailCache(state_folder / "thumbnails"), staging)
        self._process_lock = process_lock
        self._exit_stack = ExitStack()
        process_lock.remove_stale()
        self._skip_scan_if_empty()

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open the library in a folder, created as necessary; read-only if it can't be written.

        Raises:
            LibraryError: the folder or its index can't be used.
        """
        folder = expand_home(folder).absolute()
        try:
            if not is_read_only(folder):
                with suppress(_ReadOnlyError):
                    return cls._open_for_writing(folder)
            return cls._open_read_only(folder)
        except OSError as error:
            message = f"{folder} can't be used as a library: {error.strerror or error}."
            raise LibraryError(message) from error

    @classmethod
    def _open_for_writing(cls, folder: Path) -> Self:
        state_folder = folder / STATE_DIR
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Other users of the machine may look at the images, but not at jobs and thumbnails.
            state_folder.mkdir(mode=0o700, exist_ok=True)
            return cls(folder, state_folder)
        except (OSError, LibraryError) as error:
            reason = error.__cause__ if isinstance(error, LibraryError) else error
            if is_write_refusal(reason) and folder.is_dir():
                raise _ReadOnlyError from error
            raise

    @classmethod
    def _open_read_only(cls, folder: Path) -> Self:
        """Open a library with a copy of its index, which is deleted when the library is closed."""
        # Fails if nobody may list the folder: then there is nothing to search.
        with os.scandir(folder):
            pass
        with ExitStack() as stack:
            temp_folder = Path(stack.enter_context(TemporaryDirectory(prefix="sd35-index-")))
            copy_index(folder / STATE_DIR, temp_folder)
            library = cls(folder, temp_folder)
            library.is_read_only = True
            library._exit_stack = stack.pop_all()
        return library

    def _skip_scan_if_empty(self) -> None:
        """Mark a new index as complete if the folder has no images yet."""
        walks = (walk_pictures(self.folder), walk_pictures(self.folder / TRASH_DIR))
        if self.needs_rescan and not any(next(walk, None) for walk in walks):
            with suppress(LibraryError), self.database.write_transaction() as connection:
                self.database.mark_scanned(connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the folder."""
        self.database.close()
        if not self.is_read_only:
            self._staging.close()
        self._process_lock.close()
        self._exit_stack.close()

    @property
    def needs_rescan(self) -> bool:
        """Return whether the index is incomplete until `rescan`, as it was missing or damaged."""
        return self.database.needs_scan

    @property
    def is_damaged(self) -> bool:
        """Return whether damage of the index was found since it was opened."""
        return self.database.is_damaged

    def replace_damaged_index(self) -> None:
        """Replace the index if damage was found; the new one is incomplete until `rescan`."""
        self.database.replace_if_damaged()

    def has_abandoned_images(self) -> bool:
        """Return whether a program that was killed has left images that `rescan` will find."""
        return not self.is_read_only and self._staging.has_abandoned(self.is_alive)

    @property
    def instance_id(self) -> str:
        """The ID of this program among those that use the library."""
        return self._process_lock.instance_id

    def is_alive(self, instance_id: object) -> bool:
        """Return whether the program with this ID is still running."""
        return self._process_lock.is_alive(instance_id)

    def file_path(self, entry: Entry) -> Path:
        """Return the path of an image's file."""
        return self.folder / entry.path

    def open_path(self, path: Path) -> BinaryIO:
        """Open an image or a thumbnail for reading.

        Raises:
            OSError: there is no regular file, or it can't be opened.
        """
        # The thumbnails of a read-only library are beside the copy of its index.
        root = self.folder if path.is_relative_to(self.folder) else self.database.path.parent
        return open_library_file(root, path.relative_to(root).as_posix())

    def read_path(self, path: Path) -> bytes:
        """Return the content of an image or a thumbnail; raises as `open_path` does."""
        with self.open_path(path) as file:
            return file.read()

    def get(self, id_: str, owner: str | None = None) -> Entry | None:
        """Return an image's entry, or `None` if there is no such image."""
        with self.database.read_transaction() as connection:
            return get_entry(connection, id_, owner)

    def list_set(self, set_id: str, owner: str | None = None) -> list[Entry]:
        """Return the images of a set, also those in the trash, the newest first."""
        with self.database.read_transaction() as connection:
            return list_set(connection, set_id, owner)

    def read_bytes(self, id_: str, owner: str | None = None) -> bytes:
        """Return the content of an image's file.

        Raises:
            LibraryError: there is no such image, or its file is missing or can't be read.
            PictureTooLargeError: the file is too large for an image.
        """
        entry = self.get(id_, owner)
        if entry is None:
            raise LibraryError("Image not found in the library.", "")
        try:
            return read_library_file(self.folder, entry.path)[0]
        except FileNotFoundError as error:
            with suppress(LibraryError), self.database.write_transaction() as connection:
                mark_missing(connection, [entry.id])
            raise LibraryError(f"File missing: {entry.path}.", "") from error
        except OSError as error:
            raise LibraryError(f"Couldn't read {entry.path}: {error.strerror}.", "") from error

    def search(
        self,
        query: Query = MATCH_ALL,
        owner: str | None = None,
        *,
        limit: int = 48,
        newer_cursor: str | None = None,
        older_cursor: str | None = None,
    ) -> PicturePage:
        """Return the first page of results, newest first, or the one next to a cursor of a page."""
        with self.database.read_transaction() as connection:
            return find_page(
                connection, query, owner, min(max(1, limit), MAX_PAGE), newer_cursor, older_cursor
            )

    def adjacent_ids(
        self, id_: str, owner: str | None = None, query: Query = MATCH_ALL
    ) -> tuple[str | None, str | None]:
        """Return the IDs of the next newer and the next older result."""
        with self.database.read_transaction() as connection:
            entry = get_entry(connection, id_, owner)
            if entry is None or query.is_job_query:
                return None, None
            newer_id = adjacent_id(connection, entry, query, owner, is_newer=True)
            return newer_id, adjacent_id(connection, entry, query, owner, is_newer=False)

    def thumbnail(self, id_: str, owner: str | None = None) -> Path | None:
        """Return the file of an image's thumbnail, a WebP; `None` if there is none."""
        entry = self.get(id_, owner)
        if entry is None or entry.is_missing:
            return None
        return self._thumbnails.get(entry.id, lambda: read_library_file(self.folder, entry.path)[0])

    def rescan(
        self,
        on_progress: OnProgress | None = None,
        lock_timeout: float = LOCK_TIMEOUT,
        *,
        checks_index: bool = False,
    ) -> ScanResult:
        """Bring the index up to date with the folder, and replace it if it is damaged.

        See `Scanner.run`.
        """

        def scan() -> ScanResult:
            self.replace_damaged_index()
            scanner = Scanner(self.folder, self.database, self._thumbnails, self._recover_staged)
            return scanner.run(on_progress, lock_timeout, checks_index=checks_index)

        try:
            return scan()
        except IndexDamagedError:
            return scan()

    def _recover_staged(self) -> None:
        if not self.is_read_only:
            self._staging.recover(self.is_alive)

    def import_from(
        self, source: Path, owner: str, on_progress: OnProgress | None = None
    ) -> ImportResult:
        """Copy images of a folder or ZIP file, or a single file, that aren't in the library yet.

        Raises:
            LibraryError: there is no such source, or it is in the library, which may be read-only.
            ValueError: `owner` isn't an owner's key.
        """
        self.check_writable()
        return Importer(self.folder, self.database, owner).run(source, on_progress)

    def export(
        self, target: Path, query: Query = MATCH_ALL, owner: str | None = None
    ) -> ExportResult:
        """Copy results and a manifest to a new folder or .zip file.

        Raises:
            LibraryError: the target exists already, or is in the library.
        """
        return export_pictures(self.folder, find_all(self.database, query, owner), target, owner)

    def zip_export(self, entries: Iterable[Entry], owner: str) -> ZipExport:
        """Return a ZIP archive of images, to be sent while it is produced."""
        return ZipExport(self.folder, entries, owner)

    def used_bytes(self, owner: str, scope: str = "shown") -> int:
        """Return the size of an owner's images that are `shown`, in the `trash` or `missing`."""
        sql = "SELECT bytes FROM counts WHERE owner = ? AND scope = ?"
        with self.database.read_transaction() as connection:
            row = connection.execute(sql, (owner, scope)).fetchone()
            return checked_count(row[0]) if row else 0

    def stats(self) -> Stats:
        """Return the library's statistics."""
        return collect_stats(self.folder, self.database, self._thumbnails)
