"""Asynchronous reading and writing of job records."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from sqlite3 import Connection
from typing import Any, TypeVar

import anyio.to_thread

from sd35.client import StopOutcome
from sd35.core.errors import IndexDamagedError, LibraryError, QuotaError, SD35Error
from sd35.core.run_time import RunSample
from sd35.jobs.batches import BatchProcessor
from sd35.jobs.job import Job, JobResult, JobState
from sd35.jobs.record import STORED_STATUSES, JobRecord, JobStatus
from sd35.jobs.repository import (
    JobChange,
    JobRepository,
    insert_job,
    reorder_jobs,
    update_job,
)
from sd35.library.layout import owner_key
from sd35.library.library import Library
from sd35.library.repository import Entry

__all__ = ["JobStore", "error_columns", "state_from_record"]

log = logging.getLogger(__name__)

T = TypeVar("T")


class JobStore:
    """Asynchronous access to the `JobRepository` of a library.

    `add`, `mark_started`, `find` and `list_open` raise LibraryError. The other methods only log it,
    so that a running job doesn't fail because of it.
    """

    def __init__(self, library: Library) -> None:
        self._library = library
        self._repository = JobRepository(library)
        # Changes of jobs that come together share a transaction, and the flush to the disk that
        # takes most of its time. They stay in order.
        self._changes = BatchProcessor(self._apply_changes)
        self._last_warning = ""

    def _apply_changes(self, changes: Sequence[JobChange]) -> list[Exception | None]:
        return self._run_on_intact_index(lambda: self._repository.apply(changes))

    async def _read(self, operation: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(self._run_on_intact_index, operation)

    def _run_on_intact_index(self, operation: Callable[[], T]) -> T:
        """Run an operation, which is one transaction, once more if the index was replaced."""
        # A damaged index is replaced at once: jobs can be recorded in a new one, and nobody has to
        # wait for a restart.
        self._library.replace_damaged_index()
        try:
            return operation()
        except IndexDamagedError:
            self._library.replace_damaged_index()
            return operation()

    async def _try_change(self, change: JobChange) -> None:
        try:
            await self._changes.submit(change)
        except LibraryError as error:
            self._warn(f"A change of a job couldn't be recorded: {error.happened}")
        else:
            self._last_warning = ""

    def _warn(self, message: str) -> None:
        # Without the library's folder, every change of every job fails for the same reason.
        if message != self._last_warning:
            self._last_warning = message
            log.warning("%s", message)

    async def drain(self, timeout_seconds: float) -> None:
        """Wait until all changes so far are recorded, whoever has stopped waiting for them."""
        await self._changes.drain(timeout_seconds)

    async def add(self, jobs: Sequence[Job], space: str) -> None:
        """Record new jobs, all or none, before anything is sent."""
        self._library.check_writable()
        records = [self._build_record(job, space) for job in jobs]

        def insert(connection: Connection) -> None:
            for record in records:
                insert_job(connection, record)

        await self._changes.submit(insert)

    async def mark_started(self, job: Job) -> None:
        """Record that the job is about to be sent."""
        changes = {"status": JobStatus.RUNNING, "is_held": False, "started_at": time.time()}
        await self._changes.submit(lambda connection: self._upsert(connection, job, changes))

    async def mark_unsent(self, job: Job, error: SD35Error | None = None) -> None:
        """Record that the Space hasn't accepted the job, which is pending again."""
        await self.update(job, status=JobStatus.PENDING, started_at=None, **error_columns(error))

    async def mark_finished(self, job: Job) -> None:
        """Record how the job has ended, unless its image couldn't be saved yet."""
        state = job.state.value
        if state.status is JobStatus.COMPLETED and not state.is_saved:
            # The record stays `running`: if the program ends now, the image is lost, and the job
            # has to show up as interrupted.
            return
        await self.update(
            job,
            status=state.status,
            ended_at=time.time(),
            cancel_outcome="" if state.cancel_outcome is None else state.cancel_outcome.name,
            cancel_reason=state.cancel_reason,
            picture_id=job.id if state.is_saved else None,
            **error_columns(state.error),
        )

    async def update(self, job: Job, **changes: Any) -> None:  # noqa: ANN401  # fields of JobRecord
        """Change fields of the job's record; insert it if it is missing."""
        await self._try_change(lambda connection: self._upsert(connection, job, changes))

    async def save_order(self, jobs: list[Job]) -> None:
        """Record the positions of jobs, and which of them are held."""
        positions = [(job.id, job.queue_entry.position, job.queue_entry.is_held) for job in jobs]
        if positions:
            await self._try_change(lambda connection: reorder_jobs(connection, positions))

    async def rescan(self) -> None:
        """Rescan the library, and complete the interrupted jobs whose images were found."""
        try:
            # Not in order with the changes of jobs, which a long rescan would hold up.
            await anyio.to_thread.run_sync(self._run_on_intact_index, self._repository.rescan)
        except LibraryError as error:
            self._warn(f"The library couldn't be rescanned: {error.happened}")

    async def find(self, job_id: str) -> JobRecord | None:
        """Return the record of a job."""
        return await self._read(lambda: self._repository.get(job_id))

    async def find_with_picture(
        self, job_id: str, owner: str | None
    ) -> tuple[JobRecord | None, Entry | None]:
        """Return the record of a job and its image; without a record, an owner's image."""

        def find() -> tuple[JobRecord | None, Entry | None]:
            record = self._repository.get(job_id)
            picture_id = job_id if record is None else record.picture_id
            # The owner of a record is that of its image.
            is_unowned = record is None and owner is None
            if picture_id is None or is_unowned:
                return record, None
            return record, self._library.get(picture_id, owner if record is None else None)

        return await self._read(find)

    async def list_open(self, owner: str | None) -> list[JobRecord]:
        """Return an owner's failed and unfinished jobs, orphans included."""
        key = owner_key(owner)
        worker_id = self._library.instance_id

        def list_records() -> list[JobRecord]:
            self._repository.adopt_orphans()  # may rescan the library, too
            return [
                *self._repository.list_failed(key),
                *self._repository.list_unfinished(owner=key, worker_id=worker_id),
            ]

        return [record for record in await self._read(list_records) if not record.is_api_call]

    async def run_samples(self, space: str, model: str, *, is_demo: bool) -> list[RunSample]:
        """Return the newest completed runs of a Space, the newest first."""
        return await self._read(lambda: self._repository.run_samples(space, model, is_demo=is_demo))

    def _build_record(self, job: Job, space: str = "") -> JobRecord:
        # A job that may have been sent must never look unsent.
        status = job.status if job.status in STORED_STATUSES else JobStatus.RUNNING
        return JobRecord(
            id=job.id,
            owner=owner_key(job.owner),
            original_request=job.original_request,
            request=job.state.value.request,
            space=space,
            created_at=time.time(),
            status=status,
            position=job.queue_entry.position,
            worker_id=self._library.instance_id,
            is_api_call=job.is_api_call,
            origin=job.origin,
            set_id=job.origin.set_id,
        )

    def _upsert(self, connection: Connection, job: Job, changes: dict[str, Any]) -> None:
        # The record is missing if the index was deleted, and rebuilt from the images.
        if not update_job(connection, job.id, changes):
            insert_job(connection, replace(self._build_record(job), **changes))


