"""The index: migrated, shared by programs, and rebuilt when it is damaged."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from sd35.core.errors import LibraryError
from sd35.library import database, schema
from sd35.library.layout import STATE_DIR
from sd35.library.library import Library
from sd35.library.query import parse_query
from tests.library_fixtures import add_picture, find_ids, folder

__all__ = ["folder"]

INDEX_PATH = f"{STATE_DIR}/library.sqlite3"


def open_index(folder: Path) -> closing[sqlite3.Connection]:
    (folder / STATE_DIR).mkdir(parents=True, exist_ok=True)
    return closing(sqlite3.connect(folder / INDEX_PATH, isolation_level=None))


def insert_row(connection: sqlite3.Connection, index: int) -> None:
    connection.execute(
        "INSERT INTO pictures (id, path, owner, made_at, prompt, negative_prompt, width, height,"
        " model, space, is_demo, tool, format, size_bytes, mtime_ns, is_starred, record)"
        " VALUES (?, ?, '', ?, 'an old 灯台', '', 32, 24,"
        " '', '', 0, 'x', 'PNG', 5, 6, 1, '{\"format\":1,\"tool\":\"x\"}')",
        (f"id{index}", f"{index}.png", float(index)),
    )


@pytest.mark.parametrize("version", range(schema.SCHEMA_VERSION))
def test_every_earlier_index_is_migrated(folder: Path, version: int) -> None:
    """An index of every earlier version is migrated with its images."""
    count = 3 if version else 0
    with open_index(folder) as connection:
        schema.migrate(connection, version)
        for index in range(count):
            insert_row(connection, index)
    with Library.open(folder) as library:
        # From version 3 on, `upsert_entry` has written the full-text index, and not the migration.
        query = parse_query("灯台" if version < 3 else "")
        assert find_ids(library, query) == ["id2", "id1", "id0"][:count]
        assert library.search().count == count
        assert library.needs_rescan is not bool(version)
        add_picture(library)


def test_long_seed_of_an_earlier_version_is_found(folder: Path) -> None:
    """A seed that an earlier version kept among the other settings is searched and shown."""
    record = '{"format":1,"tool":"x","others":[["Seed","18446744073709551615"],["Sampler","y"]]}'
    with open_index(folder) as connection:
        schema.migrate(connection, 6)
        insert_row(connection, 0)
        insert_row(connection, 1)
        connection.execute("UPDATE pictures SET record = ? WHERE id = 'id1'", (record,))
    with Library.open(folder) as library:
        [entry] = library.search(parse_query(f"seed:{2**64 - 1}")).entries
        assert (entry.id, entry.metadata.seed) == ("id1", 2**64 - 1)
        assert entry.metadata.extra == (("Sampler", "y"),)


def test_failed_migration_changes_nothing(folder: Path) -> None:
    """A migration that fails leaves the tables of the version before it."""
    with open_index(folder) as connection:
        schema.migrate(connection, 1)
        # The second migration creates an index of the same name.
        connection.execute("CREATE INDEX jobs_stage ON pictures(seed)")
        for _ in range(2):
            with pytest.raises(sqlite3.OperationalError):
                schema.migrate(connection)
        assert schema.schema_version(connection) == 1
        assert not connection.execute("SELECT * FROM sqlite_master WHERE name = 'jobs'").fetchall()
    with pytest.raises(LibraryError):
        Library.open(folder)


def test_busy_index_is_readable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another program writes, reading works and writing fails after a while."""
    monkeypatch.setattr(database, "BUSY_TIMEOUT", 0.05)
    with Library.open(folder) as library:
        entry = add_picture(library)
        with open_index(folder) as other_connection:
            other_connection.execute("BEGIN IMMEDIATE")
            with pytest.raises(LibraryError, match=r"busy.*Try again"):
                library.trash([entry.id], None)
            assert library.search().entries == (entry,)
            other_connection.execute("ROLLBACK")
        assert library.trash([entry.id], None) == (entry.id,)


def test_works_without_write_ahead_log(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a write-ahead log, the library works all the same."""
    Library.open(folder).close()
    monkeypatch.setattr(database, "BUSY_TIMEOUT", 0.05)
    with open_index(folder) as other_connection:
        assert other_connection.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
        other_connection.execute("BEGIN")
        # A reader keeps others from changing the journal mode.
        other_connection.execute("SELECT * FROM pictures").fetchall()
        library = Library.open(folder)
        other_connection.execute("ROLLBACK")
        entry = add_picture(library)
        assert other_connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        library.close()
    with Library.open(folder) as library:
        assert library.search().entries == (entry,)


@pytest.mark.parametrize(
    ("readable_from", "is_usable"),
    [(schema.SCHEMA_VERSION, True), (schema.SCHEMA_VERSION + 1, False), ("", False)],
)
def test_newer_index_is_used_only_if_compatible(
    folder: Path, readable_from: object, *, is_usable: bool
) -> None:
    """An index of a newer version is used if it says that this version may."""
    with Library.open(folder) as library:
        add_picture(library)
    with open_index(folder) as connection:
        connection.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION + 5}")
        connection.execute(
            "UPDATE meta SET value = ? WHERE name = 'readable_from'", (str(readable_from),)
        )
    if is_usable:
        with Library.open(folder) as library:
            assert len(find_ids(library)) == 1
    else:
        with pytest.raises(LibraryError, match=r"newer version.*Please update"):
            Library.open(folder)


def corrupt_middle(data: bytes) -> bytes:
    """Return a database whose schema is intact and whose rows aren't."""
    start = 8 * 4096
    return data[:start] + b"\xff" * (len(data) - start)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"not a database" * 100,
        lambda data: data[:5000],
        lambda data: data[:100] + bytes(4000),
        corrupt_middle,
    ],
    ids=["garbage", "cut", "zeros", "middle"],
)
def test_damaged_index_is_rebuilt(folder: Path, damage: Callable[[bytes], bytes]) -> None:
    """A damaged index is put aside, and rebuilt from the images."""
    with Library.open(folder) as library:
        picture_ids = [add_picture(library, index).id for index in range(3)]
    (folder / INDEX_PATH).write_bytes(damage((folder / INDEX_PATH).read_bytes()))
    try:
        with Library.open(folder) as library:
            is_whole = library.needs_rescan
            library.rescan()
    except LibraryError as error:
        assert "Restart" in str(error)
        is_whole = False
    with Library.open(folder) as library:
        assert library.needs_rescan or is_whole
        library.rescan()
        assert find_ids(library) == picture_ids[::-1]
    assert list((folder / STATE_DIR).glob("library.sqlite3.damaged-*"))
