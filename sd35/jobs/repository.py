"""What was asked for and what became of it, in the index: a job's record outlives the program that ran it."""

import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from sqlite3 import Connection
from typing import Any, Final

from sd35.jobs.record import NAMES, JobRecord, Stage, job_of, stored
from sd35.library.database import Database
from sd35.library.query import Cursor, Query
from sd35.library.text_index import plain_text

__all__ = ["JobPage", "JobRecord", "Jobs", "Stage"]

MAX_TROUBLES: Final = 50

_UNFINISHED: Final = "stage IN ('waiting', 'running')"
_TROUBLES: Final = "stage IN ('stopped', 'failed', 'interrupted')"


@dataclass(frozen=True, slots=True)
class JobPage:
    """Some jobs, newest first, and where older ones go on, if there are any."""

    jobs: tuple[JobRecord, ...]
    older: str | None


_COLUMNS: Final = ", ".join(NAMES)


class Jobs:
    """The jobs of a library. Each change is whole, or not there at all, whenever the program is killed.

    Every method raises LibraryError where the index can't be used.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, job: JobRecord) -> None:
        """Keep a new job."""
        with self._database.writing() as connection:
            marks = ", ".join("?" * len(NAMES))
            connection.execute(f"INSERT INTO jobs ({_COLUMNS}) VALUES ({marks})", _values(job))  # noqa: S608  # our names

    def change(self, id: str, **changes: Any) -> JobRecord | None:  # noqa: A002, ANN401  # any of a job's fields
        """Set these fields of a job, and return it as it is then; `None` where there is no such job.

        Raises:
            TypeError: a job has no field of this name.

        """
        unknown = changes.keys() - set(NAMES)
        if unknown:
            raise TypeError(f"A job has no {', '.join(sorted(unknown))}.")
        with self._database.writing() as connection:
            sets = ", ".join(f"{name} = ?" for name in changes)
            told = [stored(value) for value in changes.values()]
            if changes:
                connection.execute(f"UPDATE jobs SET {sets} WHERE id = ?", (*told, id))  # noqa: S608  # checked names
            return _one(connection, id)

    def get(self, id: str) -> JobRecord | None:  # noqa: A002  # its name everywhere
        """Return a job; `None` where there is no such job."""
        with self._database.reading() as connection:
            return _one(connection, id)

    def unfinished(
        self, runner: str | None = None, owner: str | None = None
    ) -> tuple[JobRecord, ...]:
        """Return the jobs that wait or run, next one first: of this instance, or this owner, or all."""
        with self._database.reading() as connection:
            return _select(
                connection,
                f"{_UNFINISHED} AND (?1 IS NULL OR runner = ?1) AND (?2 IS NULL OR owner = ?2)"
                " ORDER BY position, created_at",
                (runner, owner),
            )

    def troubles(
        self, owner: str | None = None, limit: int = MAX_TROUBLES
    ) -> tuple[JobRecord, ...]:
        """Return the jobs that came to no picture against somebody's will and weren't dismissed, newest first."""
        with self._database.reading() as connection:
            return _select(
                connection,
                f"{_TROUBLES} AND NOT is_dismissed AND NOT by_program AND (stage != 'stopped' OR reason != '')"
                " AND (?1 IS NULL OR owner = ?1) ORDER BY created_at DESC, id DESC LIMIT ?2",
                (owner, limit),
            )

    def search(
        self, query: Query, owner: str | None = None, cursor: str | None = None, limit: int = 48
    ) -> JobPage:
        """Return jobs that came to no picture and weren't dismissed, and that the query finds; newest first."""
        where, told = _conditions(query, owner)
        start = Cursor.read(cursor)
        if start is not None:
            where.append("(created_at, id) < (?, ?)")
            told += [start.made_at, start.id]
        with self._database.reading() as connection:
            text = f"{' AND '.join(where)} ORDER BY created_at DESC, id DESC LIMIT ?"
            found = _select(connection, text, (*told, limit + 1))
        page = found[:limit]
        return JobPage(
            page, str(Cursor(page[-1].created_at, page[-1].id)) if len(found) > limit else None
        )

    def left_by(self, instance: str, is_alive: Callable[[str], bool]) -> set[Stage]:
        """Return how far the jobs have come that instances that are gone have left unfinished."""
        with self._database.reading() as connection:
            rows = connection.execute(
                f"SELECT DISTINCT runner, stage FROM jobs WHERE {_UNFINISHED}"  # noqa: S608
            ).fetchall()
        gone = {runner for runner, _ in rows if runner != instance and not is_alive(runner)}
        return {Stage.of(stage) for runner, stage in rows if runner in gone}

    def arrange(self, places: Iterable[tuple[str, float, bool]]) -> None:
        """Give jobs, by their ids, these positions, and say whether they are held; all at once, or none of them."""
        with self._database.writing() as connection:
            connection.executemany(
                "UPDATE jobs SET position = ?2, is_held = ?3 WHERE id = ?1", places
            )

    def settle(self) -> None:
        """Call the interrupted jobs saved whose pictures are there after all."""
        with self._database.writing() as connection:
            connection.execute(_SETTLE)

    def take_over(self, instance: str, is_alive: Callable[[str], bool]) -> tuple[JobRecord, ...]:
        """Make the waiting jobs of instances that are gone this one's, held, and return them, next one first.

        What those ran is interrupted, and so is what a program waited for that was a caller of
        theirs.
        """
        with self._database.writing() as connection:
            rows = connection.execute(f"SELECT DISTINCT runner FROM jobs WHERE {_UNFINISHED}")  # noqa: S608  # no values
            gone = [
                runner
                for (runner,) in rows.fetchall()
                if runner != instance and not is_alive(runner)
            ]
            taken = [
                job
                for runner in gone
                for job in _select(connection, f"{_WAITING_OF} ORDER BY position", (runner,))
            ]
            for runner in gone:
                connection.execute(_INTERRUPT, (dt.datetime.now(dt.UTC).timestamp(), runner))
                connection.execute(_SETTLE)
                connection.execute(
                    f"UPDATE jobs SET runner = ?2, is_held = 1 WHERE {_WAITING_OF}",  # noqa: S608
                    (runner, instance),
                )
            jobs = [_one(connection, job.id) for job in sorted(taken, key=lambda job: job.position)]
        return tuple(job for job in jobs if job is not None)

    def counts(self) -> dict[Stage, int]:
        """Return how many jobs have come how far."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT stage, count(*) FROM jobs GROUP BY stage").fetchall()
        return {stage: dict(rows).get(stage.value, 0) for stage in Stage}


_WAITING_OF: Final = "stage = 'waiting' AND NOT by_program AND runner = ?1"

_INTERRUPT: Final = """
UPDATE jobs SET stage = 'interrupted', ended_at = ?1
    WHERE runner = ?2 AND (stage = 'running' OR stage = 'waiting' AND by_program)
