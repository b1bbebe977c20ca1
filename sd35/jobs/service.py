"""The use case: take requests, write them down, run them at the chosen Space as jobs, keep what comes.

Everything here belongs to one event loop, that of the first call.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sd35.client import Identity, SpaceClient, Timeouts
from sd35.core.errors import InvalidRequestError, LibraryError
from sd35.core.request import GenerationRequest, random_seed
from sd35.core.visitor import LOCAL_VISITOR, Visitor
from sd35.jobs.artifacts import Artifact, ArtifactStore
from sd35.jobs.job import Job, JobDependencies, JobState
from sd35.jobs.limits import UNLIMITED, RemainingQuota, UsageLimiter, UsageLimits
from sd35.jobs.metrics import Metrics
from sd35.jobs.queues import QueueRegistry, VisitorQueue
from sd35.jobs.record import JobStatus
from sd35.jobs.recovery import JobRecovery
from sd35.jobs.results import ResultSaver
from sd35.jobs.scheduler import QueueEntry, Scheduler
from sd35.jobs.space_connection import (
    ConnectionState,
    SpaceConfig,
    SpaceConnector,
    create_isolated_task,
)
from sd35.jobs.store import JobStore
from sd35.library.library import Library
from sd35.metadata.model import new_id

__all__ = ["ConnectionState", "JobService", "JobServiceConfig", "SpaceConfig"]

log = logging.getLogger(__name__)

CONNECT_DELAY = 0.3

MAX_JOBS = 1000
MAX_PICTURE_BYTES = 1 << 30
"""Jobs that are remembered, and the sum of their pictures where those don't last; the oldest are forgotten first."""

SAVE_RETRY_INTERVAL = 15.0
"""How often it is tried again to write a picture that couldn't be."""

RESCAN_DELAY = 2.0
RESCAN_INTERVAL = 20.0
"""So long after a page was opened, and not more often than that, the library's folder is looked through."""


@dataclass(frozen=True, slots=True)
class JobServiceConfig:
    """What holds for pictures and visitors here.

    Attributes:
        served: Gradio's own folder, in which programs are told that pictures are.
        library: where jobs and pictures are kept.
        is_lasting: whether it stays when this program ends; if not, it doesn't grow for ever.
        caps: what each visitor may ask for.
        lends_token: whether visitors' pictures are asked for with the token of who runs this
            program.
        unwatched_seconds: how long jobs go on that no page looks at; `None`: to their end.

    """

    temp_dir: Path
    library: Library
    is_persistent: bool = True
    usage_limits: UsageLimits = UNLIMITED
    shares_token: bool = False
    idle_timeout: float | None = None


