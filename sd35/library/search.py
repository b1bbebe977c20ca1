"""Pages of the images that a query finds, newest first."""

from collections.abc import Iterator
from dataclasses import dataclass
from sqlite3 import Connection
from typing import Any, Final

from sd35.core.errors import LibraryError
from sd35.library.database import Database
from sd35.library.query import Cursor, Filter, Query
from sd35.library.repository import SELECT_ENTRY, Entry, checked_count, entry_from_row
from sd35.library.schema import sqlite_seed
from sd35.library.text_index import fts_phrase, sqlite_text

__all__ = ["MAX_PAGE", "PicturePage", "adjacent_id", "find_all", "find_page"]

MAX_PAGE: Final = 500  # images per page
MAX_COUNT: Final = 1000  # counting all results would read the whole index


@dataclass(frozen=True, slots=True)
class PicturePage:
    """Page of search results, and the cursors of the pages next to it."""

    entries: tuple[Entry, ...]
    newer_cursor: str | None
    older_cursor: str | None
    count: int  # of the results on all pages
    is_count_exact: bool  # otherwise there are more


def find_page(
    connection: Connection,
    query: Query,
    owner: str | None,
    limit: int,
    newer_cursor: str | None = None,
    older_cursor: str | None = None,
) -> PicturePage:
    """Return the first page of results, or the one next to a cursor of another page."""
    if query.is_job_query:
        return PicturePage((), None, None, 0, is_count_exact=True)
    sql_filter = _SqlFilter(query, owner)
    newer_than = Cursor.parse(newer_cursor)
    older_than = Cursor.parse(older_cursor)
    is_newer = newer_than is not None
    # One more than is shown tells whether there is another page.
    rows = sql_filter.select(connection, newer_than or older_than, limit + 1, is_newer=is_newer)
    has_more = len(rows) > limit
    rows = rows[:limit]
    if is_newer:
        rows.reverse()
    has_newer = has_more if is_newer else older_than is not None
    has_older = is_newer or has_more
    if has_newer or has_older:
        count, is_exact = sql_filter.count(connection)
    else:
        count = len(rows)
        is_exact = True
    # Before the cursors, which take a row's values as they are.
    entries = tuple(entry_from_row(row) for row in rows)
    return PicturePage(
        entries,
        _cursor_from_row(rows[0]) if rows and has_newer else None,
        _cursor_from_row(rows[-1]) if rows and has_older else None,
        count,
        is_exact,
    )


def find_all(database: Database, query: Query, owner: str | None) -> Iterator[Entry]:
    """Yield all results of a query.

    Raises:
        LibraryError: the index can't be used.
    """
    cursor: str | None = None
    identity = database.file_identity
    while True:
        # A transaction per page: a long one keeps the write-ahead log from being reset, and it
        # grows for as long as an export takes.
        with database.read_transaction() as connection:
            if database.file_identity != identity:
                raise LibraryError("The library's index was replaced meanwhile.", "Try again.")
            page = find_page(connection, query, owner, MAX_PAGE, older_cursor=cursor)
        yield from page.entries
        cursor = page.older_cursor
        if cursor is None:
            return


def adjacent_id(
    connection: Connection, entry: Entry, query: Query, owner: str | None, *, is_newer: bool
) -> str | None:
    """Return the ID of the result next to this image, newer or older."""
    cursor = Cursor(entry.made_at.timestamp(), entry.id)
    rows = _SqlFilter(query, owner).select(connection, cursor, 1, is_newer=is_newer)
    return entry_from_row(rows[0]).id if rows else None


def _cursor_from_row(row: tuple[Any, ...]) -> str:
    return str(Cursor(row[8], row[0]))


_SCOPE_CONDITIONS: Final = {
    "shown": "trashed_at IS NULL AND is_missing = 0",
    "trash": "trashed_at IS NOT NULL AND is_missing = 0",
    "missing": "is_missing = 1",
}

# `lower` and LIKE know ASCII only in SQLite, which does for names of models, Spaces and tools;
# `instr` instead of LIKE, because `%` and `_` in a user's text stand for themselves.
_FILTER_CONDITIONS: Final = {
    "seed": "seed = ?",
    "size": "(width, height) = (?, ?)",
    "steps": "steps = ?",
    "ratio": "width * 1.0 / height BETWEEN ? AND ?",
    "made": "made_at BETWEEN ? AND ?",
    "space": "instr(lower(space), lower(?)) > 0",
    "model": "instr(lower(model), lower(?)) > 0",
    "tool": "instr(lower(tool), lower(?)) > 0",
    "tag": "+number IN (SELECT picture FROM tags WHERE tag = ?)",
    # Without the `+`: few images are in a set, so they are found first, and then sorted.
    "set": "number IN (SELECT number FROM pictures WHERE set_id = ? AND set_id != '')",
    "starred": "is_starred = 1",
    "demo": "is_demo = 1",
}

