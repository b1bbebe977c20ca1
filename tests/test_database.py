"""The index: migrated, shared by programs, and rebuilt when it is damaged."""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from sd35.core.errors import LibraryError
from sd35.jobs.prompt_history import PromptHistory
from sd35.jobs.record import JobStatus
from sd35.jobs.repository import JobRepository
from sd35.library import database, schema
from sd35.library.layout import STATE_DIR
from sd35.library.library import Library
from sd35.library.query import parse_query
from tests.library_fixtures import add_picture, find_ids, folder, folder_in_memory
from tests.test_job_repository import make_record

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
        assert not library.needs_rescan, "there are no files"
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


def test_template_of_an_earlier_version_is_found(folder: Path) -> None:
    """The prompt history has the template that an earlier version kept among other settings."""
    record = '{"format":1,"tool":"x","others":[["Template","a {red|blue} fox"]]}'
    with open_index(folder) as connection:
        schema.migrate(connection, 8)
        insert_row(connection, 0)
        insert_row(connection, 1)
        connection.execute("UPDATE pictures SET record = ? WHERE id = 'id1'", (record,))
    with Library.open(folder) as library:
        prompts = [used.prompt for used in PromptHistory(library).search("", "", 9).prompts]
    assert prompts == ["a {red|blue} fox", "an old 灯台"]


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


def test_complete_index_is_recognized(folder: Path) -> None:
    """The names that an index is checked for are those that the migrations create."""
    with open_index(folder) as connection:
        schema.migrate(connection)
        names = connection.execute(
            "SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' AND name NOT LIKE 'fts%'"
        )
        fts_tables = {"fts_stems", "fts_prefixes"}
        assert {name for (name,) in names} | fts_tables == schema.OBJECT_NAMES


Damage = Callable[[Path], object]


def rewrite(change: Callable[[bytes], bytes]) -> Damage:
    """Return a damage that changes the bytes of the index."""
    return lambda path: path.write_bytes(change(path.read_bytes()))


def corrupt_middle(data: bytes) -> bytes:
    """Return a database whose schema is intact and whose rows aren't."""
    start = 8 * 4096
    return data[:start] + b"\xff" * (len(data) - start)


def execute(*statements: str) -> Damage:
    """Return a damage that SQLite itself does."""

    def damage(path: Path) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            for statement in ("PRAGMA writable_schema = ON", *statements):
                connection.execute(statement)

    return damage


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, tuple[Damage, bool]] = {
    "garbage": (rewrite(lambda data: b"not a database" * 100 + data[:0]), False),
    "cut": (rewrite(lambda data: data[:5000]), False),
    "empty schema": (rewrite(lambda data: data[:100] + bytes(4000) + data[4100:]), False),
    "rows": (rewrite(corrupt_middle), False),
    "folder": (make_folder, False),
    "fifo": (lambda path: os.mkfifo(f"{path}-wal"), True),
    "future format": (rewrite(lambda data: data[:18] + b"\t" + data[19:]), True),
    "version": (execute("PRAGMA user_version = -3"), True),
    "version of other tables": (execute("PRAGMA user_version = 2"), True),
    "no trigger": (execute("DROP TRIGGER pictures_come"), True),
    "no column": (execute("ALTER TABLE pictures RENAME COLUMN steps TO novel"), True),
    "no words": (execute("DROP TABLE fts_stems"), True),
    "words": (execute("UPDATE fts_prefixes_data SET block = x'ff00ff'"), True),
    "schema": (execute("UPDATE sqlite_master SET sql = 'x\xff' WHERE name = 'tags'"), True),
    "not UTF-8": (execute("UPDATE pictures SET prompt = CAST(x'ff41' AS TEXT)"), True),
    "time": (execute("UPDATE pictures SET made_at = 9e99"), True),
    "size": (execute("UPDATE pictures SET width = 'wide'"), True),
    "path": (execute("UPDATE pictures SET path = '../' || path"), True),
    "owner": (execute("UPDATE pictures SET owner = 'ann'"), True),
    "record": (execute("UPDATE pictures SET record = '{'"), True),
    "counts": (execute("UPDATE counts SET pictures = 'many'"), True),
    "star": (execute("UPDATE pictures SET is_starred = 0"), True),
    "trash": (execute("UPDATE pictures SET trashed_at = 5"), True),
    "tag": (execute("DELETE FROM tags WHERE picture = 2"), True),
    "missing words": (execute("DELETE FROM fts_stems WHERE rowid = 2"), True),
    "job": (execute("UPDATE jobs SET request = '{', created_at = 9e99 WHERE id = 'b'"), True),
}