"""

_SETTLE: Final = """
UPDATE jobs SET stage = 'saved', picture_id = id
    WHERE stage = 'interrupted' AND id IN (SELECT pictures.id FROM pictures WHERE pictures.id = jobs.id)
"""
"""A picture has the id of its job."""

_FILTERS: Final = {
    "seed": "json_extract(request, '$.seed') = ?",
    "size": "(json_extract(request, '$.width'), json_extract(request, '$.height')) = (?, ?)",
    "steps": "json_extract(request, '$.num_inference_steps') = ?",
    "space": "instr(lower(space), lower(?)) > 0",
    "made": "created_at BETWEEN ? AND ?",
}
"""The query's filters that a job knows; the others speak of pictures alone, and are passed over."""

_WORD: Final = "instr(folded(json_extract(request, '$.prompt')), folded(?)) > 0"


def _conditions(query: Query, owner: str | None) -> tuple[list[str], list[Any]]:
    where, told = [_TROUBLES, "NOT is_dismissed"], list[Any]()
    if owner is not None:
        where.append("owner = ?")
        told.append(owner)
    for word in (*query.wanted, *filter(None, (query.begun,))):
        where.append(_WORD)
        told.append(plain_text(word))
    for word in query.unwanted:
        where.append(f"NOT {_WORD}")
        told.append(plain_text(word))
    for each in query.filters:
        if each.name in _FILTERS:
            where.append(f"{'NOT ' if each.is_excluded else ''}({_FILTERS[each.name]})")
            told += each.values
    return where, told


def _one(connection: Connection, id_: str) -> JobRecord | None:
    return next(iter(_select(connection, "id = ?", (id_,))), None)


def _select(connection: Connection, condition: str, told: tuple[Any, ...]) -> tuple[JobRecord, ...]:
    rows = connection.execute(f"SELECT {_COLUMNS} FROM jobs WHERE {condition}", told)  # noqa: S608  # our own conditions
    return tuple(job_of(row) for row in rows)


def _values(job: JobRecord) -> tuple[Any, ...]:
    return tuple(stored(getattr(job, name)) for name in NAMES)
