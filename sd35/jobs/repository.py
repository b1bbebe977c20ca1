"""The table of jobs in the library's index."""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from sqlite3 import Connection
from typing import Any, Final

from sd35.core.errors import IndexDamagedError, LibraryError
from sd35.core.origin import MAX_SET_SIZE
from sd35.core.request import GenerationRequest
from sd35.core.run_time import MAX_SAMPLES, RunSample, run_work
from sd35.jobs.record import (
    COLUMNS,
    STORED_STATUSES,
    JobRecord,
    JobStatus,
    job_from_row,
    to_column,
)
from sd35.library.layout import OnProgress
from sd35.library.library import Library
from sd35.library.query import Cursor, Query
from sd35.library.scanner import LOCK_TIMEOUT, ScanResult
from sd35.library.text_index import sqlite_text

__all__ = [
    "JobChange",
    "JobPage",
    "JobRepository",
    "insert_job",
    "list_without_image",
    "reorder_jobs",
    "update_job",
]

# Change of one or more jobs within a transaction.
JobChange = Callable[[Connection], object]

MAX_FAILED_JOBS: Final = 50
MAX_SET_JOBS: Final = 4 * MAX_SET_SIZE  # one may be retried

# A page that is being opened waits for the adoption of orphans, so it doesn't wait long for another
# program's rescan.
ADOPTION_LOCK_TIMEOUT: Final = 1.0

# The same words as in the partial indexes: otherwise SQLite doesn't use them.
_UNFINISHED: Final = "status IN ('pending', 'running')"
_FAILED: Final = "status IN ('cancelled', 'failed', 'interrupted')"


@dataclass(frozen=True, slots=True)
class JobPage:
    """Page of jobs, newest first, and the cursor of the next page."""

    jobs: tuple[JobRecord, ...]
    older_cursor: str | None


_COLUMN_LIST: Final = ", ".join(COLUMNS)


