"""Connections and transactions of the index, a SQLite file that threads and programs share."""

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from sqlite3 import Connection
from typing import Final

from filelock import FileLock, Timeout

from sd35.core.atomic_files import os_error_text
from sd35.core.errors import IndexDamagedError, LibraryError
from sd35.library.index_replacement import (
    check_is_index_file,
    finish_replacement,
    has_future_format,
    replace_index,
)
from sd35.library.schema import (
    SCHEMA_VERSION,
    check_complete,
    mark_scanned,
    migrate,
    min_compatible_version,
    needs_scan,
    schema_version,
)
from sd35.library.text_index import fold

__all__ = ["Database", "damage_marker"]

log = logging.getLogger(__name__)

MAX_IDLE_CONNECTIONS: Final = 8  # each holds a page cache of up to 4 MB
BUSY_TIMEOUT: Final = 20.0  # seconds to wait for another program's write transaction
OPEN_TIMEOUT: Final = 120.0  # seconds to wait for another program that migrates a large index

MAX_REPLACEMENTS: Final = 3  # while the program runs: on a failing disk, more won't help

# Our statements are correct, and write no row that the tables refuse: where SQLite says otherwise,
# a table isn't as it was created.
_DAMAGE_CODES: Final = frozenset(
    (
        *(sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT),
        *(sqlite3.SQLITE_ERROR, sqlite3.SQLITE_INTERNAL, sqlite3.SQLITE_CONSTRAINT),
        *(sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG),
    )
)
_SHORT_READ: Final = sqlite3.SQLITE_IOERR_SHORT_READ  # the file ends before a page that it counts

# Errors about a search, should one be too complex.
_QUERY_ERRORS: Final = ("fts5: ", "Expression tree is too large", "too many", "parser stack")

MAX_PLAUSIBLE_VERSION: Final = SCHEMA_VERSION + 1_000_000