@pytest.fixture(scope="module")
def intact_folder() -> Iterator[Path]:
    """Yield a library: `p0` (starred, tagged), `p1` (tagged), `p2`, `p3` (trashed)."""
    with folder_in_memory() as folder:
        with Library.open(folder / "library") as library:
            for index in range(4):
                add_picture(library, index, id=f"p{index}")
            library.star(["p0"], None, is_starred=True)
            library.tag(["p0", "p1"], None, ["sea"])
            library.trash(["p3"], None)
            for job_id in "ab":
                JobRepository(library).add(make_record(job_id, status=JobStatus.FAILED))
        yield folder / "library"


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_index_is_rebuilt(intact_folder: Path, name: str) -> None:
    """After damage of any kind, all images are back at the next start, and so are most jobs."""
    damage, keeps_jobs = DAMAGES[name]
    folder = intact_folder.with_name("damaged")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(intact_folder, folder)
    damage(folder / INDEX_PATH)
    # Every call may fail because of the damage, but in no other way.
    with suppress(LibraryError), Library.open(folder) as library:
        for text in ("", "picture", "pict", "tag:sea", "-picture", "is:trash"):
            with suppress(LibraryError):
                library.search(parse_query(text))
        for call in (library.stats, JobRepository(library).adopt_orphans):
            with suppress(LibraryError):
                call()
        with suppress(LibraryError):
            JobRepository(library).search(parse_query("is:failed seed:7 -x"))
        with suppress(LibraryError):
            library.trash(library.restore(["p3"], None), None)
    with Library.open(folder) as library:
        JobRepository(library).rescan(checks_index=True)
        assert find_ids(library) == ["p2", "p1", "p0"]
        assert find_ids(library, parse_query("tag:sea picture")) == ["p1", "p0"]
        assert find_ids(library, parse_query("is:starred")) == ["p0"]
        assert find_ids(library, parse_query("is:trash")) == ["p3"]
        assert library.search().count == 3
        jobs = JobRepository(library).search(parse_query("is:failed")).jobs
        if keeps_jobs:
            assert {job.id for job in jobs} == ({"a"} if name == "job" else {"a", "b"})


def test_jobs_on_intact_pages_are_kept(intact_folder: Path) -> None:
    """Of a table of jobs with damaged pages, the jobs on the others are kept."""
    folder = intact_folder.with_name("jobs")
    with Library.open(folder) as library:
        repository = JobRepository(library)
        for index in range(200):
            repository.add(make_record(f"{index:03}", status=JobStatus.FAILED))
    data = bytearray((folder / INDEX_PATH).read_bytes())
    damaged_position = data.index(b"a 100") // 4096 * 4096
    data[damaged_position : damaged_position + 4096] = bytes(4096)
    (folder / INDEX_PATH).write_bytes(data)
    for _ in range(2):
        with Library.open(folder) as library, suppress(LibraryError):
            library.rescan(checks_index=True)
            jobs = JobRepository(library).search(parse_query("is:failed"), limit=500).jobs
    assert 170 < len(jobs) < 200


def test_other_programs_notice_a_replaced_index(folder: Path) -> None:
    """Once an index was replaced, other programs use the new one, too, and write nothing else."""
    with Library.open(folder) as library, Library.open(folder) as other_library:
        add_picture(library)
        execute("UPDATE counts SET pictures = 7")(folder / INDEX_PATH)
        with library.database.read_transaction():
            library.rescan(checks_index=True)  # whose connection is not the one in use
        later_entry = add_picture(other_library, 1)
        assert library.get(later_entry.id) == later_entry
        assert library.search().count == other_library.search().count == 2
        assert not library.needs_rescan