class JobRepository:
    """Repository of the jobs of a library, for any number of threads and programs.

    Each change is atomic. Every method raises LibraryError if the index can't be used. A job whose
    row is damaged is left out.
    """

    def __init__(self, library: Library) -> None:
        self._library = library
        self._database = library.database

    def add(self, job: JobRecord) -> None:
        """Insert a new job, or replace the row of a job that can't be read."""
        with self._database.write_transaction() as connection:
            insert_job(connection, job)

    def update(self, job_id: str, **changes: Any) -> JobRecord | None:  # noqa: ANN401  # fields
        """Set fields of a job and return its new record; `None` if there is no such job.

        Raises:
            TypeError: a job has no field of this name.
        """
        with self._database.write_transaction() as connection:
            update_job(connection, job_id, changes)
            return _select_one(connection, job_id)

    def get(self, job_id: str) -> JobRecord | None:
        """Return a job; `None` if there is no such job."""
        with self._database.read_transaction() as connection:
            return _select_one(connection, job_id)

    def list_unfinished(
        self, worker_id: str | None = None, owner: str | None = None
    ) -> tuple[JobRecord, ...]:
        """Return the pending and running jobs in queue order, of one worker or owner."""
        with self._database.read_transaction() as connection:
            return _select(
                connection,
                f"{_UNFINISHED} AND (?1 IS NULL OR worker_id = ?1) AND (?2 IS NULL OR owner = ?2)"
                " ORDER BY position, created_at",
                (worker_id, owner),
            )

    def list_failed(
        self, owner: str | None = None, limit: int = MAX_FAILED_JOBS
    ) -> tuple[JobRecord, ...]:
        """Return the newest failed jobs: neither dismissed nor cancelled by their owner."""
        with self._database.read_transaction() as connection:
            return _select(
                connection,
                f"{_FAILED} AND NOT is_dismissed AND NOT is_api_call"
                " AND (status != 'cancelled' OR cancel_reason != '')"
                " AND (?1 IS NULL OR owner = ?1) ORDER BY created_at DESC, id DESC LIMIT ?2",
                (owner, limit),
            )

    def list_set(self, set_id: str, owner: str | None = None) -> tuple[JobRecord, ...]:
        """Return the jobs of a set that weren't dismissed, the newest first."""
        with self._database.read_transaction() as connection:
            return _select(
                connection,
                "set_id = ?1 AND set_id != '' AND NOT is_dismissed"
                " AND (?2 IS NULL OR owner = ?2) ORDER BY created_at DESC, id DESC LIMIT ?3",
                (sqlite_text(set_id), owner, MAX_SET_JOBS),
            )

    def search(
        self, query: Query, owner: str | None = None, cursor: str | None = None, limit: int = 48
    ) -> JobPage:
        """Return the jobs without an image that match a query and aren't dismissed."""
        conditions, params = _build_conditions(query, owner)
        start = Cursor.parse(cursor)
        if start is not None:
            conditions.append("(created_at, id) < (?, ?)")
            params += [start.timestamp, start.id]
        with self._database.read_transaction() as connection:
            condition = f"{' AND '.join(conditions)} ORDER BY created_at DESC, id DESC LIMIT ?"
            rows = _select_rows(connection, condition, (*params, limit + 1))
        page = _to_records(rows[:limit])
        has_more = len(rows) > limit and len(page) > 0
        return JobPage(page, str(Cursor(page[-1].created_at, page[-1].id)) if has_more else None)

    def run_samples(
        self, space: str, model: str | None, *, is_demo: bool, limit: int = MAX_SAMPLES
    ) -> list[RunSample]:
        """Return the newest completed runs of a Space, the newest first.

        Args:
            space: its name, as in the metadata.
            model: the model there, as in the metadata; `None` stands for that of the newest image.
            is_demo: whether the runs are those of a demo painter.
            limit: the number of images that are read.
        """
        key = (sqlite_text(space), is_demo)
        with self._database.read_transaction() as connection:
            if model is None:
                row = connection.execute(_SELECT_NEWEST_MODEL, key).fetchone()
                model = "" if row is None else str(row[0])
            params = (*key, sqlite_text(model), limit)
            rows = connection.execute(_SELECT_RUNS, params).fetchall()
        samples = [_sample_from_row(row) for row in rows]
        return [sample for sample in samples if sample is not None]

    def apply(self, changes: Sequence[JobChange]) -> list[Exception | None]:
        """Apply changes in one transaction; return the error of each that failed.

        Raises:
            IndexDamagedError: the index is damaged.
        """
        try:
            with self._database.write_transaction() as connection:
                for change in changes:
                    change(connection)
        except IndexDamagedError:
            raise
        except LibraryError as error:
            if len(changes) == 1:
                return [error]
            # It may be one of them that failed.
            return [error for change in changes for error in self.apply([change])]
        return [None] * len(changes)

    def rescan(
        self,
        on_progress: OnProgress | None = None,
        lock_timeout: float = LOCK_TIMEOUT,
        *,
        checks_index: bool = False,
    ) -> ScanResult:
        """Rescan the library, and complete the interrupted jobs whose images were found."""
        result = self._library.rescan(on_progress, lock_timeout, checks_index=checks_index)
        with self._database.write_transaction() as connection:
            connection.execute(_COMPLETE_SAVED)
        return result

    def adopt_orphans(self) -> None:
        """Take over the unfinished jobs of dead workers.

        A pending job is held, and belongs to this instance from now on. A running one is marked as
        interrupted, unless its image was saved; so is an API call, whose caller is gone, too.
        """
        orphans = self._orphans()
        if not orphans:
            return
        if any(status == JobStatus.RUNNING.value for _, status in orphans):
            # The program may have been killed between saving the file and indexing it.
            with suppress(LibraryError):
                self._library.rescan(lock_timeout=ADOPTION_LOCK_TIMEOUT)
        # Two programs may adopt at the same time: each update names the old worker, so a job is
        # adopted by the first of them alone.
        with self._database.write_transaction() as connection:
            for worker_id in {worker_id for worker_id, _ in orphans}:
                connection.execute(_INTERRUPT, (time.time(), worker_id))
                connection.execute(_ADOPT, (self._library.instance_id, worker_id))
            connection.execute(_COMPLETE_SAVED)

    def _orphans(self) -> set[tuple[str, str]]:
        """Return the worker and the status of each unfinished job of a dead worker."""
        with self._database.read_transaction() as connection:
            rows = connection.execute(
                # No values.
                f"SELECT DISTINCT worker_id, status FROM jobs WHERE {_UNFINISHED}"  # noqa: S608
            ).fetchall()
        workers = {worker_id for worker_id, _ in rows} - {self._library.instance_id}
        dead_workers = {worker for worker in workers if not self._library.is_alive(worker)}
        return {(worker_id, status) for worker_id, status in rows if worker_id in dead_workers}

    def count_by_status(self) -> dict[JobStatus, int]:
        """Return the number of jobs of each status that the database knows."""
        with self._database.read_transaction() as connection:
            rows = connection.execute("SELECT status, count(*) FROM jobs GROUP BY status")
            counts = dict(rows.fetchall())
        return {status: counts.get(status.value, 0) for status in STORED_STATUSES}


