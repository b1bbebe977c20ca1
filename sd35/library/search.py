"""Pages of pictures that a query finds, newest first: an index is read in its order, and nothing is counted in full."""

from collections.abc import Iterator
from dataclasses import dataclass
from sqlite3 import Connection
from typing import Any, Final

from sd35.library.database import Database
from sd35.library.query import Cursor, Query
from sd35.library.repository import SELECT_ENTRY, Entry, entry_from_row
from sd35.library.text_index import fts_phrase, sqlite_text

__all__ = ["MAX_PAGE", "PicturePage", "adjacent_id", "find_all", "find_page"]

MAX_PAGE: Final = 500
"""Pictures on a page."""

MAX_COUNT: Final = 1000
"""What is found by a search is counted up to this."""


@dataclass(frozen=True, slots=True)
class PicturePage:
    """Some pictures, newest first.

    Attributes:
        newer: where newer ones go on, as `Library.page` takes it; `None` where there are none, or
            it's the first page.
        older: the same for older ones.
        count: how many there are in all.
        is_count_exact: it isn't more than `count`.

    """

    entries: tuple[Entry, ...]
    newer_cursor: str | None
    older_cursor: str | None
    count: int
    is_count_exact: bool


def find_page(
    connection: Connection,
    query: Query,
    owner: str | None,
    limit: int,
    newer_cursor: str | None,
    older_cursor: str | None,
) -> PicturePage:
    """Return the pictures that a query finds: the first ones, or those next to where a page said that it goes on."""
    if query.is_job_query:
        return PicturePage((), None, None, 0, is_count_exact=True)
    sql_filter = _SqlFilter(query, owner)
    newer_than, older_than = Cursor.parse(newer_cursor), Cursor.parse(older_cursor)
    if newer_than is not None:
        matches = sql_filter.select(connection, newer_than, limit + 1, is_newer=True)
        rows, has_newer, has_older = matches[:limit][::-1], len(matches) > limit, True
    else:
        matches = sql_filter.select(connection, older_than, limit + 1)
        rows, has_newer, has_older = matches[:limit], older_than is not None, len(matches) > limit
    is_complete = newer_than is None and older_than is None and len(matches) <= limit
    count, is_exact = (len(rows), True) if is_complete else sql_filter.count(connection)
    return PicturePage(
        tuple(entry_from_row(row) for row in rows),
        _cursor_from_row(rows[0]) if rows and has_newer else None,
        _cursor_from_row(rows[-1]) if rows and has_older else None,
        count,
        is_exact,
    )


def find_all(database: Database, query: Query, owner: str | None) -> Iterator[Entry]:
    """Find all pictures of a query, some at a time.

    Raises:
        LibraryError: the index can't be used.

    """
    older_cursor: str | None = None
    while True:
        with database.read_transaction() as connection:
            page = find_page(connection, query, owner, MAX_PAGE, None, older_cursor)
        yield from page.entries
        older_cursor = page.older_cursor
        if older_cursor is None:
            return


def adjacent_id(
    connection: Connection, entry: Entry, query: Query, owner: str | None, *, is_newer: bool
) -> str | None:
    """Return the id of the next picture that a query finds, newer or older than this one."""
    cursor = Cursor(entry.made_at.timestamp(), entry.id)
    rows = _SqlFilter(query, owner).select(connection, cursor, 1, is_newer=is_newer)
    return rows[0][0] if rows else None


def _cursor_from_row(row: tuple[Any, ...]) -> str:
    return str(Cursor(row[8], row[0]))


_SCOPE_CONDITIONS: Final = {
    "shown": "trashed_at IS NULL AND is_missing = 0",
    "trash": "trashed_at IS NOT NULL AND is_missing = 0",
    "missing": "is_missing = 1",
}

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
    "starred": "is_starred = 1",
    "demo": "is_demo = 1",
}

_STEM_MATCHES: Final = "SELECT rowid FROM words WHERE words MATCH ?"
_PREFIX_MATCHES: Final = "SELECT rowid FROM beginnings WHERE beginnings MATCH ?"


