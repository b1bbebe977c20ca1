"""The index's tables, as migrations that are only ever appended to."""

from collections.abc import Callable
from sqlite3 import Connection, OperationalError, complete_statement
from typing import Final

from sd35.library.text_index import searchable

__all__ = ["MIGRATIONS", "READABLE_FROM", "VERSION", "migrate", "readable_from", "version_of"]

_PICTURES: Final = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE pictures (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    path TEXT NOT NULL,
    owner TEXT NOT NULL,
    made_at REAL NOT NULL,
    prompt TEXT NOT NULL,
    negative_prompt TEXT NOT NULL,
    seed INTEGER,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    steps INTEGER,
    guidance REAL,
    model TEXT NOT NULL,
    space TEXT NOT NULL,
    is_demo INTEGER NOT NULL,
    tool TEXT NOT NULL,
    format TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    is_starred INTEGER NOT NULL,
    trashed_at REAL,
    is_missing INTEGER NOT NULL DEFAULT 0,
    record TEXT NOT NULL
);
-- A picture that is missing keeps the path where it was, and another may be there now.
CREATE UNIQUE INDEX pictures_path ON pictures(path) WHERE is_missing = 0;
-- All that a search asks for beside words is in these two: no row is read that isn't shown in the end.
CREATE INDEX pictures_shown ON pictures(made_at, id, owner, {facts}) WHERE trashed_at IS NULL AND is_missing = 0;
CREATE INDEX pictures_shown_owner ON pictures(owner, made_at, id, {facts}) WHERE trashed_at IS NULL AND is_missing = 0;
CREATE INDEX pictures_trash ON pictures(owner, made_at, id) WHERE trashed_at IS NOT NULL;
CREATE INDEX pictures_missing ON pictures(owner, made_at, id) WHERE is_missing = 1;

CREATE TABLE tags (
    tag TEXT NOT NULL,
    picture INTEGER NOT NULL REFERENCES pictures(number) ON DELETE CASCADE,
    PRIMARY KEY (tag, picture)
) WITHOUT ROWID;
CREATE INDEX tags_picture ON tags(picture);

CREATE TABLE counts (
    owner TEXT NOT NULL,
    place TEXT NOT NULL,
    pictures INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (owner, place)
) WITHOUT ROWID;
CREATE TRIGGER pictures_come AFTER INSERT ON pictures BEGIN
    INSERT INTO counts VALUES (new.owner, {new}, 1, new.size_bytes)
        ON CONFLICT DO UPDATE SET pictures = pictures + 1, bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER pictures_go AFTER DELETE ON pictures BEGIN
    UPDATE counts SET pictures = pictures - 1, bytes = bytes - old.size_bytes
        WHERE owner = old.owner AND place = {old};
END;
CREATE TRIGGER pictures_change AFTER UPDATE OF owner, trashed_at, is_missing, size_bytes ON pictures BEGIN
    UPDATE counts SET pictures = pictures - 1, bytes = bytes - old.size_bytes
        WHERE owner = old.owner AND place = {old};
    INSERT INTO counts VALUES (new.owner, {new}, 1, new.size_bytes)
        ON CONFLICT DO UPDATE SET pictures = pictures + 1, bytes = bytes + excluded.bytes;
