"""The library: a folder of pictures, and an index of it."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Self

from sd35.core.errors import LibraryError
from sd35.core.picture import Picture
from sd35.library import store
from sd35.library.database import Database
from sd35.library.exporter import ExportResult, export_pictures
from sd35.library.importer import ImportResult, import_pictures
from sd35.library.layout import STATE_DIR, OnProgress
from sd35.library.picture_file import read_file
from sd35.library.process_lock import ProcessLock
from sd35.library.query import MATCH_ALL, Query
from sd35.library.repository import Entry, get_entry, mark_missing
from sd35.library.scanner import LOCK_TIMEOUT, Scanner, ScanResult
from sd35.library.search import MAX_PAGE, PicturePage, adjacent_id, find_all, find_page
from sd35.library.stats import Stats, collect_stats, used_bytes
from sd35.library.store import add_picture
from sd35.library.thumbnails import ThumbnailCache
from sd35.metadata.model import GenerationMetadata

__all__ = ["Library"]


class Library:
    """A library that is open. Threads may use it, and several programs one folder.

    Where an owner is asked for, it is the key that `owner_key` returns, and what belongs to
    somebody else is passed over as if it weren't there; `None` is whoever runs the program, whose
    everything is. Every method raises LibraryError where the index can't be used.

    Attributes:
        folder: of the pictures.
        database: connections to the index.

    """

    def __init__(self, folder: Path, database: Database, process_lock: ProcessLock) -> None:
        self.folder = folder
        self.database = database
        self._process_lock = process_lock
        self._thumbnails = ThumbnailCache(folder / STATE_DIR / "thumbnails")
        self._store = store.PictureStore(folder, database, self._thumbnails)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open the library in this folder; what is missing of it is made.

        Raises:
            LibraryError: it can't be used.

        """
        folder = folder.expanduser().absolute()
        try:
            state_folder = folder / STATE_DIR
            folder.mkdir(parents=True, exist_ok=True)
            state_folder.mkdir(mode=0o700, exist_ok=True)
            process_lock = ProcessLock(state_folder / "running")
        except OSError as error:
            raise LibraryError(
                f"{folder} can't be used for pictures: {error.strerror or error}."
            ) from error
        try:
            database = Database.open(state_folder / "library.sqlite3", process_lock.reacquire)
        except LibraryError:
            process_lock.close()
            raise
        process_lock.remove_stale()
        return cls(folder, database, process_lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the folder."""
        self.database.close()
        self._process_lock.close()

    @property
    def needs_rescan(self) -> bool:
        """Whether the index was damaged, or wasn't there, and is empty until `rescan` has been called."""
        return self.database.was_rebuilt

    @property
    def instance_id(self) -> str:
        """The name of the program that runs here among those that use the library."""
        return self._process_lock.instance_id

    def is_alive(self, instance_id: str) -> bool:
        """Whether the program of this name still runs."""
        return self._process_lock.is_alive(instance_id)

    def add(self, data: bytes, picture: Picture, record: GenerationMetadata, owner: str) -> Entry:
        """Write a picture's file, with its record in it, and keep it; `picture` says what `data` is.

        Where only the index can't be written, the file is there all the same, and the next `rescan`
        finds it.

        Raises:
            WriteError: the file couldn't be written; nothing of it is left.
            ValueError: this is no owner's key.

        """
        return add_picture(self.folder, self.database, data, picture, record, owner)

    def file_path(self, entry: Entry) -> Path:
        """Return where a picture's file is."""
        return self.folder / entry.path

    def get(self, id: str, owner: str | None = None) -> Entry | None:  # noqa: A002  # its name everywhere
        """Return what is known of a picture; `None` where there is no such picture."""
        with self.database.read_transaction() as connection:
            return get_entry(connection, id, owner)

    def read_bytes(self, id: str, owner: str | None = None) -> bytes:  # noqa: A002
        """Return a picture's file.

        Raises:
            LibraryError: there is no such picture, or its file is gone or can't be read.
            PictureTooLargeError: the file is larger than a picture is.

        """
        entry = self.get(id, owner)
        if entry is None:
            raise LibraryError("There is no such picture in the library.", "")
        try:
            return read_file(self.file_path(entry))
        except FileNotFoundError as error:
            with suppress(LibraryError), self.database.write_transaction() as connection:
                mark_missing(connection, [entry.id])
            raise LibraryError(f"The picture's file is gone: {entry.path}.", "") from error
        except OSError as error:
            raise LibraryError(f"{entry.path} can't be read: {error.strerror}.", "") from error

    def search(
        self,
        query: Query = MATCH_ALL,
        owner: str | None = None,
        *,
        limit: int = 48,
        newer_cursor: str | None = None,
        older_cursor: str | None = None,
    ) -> PicturePage:
        """Return pictures that the query finds, newest first: the first ones, or those next to where a page ended."""
        with self.database.read_transaction() as connection:
            return find_page(
                connection, query, owner, min(max(1, limit), MAX_PAGE), newer_cursor, older_cursor
            )

    def adjacent_ids(
        self,
        id: str,  # noqa: A002
        owner: str | None = None,
        query: Query = MATCH_ALL,
    ) -> tuple[str | None, str | None]:
        """Return the ids of the next newer and the next older picture that the query finds."""
        with self.database.read_transaction() as connection:
            entry = get_entry(connection, id, owner)
            if entry is None or query.is_job_query:
                return None, None
            newer_id = adjacent_id(connection, entry, query, owner, is_newer=True)
            return newer_id, adjacent_id(connection, entry, query, owner, is_newer=False)

    def star(self, ids: Iterable[str], owner: str | None, *, is_starred: bool) -> tuple[str, ...]:
        """Say in these pictures' files that somebody likes them, or no longer; return the ids of those that were.

        Raises:
            WriteError: a file couldn't be written, and is as it was; those before it are
                written.
            PictureError: a file isn't sound enough for a record to be put into it.

        """
        return self._store.update_metadata(
            ids, owner, lambda record: replace(record, is_starred=is_starred)
        )

    def tag(
        self,
        ids: Iterable[str],
        owner: str | None,
        add: Iterable[str] = (),
        remove: Iterable[str] = (),
    ) -> tuple[str, ...]:
        """Give these pictures words, in their files, and take others away; raises and returns as `star` does."""
        tags_to_add, tags_to_remove = tuple(add), tuple(remove)
        return self._store.update_metadata(
            ids, owner, lambda record: store.with_tags(record, tags_to_add, tags_to_remove)
        )

    def trash(self, ids: Iterable[str], owner: str | None) -> tuple[str, ...]:
        """Put pictures into the trash, and return the ids of those that weren't there before.

        Raises:
            LibraryError: a file couldn't be moved; those before it are.

        """
        return self._store.trash(ids, owner)

    def restore(self, ids: Iterable[str], owner: str | None) -> tuple[str, ...]:
        """Put pictures back where they were, or beside what is there now; raises and returns as `trash` does."""
        return self._store.restore(ids, owner)

    def empty_trash(self, owner: str | None) -> int:
        """Delete for good what is in the trash, and return how many pictures that were.

        Raises:
            LibraryError: a file couldn't be deleted; those before it are.

        """
        return self._store.empty_trash(owner)

    def delete(self, ids: Iterable[str], owner: str | None = None) -> tuple[str, ...]:
        """Delete pictures for good, wherever they are, and return the ids of those that were there.

        Raises:
            LibraryError: a file couldn't be deleted; those before it are.

        """
        return self._store.delete(ids, owner)

    def remove_missing(self, ids: Iterable[str], owner: str | None = None) -> tuple[str, ...]:
        """Keep nothing of pictures whose files are gone, and return the ids of those that were known."""
        return self._store.remove_missing(ids, owner)

    def thumbnail(self, id: str, owner: str | None = None) -> Path | None:  # noqa: A002
        """Return a small WebP of a picture; `None` where there is none: no such picture, or it is damaged."""
        entry = self.get(id, owner)
        return (
            None
            if entry is None or entry.is_missing
            else self._thumbnails.get(entry.id, self.file_path(entry))
        )

    def rescan(
        self, on_progress: OnProgress | None = None, lock_timeout: float = LOCK_TIMEOUT
    ) -> ScanResult:
        """Look through the folder, and bring the index to what is there; `tell` hears how many files were opened.

        Another program that does so is waited for as long as `limit_seconds`, and then LibraryError
        raised.
        """
        result = Scanner(self.folder, self.database, self._thumbnails).run(
            on_progress, lock_timeout
        )
        self.database.was_rebuilt = False
        return result

    def import_from(
        self, source: Path, owner: str, on_progress: OnProgress | None = None
    ) -> ImportResult:
        """Copy the pictures of a folder or a .zip, or one, byte for byte, but for those that are here already.

        Raises:
            WriteError: a file couldn't be written; those before it are.
            LibraryError: there is no such thing, or it is in the library's own folder.
            ValueError: this is no owner's key.

        """
        return import_pictures(self.folder, self.database, source, owner, on_progress)

    def export(
        self, target: Path, query: Query = MATCH_ALL, owner: str | None = None
    ) -> ExportResult:
        """Copy pictures, and what is known of them, into a new folder, or a new .zip file.

        Raises:
            WriteError: something couldn't be written.
            LibraryError: there is something already, or it is in the library's own folder.

        """
        return export_pictures(self.folder, find_all(self.database, query, owner), target, owner)

    def used_bytes(self, owner: str, scope: str = "shown") -> int:
        """Return how much an owner's pictures take that are shown, or in the `trash`."""
        return used_bytes(self.database, owner, scope)

    def stats(self) -> Stats:
        """Return how much there is of everything."""
        return collect_stats(self.folder, self.database, self._thumbnails)