def _to_sql_value(name: str, value: float | str) -> float | str:
    if not isinstance(value, str):
        return value
    return sqlite_text(value).casefold() if name == "tag" else sqlite_text(value)


class _SqlFilter:
    """A query as SQL; every value in it is a parameter.

    The index of what is shown is read in its order, and each picture looked for among the numbers
    of those that have the words: `+` forbids the other way around, which reads and sorts all that
    have them.
    """

    def __init__(self, query: Query, owner: str | None) -> None:
        self._query = query
        self._owner = owner
        self._conditions = [_SCOPE_CONDITIONS[query.scope]]
        self._params: list[Any] = []
        if owner is not None:
            self._add("owner = ?", owner)
        self._add_terms()
        for filter_ in query.filters:
            values = [_to_sql_value(filter_.name, value) for value in filter_.values]
            condition = (
                f"coalesce({_FILTER_CONDITIONS[filter_.name]}, 0)"
                if filter_.is_excluded
                else _FILTER_CONDITIONS[filter_.name]
            )
            self._add(f"{'NOT ' if filter_.is_excluded else ''}({condition})", *values)

    def _add(self, condition: str, *params: object) -> None:
        self._conditions.append(condition)
        self._params += params

    def _add_terms(self) -> None:
        query = self._query
        terms_match = " ".join(fts_phrase(term) for term in query.terms)
        if query.prefix is not None:
            # Whoever has all words whole is found first: all that have the other ones need seldom
            # be listed then.
            full_match, prefix_match = (
                f"{terms_match} {fts_phrase(query.prefix)}",
                fts_phrase(query.prefix, is_prefix=True),
            )
            other_terms_sql, other_params = (
                (f" AND +number IN ({_STEM_MATCHES})", [terms_match]) if terms_match else ("", [])
            )
            self._add(
                f"(+number IN ({_STEM_MATCHES}) OR (+number IN ({_PREFIX_MATCHES}){other_terms_sql}))",
                full_match,
                prefix_match,
                *other_params,
            )
        elif terms_match:
            self._add(f"+number IN ({_STEM_MATCHES})", terms_match)
        if query.excluded_terms:
            self._add(
                f"+number NOT IN ({_STEM_MATCHES})",
                " OR ".join(fts_phrase(term) for term in query.excluded_terms),
            )

    def select(
        self, connection: Connection, start: Cursor | None, limit: int, *, is_newer: bool = False
    ) -> list[tuple[Any, ...]]:
        """The rows next to a place in the list, or the newest ones, the nearest to it first."""
        conditions, params = self._conditions, self._params
        if start is not None:
            conditions = [*conditions, f"(made_at, id) {'>' if is_newer else '<'} (?, ?)"]
            params = [*params, start.timestamp, start.id]
        order = "made_at, id" if is_newer else "made_at DESC, id DESC"
        sql = f"{SELECT_ENTRY} WHERE {' AND '.join(conditions)} ORDER BY {order} LIMIT ?"
        return connection.execute(sql, (*params, limit)).fetchall()

    def count(self, connection: Connection) -> tuple[int, bool]:
        """How many there are, and whether that is all: what is found by words is counted up to a limit."""
        if not self._query.has_criteria:
            sql = "SELECT coalesce(sum(pictures), 0) FROM counts WHERE place = ? AND owner = coalesce(?, owner)"
            return connection.execute(sql, (self._query.scope, self._owner)).fetchone()[0], True
        condition = " AND ".join(self._conditions)
        subquery = f"SELECT 1 FROM pictures WHERE {condition} ORDER BY made_at DESC, id DESC LIMIT {MAX_COUNT + 1}"  # noqa: S608
        count = connection.execute(f"SELECT count(*) FROM ({subquery})", self._params).fetchone()[0]  # noqa: S608
        return min(count, MAX_COUNT), count <= MAX_COUNT
