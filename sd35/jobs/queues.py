"""The queue of each visitor, as their pages show it."""

import asyncio
import contextvars
import datetime as dt
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Final

from sd35.client import Identity
from sd35.core.awake import awake_sleep
from sd35.core.errors import SD35Error
from sd35.core.observable import Observable
from sd35.core.request import GenerationRequest
from sd35.jobs.job import Job, JobState
from sd35.jobs.record import JobStatus
from sd35.jobs.repository import MAX_FAILED_JOBS
from sd35.jobs.scheduler import Scheduler
from sd35.jobs.store import JobStore
from sd35.jobs.tasks import BackgroundTasks

__all__ = ["QueueRegistry", "Revision", "VisitorQueue"]

# Some Spaces announce a time that is too early, and refuse the job again.
MIN_PAUSE_SECONDS = 20.0

IMAGELESS_STATUSES: Final = frozenset(
    {JobStatus.CANCELLING, JobStatus.CANCELLED, JobStatus.FAILED, JobStatus.INTERRUPTED}
)

MAX_REMOVALS: Final = 100
UNDO_SECONDS: Final = 300.0

UNWATCHED_REASON: Final = "Stopped because no page was open."


@dataclass(frozen=True, slots=True)
class Revision:
    """Number of changes of a queue, and of those that pages should show at once."""

    version: int = 0
    urgent_version: int = 0