def list_without_image(connection: Connection, owner: str, limit: int) -> tuple[JobRecord, ...]:
    """Return an owner's newest jobs on the page that have no image: to come, or not made."""
    jobs = [
        job
        for condition in (_UNFINISHED, _FAILED)
        for job in _select(
            connection,
            f"{condition} AND owner = ? AND NOT is_api_call ORDER BY created_at DESC LIMIT ?",
            (owner, limit),
        )
    ]
    return tuple(sorted(jobs, key=lambda job: -job.created_at)[:limit])


def insert_job(connection: Connection, job: JobRecord) -> None:
    """Insert a new job, or replace the row of a job that can't be read."""
    placeholders = ", ".join("?" * len(COLUMNS))
    values = [to_column(getattr(job, name)) for name in COLUMNS]
    # Only our own column names are in the text; values are parameters.
    sql = f"INSERT OR REPLACE INTO jobs ({_COLUMN_LIST}) VALUES ({placeholders})"  # noqa: S608
    connection.execute(sql, values)


def update_job(connection: Connection, job_id: str, changes: Mapping[str, Any]) -> bool:
    """Set fields of a job; return whether there is such a job that can be read.

    Raises:
        TypeError: a job has no field of this name.
    """
    unknown_names = changes.keys() - set(COLUMNS)
    if unknown_names:
        raise TypeError(f"A job has no {', '.join(sorted(unknown_names))}.")
    if changes:
        assignments = ", ".join(f"{name} = ?" for name in changes)
        params = [to_column(value) for value in changes.values()]
        # The names were checked above.
        sql = f"UPDATE jobs SET {assignments} WHERE id = ?"  # noqa: S608
        connection.execute(sql, (*params, job_id))
    return _select_one(connection, job_id) is not None


def reorder_jobs(connection: Connection, positions: Iterable[tuple[str, float, bool]]) -> None:
    """Set `position` and `is_held` of jobs, given as `(id, position, is_held)`."""
    connection.executemany("UPDATE jobs SET position = ?2, is_held = ?3 WHERE id = ?1", positions)


_INTERRUPT: Final = """
UPDATE jobs SET status = 'interrupted', ended_at = ?1
    WHERE worker_id = ?2 AND (status = 'running' OR status = 'pending' AND is_api_call)
"""

_ADOPT: Final = (
    "UPDATE jobs SET worker_id = ?1, is_held = 1 WHERE status = 'pending' AND worker_id = ?2"
)

# A picture has the id of its job. The run of a cancelled job may have been followed to its image.
_COMPLETE_SAVED: Final = f"""
UPDATE jobs SET status = 'completed', picture_id = id
    WHERE {_FAILED} AND status != 'failed'
    AND EXISTS (SELECT 1 FROM pictures WHERE pictures.id = jobs.id)
"""  # noqa: S608  # no values

