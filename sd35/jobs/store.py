"""What is written down of jobs, in the library: before anything is sent, and whenever they change."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from sd35.client import StopOutcome
from sd35.core.errors import LibraryError, QuotaError, SD35Error
from sd35.core.request import GenerationRequest
from sd35.jobs.job import Job, JobResult, JobState
from sd35.jobs.record import JobRecord, JobStatus
from sd35.jobs.repository import JobRepository
from sd35.library.layout import owner_key
from sd35.library.library import Library
from sd35.library.repository import Entry

__all__ = ["JobStore", "state_from_picture", "state_from_record"]

log = logging.getLogger(__name__)

T = TypeVar("T")


class JobStore:
    """Writes jobs down in worker threads, one change after another.

    Args:
        library: where.

    """

    def __init__(self, library: Library) -> None:
        self._library = library
        self._repository = JobRepository(library)
        self._limiter = anyio.CapacityLimiter(1)

    async def _run_in_thread(self, operation: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(operation, limiter=self._limiter)

    async def add(self, job: Job, space: str) -> None:
        """Write down a job that is about to wait for its turn.

        Raises:
            LibraryError: it can't be.

        """
        record = self._build_record(job, space)
        await self._run_in_thread(lambda: self._repository.add(record))

    def _build_record(self, job: Job, space: str) -> JobRecord:
        return JobRecord(
            id=job.id,
            owner=owner_key(job.owner),
            original_request=job.original_request,
            request=job.state.value.request,
            space=space,
            created_at=time.time(),
            position=job.queue_entry.position,
            status=JobStatus.PENDING,
            worker_id=self._library.instance_id,
            is_api_call=job.is_api_call,
        )

    async def mark_started(self, job: Job) -> None:
        """Write down that the job is about to be sent.

        Raises:
            LibraryError: it can't be.

        """
        started_at = time.time()
        await self._run_in_thread(
            lambda: self._upsert(
                job, status=JobStatus.RUNNING, is_held=False, started_at=started_at
            )
        )

    async def mark_requeued(self, job: Job, quota_error: QuotaError) -> None:
        """Write down that the job was refused, and waits for another turn."""
        await self._try_upsert(
            job, status=JobStatus.PENDING, started_at=None, **_error_columns(quota_error)
        )

    async def mark_finished(self, job: Job) -> None:
        """Write down how the job has ended; not before its picture is on the disk: it would be lost unnoticed."""
        state = job.state.value
        is_saved = state.result is not None and state.result.path is not None
        if state.status is JobStatus.COMPLETED and not is_saved:
            return
        changes: dict[str, Any] = {
            "status": state.status,
            "ended_at": time.time(),
            "cancel_outcome": "" if state.cancel_outcome is None else state.cancel_outcome.name,
            "cancel_reason": state.cancel_reason,
            "picture_id": job.id if is_saved else None,
            **_error_columns(state.error),
        }
        await self._try_upsert(job, **changes)

    async def mark_cancelled(self, job: Job) -> None:
        """Write down that the job was stopped before it had its place in the line."""
        await self._try_upsert(job, status=JobStatus.CANCELLED, ended_at=time.time())

    async def is_saved(self, job: Job) -> bool:
        """Whether the job's picture is in the library after all."""
        try:
            record = await self.find(job.id)
        except LibraryError:
            return False
        return record is not None and record.status is JobStatus.COMPLETED

    async def save_order(self, jobs: list[Job]) -> None:
        """Write down the jobs' places, and whether they are held."""
        positions = [(job.id, job.queue_entry.position, job.queue_entry.is_held) for job in jobs]
        if positions:
            await self._try_in_thread(lambda: self._repository.reorder(positions))

    async def mark_dismissed(self, job: Job) -> None:
        """Write down that nobody need be told of the job any more."""
        await self._try_upsert(job, is_dismissed=True)

    async def is_dismissed(self, job: Job) -> bool:
        """Whether it is written down that nobody need be told of the job any more.

        Raises:
            LibraryError: the index can't be read.

        """
        record = await self.find(job.id)
        return record is not None and record.is_dismissed

    async def restore_missing(self, jobs: Sequence[Job]) -> None:
        """Write down those of these jobs that aren't: somebody may have taken the index away."""
        for job in jobs:
            await self._try_upsert(job)

    def _upsert(self, job: Job, **changes: Any) -> None:  # noqa: ANN401  # the record's own fields
        """Change what is written down of a job; if that is nothing any more, write it down anew."""
        if self._repository.update(job.id, **changes) is None:
            self._repository.add(replace(self._build_record(job, ""), **changes))

    async def _try_upsert(self, job: Job, **changes: Any) -> None:  # noqa: ANN401
        await self._try_in_thread(lambda: self._upsert(job, **changes))

    async def _try_in_thread(self, operation: Callable[[], object]) -> None:
        try:
            await self._run_in_thread(operation)
        except LibraryError as error:  # the job itself goes on
            log.warning("what became of a job couldn't be written down: %s", error.happened)

    async def adopt_orphans(self) -> None:
        """Make what was left by programs that are gone this one's, or interrupted.

        Raises:
            LibraryError: it can't be.

        """
        await anyio.to_thread.run_sync(
            self._repository.adopt_orphans
        )  # which may look through the folder

    async def rescan(self) -> None:
        """Notice what has changed in the library's folder since it was last looked through."""
        try:
            await anyio.to_thread.run_sync(self._repository.rescan)
        except LibraryError as error:
            log.warning("the library couldn't be looked through: %s", error.happened)

    async def list_open(self, owner: str | None) -> list[JobRecord]:
        """Return what waits, and what came to no good end, of this owner's.

        Raises:
            LibraryError: the index can't be read.

        """
        repository, key, worker_id = self._repository, owner_key(owner), self._library.instance_id
        records = await self._run_in_thread(
            lambda: [
                *repository.list_failed(key),
                *repository.list_unfinished(owner=key, worker_id=worker_id),
            ]
        )
        return [record for record in records if not record.is_api_call]

    async def find_picture(self, picture_id: str, owner: str | None = None) -> Entry | None:
        """Return what is known of a picture, if there is one; with an owner's key, of theirs.

        Raises:
            LibraryError: the index can't be read.

        """
        return await self._run_in_thread(lambda: self._library.get(picture_id, owner))

    async def discard(self, ids: Sequence[str]) -> None:
        """Delete pictures for ever, where they aren't meant to last."""
        try:
            await self._run_in_thread(lambda: self._library.delete(ids))
        except LibraryError as error:
            log.warning("old pictures couldn't be deleted: %s", error.happened)

    async def find(self, job_id: str) -> JobRecord | None:
        """Return what is written down of a job.

        Raises:
            LibraryError: the index can't be read.

        """
        return await self._run_in_thread(lambda: self._repository.get(job_id))


