"""Connections and transactions of the index, a SQLite file that threads and programs share."""

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

MAX_IDLE_CONNECTIONS: Final = 8  # each holds a page cache of up to 4 MB
BUSY_TIMEOUT: Final = 20.0  # seconds to wait for another program's write transaction
OPEN_TIMEOUT: Final = 120.0  # seconds to wait for another program that migrates a large index

_CORRUPTION_CODES: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Database:
    """Index that many threads and several programs use at once, created or migrated as necessary.

    The constructor and every method that yields a connection raise LibraryError if the index can't
    be used.

    Args:
        path: the SQLite file.
        on_recreated: called after the file was deleted while in use and has been created again.

    Attributes:
        was_rebuilt: whether the file was missing or damaged, and the new one is still empty.
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
        self._open()

    def _open(self) -> None:
        lock_path = self.path.with_name("opening.lock")
        try:
            # Without the lock, one program could quarantine the file that another one has just
            # created, or change the journal mode while another one migrates.
            with FileLock(lock_path, timeout=OPEN_TIMEOUT, thread_local=False):
                self._prepare()
            self._file_identity = _read_file_identity(self.path)
        except Timeout as error:
            message = "Another program has been opening the library for too long."
            raise LibraryError(message, "Try again later.") from error
        except sqlite3.Error as error:
            raise _to_library_error(error) from error
        except OSError as error:
            raise LibraryError(f"Couldn't open the library: {error.strerror}.") from error

    def _reopen_if_replaced(self) -> None:
        # An open connection goes on writing to a deleted file, and everything it writes is lost.
        if _read_file_identity(self.path) == self._file_identity:
            return
        log.warning("The library's index was deleted. It will be rebuilt from the images.")
        for connection in self._idle_connections:
            connection.close()
        self._idle_connections = []
        try:
            # Not `parents=True`: on an unmounted disk it would start an empty library in the
            # mount point, and hide it when the disk is back.
            self.path.parent.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise LibraryError(
                f"Library folder not found: {self.path.parent.parent}.",
                "Restore it, or choose another with --library.",
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
        if not self.path.exists():
            return False
        try:
            with closing(_connect(self.path)) as connection:
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
                # Checking everything takes seconds: only where an error has raised a suspicion.
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
        name = f"{self.path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}"
        log.warning(
            "The library's index is damaged. It was renamed to %s, and will be rebuilt.", name
        )
        # The log belongs to its file: SQLite would replay a stale -wal into the new one.
        for suffix in ("", "-wal", "-shm", "-journal"):
            with suppress(FileNotFoundError):
                source = self.path.with_name(self.path.name + suffix)
                source.replace(self.path.with_name(name + suffix))

    @contextmanager
    def read_transaction(self) -> Iterator[Connection]:
        """Yield a connection that sees one state of the index throughout the block."""
        with self._borrow() as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                _roll_back(connection)

    @contextmanager
    def write_transaction(self) -> Iterator[Connection]:
        """Yield the only connection that writes; commit at the end, or roll back an error."""
        with self._borrow() as connection, self.write_transaction_on(connection):
            yield connection

    @contextmanager
    def write_transaction_on(self, connection: Connection) -> Iterator[None]:
        """Run the block as a write transaction on the caller's dedicated connection."""
        # SQLite's busy timeout polls, and may starve a thread: within this program, a lock queues.
        with self._write_lock:
            # A plain BEGIN takes the write lock at the first INSERT only. If another program has
            # written since this one first read, SQLite then fails at once with SQLITE_BUSY,
            # whatever the timeout, as the state that was read is out of date.
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                connection.execute("COMMIT")
            finally:
                _roll_back(connection)

    @contextmanager
    def dedicated_connection(self) -> Iterator[Connection]:
        """Yield a new connection, whose temporary tables vanish with the block."""
        with self._map_errors():
            with self._idle_lock:
                self._reopen_if_replaced()
            with closing(_connect(self.path)) as connection:
                yield connection

    @contextmanager
    def _borrow(self) -> Iterator[Connection]:
        with self._map_errors():
            connection = self._acquire()
            try:
                yield connection
            finally:
                with self._idle_lock:
                    is_pooled = (
                        not self._is_closed and len(self._idle_connections) < MAX_IDLE_CONNECTIONS
                    )
                    if is_pooled:
                        self._idle_connections.append(connection)
                if not is_pooled:
                    connection.close()

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
                raise LibraryError("The library is closed.", "Restart the app.")
            self._reopen_if_replaced()
            if self._idle_connections:
                return self._idle_connections.pop()
        return _connect(self.path)

    def close(self) -> None:
        """Close the idle connections; those in use are closed when their blocks end."""
        with self._idle_lock:
            self._is_closed = True
            idle_connections = self._idle_connections
            self._idle_connections = []
        for connection in idle_connections:
            connection.close()


def _read_file_identity(path: Path) -> tuple[int, int] | None:
    try:
        stat_result = path.stat()
    except OSError:
        return None
    return stat_result.st_dev, stat_result.st_ino


def _connect(path: Path) -> Connection:
    # `isolation_level=None`: otherwise sqlite3 begins and commits transactions by itself.
    # `check_same_thread=False`: a connection is lent to one thread after the other.
    connection = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
    )
    try:
        connection.create_function("folded", 1, fold, deterministic=True)
        # SQLite checks no foreign keys by default. With WAL, `synchronous = NORMAL` would lose
        # the last commits at a power failure: stars are in the files, but jobs are only here.
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
        raise LibraryError(
            "This library was created by a newer version.",
            "Please update, or choose another folder with --library.",
        )


def _set_journal_mode(connection: Connection) -> None:
    # With a write-ahead log, readers go on while another program writes. It needs shared memory,
    # which network file systems lack, and can't be switched on while another program reads. The
    # library works without it: readers and writers then wait for each other.
    try:
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    except sqlite3.OperationalError:
        mode = ""
    if mode != "wal":
        connection.execute("PRAGMA journal_mode = DELETE").fetchone()


def _roll_back(connection: Connection) -> None:
    # Some errors (a full disk, for one) have rolled the transaction back already.
    if connection.in_transaction:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")


def _primary_code(error: sqlite3.Error) -> int:
    # An extended code, such as SQLITE_READONLY_DIRECTORY, has the primary one in its low byte.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _is_corruption(error: sqlite3.Error) -> bool:
    return _primary_code(error) in _CORRUPTION_CODES


def _to_library_error(error: sqlite3.Error) -> LibraryError:
    if _is_corruption(error):
        return LibraryError(
            "The library's index is damaged.", "Restart: it will be rebuilt from your images."
        )
    match _primary_code(error):
        case sqlite3.SQLITE_FULL:
            return LibraryError("The library's disk is full.")
        case sqlite3.SQLITE_BUSY:
            return LibraryError("Another program is keeping the library busy.", "Try again.")
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return LibraryError(
                "The library's index can't be written.", "Choose another folder with --library."
            )
        case _:
            return LibraryError(f"The library's index can't be used: {error}.")