class JobService:
    """Runs jobs at the chosen Space, and remembers them.

    Args:
        choice: which Space.
        start_demo: starts the embedded demo Space, if it isn't running, and returns its address.
        house: what holds for pictures and visitors.
        timeouts: the limit of each wait for the chosen Space.

    Attributes:
        library: where jobs and pictures are kept.
        spaces: finds the Space.
        kept: the pictures that are handed out to who has asked for them.
        metrics: what is counted.
        queues: what visitors' jobs wait for.

    """

    def __init__(
        self,
        space_config: SpaceConfig,
        start_demo: Callable[[], Awaitable[str]],
        config: JobServiceConfig,
        timeouts: Timeouts | None = None,
    ) -> None:
        self._config = config
        self._usage_limiter = UsageLimiter(config.usage_limits)
        self._scheduler = Scheduler(
            config.usage_limits.max_concurrent, config.usage_limits.max_concurrent_per_visitor
        )
        self._jobs: dict[str, Job] = {}
        self._pending_inserts: dict[str, str] = {}
        self._charged_jobs: set[str] = set()
        self._tasks: dict[asyncio.Task[None], Job | None] = {}
        self._last_position = 0.0
        self._retry_lock = asyncio.Lock()
        self._next_rescan_at = 0.0
        self.library = config.library
        self._job_store = JobStore(self.library)
        self.queues = QueueRegistry(
            self._scheduler, self._job_store, config.idle_timeout, self._start_task
        )
        self.artifacts = ArtifactStore(config.temp_dir)
        self._result_saver = ResultSaver(self.library, self.artifacts)
        self._job_recovery = JobRecovery(self._job_store, self._result_saver, self._identity_for)
        self.metrics = Metrics(
            lambda: Counter(job.state.value.status.value for job in self._jobs.values())
        )
        self.space_connector = SpaceConnector(
            space_config, start_demo, timeouts, self._spaces_in_use
        )
        self.connection = self.space_connector.connection
        self.connect = self.space_connector.connect
        self.get_space = self.space_connector.get
        self._job_dependencies = JobDependencies(
            self._scheduler.slot,
            self._job_store.mark_started,
            self.get_space,
            self.queues.on_quota_exceeded,
            self._result_saver.save,
        )

    def _spaces_in_use(self) -> set[SpaceClient | None]:
        return {
            job.state.value.space
            for job in self._jobs.values()
            if not job.state.value.status.is_final
        }

    @asynccontextmanager
    async def lifespan(self, _app: object) -> AsyncIterator[None]:
        """A server's lifespan: look for the Space soon after its start, and stop every run at its end."""
        # Not at once: a page that is asked for in this moment goes first, and asks for the
        # connection itself.
        connect_timer = asyncio.get_running_loop().call_later(CONNECT_DELAY, self.connect)
        try:
            yield
        finally:
            connect_timer.cancel()
            await self.aclose(limit_seconds=3)

    async def submit(
        self,
        request: GenerationRequest,
        visitor: Visitor = LOCAL_VISITOR,
        *,
        is_api_call: bool = False,
    ) -> Job:
        """Write a job down for this request, and start it; a random seed is drawn here, so that it is known.

        Raises:
            UsageLimitError: it is more than this visitor may ask for now.
            LibraryError: it can't be written down, so that it isn't sent, either.

        """
        if visitor is not LOCAL_VISITOR:
            queued_count, total_queued = (
                self._queued_count(visitor.rate_limit_key),
                len(self._scheduler) + len(self._pending_inserts),
            )
            self._usage_limiter.acquire(visitor.rate_limit_key, queued_count, total_queued)
        limits = self.connection.value.limits
        is_random = request.randomize_seed
        resolved_request = (
            replace(request, seed=random_seed(limits), randomize_seed=False)
            if is_random
            else request
        )
        job = Job(
            id=new_id(),
            original_request=request,
            state=JobState(resolved_request, JobStatus.PENDING, time.monotonic()),
            queue_entry=QueueEntry(
                visitor.rate_limit_key, self._next_position(), respects_pause=not is_api_call
            ),
            owner=visitor.owner,
            identity=self._identity_for(visitor),
            is_api_call=is_api_call,
        )
        await self._insert_job(job, is_charged=visitor is not LOCAL_VISITOR)
        self._evict_old_jobs()
        self._start_job(job)
        return job

    async def _insert_job(self, job: Job, *, is_charged: bool) -> None:
        rate_limit_key = job.queue_entry.rate_limit_key
        self._pending_inserts[job.id] = rate_limit_key
        insert_task = asyncio.ensure_future(self._job_store.add(job, self.connection.value.target))
        try:
            await asyncio.shield(insert_task)
        except BaseException as error:
            if is_charged:
                self._usage_limiter.release(rate_limit_key)
            if isinstance(error, asyncio.CancelledError):
                self._start_task(self._cancel_after_insert(insert_task, job))
            raise
        finally:
            self._pending_inserts.pop(job.id, None)
        if is_charged:
            self._charged_jobs.add(job.id)

    async def _cancel_after_insert(self, insert_task: "asyncio.Future[None]", job: Job) -> None:
        """Write down that a job was stopped whose caller left while it was written down."""
        await asyncio.wait([insert_task])
        if insert_task.exception() is None:
            await self._job_store.mark_cancelled(job)

    def _queued_count(self, rate_limit_key: str) -> int:
        return self._scheduler.queued_count(rate_limit_key) + sum(
            key == rate_limit_key for key in self._pending_inserts.values()
        )

    def _next_position(self) -> float:
        self._last_position = max(self._last_position + 1, time.time())
        return self._last_position

    def _identity_for(self, visitor: Visitor) -> Identity | None:
        """As whom a visitor's run is asked for; `None`: with the connection's own token."""
        if visitor is LOCAL_VISITOR or (self._config.shares_token and visitor.token is None):
            return None
        return Identity(visitor.token, visitor.ip_token)

    def _start_job(self, job: Job) -> None:
        self._register(job)
        self._start_task(self._run_job(job), job)

    def _register(self, job: Job) -> None:
        self._jobs[job.id] = job
        self.queues.add(job)

    def _start_task(self, coroutine: Coroutine[Any, Any, None], job: Job | None = None) -> None:
        task = create_isolated_task(coroutine)
        self._tasks[task] = job
        task.add_done_callback(lambda task: self._tasks.pop(task, None))

    async def _run_job(self, job: Job) -> None:
        """Run the job; a Space that turned out to be gone, or another than it was, is looked for again next time."""
        await job.run(self._job_dependencies)
        state = job.state.value
        is_charged = job.id in self._charged_jobs
        self._charged_jobs.discard(job.id)
        if is_charged and state.queued_event is None and state.started_at is None:
            self._usage_limiter.release(job.queue_entry.rate_limit_key)
        self.space_connector.mark_suspect(state.space, state.error)
        self.metrics.observe_job(state)
        await self._job_store.mark_finished(job)
        await self.space_connector.close_unused()
        while self._result_saver.has_unsaved(job):
            await asyncio.sleep(SAVE_RETRY_INTERVAL)
            if await self._result_saver.retry_save(job):
                await self._job_store.mark_finished(job)

    def visitor_queue(self, visitor: Visitor, job_id: object = "") -> VisitorQueue:
        """What this visitor has asked for; of one who can't be told from others, the one job whose id is known."""
        if visitor.owner is None and job_id not in self._jobs:
            return VisitorQueue()
        return self.queues.get_queue(visitor.owner, str(job_id))

    async def restore_session(self, visitor: Visitor) -> None:
        """Take up again what is this visitor's, and was left by a program that is gone: held, until they say so.

        Raises:
            LibraryError: the index can't be read or written.

        """
        if visitor.owner is None:
            return
        self._schedule_rescan()
        for job in await self._job_recovery.restore_open(visitor):
            if job.id in self._jobs or job.id in self._pending_inserts:
                continue
            if job.state.value.status.is_final:
                self._register(job)
            else:
                self._start_job(job)

    def _schedule_rescan(self) -> None:
        """Have the library's folder looked through, somewhat later, if that is long ago: a page goes first."""
        if time.monotonic() < self._next_rescan_at:
            return
        self._next_rescan_at = time.monotonic() + RESCAN_INTERVAL
        delay = 0.0 if self.library.needs_rescan else RESCAN_DELAY

        async def rescan() -> None:
            await asyncio.sleep(delay)
            await self._job_store.rescan()
            await self._job_store.restore_missing(
                [job for job in self._jobs.values() if not job.state.value.status.is_final]
            )
            await self._drop_recovered()

        self._start_task(rescan())

    async def _drop_recovered(self) -> None:
        """Speak no more of jobs that seemed to be interrupted, and whose pictures were found."""
        for job in list(self._jobs.values()):
            if job.state.value.status is JobStatus.INTERRUPTED and await self._job_store.is_saved(
                job
            ):
                self._unregister(job)

    def get_job(self, job_id: object, visitor: Visitor = LOCAL_VISITOR) -> Job | None:
        """The job of this id, if it is remembered and is this visitor's."""
        job = self._jobs.get(job_id) if isinstance(job_id, str) else None
        return job if job is not None and visitor.may_access(job.owner) else None

    async def find_job(self, job_id: object, visitor: Visitor) -> Job | None:
        """The job of this id, also if only the library knows it.

        Raises:
            LibraryError: the index can't be read.

        """
        job = self.get_job(job_id, visitor)
        if job is not None or not isinstance(job_id, str) or job_id in self._jobs:
            return job
        return await self._job_recovery.find(job_id, visitor)

    async def retry(self, job: Job, visitor: Visitor) -> Job:
        """Run a job that came to no good end once more, as it was, with its seed; as a job of its own, and only once.

        Raises:
            UsageLimitError: it is more than this visitor may ask for now.
            InvalidRequestError: that was done before, and it isn't known any more as which job.
            LibraryError: it can't be written down.

        """
        queue = self.queues.queue_of(job)
        async with self._retry_lock:  # another page may ask for the same
            return queue.retries.get(job.id) or await self._retry(job, visitor, queue)

    async def _retry(self, job: Job, visitor: Visitor, queue: VisitorQueue) -> Job:
        if not queue.is_dismissed(job) and await self._job_store.is_dismissed(job):
            if job.id in self._jobs:  # another program on this library has done that
                self._unregister(job)
            raise InvalidRequestError(
                "This was run again already, or cleared.",
                "Look for it in the library, or generate it anew.",
            )
        queue.dismiss(job)
        try:
            new_job = queue.retries[job.id] = await self.submit(job.state.value.request, visitor)
        except BaseException:  # it may also be cancelled
            queue.undismiss(job)
            raise
        await self._job_store.mark_dismissed(job)
        return new_job

    async def dismiss(self, job: Job) -> None:
        """Don't speak of a job any more that has ended."""
        self.queues.queue_of(job).dismiss(job)
        await self._job_store.mark_dismissed(job)

    async def resume(self, visitor: Visitor, job_id: object = "") -> None:
        """Let this visitor's jobs have their turns, whatever they wait for."""
        await self.queues.resume(
            self.visitor_queue(visitor, job_id), visitor.rate_limit_key, self._identity_for(visitor)
        )

    def find_artifact(self, path: str) -> Artifact | None:
        """What is handed out by this path; a picture's file, wherever it has been moved to in the library."""
        artifact = self.artifacts.find(path)
        if artifact is None or isinstance(artifact.content, bytes) or artifact.content.is_file():
            return artifact
        try:
            entry = self.library.get(self.artifacts.job_id_from_path(path))
        except LibraryError:
            return artifact
        return (
            artifact if entry is None else replace(artifact, content=self.library.file_path(entry))
        )

    def remaining_quota(self, visitor: Visitor) -> RemainingQuota | None:
        """Return what this visitor may still ask for; `None` where there are no limits."""
        return (
            None
            if visitor is LOCAL_VISITOR
            else self._usage_limiter.remaining(
                visitor.rate_limit_key, self._queued_count(visitor.rate_limit_key)
            )
        )

    @property
    def usage_limits(self) -> UsageLimits:
        """What each visitor may ask for."""
        return self._config.usage_limits

    async def aclose(self, limit_seconds: float = 5.0) -> None:
        """Interrupt what runs, at the Space too, leave what waits for the next time, and let go of the connections."""
        for task, job in list(self._tasks.items()):
            if job is None or job.state.value.status in {JobStatus.PENDING, JobStatus.COMPLETED}:
                task.cancel()
            else:
                job.abort()
        if self._tasks:
            _, unfinished_tasks = await asyncio.wait(self._tasks, timeout=limit_seconds)
            for task in unfinished_tasks:
                task.cancel()
        await self.space_connector.aclose()

    def _evict_old_jobs(self) -> None:
        final_jobs = (job for job in self._jobs.values() if job.state.value.status.is_final)
        evictable_jobs = [job for job in final_jobs if not self._result_saver.has_unsaved(job)]
        total_bytes = sum(job.state.value.size_bytes for job in evictable_jobs)
        evicted_ids: list[str] = []
        for job in evictable_jobs:
            is_within_limit = self._config.is_persistent or total_bytes <= MAX_PICTURE_BYTES
            if len(self._jobs) < MAX_JOBS and is_within_limit:
                break
            total_bytes -= job.state.value.size_bytes
            self._unregister(job)
            evicted_ids.append(job.id)
        if evicted_ids and not self._config.is_persistent:
            self._start_task(self._job_store.discard(evicted_ids))

    def _unregister(self, job: Job) -> None:
        del self._jobs[job.id]
        self.queues.remove(job)
        self.artifacts.remove_job(job.id)