class VisitorQueue:
    """Jobs of one visitor. Not thread-safe.

    Attributes:
        revision: changes whenever one of the jobs does, to be watched.
        watcher_count: the number of pages that watch the queue now.
        total_watcher_count: the number of pages that have ever watched the queue.
        completed_count: the number of jobs that have completed since the program started.
        saved_count: the number of those whose image is in the library.
        failed_count: the number of those that have failed.
        retries: the new job by the id of the job that was retried.
        submit_lock: held while a job is recorded whose submission may be repeated.
    """

    def __init__(self, on_unwatched: Callable[["VisitorQueue"], None] = lambda _: None) -> None:
        self._jobs: dict[str, Job] = {}
        self._dismissed: set[str] = set()
        self._on_unwatched = on_unwatched
        self._pause_error: SD35Error | None = None
        self.revision = Observable(Revision())
        self.watcher_count = 0
        self.total_watcher_count = 0
        self.completed_count = 0
        self.saved_count = 0
        self.failed_count = 0
        self.retries: dict[str, Job] = {}
        self._removals: list[tuple[float, tuple[str, ...]]] = []  # time and ids, the latest last
        self.submit_lock = asyncio.Lock()

    @property
    def pause_error(self) -> SD35Error | None:
        """Why the queue is paused: until `retry_at`, or else until it is resumed."""
        retry_at = None if self._pause_error is None else self._pause_error.retry_at
        is_over = retry_at is not None and retry_at <= dt.datetime.now(dt.UTC)
        return None if is_over else self._pause_error

    @pause_error.setter
    def pause_error(self, pause_error: SD35Error | None) -> None:
        self._pause_error = pause_error

    def add(self, job: Job) -> None:
        """Add a job."""
        self._jobs[job.id] = job
        job.on_change = self._on_job_change
        self.notify()

    def remove(self, job: Job) -> None:
        """Remove a job."""
        if self._jobs.pop(job.id, None) is not None:
            self._dismissed.discard(job.id)
            self.retries.pop(job.id, None)
            self.notify()

    def is_dismissed(self, job: Job) -> bool:
        """Return whether a failed job was dismissed in this program."""
        return job.id in self._dismissed

    def dismiss(self, job: Job) -> None:
        """Hide a failed job."""
        if job.status.is_final:
            self._dismissed.add(job.id)
            self.notify()

    def undismiss(self, job: Job) -> None:
        """Show a failed job again."""
        self._dismissed.discard(job.id)
        self.notify()

    @property
    def latest_removal(self) -> tuple[str, ...]:
        """The ids of the jobs that were removed last, as long as that can be undone."""
        earliest = time.monotonic() - UNDO_SECONDS
        self._removals = [removal for removal in self._removals if removal[0] > earliest]
        return self._removals[-1][1] if self._removals else ()

    def add_removal(self, jobs: Iterable[Job]) -> None:
        """Note that these jobs were removed together, so that it can be undone."""
        job_ids = tuple(job.id for job in jobs)
        if job_ids:
            self._removals = [*self._removals, (time.monotonic(), job_ids)][-MAX_REMOVALS:]

    def forget_removal(self, job_ids: tuple[str, ...]) -> None:
        """Forget a removal, which has been undone."""
        self._removals = [removal for removal in self._removals if removal[1] != job_ids]

    def notify(self) -> None:
        """Notify the watchers of an urgent change."""
        revision = self.revision.value
        self.revision.set(Revision(revision.version + 1, revision.urgent_version + 1))

    def _on_job_change(self, old: JobState, new: JobState) -> None:
        # A pause without an end is over when any job runs: the quota is back.
        has_no_end = self._pause_error is not None and self._pause_error.retry_at is None
        if new.status is JobStatus.RUNNING and has_no_end:
            self._pause_error = None
        if new.status is not old.status:
            self.completed_count += new.status is JobStatus.COMPLETED
            self.failed_count += new.status in {JobStatus.FAILED, JobStatus.INTERRUPTED}
        self.saved_count += new.is_saved and not old.is_saved
        is_urgent = new.is_significant_change(old)
        revision = self.revision.value
        self.revision.set(Revision(revision.version + 1, revision.urgent_version + is_urgent))

    @contextmanager
    def track_watcher(self) -> Iterator[None]:
        """Count a page as a watcher while the block lasts."""
        self.watcher_count += 1
        self.total_watcher_count += 1
        try:
            yield
        finally:
            self.watcher_count -= 1
            if not self.watcher_count:
                self._on_unwatched(self)

    def lease_watcher(self, seconds: float) -> None:
        """Count a page as a watcher for a while: it polls, so nothing tells when it is closed."""
        stack = ExitStack()
        stack.enter_context(self.track_watcher())
        # In the current context, the timer would keep the request and its connection in memory.
        context = contextvars.Context()
        asyncio.get_running_loop().call_later(seconds, stack.close, context=context)

    @property
    def is_empty(self) -> bool:
        """Return whether no job is in memory."""
        return not self._jobs

    @property
    def open_jobs(self) -> list[Job]:
        """The running jobs, then the pending ones in queue order."""
        jobs = (job for job in self._jobs.values() if not job.status.is_final)
        return sorted(jobs, key=lambda job: (_is_pending(job), job.queue_entry.position))

    @property
    def running_jobs(self) -> list[Job]:
        """The jobs that have a slot."""
        return [job for job in self.open_jobs if not _is_pending(job)]

    @property
    def pending_jobs(self) -> list[Job]:
        """The jobs that wait for a slot, in queue order."""
        return [job for job in self.open_jobs if _is_pending(job)]

    @property
    def failed_jobs(self) -> list[Job]:
        """The newest jobs that failed, except dismissed ones and API calls, newest first."""
        jobs = (
            job
            for job in reversed(self._jobs.values())
            if _has_failed(job) and not job.is_api_call and job.id not in self._dismissed
        )
        return list(islice(jobs, MAX_FAILED_JOBS))

    def unsaved_count(self, request: GenerationRequest) -> int:
        """Return how many jobs make this request's image, which isn't in the library yet."""
        return self._unsaved_requests.count(request)

    def without_job(self, requests: Iterable[GenerationRequest]) -> list[GenerationRequest]:
        """Return the requests that no job makes whose image isn't in the library yet."""
        unsaved = set(self._unsaved_requests)
        return [request for request in requests if request not in unsaved]

    @property
    def _unsaved_requests(self) -> list[GenerationRequest]:
        states = [job.state.value for job in self._jobs.values() if not job.is_api_call]
        return [
            state.request
            for state in states
            if state.status not in IMAGELESS_STATUSES and not state.is_saved
        ]

    @property
    def followed_jobs(self) -> list[Job]:
        """The cancelled jobs whose runs the Space couldn't cancel, so that they are followed."""
        return [job for job in self._jobs.values() if job.state.value.is_followed]

    def jobs_of_set(self, set_id: str) -> dict[int, Job]:
        """Return the newest job of each place in a set."""
        return {
            job.origin.set_index: job for job in self._jobs.values() if job.origin.set_id == set_id
        }

    @property
    def is_active(self) -> bool:
        """Return whether a job runs, is followed, is saved, or will run without help."""
        states = [job.state.value for job in self._jobs.values()]
        return any(
            state.is_followed or state.is_saving or not (state.status.is_final or state.is_held)
            for state in states
        )


def _is_pending(job: Job) -> bool:
    # A job that has just been granted a slot stays pending until its task is scheduled.
    return job.status is JobStatus.PENDING and not job.queue_entry.slot_granted.is_set()


def _has_failed(job: Job) -> bool:
    """Return whether the job has ended without an image, and not because its owner cancelled it."""
    state = job.state.value
    was_cancelled_for_owner = state.status is JobStatus.CANCELLED and state.cancel_reason != ""
    return state.status in {JobStatus.FAILED, JobStatus.INTERRUPTED} or was_cancelled_for_owner


