"""The job service, which accepts requests, and runs them as durable jobs at the configured Space.

It belongs to the event loop of the first call.
"""

import asyncio
import base64
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import anyio.to_thread

from sd35.client import Identity, Timeouts
from sd35.core.errors import (
    AccessDeniedError,
    IdentityError,
    InvalidRequestError,
    LibraryError,
    QuotaError,
)
from sd35.core.observable import Observable
from sd35.core.origin import MAX_SET_SIZE, PlannedRequest, as_set
from sd35.core.request import GenerationRequest, random_seed
from sd35.core.visitor import LOCAL_VISITOR, Visitor
from sd35.jobs.artifacts import ArtifactStore
from sd35.jobs.estimates import Estimates
from sd35.jobs.hub_accounts import HubAccounts
from sd35.jobs.job import Job, JobState
from sd35.jobs.limits import UNLIMITED, RemainingQuota, UsageLimiter, UsageLimits
from sd35.jobs.metrics import Metrics
from sd35.jobs.owner_token import OwnerToken
from sd35.jobs.queues import QueueRegistry, VisitorQueue
from sd35.jobs.record import JobStatus
from sd35.jobs.recovery import JobRecovery, LibraryRescanner
from sd35.jobs.registry import JobRegistry
from sd35.jobs.results import ResultSaver
from sd35.jobs.runner import JobRunner
from sd35.jobs.scheduler import QueueEntry, Scheduler
from sd35.jobs.space_connection import SpaceConfig, SpaceConnector, StartSpace
from sd35.jobs.store import JobStore
from sd35.jobs.tasks import BackgroundTasks
from sd35.jobs.token_store import TokenStore
from sd35.library.fallback_folder import move_into_library
from sd35.library.library import Library
from sd35.metadata.model import new_id

__all__ = ["JobService", "JobServiceConfig"]

log = logging.getLogger(__name__)

CONNECT_DELAY: Final = 0.3

SHUTDOWN_SECONDS: Final = 3.0
SAVE_SECONDS: Final = 4.0  # Docker kills a program 10 seconds after it was asked to stop
CANCEL_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class JobServiceConfig:
    """Configuration of a `JobService`.

    Attributes:
        temp_dir: Gradio's own folder, which the paths of artifacts lie in.
        is_persistent: whether the library outlives the program; if not, its size is limited.
        shares_token: whether visitors' runs use the GPU quota of the local user's token.
        idle_timeout: seconds until the jobs of a visitor without an open page are stopped; `None`
            for no limit.
        token_store: keeps the token that the owner of a private page adds there; `None` where
            others can reach the page, which then uses no token of the owner's but a configured one.
    """

    temp_dir: Path
    library: Library
    is_persistent: bool = True
    usage_limits: UsageLimits = UNLIMITED
    shares_token: bool = False
    idle_timeout: float | None = None
    token_store: TokenStore | None = None