class Database:
    """Index that many threads and several programs use at once, created or migrated as necessary.

    The constructor and every method that yields a connection raise LibraryError if the index can't
    be used. Damage that is found in use is remembered in a file: the next start, or
    `replace_if_damaged`, puts the index aside and creates a new one.

    Args:
        path: the SQLite file.
        on_recreated: called after the file was deleted while in use and has been created again.

    Attributes:
        needs_scan: whether no scan has come to its end since the file was created.
        is_damaged: whether damage was found since the index was opened.
        file_identity: tells the file from one that takes its place.
    """

    def __init__(self, path: Path, on_recreated: Callable[[], None] = lambda: None) -> None:
        self.path = path
        self.needs_scan = False
        self.is_damaged = False
        self._on_recreated = on_recreated
        self.file_identity: _FileIdentity | None = None
        self._idle_connections: list[Connection] = []
        self._idle_lock = threading.Lock()
        self._write_lock = threading.Lock()
        self._replacement_count = 0
        self._is_closed = False
        self._open()

    def _open(self) -> None:
        lock_path = self.path.with_name("opening.lock")
        try:
            # Without the lock, one program could replace the file that another one has just
            # created, or change the journal mode while another one migrates.
            with FileLock(lock_path, timeout=OPEN_TIMEOUT, thread_local=False):
                self._prepare()
            self.file_identity = _read_file_identity(self.path)
        except Timeout as error:
            message = "Another program has been opening the library for too long."
            raise LibraryError(message, "Try again later.") from error
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise _to_library_error(error) from error
        except OSError as error:
            raise LibraryError(f"Couldn't open the library: {os_error_text(error)}.") from error

    def _reopen_if_replaced(self) -> None:
        # An open connection goes on writing to a deleted file, and everything it writes is lost.
        identity = _read_file_identity(self.path)
        if identity == self.file_identity:
            return
        self._close_idle_connections()
        try:
            # Not `parents=True`: on an unmounted disk it would start an empty library in the
            # mount point, and hide it when the disk is back.
            self.path.parent.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise LibraryError(
                f"Library folder not found: {self.path.parent.parent}.",
                "Restore it, or choose another with --library.",
            ) from error
        self.is_damaged = False  # that was the other file
        self._open()
        if identity is None:
            log.warning("The library's index was deleted. It is rebuilt from the images.")
        try:
            self._on_recreated()
        except OSError as error:
            raise LibraryError(f"Couldn't open the library: {os_error_text(error)}.") from error

    def _prepare(self) -> None:
        finish_replacement(self.path)
        connection = None
        if not self.is_damaged and not damage_marker(self.path).is_file():
            with suppress(IndexDamagedError):
                connection = self._connect_and_migrate()
        if connection is None:
            replace_index(self.path)
            connection = self._connect_and_migrate()
        self.is_damaged = False
        with suppress(OSError):
            damage_marker(self.path).unlink()
        self._idle_connections.append(connection)

    def _connect_and_migrate(self) -> Connection:
        check_is_index_file(self.path)
        try:
            connection = self._connect()
            try:
                _check_version(connection)
                _set_journal_mode(connection)
                migrate(connection)
                check_complete(connection)
                self.needs_scan = needs_scan(connection)
            except BaseException:
                connection.close()
                raise
        except (sqlite3.Error, UnicodeDecodeError) as error:
            if self._is_damage(error):
                raise IndexDamagedError from error
            raise
        return connection

    def replace_if_damaged(self) -> None:
        """Replace the index if damage was found, by a new one with the jobs that can be read.

        Transactions that are running meanwhile are lost with the old one.
        """
        with self._idle_lock:
            if self.is_damaged and self._replacement_count < MAX_REPLACEMENTS:
                self._replacement_count += 1
                self._close_idle_connections()
                self._open()

    def mark_scanned(self, connection: Connection) -> None:
        """Record that a scan on this connection has come to its end."""
        mark_scanned(connection)
        self.needs_scan = False

    def _note_damage(self, identity: "_FileIdentity | None") -> None:
        # A file that was replaced meanwhile says nothing about the one in its place.
        if identity == self.file_identity:
            self.is_damaged = True
            with suppress(OSError):
                damage_marker(self.path).touch()

    def _connect(self) -> Connection:
        connection = _connect(self.path)
        connection.text_factory = self._decode_text
        return connection

    def _decode_text(self, data: bytes) -> str:
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            # By default, sqlite3 would raise an error, and one row end every search.
            self._note_damage(self.file_identity)
            return data.decode("utf-8", "replace")

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
            with closing(self._connect()) as connection:
                yield connection

    @contextmanager
    def _borrow(self) -> Iterator[Connection]:
        with self._map_errors():
            connection, identity = self._acquire()
            try:
                yield connection
            finally:
                self._give_back(connection, identity)

    @contextmanager
    def _map_errors(self) -> Iterator[None]:
        identity = self.file_identity
        try:
            yield
        except IndexDamagedError:
            self._note_damage(identity)
            raise
        except (sqlite3.Error, UnicodeDecodeError) as error:
            if self._is_damage(error):
                self._note_damage(identity)
                raise IndexDamagedError from error
            raise _to_library_error(error) from error

    def _is_damage(self, error: sqlite3.Error | UnicodeDecodeError) -> bool:
        # SQLite's own message isn't UTF-8 if it quotes a damaged table.
        if isinstance(error, UnicodeDecodeError):
            return True
        if str(error).startswith(_QUERY_ERRORS):
            return False
        code = _primary_code(error)
        if code == sqlite3.SQLITE_READONLY:
            return has_future_format(self.path)
        return code in _DAMAGE_CODES or getattr(error, "sqlite_errorcode", 0) == _SHORT_READ

    def _acquire(self) -> "tuple[Connection, _FileIdentity | None]":
        with self._idle_lock:
            if self._is_closed:
                raise LibraryError("The library is closed.", "Restart the app.")
            self._reopen_if_replaced()
            if self._idle_connections:
                return self._idle_connections.pop(), self.file_identity
            return self._connect(), self.file_identity

    def _give_back(self, connection: Connection, identity: "_FileIdentity | None") -> None:
        with self._idle_lock:
            is_pooled = (
                not self._is_closed
                and identity == self.file_identity
                and len(self._idle_connections) < MAX_IDLE_CONNECTIONS
            )
            if is_pooled:
                self._idle_connections.append(connection)
        if not is_pooled:
            connection.close()

    def close(self) -> None:
        """Close the idle connections; those in use are closed when their blocks end."""
        with self._idle_lock:
            self._is_closed = True
            self._close_idle_connections()

    def _close_idle_connections(self) -> None:
        for connection in self._idle_connections:
            connection.close()
        self._idle_connections = []


def damage_marker(path: Path) -> Path:
    """Return the file that tells that damage of the index at a path was found."""
    return path.with_name(f"{path.name}.suspect")


_FileIdentity = tuple[int, int]


def _read_file_identity(path: Path) -> _FileIdentity | None:
    try:
        stat_result = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        message = f"The library's index can't be read: {os_error_text(error)}."
        raise LibraryError(message) from error
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
    except BaseException:
        connection.close()
        raise
    return connection


def _check_version(connection: Connection) -> None:
    version = schema_version(connection)
    if not 0 <= version < MAX_PLAUSIBLE_VERSION:
        raise IndexDamagedError
    if version > SCHEMA_VERSION and min_compatible_version(connection) > SCHEMA_VERSION:
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


def _to_library_error(error: sqlite3.Error | UnicodeDecodeError) -> LibraryError:
    if isinstance(error, UnicodeDecodeError):
        return IndexDamagedError()
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
