"""The library: a folder of pictures, an index of it, and the jobs whose pictures they are."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final, Self

from sd35.core.errors import LibraryError
from sd35.core.picture import Picture
from sd35.jobs.record import Stage
from sd35.jobs.repository import Jobs
from sd35.library import store
from sd35.library.database import Database
from sd35.library.exporter import Exported, export_pictures
from sd35.library.importer import Imported, import_pictures
from sd35.library.layout import HIDDEN, Tell
from sd35.library.picture_file import read_file
from sd35.library.process_lock import Instance
from sd35.library.query import EVERYTHING, Query
from sd35.library.repository import Entry, find, mark_missing
from sd35.library.scanner import WAIT_SECONDS, Changes, Scan
from sd35.library.search import MAX_PAGE, Page, find_all, find_page, neighbour
from sd35.library.stats import Stats, bytes_of, count_all
from sd35.library.store import add_picture
from sd35.library.thumbnails import Thumbnails
from sd35.metadata.model import Record

__all__ = ["Library"]


TAKE_OVER_SECONDS: Final = 1.0
"""How long is waited for another program's look through the folder before jobs are taken over."""


class Library:
    """A library that is open. Threads may use it, and several programs one folder.

    Where an owner is asked for, it is the key that `owner_key` returns, and what belongs to
    somebody else is passed over as if it weren't there; `None` is whoever runs the program, whose
    everything is. Every method raises LibraryError where the index can't be used.

    Attributes:
        folder: of the pictures.
        jobs: what was asked for, and what became of it.

    """

    def __init__(self, folder: Path, database: Database, instance: Instance) -> None:
        self.folder = folder
        self.jobs = Jobs(database)
        self._database = database
        self._instance = instance
        self._thumbnails = Thumbnails(folder / HIDDEN / "thumbnails")
        self._shelf = store.Shelf(folder, database, self._thumbnails)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open the library in this folder; what is missing of it is made.

        Raises:
            LibraryError: it can't be used.

        """
        folder = folder.expanduser().absolute()
        try:
            hidden = folder / HIDDEN
            folder.mkdir(parents=True, exist_ok=True)
            hidden.mkdir(mode=0o700, exist_ok=True)
            instance = Instance(hidden / "running")
        except OSError as error:
            raise LibraryError(
                f"{folder} can't be used for pictures: {error.strerror or error}."
            ) from error
        try:
            database = Database.open(hidden / "library.sqlite3", instance.renew)
        except LibraryError:
            instance.close()
            raise
        instance.tidy()
        return cls(folder, database, instance)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the folder."""
        self._database.close()
        self._instance.close()

    @property
    def is_to_be_scanned(self) -> bool:
        """Whether the index was damaged, or wasn't there, and is empty until `rescan` has been called."""
        return self._database.was_rebuilt

    @property
    def instance(self) -> str:
        """The name of the program that runs here among those that use the library."""
        return self._instance.name

    def is_alive(self, instance: str) -> bool:
        """Whether the program of this name still runs."""
        return self._instance.is_alive(instance)

    def add(self, data: bytes, picture: Picture, record: Record, owner: str) -> Entry:
        """Write a picture's file, with its record in it, and keep it; `picture` says what `data` is.

        Where only the index can't be written, the file is there all the same, and the next `rescan`
        finds it.

        Raises:
            NotWrittenError: the file couldn't be written; nothing of it is left.
            ValueError: this is no owner's key.

        """
        return add_picture(self.folder, self._database, data, picture, record, owner)

    def path_of(self, entry: Entry) -> Path:
        """Return where a picture's file is."""
        return self.folder / entry.path

    def entry(self, id: str, owner: str | None = None) -> Entry | None:  # noqa: A002  # its name everywhere
        """Return what is known of a picture; `None` where there is no such picture."""
        with self._database.reading() as connection:
            return find(connection, id, owner)

    def read(self, id: str, owner: str | None = None) -> bytes:  # noqa: A002
        """Return a picture's file.

        Raises:
            LibraryError: there is no such picture, or its file is gone or can't be read.
            PictureTooLargeError: the file is larger than a picture is.

        """
        entry = self.entry(id, owner)
        if entry is None:
            raise LibraryError("There is no such picture in the library.", "")
        try:
            return read_file(self.path_of(entry))
        except FileNotFoundError as error:
            with suppress(LibraryError), self._database.writing() as connection:
                mark_missing(connection, [entry.id])
            raise LibraryError(f"The picture's file is gone: {entry.path}.", "") from error
        except OSError as error:
            raise LibraryError(f"{entry.path} can't be read: {error.strerror}.", "") from error

    def page(
        self,
        query: Query = EVERYTHING,
        owner: str | None = None,
        *,
        limit: int = 48,
        newer: str | None = None,
        older: str | None = None,
    ) -> Page:
        """Return pictures that the query finds, newest first: the first ones, or those next to where a page ended."""
        with self._database.reading() as connection:
            return find_page(connection, query, owner, min(max(1, limit), MAX_PAGE), newer, older)

    def neighbours(
        self,
        id: str,  # noqa: A002
        owner: str | None = None,
        query: Query = EVERYTHING,
    ) -> tuple[str | None, str | None]:
        """Return the ids of the next newer and the next older picture that the query finds."""
        with self._database.reading() as connection:
            entry = find(connection, id, owner)
            if entry is None or query.is_failed:
                return None, None
            newer = neighbour(connection, entry, query, owner, is_newer=True)
            return newer, neighbour(connection, entry, query, owner, is_newer=False)

    def star(self, ids: Iterable[str], owner: str | None, *, is_starred: bool) -> tuple[str, ...]:
        """Say in these pictures' files that somebody likes them, or no longer; return the ids of those that were.

        Raises:
            NotWrittenError: a file couldn't be written, and is as it was; those before it are
                written.
            PictureError: a file isn't sound enough for a record to be put into it.

        """
        return self._shelf.revise(ids, owner, lambda record: replace(record, is_starred=is_starred))

    def tag(
        self,
        ids: Iterable[str],
        owner: str | None,
        add: Iterable[str] = (),
        remove: Iterable[str] = (),
    ) -> tuple[str, ...]:
        """Give these pictures words, in their files, and take others away; raises and returns as `star` does."""
        added, removed = tuple(add), tuple(remove)
        return self._shelf.revise(ids, owner, lambda record: store.retagged(record, added, removed))

    def trash(self, ids: Iterable[str], owner: str | None) -> tuple[str, ...]:
        """Put pictures into the trash, and return the ids of those that weren't there before.

        Raises:
            LibraryError: a file couldn't be moved; those before it are.

        """
        return self._shelf.trash(ids, owner)

    def restore(self, ids: Iterable[str], owner: str | None) -> tuple[str, ...]:
        """Put pictures back where they were, or beside what is there now; raises and returns as `trash` does."""
        return self._shelf.restore(ids, owner)

    def empty_trash(self, owner: str | None) -> int:
        """Delete for good what is in the trash, and return how many pictures that were.

        Raises:
            LibraryError: a file couldn't be deleted; those before it are.

        """
        return self._shelf.empty_trash(owner)

    def discard(self, ids: Iterable[str], owner: str | None = None) -> tuple[str, ...]:
        """Delete pictures for good, wherever they are, and return the ids of those that were there.

        Raises:
            LibraryError: a file couldn't be deleted; those before it are.

        """
        return self._shelf.discard(ids, owner)

    def forget_missing(self, ids: Iterable[str], owner: str | None = None) -> tuple[str, ...]:
        """Keep nothing of pictures whose files are gone, and return the ids of those that were known."""
        return self._shelf.forget_missing(ids, owner)

    def thumbnail(self, id: str, owner: str | None = None) -> Path | None:  # noqa: A002
        """Return a small WebP of a picture; `None` where there is none: no such picture, or it is damaged."""
        entry = self.entry(id, owner)
        return (
            None
            if entry is None or entry.is_missing
            else self._thumbnails.get(entry.id, self.path_of(entry))
        )

    def rescan(self, tell: Tell | None = None, limit_seconds: float = WAIT_SECONDS) -> Changes:
        """Look through the folder, and bring the index to what is there; `tell` hears how many files were opened.

        Another program that does so is waited for as long as `limit_seconds`, and then LibraryError
        raised.
        """
        changes = Scan(self.folder, self._database, self._thumbnails).run(tell, limit_seconds)
        self.jobs.settle()
        self._database.was_rebuilt = False
        return changes

    def take_over(self) -> None:
        """Make what programs that are gone have left this one's: what waited, held; what ran is interrupted.

        Unless its picture is there: then it was only not written down any more.
        """
        left = self.jobs.left_by(self.instance, self.is_alive)
        if Stage.RUNNING in left:
            with suppress(LibraryError):  # then the next look through the folder settles it
                Scan(self.folder, self._database, self._thumbnails).run(
                    limit_seconds=TAKE_OVER_SECONDS
                )
        if left:
            self.jobs.take_over(self.instance, self.is_alive)

    def import_from(self, source: Path, owner: str, tell: Tell | None = None) -> Imported:
        """Copy the pictures of a folder or a .zip, or one, byte for byte, but for those that are here already.

        Raises:
            NotWrittenError: a file couldn't be written; those before it are.
            LibraryError: there is no such thing, or it is in the library's own folder.
            ValueError: this is no owner's key.

        """
        return import_pictures(self.folder, self._database, source, owner, tell)

    def export(self, target: Path, query: Query = EVERYTHING, owner: str | None = None) -> Exported:
        """Copy pictures, and what is known of them, into a new folder, or a new .zip file.

        Raises:
            NotWrittenError: something couldn't be written.
            LibraryError: there is something already, or it is in the library's own folder.

        """
        return export_pictures(self.folder, find_all(self._database, query, owner), target, owner)

    def bytes_of(self, owner: str, place: str = "shown") -> int:
        """Return how much an owner's pictures take that are shown, or in the `trash`."""
        return bytes_of(self._database, owner, place)

    def stats(self) -> Stats:
        """Return how much there is of everything."""
        return count_all(self.folder, self._database, self.jobs, self._thumbnails)
