"""Pages of pictures that a query finds, newest first: an index is read in its order, and nothing is counted in full."""

from collections.abc import Iterator
from dataclasses import dataclass
from sqlite3 import Connection
from typing import Any, Final

from sd35.library.database import Database
from sd35.library.query import Cursor, Query
from sd35.library.repository import READ, Entry, entry_of
from sd35.library.text_index import matching, plain_text

__all__ = ["MAX_PAGE", "Page", "find_all", "find_page", "neighbour"]

MAX_PAGE: Final = 500
"""Pictures on a page."""

MOST_COUNTED: Final = 1000
"""What is found by a search is counted up to this."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some pictures, newest first.

    Attributes:
        newer: where newer ones go on, as `Library.page` takes it; `None` where there are none, or
            it's the first page.
        older: the same for older ones.
        count: how many there are in all.
        is_count_exact: it isn't more than `count`.

    """

    entries: tuple[Entry, ...]
    newer: str | None
    older: str | None
    count: int
    is_count_exact: bool


def find_page(
    connection: Connection,
    query: Query,
    owner: str | None,
    limit: int,
    newer: str | None,
    older: str | None,
) -> Page:
    """Return the pictures that a query finds: the first ones, or those next to where a page said that it goes on."""
    if query.is_failed:
        return Page((), None, None, 0, is_count_exact=True)
    where = _Where(query, owner)
    after, before = Cursor.read(newer), Cursor.read(older)
    if after is not None:
        found = where.select(connection, after, limit + 1, is_newer=True)
        rows, is_more_newer, is_more_older = found[:limit][::-1], len(found) > limit, True
    else:
        found = where.select(connection, before, limit + 1)
        rows, is_more_newer, is_more_older = found[:limit], before is not None, len(found) > limit
    is_all = after is None and before is None and len(found) <= limit
    count, is_exact = (len(rows), True) if is_all else where.count(connection)
    return Page(
        tuple(entry_of(row) for row in rows),
        _cursor(rows[0]) if rows and is_more_newer else None,
        _cursor(rows[-1]) if rows and is_more_older else None,
        count,
        is_exact,
    )


def find_all(database: Database, query: Query, owner: str | None) -> Iterator[Entry]:
    """Find all pictures of a query, some at a time.

    Raises:
        LibraryError: the index can't be used.

    """
    older: str | None = None
    while True:
        with database.reading() as connection:
            page = find_page(connection, query, owner, MAX_PAGE, None, older)
        yield from page.entries
        older = page.older
        if older is None:
            return


def neighbour(
    connection: Connection, entry: Entry, query: Query, owner: str | None, *, is_newer: bool
) -> str | None:
    """Return the id of the next picture that a query finds, newer or older than this one."""
    place = Cursor(entry.made_at.timestamp(), entry.id)
    rows = _Where(query, owner).select(connection, place, 1, is_newer=is_newer)
    return rows[0][0] if rows else None


def _cursor(row: tuple[Any, ...]) -> str:
    return str(Cursor(row[8], row[0]))


_PLACES: Final = {
    "shown": "trashed_at IS NULL AND is_missing = 0",
    "trash": "trashed_at IS NOT NULL AND is_missing = 0",
    "missing": "is_missing = 1",
}

_FILTERS: Final = {
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

_WORDS: Final = "SELECT rowid FROM words WHERE words MATCH ?"
_BEGINNINGS: Final = "SELECT rowid FROM beginnings WHERE beginnings MATCH ?"


def _plain(name: str, value: float | str) -> float | str:
    if not isinstance(value, str):
        return value
    return plain_text(value).casefold() if name == "tag" else plain_text(value)


class _Where:
    """A query as SQL; every value in it is a parameter.

    The index of what is shown is read in its order, and each picture looked for among the numbers
    of those that have the words: `+` forbids the other way around, which reads and sorts all that
    have them.
    """

    def __init__(self, query: Query, owner: str | None) -> None:
        self._query = query
        self._owner = owner
        self._conditions = [_PLACES[query.place]]
        self._told: list[Any] = []
        if owner is not None:
            self._add("owner = ?", owner)
        self._add_words()
        for each in query.filters:
            told = [_plain(each.name, value) for value in each.values]
            condition = (
                f"coalesce({_FILTERS[each.name]}, 0)" if each.is_excluded else _FILTERS[each.name]
            )
            self._add(f"{'NOT ' if each.is_excluded else ''}({condition})", *told)

    def _add(self, condition: str, *told: object) -> None:
        self._conditions.append(condition)
        self._told += told

    def _add_words(self) -> None:
        query = self._query
        wanted = " ".join(matching(word) for word in query.wanted)
        if query.begun is not None:
            # Whoever has all words whole is found first: all that have the other ones need seldom
            # be listed then.
            wholly, beginning = (
                f"{wanted} {matching(query.begun)}",
                matching(query.begun, is_beginning=True),
            )
            others, told = (f" AND +number IN ({_WORDS})", [wanted]) if wanted else ("", [])
            self._add(
                f"(+number IN ({_WORDS}) OR (+number IN ({_BEGINNINGS}){others}))",
                wholly,
                beginning,
                *told,
            )
        elif wanted:
            self._add(f"+number IN ({_WORDS})", wanted)
        if query.unwanted:
            self._add(
                f"+number NOT IN ({_WORDS})", " OR ".join(matching(word) for word in query.unwanted)
            )

    def select(
        self, connection: Connection, start: Cursor | None, limit: int, *, is_newer: bool = False
    ) -> list[tuple[Any, ...]]:
        """The rows next to a place in the list, or the newest ones, the nearest to it first."""
        conditions, told = self._conditions, self._told
        if start is not None:
            conditions = [*conditions, f"(made_at, id) {'>' if is_newer else '<'} (?, ?)"]
            told = [*told, start.made_at, start.id]
        order = "made_at, id" if is_newer else "made_at DESC, id DESC"
        text = f"{READ} WHERE {' AND '.join(conditions)} ORDER BY {order} LIMIT ?"
        return connection.execute(text, (*told, limit)).fetchall()

    def count(self, connection: Connection) -> tuple[int, bool]:
        """How many there are, and whether that is all: what is found by words is counted up to a limit."""
        if not self._query.is_search:
            text = "SELECT coalesce(sum(pictures), 0) FROM counts WHERE place = ? AND owner = coalesce(?, owner)"
            return connection.execute(text, (self._query.place, self._owner)).fetchone()[0], True
        where = " AND ".join(self._conditions)
        inner = f"SELECT 1 FROM pictures WHERE {where} ORDER BY made_at DESC, id DESC LIMIT {MOST_COUNTED + 1}"  # noqa: S608
        count = connection.execute(f"SELECT count(*) FROM ({inner})", self._told).fetchone()[0]  # noqa: S608
        return min(count, MOST_COUNTED), count <= MOST_COUNTED
