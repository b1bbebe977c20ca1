"""What one visitor has asked for, as their pages watch it: what runs, what waits, what came to no good end."""

import asyncio
import datetime as dt
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sd35.client import Identity
from sd35.core.errors import QuotaError
from sd35.core.observable import Observable
from sd35.jobs.job import Job, JobState
from sd35.jobs.record import JobStatus
from sd35.jobs.scheduler import Scheduler
from sd35.jobs.store import JobStore

__all__ = ["QueuePause", "QueueRegistry", "Revision", "VisitorQueue"]


MAX_FAILED_JOBS = 50


@dataclass(frozen=True, slots=True)
class Revision:
    """How often something has changed, and how often something that nobody should wait for."""

    version: int = 0
    urgent_version: int = 0


@dataclass(frozen=True, slots=True)
class QueuePause:
    """Nothing of a visitor's is sent for a while, or until they say so: the quota is used up."""

    quota_error: QuotaError
    resumes_at: dt.datetime | None


class VisitorQueue:
    """The jobs of one visitor. Belongs to one event loop.

    Attributes:
        news: changes with each of the jobs, to be watched.
        watchers: how many pages look.
        looks: how many have ever begun to.
        done: how many pictures have come, and how many jobs have failed (`bad`), since the program
            was started.
        repeats: of a job's id, the job that it was run again as.

    """

    def __init__(self, on_unwatched: Callable[["VisitorQueue"], None] = lambda _: None) -> None:
        self._jobs: dict[str, Job] = {}
        self._dismissed: set[str] = set()
        self._on_unwatched = on_unwatched
        self.revision = Observable(Revision())
        self._pause: QueuePause | None = None
        self.watcher_count = 0
        self.watch_count = 0
        self.completed_count = 0
        self.failed_count = 0
        self.retries: dict[str, Job] = {}

    @property
    def pause(self) -> QueuePause | None:
        """Why none of them is begun, if that is so."""
        has_expired = (
            self._pause is not None
            and self._pause.resumes_at is not None
            and self._pause.resumes_at <= _now()
        )
        return None if has_expired else self._pause

    @pause.setter
    def pause(self, pause: QueuePause | None) -> None:
        self._pause = pause

    def add(self, job: Job) -> None:
        """Take a job up."""
        self._jobs[job.id] = job
        job.on_change = self._on_job_change
        self.notify()

    def remove(self, job: Job) -> None:
        """Know nothing of the job any more."""
        if self._jobs.pop(job.id, None) is not None:
            self._dismissed.discard(job.id)
            self.retries.pop(job.id, None)
            self.notify()

    def is_dismissed(self, job: Job) -> bool:
        """Whether it was said here that a job isn't to be spoken of."""
        return job.id in self._dismissed

    def dismiss(self, job: Job) -> None:
        """Don't speak of a job any more that has ended."""
        if job.state.value.status.is_final:
            self._dismissed.add(job.id)
            self.notify()

    def undismiss(self, job: Job) -> None:
        """Speak of a job again."""
        self._dismissed.discard(job.id)
        self.notify()

    def notify(self) -> None:
        """Tell those who watch that something has changed."""
        revision = self.revision.value
        self.revision.set(Revision(revision.version + 1, revision.urgent_version + 1))

    def _on_job_change(self, old: JobState, new: JobState) -> None:
        revision = self.revision.value
        is_significant = new.is_significant_change(old)
        if (
            new.status is JobStatus.RUNNING
            and self._pause is not None
            and self._pause.resumes_at is None
        ):
            self._pause = None  # the Space has taken one after all
        if new.status.is_final and not old.status.is_final:
            self.completed_count += new.status is JobStatus.COMPLETED
            self.failed_count += new.status in {JobStatus.FAILED, JobStatus.INTERRUPTED}
        self.revision.set(Revision(revision.version + 1, revision.urgent_version + is_significant))

    @contextmanager
    def track_watcher(self) -> Iterator[None]:
        """Count as one who looks while the block lasts."""
        self.watcher_count += 1
        self.watch_count += 1
        try:
            yield
        finally:
            self.watcher_count -= 1
            if not self.watcher_count:
                self._on_unwatched(self)

    @property
    def is_empty(self) -> bool:
        """Whether nothing of this visitor's is remembered."""
        return not self._jobs

    @property
    def open_jobs(self) -> list[Job]:
        """What runs, and after that what waits, as it will have its turn."""
        jobs = (job for job in self._jobs.values() if not job.state.value.status.is_final)
        return sorted(jobs, key=lambda job: (_is_pending(job), job.queue_entry.position))

    @property
    def running_jobs(self) -> list[Job]:
        """What has had its turn."""
        return [job for job in self.open_jobs if not _is_pending(job)]

    @property
    def pending_jobs(self) -> list[Job]:
        """What waits for its turn."""
        return [job for job in self.open_jobs if _is_pending(job)]

    @property
    def failed_jobs(self) -> list[Job]:
        """What has failed, was interrupted, or stopped unasked, the newest first; not what a program had asked for."""
        failed_jobs = (
            job
            for job in reversed(self._jobs.values())
            if _counts_as_failed(job) and job.id not in self._dismissed
        )
        return [job for job, _ in zip(failed_jobs, range(MAX_FAILED_JOBS), strict=False)]

    @property
    def is_active(self) -> bool:
        """Whether something will happen by itself."""
        return any(not job.state.value.is_held for job in self.open_jobs)


