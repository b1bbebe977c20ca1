"""Tables of the index, as a list of migrations that is only ever appended to.

Names that need an explanation:

- `pictures.number` is the row's number, which the full-text tables have as their `rowid`.
- `pictures.seed` is the seed as `sqlite_seed` converts it.
- `pictures.source_prompt` is the template, or the prompt without its styles, that the prompt was
  made from, and empty if there is none; `typed_prompt` is what somebody typed.
- `fts_stems` is the full-text index of word stems, `fts_prefixes` that of whole words for prefix
  searches; `others` in both (FTS5 can't rename a column) is the text of tags and file names.
- `counts` has the number and size of images per owner and scope: `shown`, `trash` or `missing`.
"""

from collections.abc import Callable
from sqlite3 import Connection, OperationalError, complete_statement
from typing import Final

from sd35.core.errors import IndexDamagedError
from sd35.core.origin import source_prompt
from sd35.library.text_index import fts_document, sqlite_text
from sd35.metadata.model import metadata_from_json

__all__ = [
    "OBJECT_NAMES",
    "SCHEMA_VERSION",
    "check_complete",
    "check_integrity",
    "mark_scanned",
    "migrate",
    "min_compatible_version",
    "needs_scan",
    "schema_version",
    "sqlite_seed",
]

_CREATE_PICTURES: Final = """
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
-- A missing picture keeps its path, where another one may be now.
CREATE UNIQUE INDEX pictures_path ON pictures(path) WHERE is_missing = 0;
-- These two cover all filters of a search: only the rows of the page shown are read themselves.
CREATE INDEX pictures_shown ON pictures(made_at, id, owner, {columns})
    WHERE trashed_at IS NULL AND is_missing = 0;
CREATE INDEX pictures_shown_owner ON pictures(owner, made_at, id, {columns})
    WHERE trashed_at IS NULL AND is_missing = 0;
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
CREATE TRIGGER pictures_change
    AFTER UPDATE OF owner, trashed_at, is_missing, size_bytes ON pictures BEGIN
    UPDATE counts SET pictures = pictures - 1, bytes = bytes - old.size_bytes
        WHERE owner = old.owner AND place = {old};
    INSERT INTO counts VALUES (new.owner, {new}, 1, new.size_bytes)
        ON CONFLICT DO UPDATE SET pictures = pictures + 1, bytes = bytes + excluded.bytes;
END;
"""

_INDEXED_COLUMNS: Final = (
    "trashed_at, is_missing, seed, width, height, steps, space, model, tool, is_demo, is_starred"
)

_SCOPE_EXPRESSION: Final = (
    "CASE WHEN {0}.is_missing THEN 'missing'"
    " WHEN {0}.trashed_at IS NULL THEN 'shown' ELSE 'trash' END"
)

# The table of the jobs package: one file has one version, and one order of migrations.
_CREATE_JOBS: Final = """
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
CREATE INDEX jobs_troubles ON jobs(owner, created_at, id)
    WHERE stage IN ('stopped', 'failed', 'interrupted');
CREATE INDEX jobs_stage ON jobs(stage);
"""

_RENAME_JOB_COLUMNS: Final = """
DROP INDEX jobs_unfinished;
DROP INDEX jobs_troubles;
DROP INDEX jobs_stage;
ALTER TABLE jobs RENAME COLUMN asked TO original_request;
ALTER TABLE jobs RENAME COLUMN stage TO status;
ALTER TABLE jobs RENAME COLUMN error_happened TO error_message;
ALTER TABLE jobs RENAME COLUMN stopped TO cancel_outcome;
ALTER TABLE jobs RENAME COLUMN reason TO cancel_reason;
ALTER TABLE jobs RENAME COLUMN runner TO worker_id;
ALTER TABLE jobs RENAME COLUMN by_program TO is_api_call;
UPDATE jobs SET status = CASE status
    WHEN 'waiting' THEN 'pending' WHEN 'saved' THEN 'completed' WHEN 'stopped' THEN 'cancelled'
    ELSE status END;
CREATE INDEX jobs_unfinished ON jobs(position) WHERE status IN ('pending', 'running');
CREATE INDEX jobs_failed ON jobs(owner, created_at, id)
    WHERE status IN ('cancelled', 'failed', 'interrupted');
CREATE INDEX jobs_status ON jobs(status);
"""