class QueueRegistry:
    """Registry of the queues of all visitors.

    `idle_timeout` is the number of seconds until the jobs of a visitor without an open page are
    stopped; `None` means never.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        job_store: JobStore,
        idle_timeout: float | None,
        tasks: BackgroundTasks,
    ) -> None:
        self._scheduler = scheduler
        self._job_store = job_store
        self._idle_timeout = idle_timeout
        self._tasks = tasks
        self._queues: dict[str, VisitorQueue] = {}

    def get_queue(self, owner: str | None, job_id: str = "") -> VisitorQueue:
        """Return the queue of an owner; for an anonymous visitor, a queue of the one job."""
        # An anonymous visitor can't be recognized again: the job's id alone gives access.
        key = f"job {job_id}" if owner is None else owner
        if key not in self._queues:
            self._queues[key] = VisitorQueue(self._check_watchers)
        return self._queues[key]

    def queue_of(self, job: Job) -> VisitorQueue:
        """Return the queue that a job is in."""
        return self.get_queue(job.owner, job.id)

    def add(self, job: Job) -> None:
        """Add a job to its owner's queue."""
        queue = self.queue_of(job)
        queue.add(job)
        self._check_watchers(queue)

    def remove(self, job: Job) -> None:
        """Remove a job from its owner's queue."""
        queue = self.queue_of(job)
        queue.remove(job)
        self._drop_if_unused(queue)

    def _drop_if_unused(self, queue: VisitorQueue) -> None:
        # A page watches this object, and would miss the jobs of a new one.
        if queue.is_empty and not queue.watcher_count:
            self._queues = {
                key: candidate for key, candidate in self._queues.items() if candidate is not queue
            }

    async def pause(self, job: Job, error: SD35Error) -> None:
        """Pause the job's queue until the error's `retry_at`, or else until it is resumed."""
        queue = self.queue_of(job)
        queue.pause_error = error
        if error.retry_at is None:
            await self._set_held(queue, is_held=True)
            return
        resumes_at = max(error.retry_at.timestamp(), time.time() + MIN_PAUSE_SECONDS)
        # The jobs stay released, so that the queue resumes by itself when the quota resets.
        self._scheduler.pause(job.queue_entry.rate_limit_key, resumes_at, queue.notify)
        queue.notify()

    async def _set_held(self, queue: VisitorQueue, *, is_held: bool) -> None:
        # API calls are never held: their callers get the error immediately.
        jobs = [
            job
            for job in queue.pending_jobs
            if job.queue_entry.is_held is not is_held and not job.is_api_call
        ]
        for job in jobs:
            job.set_held(is_held=is_held)
        self._scheduler.schedule()
        queue.notify()
        await self._job_store.save_order(jobs)

    async def resume(
        self, queue: VisitorQueue, rate_limit_key: str, identity: Identity | None
    ) -> None:
        """End the pause of a queue, and release its held jobs."""
        for job in queue.pending_jobs:
            job.identity = identity  # the token that they were submitted with may have expired
        queue.pause_error = None
        self._scheduler.resume(rate_limit_key)
        await self._set_held(queue, is_held=False)

    async def move(self, job: Job, offset: int) -> None:
        """Move a pending job back in its owner's queue, or forward if `offset` is negative."""
        queue = self.queue_of(job)
        pending_jobs = queue.pending_jobs
        if job not in pending_jobs:
            return
        # The positions stay the same, so that nothing changes for other visitors.
        positions = [pending.queue_entry.position for pending in pending_jobs]
        index = pending_jobs.index(job)
        target = max(0, min(len(pending_jobs) - 1, index + offset))
        pending_jobs.insert(target, pending_jobs.pop(index))
        moved_jobs = []
        for pending, position in zip(pending_jobs, positions, strict=True):
            if pending.queue_entry.position != position:
                pending.queue_entry.position = position
                moved_jobs.append(pending)
        self._scheduler.schedule()
        queue.notify()
        await self._job_store.save_order(moved_jobs)

    async def move_to(self, job: Job, position: float) -> None:
        """Move a pending job to a position that no other job has."""
        job.queue_entry.position = position
        self._scheduler.schedule()
        self.queue_of(job).notify()
        await self._job_store.save_order([job])

    def _check_watchers(self, queue: VisitorQueue) -> None:
        if queue.watcher_count:
            return
        self._drop_if_unused(queue)
        if self._idle_timeout is not None and not queue.is_empty:
            self._tasks.start(self._expire_unwatched(queue, self._idle_timeout))

    async def _expire_unwatched(self, queue: VisitorQueue, delay: float) -> None:
        total_watcher_count = queue.total_watcher_count
        # A suspended process has no open page, but it may have one again when it wakes up.
        await awake_sleep(delay)
        # A page that was opened and closed meanwhile has started another timer.
        if queue.watcher_count or queue.total_watcher_count != total_watcher_count:
            return
        await self._set_held(queue, is_held=True)
        for job in queue.running_jobs:
            if not job.is_api_call:
                job.cancel(UNWATCHED_REASON)