# The `+` keeps SQLite from using the primary key, which would read and sort all images that have
# the words. So it walks the index of the order, newest first, and stops at the end of the page.
_STEM_MATCHES: Final = "+number IN (SELECT rowid FROM fts_stems WHERE fts_stems MATCH ?)"
_PREFIX_MATCHES: Final = "+number IN (SELECT rowid FROM fts_prefixes WHERE fts_prefixes MATCH ?)"


class _SqlFilter:
    """A query as SQL; every value that somebody typed is a parameter."""

    def __init__(self, query: Query, owner: str | None) -> None:
        self._query = query
        self._owner = owner
        self._conditions = [_SCOPE_CONDITIONS[query.scope]]
        self._params: list[Any] = []
        if owner is not None:
            self._add("owner = ?", owner)
        self._add_terms()
        for filter_ in query.filters:
            self._add_filter(filter_)

    def _add(self, condition: str, *params: object) -> None:
        self._conditions.append(condition)
        self._params += params

    def _add_terms(self) -> None:
        query = self._query
        terms = " ".join(fts_phrase(term) for term in query.terms)
        if query.prefix is not None:
            # Whole words first: if they match, the prefixes of a short beginning, which may be in
            # every image, needn't be listed.
            others = f" AND {_STEM_MATCHES}" if terms else ""
            self._add(
                f"({_STEM_MATCHES} OR ({_PREFIX_MATCHES}{others}))",
                f"{terms} {fts_phrase(query.prefix)}",
                fts_phrase(query.prefix, is_prefix=True),
                *([terms] if terms else ()),
            )
        elif terms:
            self._add(_STEM_MATCHES, terms)
        if query.excluded_terms:
            excluded = " OR ".join(fts_phrase(term) for term in query.excluded_terms)
            self._add(f"NOT {_STEM_MATCHES}", excluded)

    def _add_filter(self, filter_: Filter) -> None:
        condition = _FILTER_CONDITIONS[filter_.name]
        if filter_.is_excluded:
            # NOT of an unknown (NULL) value is NULL: -seed:7 would leave out images without a seed.
            condition = f"NOT coalesce({condition}, 0)"
        self._add(condition, *(_to_sql_value(filter_.name, value) for value in filter_.values))

    def select(
        self, connection: Connection, start: Cursor | None, limit: int, *, is_newer: bool = False
    ) -> list[tuple[Any, ...]]:
        """Return the rows next to a cursor, nearest first, or else the newest ones."""
        conditions = self._conditions
        params = self._params
        if start is not None:
            # Compared as a row, with the ID: several images may be made at the same moment.
            conditions = [*conditions, f"(made_at, id) {'>' if is_newer else '<'} (?, ?)"]
            params = [*params, start.timestamp, start.id]
        order = "made_at, id" if is_newer else "made_at DESC, id DESC"
        sql = f"{SELECT_ENTRY} WHERE {' AND '.join(conditions)} ORDER BY {order} LIMIT ?"
        return connection.execute(sql, (*params, limit)).fetchall()

    def count(self, connection: Connection) -> tuple[int, bool]:
        """Return the number of results, up to `MAX_COUNT`, and whether there are no more."""
        if not self._query.has_criteria:
            sql = (
                "SELECT coalesce(sum(pictures), 0) FROM counts"
                " WHERE scope = ? AND owner = coalesce(?, owner)"
            )
            row = connection.execute(sql, (self._query.scope, self._owner)).fetchone()
            return checked_count(row[0]), True
        # Only with an order does SQLite walk the covering index, and stop at the limit.
        conditions = " AND ".join(self._conditions)  # whose values are parameters
        sql = (
            f"SELECT count(*) FROM (SELECT 1 FROM pictures WHERE {conditions}"  # noqa: S608
            f" ORDER BY made_at DESC, id DESC LIMIT {MAX_COUNT + 1})"
        )
        count = connection.execute(sql, self._params).fetchone()[0]
        return min(count, MAX_COUNT), count <= MAX_COUNT


def _to_sql_value(name: str, value: float | str) -> float | str | None:
    if not isinstance(value, str):
        return sqlite_seed(int(value)) if name == "seed" else value
    return sqlite_text(value).casefold() if name == "tag" else sqlite_text(value)