_CREATE_SEARCH_TABLES: Final = """
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

# Only the schema changes: it takes milliseconds, however many images there are.
_RENAME_SEARCH_TABLES: Final = """
DROP TRIGGER pictures_words_go;
ALTER TABLE words RENAME TO fts_stems;
ALTER TABLE beginnings RENAME TO fts_prefixes;
ALTER TABLE counts RENAME COLUMN place TO scope;
CREATE TRIGGER pictures_fts_delete AFTER DELETE ON pictures BEGIN
    DELETE FROM fts_stems WHERE rowid = old.number;
    DELETE FROM fts_prefixes WHERE rowid = old.number;
END;
"""

_ADD_SETS: Final = """
ALTER TABLE pictures ADD COLUMN set_id TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN origin TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN set_id TEXT NOT NULL DEFAULT '';
CREATE INDEX pictures_set ON pictures(set_id) WHERE set_id != '';
CREATE INDEX jobs_set ON jobs(set_id) WHERE set_id != '';
"""

_CREATE_PROMPT_INDEX: Final = """
ALTER TABLE pictures ADD COLUMN typed_prompt TEXT NOT NULL
    AS (iif(source_prompt = '', prompt, source_prompt)) VIRTUAL;
-- All that the prompt history and a search for an identical image read of most rows.
CREATE INDEX pictures_prompts
    ON pictures(owner, typed_prompt, made_at, id, trashed_at, is_missing, seed);
"""


def _create_search_tables(connection: Connection) -> None:
    # Two tables, as a tokenizer belongs to a table: stems find "lighthouses" for "lighthouse", but
    # a word still being typed ("runnin") is no beginning of the stem of the word ("run").
    for statement in _split_statements(_CREATE_SEARCH_TABLES):
        connection.execute(statement)
    rows = connection.execute(
        "SELECT number, prompt, (SELECT group_concat(tag, ' ') FROM tags WHERE picture = number),"
        " path FROM pictures"
    )
    for rowid, prompt, tags, path in rows:
        fts_row = (rowid, *fts_document(prompt, tags or "", path))
        connection.execute("INSERT INTO words (rowid, prompt, others) VALUES (?, ?, ?)", fts_row)
        connection.execute(
            "INSERT INTO beginnings (rowid, prompt, others) VALUES (?, ?, ?)", fts_row
        )


def sqlite_seed(seed: int | None) -> int | None:
    """Return a seed of 64 bits without a sign as SQLite's integer of 64 bits with one."""
    return seed if seed is None or seed < 2**63 else seed - 2**64


def _index_long_seeds(connection: Connection) -> None:
    # Earlier versions kept a seed of more than 15 digits in the record only, as another setting.
    # Row by row: all the records of a large library would fill the memory.
    records = connection.execute(
        "SELECT number, record FROM pictures"
        """ WHERE seed IS NULL AND typeof(record) = 'text' AND record LIKE '%"Seed"%'"""
    )
    seeds = [
        (sqlite_seed(metadata.seed), number)
        for number, record in records
        if (metadata := metadata_from_json(record)) is not None and metadata.seed is not None
    ]
    connection.executemany("UPDATE pictures SET seed = ? WHERE number = ?", seeds)


def _index_typed_prompts(connection: Connection) -> None:
    connection.execute("ALTER TABLE pictures ADD COLUMN source_prompt TEXT NOT NULL DEFAULT ''")
    # Row by row, as above.
    records = connection.execute(
        "SELECT number, record FROM pictures WHERE typeof(record) = 'text'"
        """ AND (record LIKE '%"Template"%' OR record LIKE '%"Base prompt"%')"""
    )
    sources = [
        (sqlite_text(source_prompt(metadata.extra)), number)
        for number, record in records
        if (metadata := metadata_from_json(record)) is not None
    ]
    connection.executemany("UPDATE pictures SET source_prompt = ? WHERE number = ?", sources)
    for statement in _split_statements(_CREATE_PROMPT_INDEX):
        connection.execute(statement)


# Steps from each version to the next. They have run on people's machines: never change one.
MIGRATIONS: Final[tuple[Callable[[Connection], None] | str, ...]] = (
    _CREATE_PICTURES.format(
        new=_SCOPE_EXPRESSION.format("new"),
        old=_SCOPE_EXPRESSION.format("old"),
        columns=_INDEXED_COLUMNS,
    ),
    _CREATE_JOBS,
    _create_search_tables,
    "ALTER TABLE jobs ADD COLUMN reason TEXT NOT NULL DEFAULT '';",
    _RENAME_JOB_COLUMNS,
    _RENAME_SEARCH_TABLES,
    _index_long_seeds,
    _ADD_SETS,
    _index_typed_prompts,
    # How long the newest runs of a Space took.
    "CREATE INDEX pictures_runs ON pictures(space, is_demo, model, made_at);",
)

SCHEMA_VERSION: Final = len(MIGRATIONS)