def error_columns(error: SD35Error | None) -> dict[str, Any]:
    """Return the fields of a record that describe an error."""
    return {
        "error_kind": "" if error is None else error.kind,
        "error_message": "" if error is None else error.happened,
        "error_remedy": "" if error is None else error.remedy,
        "retry_at": None if error is None else error.retry_at,
    }


def state_from_record(record: JobRecord, result: JobResult | None = None) -> JobState | None:
    """Return a recorded job's state; `None` if it runs elsewhere, or its image is gone."""
    status = record.status
    if status is JobStatus.RUNNING or (status is JobStatus.COMPLETED and result is None):
        return None
    is_pending = status is JobStatus.PENDING
    quota_error = QuotaError(record.error_message, record.error_remedy)
    quota_error.retry_at = record.retry_at
    error = SD35Error(record.error_message, record.error_remedy)
    error.kind = record.error_kind
    error.retry_at = record.retry_at
    # A job that was interrupted by the end of the program has none.
    has_error = status is JobStatus.FAILED or (status is JobStatus.INTERRUPTED and error.happened)
    # Records hold times of the wall clock, states those of the monotonic one.
    clock_offset = time.monotonic() - time.time()
    return JobState(
        record.request,
        status,
        record.created_at + clock_offset,
        is_held=record.is_held and is_pending,
        cancel_reason=record.cancel_reason,
        pause_error=quota_error if is_pending and record.retry_at is not None else None,
        ended_at=None if record.ended_at is None else record.ended_at + clock_offset,
        result=result,
        cancel_outcome=StopOutcome.__members__.get(record.cancel_outcome),
        error=error if has_error else None,
    )
