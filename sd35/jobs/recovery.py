"""Loading of jobs that aren't in memory: orphans of dead workers, and old ones."""

import asyncio
import time
from typing import Final

from sd35.core.errors import LibraryError
from sd35.core.observable import Observable
from sd35.core.visitor import Visitor
from sd35.jobs.job import Job, JobState
from sd35.jobs.provenance import origin_from_metadata, request_from_metadata
from sd35.jobs.record import JobRecord, JobStatus
from sd35.jobs.registry import JobRegistry
from sd35.jobs.results import ResultSaver
from sd35.jobs.scheduler import QueueEntry
from sd35.jobs.store import JobStore, state_from_record
from sd35.jobs.tasks import BackgroundTasks
from sd35.library.layout import owner_key
from sd35.library.library import Library
from sd35.library.repository import Entry

__all__ = ["JobRecovery", "LibraryRescanner"]

RESCAN_DELAY: Final = 2.0  # seconds after a page was opened
RESCAN_INTERVAL: Final = 20.0  # seconds between two rescans


class JobRecovery:
    """Loader of jobs that aren't in memory. Its methods raise LibraryError."""

    def __init__(self, store: JobStore, result_saver: ResultSaver) -> None:
        self._store = store
        self._result_saver = result_saver

    async def load_open(self, visitor: Visitor) -> list[Job]:
        """Return the failed and unfinished jobs of a visitor, orphans included."""
        records = await self._store.list_open(visitor.owner)
        return [
            _build_job(record, state, visitor, visitor.owner)
            for record in records
            if (state := state_from_record(record)) is not None
        ]

    async def find(self, job_id: str, visitor: Visitor) -> Job | None:
        """Return a job that has ended and that the visitor can access."""
        key = None if visitor.owner is None else owner_key(visitor.owner)
        record, entry = await self._store.find_with_picture(job_id, key)
        if record is None:
            return None if entry is None else self._build_job_of_picture(entry, visitor)
        if record.owner not in {owner_key(visitor.owner), owner_key(None)}:
            return None
        # The key of an anonymous owner is the same for all: the id alone gives access.
        owner = None if record.owner == owner_key(None) else visitor.owner
        result = None if entry is None else self._result_saver.publish(entry, owner)
        state = state_from_record(record, result)
        if state is None or not state.status.is_final:
            return None
        return _build_job(record, state, visitor, owner)

    def _build_job_of_picture(self, entry: Entry, visitor: Visitor) -> Job:
        """Return a job for an image without one: it was imported, or the index was rebuilt."""
        request = request_from_metadata(entry.metadata, entry.width, entry.height)
        now = time.monotonic()
        result = self._result_saver.publish(entry, visitor.owner)
        return Job(
            id=entry.id,
            original_request=request,
            state=Observable(
                JobState(request, JobStatus.COMPLETED, now, ended_at=now, result=result)
            ),
            queue_entry=QueueEntry(visitor.rate_limit_key, 0.0),
            origin=origin_from_metadata(entry.metadata),
            owner=visitor.owner,
        )


def _build_job(record: JobRecord, state: JobState, visitor: Visitor, owner: str | None) -> Job:
    return Job(
        id=record.id,
        original_request=record.original_request,
        state=Observable(state),
        queue_entry=QueueEntry(visitor.rate_limit_key, record.position, is_held=state.is_held),
        origin=record.origin,
        owner=owner,
        is_api_call=record.is_api_call,
    )


class LibraryRescanner:
    """Rescanner that brings the index and the jobs up to date with the library's folder."""

    def __init__(
        self, library: Library, store: JobStore, registry: JobRegistry, tasks: BackgroundTasks
    ) -> None:
        self._library = library
        self._store = store
        self._registry = registry
        self._tasks = tasks
        self._next_rescan_at = 0.0
        self._is_running = False

    def rescan_soon(self) -> None:
        """Rescan the library in the background, unless that was done a short while ago."""
        if not self.rescan_if_needed() and time.monotonic() >= self._next_rescan_at:
            # A rescan reads many files, so the page that has just been opened goes first.
            self._start(RESCAN_DELAY)

    async def rescan_now(self) -> None:
        """Rescan the library."""
        await self._rescan(0.0)

    def rescan_if_needed(self) -> bool:
        """Rescan if the index is new, and return whether it is."""
        needs_rescan = self._library.needs_rescan
        if needs_rescan and not self._is_running:
            self._start(0.0)
        return needs_rescan

    def _start(self, delay: float) -> None:
        self._next_rescan_at = time.monotonic() + RESCAN_INTERVAL
        self._tasks.start(self._rescan(delay))

    async def _rescan(self, delay: float) -> None:
        await asyncio.sleep(delay)
        self._is_running = True
        try:
            await self._store.rescan()
        finally:
            self._is_running = False
        for job in self._registry.unfinished_jobs:
            await self._store.update(job)  # the index may be a new one, without the record
        for job in self._registry.jobs:
            if job.status is JobStatus.INTERRUPTED and await self._is_completed(job):
                self._registry.remove(job)

    async def _is_completed(self, job: Job) -> bool:
        """Return whether the image of a job that seemed to be interrupted was found."""
        try:
            record = await self._store.find(job.id)
        except LibraryError:
            return False
        return record is not None and record.status is JobStatus.COMPLETED