# What the migrations create. Without a trigger or an index of these, no statement fails: counts and
# searches would only be wrong.
OBJECT_NAMES: Final = frozenset(
    (
        *("counts", "fts_prefixes", "fts_stems", "jobs", "meta", "pictures", "tags"),
        *("pictures_change", "pictures_come", "pictures_fts_delete", "pictures_go"),
        *("jobs_failed", "jobs_status", "jobs_unfinished", "tags_picture"),
        *("pictures_missing", "pictures_path", "pictures_shown", "pictures_shown_owner"),
        *("pictures_prompts", "pictures_runs", "pictures_set", "pictures_trash", "jobs_set"),
    )
)

# Programs whose tables have this version or a later one can use an index migrated here.
MIN_COMPATIBLE_VERSION: Final = 6


def schema_version(connection: Connection) -> int:
    """Return the version of the tables, 0 if there are none."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def min_compatible_version(connection: Connection) -> int:
    """Return the oldest table version whose programs can use this index."""
    try:
        row = connection.execute("SELECT value FROM meta WHERE name = 'readable_from'").fetchone()
        return int(row[0])
    except (OperationalError, TypeError, ValueError):
        return schema_version(connection)


def check_complete(connection: Connection) -> None:
    """Check that all tables, indexes and triggers of this version exist.

    Raises:
        IndexDamagedError: one is missing.
    """
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if schema_version(connection) == SCHEMA_VERSION and not names >= OBJECT_NAMES:
        raise IndexDamagedError


# What the triggers should have counted; the scope is written as they have it.
_MISCOUNTS: Final = f"""
SELECT owner, {_SCOPE_EXPRESSION.format("pictures")}, count(*), sum(size_bytes)
    FROM pictures GROUP BY 1, 2
    EXCEPT SELECT owner, scope, pictures, bytes FROM counts LIMIT 1
"""  # noqa: S608  # no values

# What the full-text index has no words of, or words of what isn't there.
_UNINDEXED: Final = """
SELECT 1 WHERE EXISTS (SELECT number FROM pictures EXCEPT SELECT id FROM fts_stems_docsize)
    OR EXISTS (SELECT number FROM pictures EXCEPT SELECT id FROM fts_prefixes_docsize)
    OR EXISTS (SELECT id FROM fts_stems_docsize EXCEPT SELECT number FROM pictures)
"""


def check_integrity(connection: Connection) -> None:
    """Check all pages and rows, which takes seconds for a large index.

    Raises:
        IndexDamagedError: something in it contradicts something else.
    """
    is_ok = connection.execute("PRAGMA integrity_check(1)").fetchone()[0] == "ok"
    contradictions = (connection.execute(sql).fetchone() for sql in (_MISCOUNTS, _UNINDEXED))
    if not is_ok or any(contradictions):
        raise IndexDamagedError


def needs_scan(connection: Connection) -> bool:
    """Return whether no scan has come to its end since the index was created."""
    sql = "SELECT 1 FROM meta WHERE name = 'needs_scan'"
    return connection.execute(sql).fetchone() is not None


def mark_scanned(connection: Connection) -> None:
    """Record that a scan has come to its end."""
    connection.execute("DELETE FROM meta WHERE name = 'needs_scan'")


def migrate(connection: Connection, target_version: int = SCHEMA_VERSION) -> None:
    """Migrate the tables to a version; each step in its own transaction.

    Raises:
        sqlite3.Error: A step failed, and was rolled back; the steps before it are done.
    """
    for version in range(schema_version(connection) + 1, target_version + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Read again within the transaction: another program may have done this step by now.
            if schema_version(connection) < version:
                _run_migration(connection, MIGRATIONS[version - 1])
                connection.execute(f"PRAGMA user_version = {version}")
                if version == 1:
                    connection.execute("INSERT INTO meta VALUES ('needs_scan', 'yes')")
                connection.execute(
                    "INSERT OR REPLACE INTO meta VALUES ('readable_from', ?)",
                    (str(min(version, MIN_COMPATIBLE_VERSION)),),
                )
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _run_migration(connection: Connection, migration: Callable[[Connection], None] | str) -> None:
    if isinstance(migration, str):
        for statement in _split_statements(migration):
            connection.execute(statement)
    else:
        migration(connection)


def _split_statements(script: str) -> list[str]:
    # `executescript` commits the open transaction first, so that a failing step would stay half
    # done. `complete_statement` knows that semicolons within a trigger end no statement.
    statements: list[str] = []
    buffer = ""
    for line in script.splitlines(keepends=True):
        buffer += line
        if complete_statement(buffer):
            statements.append(buffer)
            buffer = ""
    return statements
