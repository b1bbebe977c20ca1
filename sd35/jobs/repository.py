"""What was asked for and what became of it, in the index: a job's record outlives the program that ran it."""

import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from sqlite3 import Connection
from typing import Any, Final

from sd35.jobs.record import COLUMNS, JobRecord, Stage, job_from_row, to_column
from sd35.library.database import Database
from sd35.library.query import Cursor, Query
from sd35.library.text_index import sqlite_text

__all__ = ["JobPage", "JobRecord", "JobRepository", "Stage"]

MAX_FAILED_JOBS: Final = 50

_UNFINISHED_CONDITION: Final = "stage IN ('waiting', 'running')"
_FAILED_CONDITION: Final = "stage IN ('stopped', 'failed', 'interrupted')"


@dataclass(frozen=True, slots=True)
class JobPage:
    """Some jobs, newest first, and where older ones go on, if there are any."""

    jobs: tuple[JobRecord, ...]
    older_cursor: str | None


_COLUMN_LIST: Final = ", ".join(COLUMNS)


class JobRepository:
    """The jobs of a library. Each change is whole, or not there at all, whenever the program is killed.

    Every method raises LibraryError where the index can't be used.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, job: JobRecord) -> None:
        """Keep a new job."""
        with self._database.write_transaction() as connection:
            placeholders = ", ".join("?" * len(COLUMNS))
            connection.execute(
                f"INSERT INTO jobs ({_COLUMN_LIST}) VALUES ({placeholders})",  # noqa: S608
                _column_values(job),  # noqa: RUF100, S608
            )  # our names

    def update(self, id: str, **changes: Any) -> JobRecord | None:  # noqa: A002, ANN401  # any of a job's fields
        """Set these fields of a job, and return it as it is then; `None` where there is no such job.

        Raises:
            TypeError: a job has no field of this name.

        """
        unknown_names = changes.keys() - set(COLUMNS)
        if unknown_names:
            raise TypeError(f"A job has no {', '.join(sorted(unknown_names))}.")
        with self._database.write_transaction() as connection:
            assignments = ", ".join(f"{name} = ?" for name in changes)
            params = [to_column(value) for value in changes.values()]
            if changes:
                connection.execute(f"UPDATE jobs SET {assignments} WHERE id = ?", (*params, id))  # noqa: S608  # checked names
            return _select_one(connection, id)

    def get(self, id: str) -> JobRecord | None:  # noqa: A002  # its name everywhere
        """Return a job; `None` where there is no such job."""
        with self._database.read_transaction() as connection:
            return _select_one(connection, id)

    def list_unfinished(
        self, runner: str | None = None, owner: str | None = None
    ) -> tuple[JobRecord, ...]:
        """Return the jobs that wait or run, next one first: of this instance, or this owner, or all."""
        with self._database.read_transaction() as connection:
            return _select(
                connection,
                f"{_UNFINISHED_CONDITION} AND (?1 IS NULL OR runner = ?1) AND (?2 IS NULL OR owner = ?2)"
                " ORDER BY position, created_at",
                (runner, owner),
            )

    def list_failed(
        self, owner: str | None = None, limit: int = MAX_FAILED_JOBS
    ) -> tuple[JobRecord, ...]:
        """Return the jobs that came to no picture against somebody's will and weren't dismissed, newest first."""
        with self._database.read_transaction() as connection:
            return _select(
                connection,
                f"{_FAILED_CONDITION} AND NOT is_dismissed AND NOT by_program AND (stage != 'stopped' OR reason != '')"
                " AND (?1 IS NULL OR owner = ?1) ORDER BY created_at DESC, id DESC LIMIT ?2",
                (owner, limit),
            )

    def search(
        self, query: Query, owner: str | None = None, cursor: str | None = None, limit: int = 48
    ) -> JobPage:
        """Return jobs that came to no picture and weren't dismissed, and that the query finds; newest first."""
        conditions, params = _build_conditions(query, owner)
        start = Cursor.parse(cursor)
        if start is not None:
            conditions.append("(created_at, id) < (?, ?)")
            params += [start.timestamp, start.id]
        with self._database.read_transaction() as connection:
            condition = f"{' AND '.join(conditions)} ORDER BY created_at DESC, id DESC LIMIT ?"
            matches = _select(connection, condition, (*params, limit + 1))
        page = matches[:limit]
        return JobPage(
            page, str(Cursor(page[-1].created_at, page[-1].id)) if len(matches) > limit else None
        )

    def orphaned_statuses(self, instance_id: str, is_alive: Callable[[str], bool]) -> set[Stage]:
        """Return how far the jobs have come that instances that are gone have left unfinished."""
        with self._database.read_transaction() as connection:
            rows = connection.execute(
                f"SELECT DISTINCT runner, stage FROM jobs WHERE {_UNFINISHED_CONDITION}"  # noqa: S608
            ).fetchall()
        dead_instances = {
            runner for runner, _ in rows if runner != instance_id and not is_alive(runner)
        }
        return {Stage.parse(stage) for runner, stage in rows if runner in dead_instances}

    def reorder(self, positions: Iterable[tuple[str, float, bool]]) -> None:
        """Give jobs, by their ids, these positions, and say whether they are held; all at once, or none of them."""
        with self._database.write_transaction() as connection:
            connection.executemany(
                "UPDATE jobs SET position = ?2, is_held = ?3 WHERE id = ?1", positions
            )

    def reconcile_saved(self) -> None:
        """Call the interrupted jobs saved whose pictures are there after all."""
        with self._database.write_transaction() as connection:
            connection.execute(_RECONCILE_SAVED)

    def adopt_orphans(
        self, instance_id: str, is_alive: Callable[[str], bool]
    ) -> tuple[JobRecord, ...]:
        """Make the waiting jobs of instances that are gone this one's, held, and return them, next one first.

        What those ran is interrupted, and so is what a program waited for that was a caller of
        theirs.
        """
        with self._database.write_transaction() as connection:
            rows = connection.execute(
                f"SELECT DISTINCT runner FROM jobs WHERE {_UNFINISHED_CONDITION}"  # noqa: S608
            )  # no values
            dead_instances = [
                runner
                for (runner,) in rows.fetchall()
                if runner != instance_id and not is_alive(runner)
            ]
            pending_jobs = [
                job
                for runner in dead_instances
                for job in _select(connection, f"{_PENDING_OF_RUNNER} ORDER BY position", (runner,))
            ]
            for runner in dead_instances:
                connection.execute(_MARK_INTERRUPTED, (dt.datetime.now(dt.UTC).timestamp(), runner))
                connection.execute(_RECONCILE_SAVED)
                connection.execute(
                    f"UPDATE jobs SET runner = ?2, is_held = 1 WHERE {_PENDING_OF_RUNNER}",  # noqa: S608
                    (runner, instance_id),
                )
            jobs = [
                _select_one(connection, job.id)
                for job in sorted(pending_jobs, key=lambda job: job.position)
            ]
        return tuple(job for job in jobs if job is not None)

    def count_by_status(self) -> dict[Stage, int]:
        """Return how many jobs have come how far."""
        with self._database.read_transaction() as connection:
            rows = connection.execute("SELECT stage, count(*) FROM jobs GROUP BY stage").fetchall()
        return {stage: dict(rows).get(stage.value, 0) for stage in Stage}