# `json_extract` raises an error for what isn't JSON, and one damaged row would end every search.
_REQUEST_FIELD: Final = "json_extract(iif(json_valid(request), request, '{{}}'), '$.{}')"

# The filters that apply to jobs; the others are ignored.
_FILTER_CONDITIONS: Final = {
    # Exact, unlike `json_extract`, which makes a seed of 64 bits a float. A prompt can't contain
    # this: in JSON, its quotation marks have a backslash.
    "seed": """instr(request, '"seed": ' || ? || ',') > 0""",
    "size": f"({_REQUEST_FIELD.format('width')}, {_REQUEST_FIELD.format('height')}) = (?, ?)",
    "steps": f"{_REQUEST_FIELD.format('num_inference_steps')} = ?",
    "space": "instr(lower(space), lower(?)) > 0",
    "made": "created_at BETWEEN ? AND ?",
}

_PROMPT_CONTAINS: Final = f"instr(folded({_REQUEST_FIELD.format('prompt')}), folded(?)) > 0"


# The time in the Space's queue is the job's without the run's; the images of other programs have no
# job. The index `pictures_runs` finds the rows.
_SELECT_RUNS: Final = """
SELECT pictures.width, pictures.height, guidance, steps,
    json_extract(iif(json_valid(record), record, '{}'), '$.took_seconds'), ended_at - started_at
    FROM pictures LEFT JOIN jobs ON jobs.id = pictures.id AND status = 'completed'
    WHERE pictures.space = ?1 AND is_demo = ?2 AND model = ?3 ORDER BY made_at DESC LIMIT ?4
"""

_SELECT_NEWEST_MODEL: Final = (
    "SELECT model FROM pictures WHERE space = ? AND is_demo = ? ORDER BY made_at DESC LIMIT 1"
)


def _sample_from_row(row: tuple[Any, ...]) -> RunSample | None:
    """Return a run; `None` if its values are unknown or damaged."""
    width, height, guidance, steps, run_seconds, job_seconds = row
    if not all(_is_number(value) for value in (width, height, run_seconds)):
        return None
    # A Space without these parameters has none of them in the metadata, but all requests have.
    settings = {"guidance_scale": guidance, "num_inference_steps": steps}
    settings = {name: value for name, value in settings.items() if _is_number(value)}
    request = GenerationRequest("", width=width, height=height, **settings)
    wait_seconds = max(0.0, job_seconds - run_seconds) if _is_number(job_seconds) else None
    return RunSample(run_work(request), float(run_seconds), wait_seconds)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _build_conditions(query: Query, owner: str | None) -> tuple[list[str], list[Any]]:
    conditions = [_FAILED, "NOT is_dismissed"]
    params: list[Any] = []
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
            negation = "NOT " if filter_.is_excluded else ""
            conditions.append(f"{negation}({_FILTER_CONDITIONS[filter_.name]})")
            params += map(str, filter_.values) if filter_.name == "seed" else filter_.values
    return conditions, params


def _select_one(connection: Connection, job_id: str) -> JobRecord | None:
    return next(iter(_select(connection, "id = ?", (job_id,))), None)


def _select(
    connection: Connection, condition: str, params: tuple[Any, ...]
) -> tuple[JobRecord, ...]:
    return _to_records(_select_rows(connection, condition, params))


def _select_rows(
    connection: Connection, condition: str, params: tuple[Any, ...]
) -> list[tuple[Any, ...]]:
    # Conditions are written in this module; values are parameters.
    sql = f"SELECT {_COLUMN_LIST} FROM jobs WHERE {condition}"  # noqa: S608
    return connection.execute(sql, params).fetchall()


def _to_records(rows: Iterable[tuple[Any, ...]]) -> tuple[JobRecord, ...]:
    return tuple(record for row in rows if (record := job_from_row(row)) is not None)