class JobService:
    """Service that submits, retries, resumes and finds jobs.

    `start_space` starts a Space of this program; see `StartSpace`.
    """

    def __init__(
        self,
        space_config: SpaceConfig,
        start_space: StartSpace,
        config: JobServiceConfig,
        timeouts: Timeouts | None = None,
    ) -> None:
        limits = self.usage_limits = config.usage_limits
        self._config = config
        self._usage_limiter = UsageLimiter(limits)
        self._scheduler = Scheduler(limits.max_concurrent, limits.max_concurrent_per_visitor)
        self._tasks = BackgroundTasks()
        self._last_position = 0.0
        self._retry_lock = asyncio.Lock()
        self.library = config.library
        self._store = JobStore(self.library)
        self.queues = QueueRegistry(self._scheduler, self._store, config.idle_timeout, self._tasks)
        self.artifacts = ArtifactStore(config.temp_dir)
        result_saver = self._result_saver = ResultSaver(self.library, self.artifacts)
        self.find_artifact = result_saver.find_artifact
        self._registry = JobRegistry(self.queues, self.artifacts, result_saver)
        self._recovery = JobRecovery(self._store, result_saver)
        self._rescanner = LibraryRescanner(self.library, self._store, self._registry, self._tasks)
        self.metrics = Metrics(self._registry.count)
        self.space_connector = SpaceConnector(
            space_config, start_space, timeouts, self._registry.spaces_in_use
        )
        self.accounts = HubAccounts(space_config.hub, space_config.proxy, self._tasks)
        self.owner_token = OwnerToken(self.accounts, config.token_store, self.space_connector)
        self.connection = self.space_connector.connection
        self.connect = self.space_connector.connect
        self.get_space = self.space_connector.get
        self.estimates = self._build_estimates()
        self._runner = self._build_runner()

    def _build_estimates(self) -> Estimates:
        return Estimates(
            store=self._store,
            scheduler=self._scheduler,
            registry=self._registry,
            queues=self.queues,
            connection=self.connection,
            limits=self.usage_limits,
            tasks=self._tasks,
        )

    def _build_runner(self) -> JobRunner:
        return JobRunner(
            scheduler=self._scheduler,
            queues=self.queues,
            store=self._store,
            connector=self.space_connector,
            result_saver=self._result_saver,
            usage_limiter=self._usage_limiter,
            metrics=self.metrics,
            estimates=self.estimates,
            tasks=self._tasks,
        )

    @asynccontextmanager
    async def lifespan(self, _app: object) -> AsyncIterator[None]:
        """Connect to the Space soon after the server's start, and stop every job at its end."""
        # Delayed: a page that is requested at this moment goes first, and connects itself.
        connect_timer = asyncio.get_running_loop().call_later(CONNECT_DELAY, self.connect)
        self._tasks.start(self.estimates.watch_spaces())
        if self._config.is_persistent:
            self._tasks.start(self.restore_unsaved())
        try:
            yield
        finally:
            connect_timer.cancel()
            await self.aclose(SHUTDOWN_SECONDS)

    async def aclose(self, timeout_seconds: float = 5.0) -> None:
        """Interrupt the running jobs, keep the pending ones for the next start, and disconnect."""
        await self._tasks.aclose(timeout_seconds)
        await self._store.drain(SAVE_SECONDS)
        await anyio.to_thread.run_sync(self.save_unsaved)
        await self.space_connector.aclose()

    def save_unsaved(self) -> None:
        """Save the images that are only in memory, elsewhere if need be, and log where they are."""
        # A library that ends with the program is no loss.
        if self._config.is_persistent:
            self._result_saver.save_all(SAVE_SECONDS)

    async def restore_unsaved(self) -> None:
        """Move images into the library that an earlier program has saved elsewhere, or staged."""
        count, full_folders = await anyio.to_thread.run_sync(move_into_library, self.library.folder)
        for folder in full_folders:
            log.warning("The library has no room for images in %s", folder)
        if count:
            log.warning("Images that had been saved elsewhere are in the library now: %d", count)
        has_abandoned = await anyio.to_thread.run_sync(self.library.has_abandoned_images)
        if count or has_abandoned:
            await self._rescanner.rescan_now()

    async def submit(
        self,
        request: GenerationRequest,
        visitor: Visitor = LOCAL_VISITOR,
        *,
        is_api_call: bool = False,
        idempotency_key: str = "",
    ) -> Job:
        """Record a job for a request, and start it. A random seed is drawn here.

        A visitor's second call with the same key returns the job of the first one, because a page
        repeats a call whose answer was lost.

        Raises:
            UsageLimitError: the visitor has reached a limit.
            LibraryError: the job can't be recorded, so it isn't sent.
        """
        [job] = await self.submit_set(
            [PlannedRequest(request)],
            visitor,
            is_api_call=is_api_call,
            idempotency_key=idempotency_key,
        )
        return job

    async def submit_set(
        self,
        planned_requests: Sequence[PlannedRequest],
        visitor: Visitor = LOCAL_VISITOR,
        *,
        is_api_call: bool = False,
        idempotency_key: str = "",
    ) -> list[Job]:
        """Record the jobs of a set, all or none, and start them in order.

        Several requests become a set, whose id is that of the first job; a single one doesn't. As
        in `submit`, random seeds are drawn here, and a repeated call returns the same jobs.

        Raises:
            UsageLimitError: the visitor has reached a limit.
            LibraryError: the jobs can't be recorded, so none is sent.
            InvalidRequestError: the set is empty or too large.
        """
        count = len(planned_requests)
        if not 0 < count <= MAX_SET_SIZE:
            raise InvalidRequestError(f"A set has up to {MAX_SET_SIZE:,} images, not {count:,}.")
        if not idempotency_key or visitor.owner is None:
            ids = [new_id() for _ in planned_requests]
            return await self._submit(ids, planned_requests, visitor, is_api_call=is_api_call)
        ids = [_job_id(visitor.owner, idempotency_key, index) for index in range(count)]
        # The first call may still be recording the jobs.
        async with self.queues.get_queue(visitor.owner).submit_lock:
            if await self.find_job(ids[0], visitor) is not None:
                jobs = [await self.find_job(job_id, visitor) for job_id in ids]
                return [job for job in jobs if job is not None]
            return await self._submit(ids, planned_requests, visitor, is_api_call=is_api_call)

    async def find_submitted(self, idempotency_key: str, visitor: Visitor) -> Job | None:
        """Return the first job that a visitor has submitted with this key.

        Raises:
            LibraryError: the index can't be read.
        """
        if visitor.owner is None:
            return None
        return await self.find_job(_job_id(visitor.owner, idempotency_key), visitor)

    async def _submit(
        self,
        ids: Sequence[str],
        planned_requests: Sequence[PlannedRequest],
        visitor: Visitor,
        *,
        is_api_call: bool,
    ) -> list[Job]:
        is_charged = visitor is not LOCAL_VISITOR
        if is_charged:
            # Before any await: parallel submissions must see each other's count.
            total_queued = len(self._scheduler) + self._registry.reserved_count()
            self._usage_limiter.acquire(
                visitor.rate_limit_key, self._queued_count(visitor), total_queued, len(ids)
            )
        set_requests = as_set(planned_requests, ids[0])
        jobs = [
            Job(
                id=job_id,
                original_request=planned.request,
                state=Observable(
                    JobState(self._with_seed(planned.request), JobStatus.PENDING, time.monotonic())
                ),
                queue_entry=QueueEntry(
                    visitor.rate_limit_key, self._next_position(), respects_pause=not is_api_call
                ),
                origin=planned.origin,
                owner=visitor.owner,
                identity=self._identity_for(visitor),
                is_api_call=is_api_call,
                is_charged=is_charged,
            )
            for job_id, planned in zip(ids, set_requests, strict=True)
        ]
        await self._insert(jobs)
        self._rescanner.rescan_if_needed()
        self._evict_old_jobs()
        for job in jobs:
            self._start(job)
        return jobs

    async def _insert(self, jobs: Sequence[Job]) -> None:
        insert_task = asyncio.ensure_future(self._store.add(jobs, self.connection.value.target))
        try:
            with ExitStack() as reservations:
                for job in jobs:
                    reservations.enter_context(self._registry.reserve(job))
                # A thread can't be cancelled: the insert goes on even if the caller leaves.
                await asyncio.shield(insert_task)
        except BaseException as error:
            for job in jobs:
                if job.is_charged:
                    self._usage_limiter.release(job.queue_entry.rate_limit_key)
            if isinstance(error, asyncio.CancelledError):
                self._tasks.start(self._cancel_after_insert(insert_task, jobs))
            raise

    async def _cancel_after_insert(
        self, insert_task: "asyncio.Future[None]", jobs: Sequence[Job]
    ) -> None:
        """Cancel jobs whose caller left while they were being recorded."""
        await asyncio.wait([insert_task])
        if insert_task.exception() is None:
            for job in jobs:
                await self._store.update(job, status=JobStatus.CANCELLED, ended_at=time.time())

    def _with_seed(self, request: GenerationRequest) -> GenerationRequest:
        # The seed is drawn here and not by the Space: a run that fails can be retried with the same
        # seed, and some Spaces don't report which one they have used.
        if not request.randomize_seed:
            return request
        seed = random_seed(self.connection.value.limits)
        return replace(request, seed=seed, randomize_seed=False)

    def _next_position(self) -> float:
        # The clock keeps the order after a restart; two jobs never get the same position.
        self._last_position = max(self._last_position + 1, time.time())
        return self._last_position

    def _identity_for(self, visitor: Visitor) -> Identity | None:
        """Return whose GPU quota a visitor's runs use; `None` for the connection's token."""
        if visitor is LOCAL_VISITOR or (self._config.shares_token and visitor.token is None):
            return None
        return Identity(visitor.token, visitor.ip_token)

    def _start(self, job: Job) -> None:
        self._registry.add(job)
        self._tasks.start(self._runner.run(job), job)

    def _evict_old_jobs(self) -> None:
        evicted_ids = self._registry.evict(limits_bytes=not self._config.is_persistent)
        if evicted_ids and not self._config.is_persistent:
            self._tasks.start(self._delete_pictures(evicted_ids))

    async def _delete_pictures(self, ids: list[str]) -> None:
        try:
            await anyio.to_thread.run_sync(self.library.delete, ids)
        except LibraryError as error:
            log.warning("Images of old jobs couldn't be deleted: %s", error.happened)

    def visitor_queue(self, visitor: Visitor, job_id: object = "") -> VisitorQueue:
        """Return a visitor's queue; for an anonymous visitor, that of the one job."""
        if visitor.owner is None and self._registry.get(job_id) is None:
            return VisitorQueue()
        return self.queues.get_queue(visitor.owner, str(job_id))

    async def restore_session(self, visitor: Visitor) -> None:
        """Load the visitor's jobs that an earlier program has left; pending ones are held.

        Raises:
            LibraryError: the index can't be read or written.
        """
        # The jobs of a library that can't be written stay with the program that can.
        if visitor.owner is None or self.library.is_read_only:
            return
        try:
            jobs = await self._recovery.load_open(visitor)
        finally:
            # Afterwards, as loading may have found that the index is damaged.
            self._rescanner.rescan_soon()
        for job in jobs:
            if self._registry.is_known(job.id):
                continue
            if job.status.is_final:
                self._registry.add(job)
            else:
                job.identity = self._identity_for(visitor)
                self._start(job)

    def get_job(self, job_id: object, visitor: Visitor = LOCAL_VISITOR) -> Job | None:
        """Return a job in memory that the visitor may access."""
        job = self._registry.get(job_id)
        return job if job is not None and visitor.may_access(job.owner) else None

    async def find_job(self, job_id: object, visitor: Visitor) -> Job | None:
        """Return a job that the visitor may access, from memory or from the library.

        Raises:
            LibraryError: the index can't be read.
        """
        if not isinstance(job_id, str) or not job_id or self._registry.get(job_id) is not None:
            return self.get_job(job_id, visitor)
        return await self._recovery.find(job_id, visitor)

    async def retry(self, job: Job, visitor: Visitor) -> Job:
        """Submit a failed job once more, with its seed. Another retry returns the same job.

        Raises:
            UsageLimitError: the visitor has reached a limit.
            InvalidRequestError: the job was retried before, in another program or long ago.
            LibraryError: the new job can't be recorded.
        """
        queue = self.queues.queue_of(job)
        async with self._retry_lock:  # two pages may retry the same job at once
            return queue.retries.get(job.id) or await self._retry(job, visitor, queue)

    async def _retry(self, job: Job, visitor: Visitor, queue: VisitorQueue) -> Job:
        record = None if queue.is_dismissed(job) else await self._store.find(job.id)
        if record is not None and record.is_dismissed:  # by another program on this library
            if self._registry.get(job.id) is not None:
                self._registry.remove(job)
            raise InvalidRequestError(
                "This job was already retried or dismissed.",
                "Look for the image in the library, or generate it again.",
            )
        # Hidden before the new job is recorded: otherwise it could be retried twice.
        queue.dismiss(job)
        try:
            planned = PlannedRequest(job.state.value.request, job.origin)
            [new_job] = await self.submit_set([planned], visitor)
        except BaseException:  # cancellation, too
            queue.undismiss(job)
            raise
        queue.retries[job.id] = new_job
        await self._store.update(job, is_dismissed=True)
        return new_job

    async def keep_waiting(self, job: Job) -> bool:
        """Show a cancelled job as running again, if its run is still followed.

        That is the case while `job.state.value.is_followed`: the Space couldn't cancel the run. It
        ends by itself, with the image (then the state `is_late`), a failure, or the client's limits
        `run` and `no_news`. The job doesn't get its slot back: its run is at the Space anyway.

        Returns:
            whether the run is still followed; `False` changes nothing.
        """
        if not job.keep_waiting():
            return False
        await self._store.update(
            job, status=JobStatus.RUNNING, ended_at=None, cancel_outcome="", cancel_reason=""
        )
        return True

    async def dismiss(self, job: Job) -> None:
        """Hide a failed job from its owner for good."""
        self.queues.queue_of(job).dismiss(job)
        await self._store.update(job, is_dismissed=True)

    async def restore(self, job: Job, visitor: Visitor) -> None:
        """Undo the removal of a job: show a dismissed one, or queue a cancelled one where it was.

        Raises:
            UsageLimitError: the visitor has reached a limit.
            InvalidRequestError: the job was retried before, in another program or long ago.
            LibraryError: the job can't be recorded.
        """
        with anyio.move_on_after(CANCEL_SECONDS):  # Undo may be pressed before the job has ended
            while (state := job.state.value).status is JobStatus.CANCELLING:
                await job.state.wait_for_change(state, CANCEL_SECONDS)
        queue = self.queues.queue_of(job)
        state = job.state.value
        # Only a job that was never sent: another one has cost GPU time, and can be retried.
        if state.status is JobStatus.CANCELLED and state.cancel_outcome is None:
            new_job = await self.retry(job, visitor)
            await self.queues.move_to(new_job, job.queue_entry.position)
        elif queue.is_dismissed(job) and job.id not in queue.retries:
            queue.undismiss(job)
            await self._store.update(job, is_dismissed=False)

    async def resume(self, visitor: Visitor, job_id: object = "") -> None:
        """Resume the visitor's held and paused jobs, and end the waits for the Space."""
        queue = self.visitor_queue(visitor, job_id)
        await self.queues.resume(queue, visitor.rate_limit_key, self._identity_for(visitor))
        self.space_connector.retry_now()

    def reconnect(self) -> None:
        """Connect to the Space again, and end the waits for it."""
        self.connect(force=True)
        self.space_connector.retry_now()

    async def use_identity(self, visitor: Visitor, *, ends_pause: bool = False) -> None:
        """Let a visitor's waiting jobs run as who the visitor is now.

        With `ends_pause`, a queue that was refused for who its visitor was goes on.
        """
        queue = self.visitor_queue(visitor)
        identity = self._identity_for(visitor)
        for job in queue.open_jobs:
            job.identity = identity
        pause_error = queue.pause_error
        if ends_pause and isinstance(pause_error, QuotaError | IdentityError | AccessDeniedError):
            await self.resume(visitor)
        else:  # a job that waits for the Space is sent as who the visitor is now
            self.space_connector.retry_now()

    async def switch_space(self, target: str, visitor: Visitor) -> None:
        """Use another Space from now on, also for the jobs that weren't sent yet.

        Raises:
            SD35Error: the Space can't be reached or used; the former one stays.
        """
        await self.space_connector.switch(target)
        if self.visitor_queue(visitor).pause_error is not None:  # an error of the former Space
            await self.resume(visitor)

    def remaining_quota(self, visitor: Visitor) -> RemainingQuota | None:
        """Return the remaining quota of a visitor; `None` without limits."""
        if visitor is LOCAL_VISITOR:
            return None
        return self._usage_limiter.remaining(visitor.rate_limit_key, self._queued_count(visitor))

    def _queued_count(self, visitor: Visitor) -> int:
        key = visitor.rate_limit_key
        return self._scheduler.queued_count(key) + self._registry.reserved_count(key)


def _job_id(owner: str, idempotency_key: str, index: int = 0) -> str:
    """Return an id that only this owner's calls with this key lead to, as long as `new_id`."""
    suffix = f"\n{index}" if index else ""
    digest = hashlib.sha256(f"{owner}\n{idempotency_key}{suffix}".encode()).digest()
    return base64.urlsafe_b64encode(digest[:16]).decode().rstrip("=")