def _error_columns(error: SD35Error | None) -> dict[str, Any]:
    if error is None:
        return {"error_kind": "", "error_message": "", "error_remedy": "", "retry_at": None}
    return {
        "error_kind": error.kind,
        "error_message": error.happened,
        "error_remedy": error.remedy,
        "retry_at": error.retry_at,
    }


def state_from_record(record: JobRecord, result: JobResult | None) -> JobState | None:
    """Return the state of a job that was written down; `None` for one that another program runs, or has no picture."""
    status = record.status
    if status is JobStatus.RUNNING or (status is JobStatus.COMPLETED and result is None):
        return None
    clock_offset = time.monotonic() - time.time()
    error = _read_error(record) if status is JobStatus.FAILED else None
    has_quota_error = status is JobStatus.PENDING and record.retry_at is not None
    return JobState(
        record.request,
        status,
        record.created_at + clock_offset,
        is_held=record.is_held and status is JobStatus.PENDING,
        cancel_reason=record.cancel_reason,
        quota_error=_read_quota_error(record) if has_quota_error else None,
        ended_at=None if record.ended_at is None else record.ended_at + clock_offset,
        result=result,
        cancel_outcome=StopOutcome.__members__.get(record.cancel_outcome),
        error=error,
    )


def state_from_picture(request: GenerationRequest, result: JobResult) -> JobState:
    """Return the state of a job of which nothing is known but its picture."""
    now = time.monotonic()
    return JobState(request, JobStatus.COMPLETED, now, ended_at=now, result=result)


def _read_quota_error(record: JobRecord) -> QuotaError:
    quota_error = QuotaError(record.error_message, record.error_remedy)
    quota_error.retry_at = record.retry_at
    return quota_error


def _read_error(record: JobRecord) -> SD35Error:
    error = SD35Error(record.error_message, record.error_remedy)
    error.kind = record.error_kind
    error.retry_at = record.retry_at
    return error