_PENDING_OF_RUNNER: Final = "stage = 'waiting' AND NOT by_program AND runner = ?1"

_MARK_INTERRUPTED: Final = """
UPDATE jobs SET stage = 'interrupted', ended_at = ?1
    WHERE runner = ?2 AND (stage = 'running' OR stage = 'waiting' AND by_program)
"""

_RECONCILE_SAVED: Final = """
UPDATE jobs SET stage = 'saved', picture_id = id
    WHERE stage = 'interrupted' AND id IN (SELECT pictures.id FROM pictures WHERE pictures.id = jobs.id)
"""
"""A picture has the id of its job."""

_FILTER_CONDITIONS: Final = {
    "seed": "json_extract(request, '$.seed') = ?",
    "size": "(json_extract(request, '$.width'), json_extract(request, '$.height')) = (?, ?)",
    "steps": "json_extract(request, '$.num_inference_steps') = ?",
    "space": "instr(lower(space), lower(?)) > 0",
    "made": "created_at BETWEEN ? AND ?",
}
"""The query's filters that a job knows; the others speak of pictures alone, and are passed over."""

_PROMPT_CONTAINS: Final = "instr(folded(json_extract(request, '$.prompt')), folded(?)) > 0"


def _build_conditions(query: Query, owner: str | None) -> tuple[list[str], list[Any]]:
    conditions, params = [_FAILED_CONDITION, "NOT is_dismissed"], list[Any]()
    if owner is not None:
        conditions.append("owner = ?")
        params.append(owner)
    for term in (*query.terms, *filter(None, (query.prefix,))):
        conditions.append(_PROMPT_CONTAINS)
        params.append(sqlite_text(term))
    for term in query.excluded_terms:
        conditions.append(f"NOT {_PROMPT_CONTAINS}")
        params.append(sqlite_text(term))
    for filter_ in query.filters:
        if filter_.name in _FILTER_CONDITIONS:
            conditions.append(
                f"{'NOT ' if filter_.is_excluded else ''}({_FILTER_CONDITIONS[filter_.name]})"
            )
            params += filter_.values
    return conditions, params


def _select_one(connection: Connection, id_: str) -> JobRecord | None:
    return next(iter(_select(connection, "id = ?", (id_,))), None)


def _select(
    connection: Connection, condition: str, params: tuple[Any, ...]
) -> tuple[JobRecord, ...]:
    rows = connection.execute(f"SELECT {_COLUMN_LIST} FROM jobs WHERE {condition}", params)  # noqa: S608  # our own conditions
    return tuple(job_from_row(row) for row in rows)


def _column_values(job: JobRecord) -> tuple[Any, ...]:
    return tuple(to_column(getattr(job, name)) for name in COLUMNS)