END;
"""

_FACTS: Final = (
    "trashed_at, is_missing, seed, width, height, steps, space, model, tool, is_demo, is_starred"
)

_PLACE: Final = "CASE WHEN {0}.is_missing THEN 'missing' WHEN {0}.trashed_at IS NULL THEN 'shown' ELSE 'trash' END"

_JOBS: Final = """
CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    asked TEXT NOT NULL,
    request TEXT NOT NULL,
    space TEXT NOT NULL,
    created_at REAL NOT NULL,
    position REAL NOT NULL,
    stage TEXT NOT NULL,
    is_held INTEGER NOT NULL,
    started_at REAL,
    ended_at REAL,
    error_kind TEXT NOT NULL,
    error_happened TEXT NOT NULL,
    error_remedy TEXT NOT NULL,
    retry_at TEXT,
    stopped TEXT NOT NULL,
    picture_id TEXT,
    runner TEXT NOT NULL,
    is_dismissed INTEGER NOT NULL,
    by_program INTEGER NOT NULL
);
CREATE INDEX jobs_unfinished ON jobs(position) WHERE stage IN ('waiting', 'running');
CREATE INDEX jobs_troubles ON jobs(owner, created_at, id) WHERE stage IN ('stopped', 'failed', 'interrupted');
CREATE INDEX jobs_stage ON jobs(stage);
"""

_SEARCH: Final = """
CREATE VIRTUAL TABLE words USING fts5 (
    prompt, others, tokenize = 'porter unicode61 remove_diacritics 2', prefix = '2'
);
CREATE VIRTUAL TABLE beginnings USING fts5 (
    prompt, others, tokenize = 'unicode61 remove_diacritics 2', prefix = '1 2 3'
);
CREATE TRIGGER pictures_words_go AFTER DELETE ON pictures BEGIN
    DELETE FROM words WHERE rowid = old.number;
    DELETE FROM beginnings WHERE rowid = old.number;
END;
"""


def _search(connection: Connection) -> None:
    """A word is found by its stem, `lighthouses` for `lighthouse`; one that is still being typed has none yet."""
    for statement in _statements(_SEARCH):
        connection.execute(statement)
    tags = "(SELECT group_concat(tag, ' ') FROM tags WHERE picture = number)"
    rows = connection.execute(f"SELECT number, prompt, {tags}, path FROM pictures")  # noqa: S608  # no values
    for number, prompt, said, path in rows:
        told = (number, *searchable(prompt, said or "", path))
        connection.execute("INSERT INTO words (rowid, prompt, others) VALUES (?, ?, ?)", told)
        connection.execute("INSERT INTO beginnings (rowid, prompt, others) VALUES (?, ?, ?)", told)


MIGRATIONS: Final[tuple[Callable[[Connection], None] | str, ...]] = (
    _PICTURES.format(new=_PLACE.format("new"), old=_PLACE.format("old"), facts=_FACTS),
    _JOBS,
    _search,
    "ALTER TABLE jobs ADD COLUMN reason TEXT NOT NULL DEFAULT '';",
)
"""Each makes the next version of the former one. What is here has been run on people's machines: it never changes."""

VERSION: Final = len(MIGRATIONS)

READABLE_FROM: Final = 3
"""The oldest version of this program's tables whose programs may still use an index that this one has migrated."""


def version_of(connection: Connection) -> int:
    """Return the version of the tables; 0 where there are none."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def readable_from(connection: Connection) -> int:
    """Return the oldest version whose programs may use the tables; their own where nothing is said."""
    try:
        row = connection.execute("SELECT value FROM meta WHERE name = 'readable_from'").fetchone()
        return int(row[0])
    except (OperationalError, TypeError, ValueError):
        return version_of(connection)


def migrate(connection: Connection, upto: int = VERSION) -> None:
    """Bring the tables to this version, each step whole or not at all; several programs may try at once.

    Raises:
        sqlite3.Error: a step couldn't be done; the former ones are.

    """
    for version in range(version_of(connection) + 1, upto + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            if version_of(connection) < version:
                _run(connection, MIGRATIONS[version - 1])
                connection.execute(f"PRAGMA user_version = {version}")
                connection.execute(
                    "INSERT OR REPLACE INTO meta VALUES ('readable_from', ?)",
                    (str(min(version, READABLE_FROM)),),
                )
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _run(connection: Connection, step: Callable[[Connection], None] | str) -> None:
    if isinstance(step, str):
        for statement in _statements(step):
            connection.execute(statement)
    else:
        step(connection)


def _statements(script: str) -> list[str]:
    """`executescript` would commit before it begins: its statements one by one, a trigger's own ones in one."""
    statements: list[str] = []
    part = ""
    for line in script.splitlines(keepends=True):
        part += line
        if complete_statement(part):
            statements.append(part)
            part = ""
    return statements
