"""The library: a folder of images, and an index of it."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Self

from sd35.core.errors import IndexDamagedError, LibraryError
from sd35.library.database import Database
from sd35.library.exporter import ExportResult, ZipExport, export_pictures
from sd35.library.importer import Importer, ImportResult
from sd35.library.layout import STATE_DIR, TRASH_DIR, OnProgress, walk_pictures
from sd35.library.library_file import open_library_file, read_library_file
from sd35.library.process_lock import ProcessLock
from sd35.library.query import MATCH_ALL, Query
from sd35.library.repository import Entry, checked_count, get_entry, mark_missing
from sd35.library.scanner import LOCK_TIMEOUT, Scanner, ScanResult
from sd35.library.search import MAX_PAGE, PicturePage, adjacent_id, find_all, find_page
from sd35.library.staging import StagingArea
from sd35.library.stats import Stats, collect_stats
from sd35.library.store import PictureStore
from sd35.library.thumbnails import ThumbnailCache

__all__ = ["Library"]


class Library(PictureStore):
    """An open library, for any number of threads; several programs may have one folder open.

    An `owner` is a key that `owner_key` returns: other owners' images are treated as if they didn't
    exist. `None` stands for the local user, and gives access to all images.

    Every method raises LibraryError if the index can't be used, and WriteError if a file can't be
    written. A method for several images keeps what it did before an error.
    """

    def __init__(self, folder: Path, database: Database, process_lock: ProcessLock) -> None:
        staging = StagingArea(folder, process_lock.instance_id)
        thumbnails = ThumbnailCache(folder / STATE_DIR / "thumbnails")
        super().__init__(folder, database, thumbnails, staging)
        self._process_lock = process_lock

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open the library in a folder, created as necessary.

        Raises:
            LibraryError: the folder or its index can't be used.
        """
        folder = folder.expanduser().absolute()
        state_folder = folder / STATE_DIR
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Other users of the machine may look at the images, but not at jobs and thumbnails.
            state_folder.mkdir(mode=0o700, exist_ok=True)
            process_lock = ProcessLock(state_folder / "running")
        except OSError as error:
            message = f"{folder} can't be used as a library: {error.strerror or error}."
            raise LibraryError(message) from error
        try:
            database = Database(state_folder / "library.sqlite3", process_lock.reacquire)
        except LibraryError:
            process_lock.close()
            raise
        process_lock.remove_stale()
        library = cls(folder, database, process_lock)
        library._skip_scan_if_empty()
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
        self._staging.close()
        self._process_lock.close()

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
        return self._staging.has_abandoned(self.is_alive)

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
        """Open a file below the library's folder for reading.

        Raises:
            OSError: there is no regular file, or it can't be opened.
        """
        return open_library_file(self.folder, path.relative_to(self.folder).as_posix())

    def read_path(self, path: Path) -> bytes:
        """Return the content of a file below the library's folder; raises as `open_path` does."""
        with self.open_path(path) as file:
            return file.read()

    def get(self, id_: str, owner: str | None = None) -> Entry | None:
        """Return an image's entry, or `None` if there is no such image."""
        with self.database.read_transaction() as connection:
            return get_entry(connection, id_, owner)

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
        self._staging.recover(self.is_alive)

    def import_from(
        self, source: Path, owner: str, on_progress: OnProgress | None = None
    ) -> ImportResult:
        """Copy images of a folder or ZIP file, or a single file, that aren't in the library yet.

        Raises:
            LibraryError: there is no such source, or it is in the library.
            ValueError: `owner` isn't an owner's key.
        """
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
