"""The index's file: opened, migrated, put aside where it is damaged; connections for threads; errors translated."""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from sqlite3 import Connection
from typing import Final

from filelock import FileLock, Timeout

from sd35.core.errors import LibraryError
from sd35.library.schema import SCHEMA_VERSION, migrate, min_compatible_version, schema_version
from sd35.library.text_index import fold

__all__ = ["Database"]

log = logging.getLogger(__name__)

MAX_IDLE_CONNECTIONS: Final = 8
"""Connections that are kept for the next one who needs one; each may have 4 MB in memory."""

BUSY_TIMEOUT: Final = 20.0
"""How long one program waits until another has written."""

OPEN_TIMEOUT: Final = 120.0
"""How long it waits until another has brought a large index to its newest version."""

_CORRUPTION_CODES: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

_TOO_NEW_MESSAGE: Final = "The library's index was made by a newer version of this program."


class Database:
    """Connections to an index that threads and programs use at once.

    Args:
        path: the file.
        on_lost: is told when the file was taken away while it was open, and another one has been
            made.

    Attributes:
        path: the file.
        was_rebuilt: it was damaged and put aside, or wasn't there: what the pictures' files tell
            isn't in it yet.

    """

    def __init__(self, path: Path, on_recreated: Callable[[], None] = lambda: None) -> None:
        self.path = path
        self.was_rebuilt = False
        self._on_recreated = on_recreated
        self._file_identity: tuple[int, int] | None = None
        self._idle_connections: list[Connection] = []
        self._idle_lock = threading.Lock()
        self._write_lock = threading.Lock()
        self._is_closed = False

    @classmethod
    def open(cls, path: Path, on_recreated: Callable[[], None] = lambda: None) -> "Database":
        """Open an index, or make it, with the newest tables.

        Raises:
            LibraryError: it can't be used.

        """
        database = cls(path, on_recreated)
        database._open()
        return database

    def _open(self) -> None:
        try:
            with FileLock(
                self.path.with_name("opening.lock"), timeout=OPEN_TIMEOUT, thread_local=False
            ):
                self._prepare()
            self._file_identity = _read_file_identity(self.path)
        except Timeout as error:
            raise LibraryError(
                "Another program has been opening the library for minutes."
            ) from error
        except sqlite3.Error as error:
            raise _to_library_error(error) from error
        except OSError as error:
            raise LibraryError(f"The library's index can't be opened: {error.strerror}.") from error

    def _reopen_if_replaced(self) -> None:
        """Make the file anew if somebody has taken it away: what is written to the former one is lost."""
        if _read_file_identity(self.path) == self._file_identity:
            return
        log.warning("the library's index is gone; it is made anew of the pictures")
        for connection in self._idle_connections:
            connection.close()
        self._idle_connections = []
        try:
            self.path.parent.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise LibraryError(
                f"The library's folder is gone: {error.strerror}.",
                "Put it back, or choose another one with --library.",
            ) from error
        self._open()
        self._on_recreated()

    def _prepare(self) -> None:
        if self._is_corrupt():
            self._quarantine()
        connection = _connect(self.path)
        try:
            _check_version(connection)
            self.was_rebuilt = schema_version(connection) == 0
            _set_journal_mode(connection)
            migrate(connection)
        except BaseException:
            connection.close()
            raise
        self._idle_connections.append(connection)

    def _is_corrupt(self) -> bool:
        """Whether it is no database, or was found damaged earlier and is: to look through all of it takes seconds."""
        if not self.path.exists():
            return False
        try:
            with closing(_connect(self.path)) as connection:
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
                return (
                    self._corruption_marker.exists()
                    and connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok"
                )
        except sqlite3.DatabaseError as error:
            if _is_corruption(error):
                return True
            raise
        finally:
            self._corruption_marker.unlink(missing_ok=True)

    @property
    def _corruption_marker(self) -> Path:
        return self.path.with_name(f"{self.path.name}.suspect")

    def _quarantine(self) -> None:
        quarantine_name = f"{self.path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}"
        log.warning(
            "the library's index is damaged: it is put aside as %s, and made anew of the pictures",
            quarantine_name,
        )
        for suffix in ("", "-wal", "-shm", "-journal"):
            with suppress(FileNotFoundError):
                self.path.with_name(self.path.name + suffix).replace(
                    self.path.with_name(quarantine_name + suffix)
                )

    @contextmanager
    def read_transaction(self) -> Iterator[Connection]:
        """A connection that sees one state of the index for as long as the block lasts.

        Raises:
            LibraryError: the index can't be used.

        """
        with self._borrow() as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                _roll_back(connection)

    @contextmanager
    def write_transaction(self) -> Iterator[Connection]:
        """A connection that alone writes; at the block's end all of it is on the disk, and nothing if it raised.

        Raises:
            LibraryError: the index can't be used.

        """
        with self._borrow() as connection, self.write_transaction_on(connection):
            yield connection

    @contextmanager
    def write_transaction_on(self, connection: Connection) -> Iterator[None]:
        """The same with a connection that is at hand already."""
        with self._write_lock:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                connection.execute("COMMIT")
            finally:
                _roll_back(connection)

    @contextmanager
    def dedicated_connection(self) -> Iterator[Connection]:
        """A connection that has temporary tables of its own, which are gone at the block's end.

        Raises:
            LibraryError: the index can't be used.

        """
        with self._map_errors():
            with self._idle_lock:
                self._reopen_if_replaced()
            connection = _connect(self.path)
            try:
                yield connection
            finally:
                connection.close()

    @contextmanager
    def _borrow(self) -> Iterator[Connection]:
        with self._map_errors():
            connection = self._acquire()
            try:
                yield connection
            finally:
                self._release(connection)

    @contextmanager
    def _map_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if _is_corruption(error):
                with suppress(OSError):
                    self._corruption_marker.touch()
            raise _to_library_error(error) from error

    def _acquire(self) -> Connection:
        with self._idle_lock:
            if self._is_closed:
                raise LibraryError("The library is closed.", "Start this program again.")
            self._reopen_if_replaced()
            if self._idle_connections:
                return self._idle_connections.pop()
        return _connect(self.path)

    def _release(self, connection: Connection) -> None:
        with self._idle_lock:
            if not self._is_closed and len(self._idle_connections) < MAX_IDLE_CONNECTIONS:
                self._idle_connections.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Let go of the file; what is still being read or written ends first by itself."""
        with self._idle_lock:
            self._is_closed = True
            idle_connections, self._idle_connections = self._idle_connections, []
        for connection in idle_connections:
            connection.close()


def _read_file_identity(path: Path) -> tuple[int, int] | None:
    """Which file there is, whatever it is called; `None`: none."""
    try:
        stat_result = path.stat()
    except OSError:
        return None
    return stat_result.st_dev, stat_result.st_ino


def _connect(path: Path) -> Connection:
    connection = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
    )
    try:
        connection.create_function("folded", 1, fold, deterministic=True)
        connection.executescript(
            "PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL; PRAGMA cache_size = -4000"
        )
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _check_version(connection: Connection) -> None:
    if (
        schema_version(connection) > SCHEMA_VERSION
        and min_compatible_version(connection) > SCHEMA_VERSION
    ):
        raise LibraryError(_TOO_NEW_MESSAGE, "Update it, or choose another folder with --library.")


def _set_journal_mode(connection: Connection) -> None:
    """Readers don't wait for a writer where a write-ahead log can be had: not on a share of the network."""
    try:
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    except sqlite3.OperationalError:
        mode = ""
    if mode != "wal":
        connection.execute("PRAGMA journal_mode = DELETE").fetchone()


def _roll_back(connection: Connection) -> None:
    if connection.in_transaction:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")


def _is_corruption(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _CORRUPTION_CODES


def _to_library_error(error: sqlite3.Error) -> LibraryError:
    if _is_corruption(error):
        return LibraryError(
            "The library's index is damaged.", "Start again: it is made anew from the pictures."
        )
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_FULL:
            return LibraryError("The disk of the library is full.")
        case sqlite3.SQLITE_BUSY:
            return LibraryError(
                "Another program has kept the library's index busy for too long.", "Try again."
            )
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return LibraryError(
                "The library's index may not be written.", "Choose another folder with --library."
            )
        case _:
            return LibraryError(f"The library's index can't be used: {error}.")