def _is_pending(job: Job) -> bool:
    """Whether it has not been called yet."""
    return job.state.value.status is JobStatus.PENDING and not job.queue_entry.slot_granted.is_set()


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _counts_as_failed(job: Job) -> bool:
    state = job.state.value
    has_failed = state.status in {JobStatus.FAILED, JobStatus.INTERRUPTED} or (
        state.status is JobStatus.CANCELLED and state.cancel_reason != ""
    )
    return has_failed and not job.is_api_call


MIN_PAUSE_SECONDS = 20.0
"""A Space that says to come back at once isn't asked more often than that."""

UNWATCHED_REASON = "No page looked any more."


class QueueRegistry:
    """The boards of all visitors.

    Args:
        line: whose turn it is.
        ledger: writes down what is changed.
        unwatched_seconds: how long jobs go on that no page looks at; `None`: to their end.
        track: starts a task that ends with the program.

    """

    def __init__(
        self,
        scheduler: Scheduler,
        job_store: JobStore,
        idle_timeout: float | None,
        start_task: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._scheduler = scheduler
        self._job_store = job_store
        self._idle_timeout = idle_timeout
        self._start_task = start_task
        self._queues: dict[str, VisitorQueue] = {}

    def get_queue(self, owner: str | None, job_id: str = "") -> VisitorQueue:
        """The board of this owner, or of a job of somebody who can't be told from others; made when first asked for."""
        key = f"job {job_id}" if owner is None else owner
        if key not in self._queues:
            self._queues[key] = VisitorQueue(self._on_unwatched)
        return self._queues[key]

    def queue_of(self, job: Job) -> VisitorQueue:
        """The board that a job is on."""
        return self.get_queue(job.owner, job.id)

    def add(self, job: Job) -> None:
        """Take a job up."""
        queue = self.queue_of(job)
        queue.add(job)
        self._on_unwatched(queue)

    def remove(self, job: Job) -> None:
        """Know nothing of a job any more."""
        queue = self.queue_of(job)
        queue.remove(job)
        self._drop_if_idle(queue)

    def _drop_if_idle(self, queue: VisitorQueue) -> None:
        if queue.is_empty and not queue.watcher_count:
            self._queues = {
                key: candidate for key, candidate in self._queues.items() if candidate is not queue
            }

    async def on_quota_exceeded(self, job: Job, quota_error: QuotaError) -> None:
        """Begin nothing more of who has no quota left, until it returns, or until they say so."""
        queue = self.queue_of(job)
        queue.pause = QueuePause(quota_error, quota_error.retry_at)
        if quota_error.retry_at is None:
            held_jobs = self._set_held(queue, is_held=True)
        else:
            held_jobs = []
            resume_timestamp = max(
                quota_error.retry_at.timestamp(), time.time() + MIN_PAUSE_SECONDS
            )
            self._scheduler.pause(job.queue_entry.rate_limit_key, resume_timestamp, queue.notify)
        queue.notify()
        if quota_error.retry_at is not None and not job.is_api_call:
            await self._job_store.mark_requeued(job, quota_error)
        await self._job_store.save_order(held_jobs)

    def _set_held(self, queue: VisitorQueue, *, is_held: bool) -> list[Job]:
        """Hold what waits, but for what a program waits for: that is rather told at once what stands against it."""
        jobs = [
            job
            for job in queue.pending_jobs
            if job.queue_entry.is_held is not is_held and not job.is_api_call
        ]
        for job in jobs:
            job.set_held(is_held=is_held)
        self._scheduler.schedule()
        return jobs

    async def resume(
        self, queue: VisitorQueue, rate_limit_key: str, identity: Identity | None
    ) -> None:
        """Let the jobs of a visitor, who is this now, have their turns, whatever they wait for."""
        for job in queue.pending_jobs:
            job.set_identity(identity)
        queue.pause = None
        self._scheduler.resume(rate_limit_key)
        await self._job_store.save_order(self._set_held(queue, is_held=False))
        queue.notify()

    async def move(self, job: Job, offset: int) -> None:
        """Let a waiting job go so many places back in its owner's line, or forward, if negative."""
        queue = self.queue_of(job)
        pending_jobs = queue.pending_jobs
        if job not in pending_jobs:
            return
        positions = [queued_job.queue_entry.position for queued_job in pending_jobs]
        index = pending_jobs.index(job)
        pending_jobs.insert(
            max(0, min(len(pending_jobs) - 1, index + offset)), pending_jobs.pop(index)
        )
        moved_jobs = [
            queued_job
            for queued_job, position in zip(pending_jobs, positions, strict=True)
            if queued_job.queue_entry.position != position
        ]
        for queued_job, position in zip(pending_jobs, positions, strict=True):
            queued_job.queue_entry.position = position
        self._scheduler.schedule()
        queue.notify()
        await self._job_store.save_order(moved_jobs)

    def _on_unwatched(self, queue: VisitorQueue) -> None:
        if queue.watcher_count:
            return
        self._drop_if_idle(queue)
        if self._idle_timeout is not None and not queue.is_empty:
            self._start_task(self._expire_unwatched(queue, self._idle_timeout))

    async def _expire_unwatched(self, queue: VisitorQueue, delay: float) -> None:
        watch_count = queue.watch_count
        await asyncio.sleep(delay)
        if queue.watcher_count or queue.watch_count != watch_count:
            return
        await self._job_store.save_order(self._set_held(queue, is_held=True))
        for job in queue.running_jobs:
            if not job.is_api_call:
                job.cancel(UNWATCHED_REASON)
