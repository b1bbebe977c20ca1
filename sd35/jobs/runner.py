"""Running a job: from its slot to the saved image."""

import asyncio
import logging
import time
from dataclasses import dataclass
from functools import partial
from typing import Final, assert_never

import anyio.to_thread

from sd35.client import OutageWait, Previews, SendLog, SpaceClient, is_outage
from sd35.core.errors import (
    AccessDeniedError,
    InvalidRequestError,
    LibraryError,
    MalformedRequestError,
    ModelError,
    PictureError,
    QuotaError,
    RefusedError,
    SD35Error,
    SpaceStoppedError,
)
from sd35.core.events import Event, Finished, Notice, Preview, Progress, Queued, Started, Waiting
from sd35.core.picture import shrink
from sd35.core.run_time import Pace
from sd35.jobs.estimates import Estimates
from sd35.jobs.job import Job
from sd35.jobs.limits import UsageLimiter
from sd35.jobs.metrics import Metrics
from sd35.jobs.queues import QueueRegistry
from sd35.jobs.record import JobStatus
from sd35.jobs.results import ResultSaver
from sd35.jobs.scheduler import Scheduler
from sd35.jobs.space_connection import SpaceConnector
from sd35.jobs.store import JobStore
from sd35.jobs.tasks import BackgroundTasks

__all__ = ["JobRunner"]

log = logging.getLogger(__name__)

# Larger previews are shrunk: each page downloads each preview.
MAX_PREVIEW_BYTES: Final = 150_000
PREVIEW_LONGEST_SIDE: Final = 768  # in pixels

MAX_NOTICES: Final = 20

# How long a program's call waits for a Space that can't take its job.
API_OUTAGE_SECONDS = 300.0

SAVE_RETRY_INTERVAL = 15.0  # seconds between attempts to save an image that couldn't be saved


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRunner:
    """Runner that takes a job through all its steps, and records each of them."""

    scheduler: Scheduler
    queues: QueueRegistry
    store: JobStore
    connector: SpaceConnector
    result_saver: ResultSaver
    usage_limiter: UsageLimiter
    metrics: Metrics
    estimates: Estimates
    tasks: BackgroundTasks

    async def run(self, job: Job) -> None:
        """Run the job to its end, and save its image, with retries. Raises nothing."""
        job.on_follow = partial(self._on_follow, job)
        try:
            await self._run(job)
        except SD35Error as error:
            _fail(job, error)
        except Exception:  # the edge of a task: no caller would see the error
            log.exception("A job failed unexpectedly.")
            _fail(job, SD35Error("This job failed unexpectedly."))
        finally:
            job.identity = job.generation = None  # they may hold a token
        await self._wrap_up(job)

    async def _run(self, job: Job) -> None:
        await self._generate(job)
        generation = job.generation
        space = job.state.value.space
        if generation is None or generation.finished is None or space is None:
            await self._end_without_image(job)
            return
        # From here on the job can't be cancelled: that would only lose the image.
        if not job.state.value.is_followed:
            job.update(status=JobStatus.DOWNLOADING)
        picture = await generation.fetch()
        result = await self.result_saver.serve(job, space, picture)
        job.finish(JobStatus.COMPLETED, is_followed=False, result=result)

    async def _end_without_image(self, job: Job) -> None:
        if job.is_aborted and job.is_unsent and not job.is_api_call:
            # The next start of the program finds it in the queue.
            job.update(status=JobStatus.PENDING, waiting_event=None, queued_event=None)
            await self.store.mark_unsent(job)
            return
        job.finish(
            JobStatus.INTERRUPTED if job.is_aborted else JobStatus.CANCELLED,
            is_followed=False,
            cancel_outcome=None if job.generation is None else job.generation.stopped,
        )

    def _on_follow(self, job: Job) -> None:
        """Give the slot of a cancelled job to the next one, while its run is followed."""
        # The next job may wait at the Space for the end of this run; the Space says so.
        self.scheduler.release(job.queue_entry)
        self.tasks.start(self.store.mark_finished(job))

    async def _generate(self, job: Job) -> None:
        """Follow the run until it ends or is cancelled; a refused job returns to the queue."""
        with job.cancel_scope:
            is_refused = True
            while is_refused:
                async with self.scheduler.slot(job.queue_entry):
                    job.update(status=JobStatus.CONNECTING, pause_error=None, is_held=False)
                    # Errors are handled within the slot: otherwise the next job of this visitor
                    # would get it before the queue is paused.
                    is_refused = await self._try_run(job)

    async def _try_run(self, job: Job) -> bool:
        """Run the job at the Space, and return whether it was refused and is in the queue again."""
        try:
            await self._run_at_space(job)
        except _SpaceSwitchedError:
            await self._return_to_queue(job)
            return True
        except QuotaError as error:
            await self.queues.pause(job, error)
            is_waiting = not (job.is_api_call or job.state.value.is_followed)
            if error.retry_at is None or not is_waiting:
                raise
            await self._requeue(job, error)
            return True
        except (InvalidRequestError, MalformedRequestError, LibraryError):
            raise  # other jobs may do better
        except SD35Error as error:
            is_lasting = job.is_unsent or isinstance(
                error, RefusedError | AccessDeniedError | ModelError
            )
            if is_lasting and not job.is_api_call:
                # The visitor's other jobs would fail one after another for the same reason.
                await self.queues.pause(job, error)
            raise
        return False

    async def _run_at_space(self, job: Job) -> None:
        max_wait_seconds = self.connector.outage_seconds
        if job.is_api_call:
            max_wait_seconds = min(max_wait_seconds, API_OUTAGE_SECONDS)
        space = await self._connect(job, max_wait_seconds)
        expectation = self.estimates.expectation(space, job.state.value.request)
        job.update(space=space, waiting_event=None, **expectation)
        # Of the job, not a local variable: if the scope is cancelled, the caller still needs the
        # effect at the Space.
        job.generation = space.generate(
            job.state.value.request,
            previews=Previews.NEWEST,
            identity=job.identity,
            max_wait_seconds=max_wait_seconds,
            send_log=_JobSendLog(job, self.store, self.connector),
        )
        async with job.generation as generation:
            async for event in generation:
                if isinstance(event, Started):
                    self._on_start(job, space, event)
                else:
                    await _on_event(job, event)

    def _on_start(self, job: Job, space: SpaceClient, event: Started) -> None:
        state = job.state.value
        if job.status is JobStatus.CANCELLING or state.is_followed:
            return
        now = time.monotonic()
        job.update(
            status=JobStatus.RUNNING,
            started_at=now,
            pace=Pace(now),
            waiting_event=None,
            **self.estimates.expectation(space, state.request, event.eta_seconds),
        )

    async def _connect(self, job: Job, max_wait_seconds: float) -> SpaceClient:
        """Return the Space, and wait for one that can't be reached."""
        outage_wait = OutageWait(
            max_wait_seconds, partial(_show_wait, job), self.connector.retry_signal
        )
        while True:
            try:
                return await self.connector.get(partial(_show_wait, job))
            except SD35Error as error:
                if not is_outage(error):
                    raise
                await outage_wait.pause(error)

    async def _return_to_queue(self, job: Job) -> None:
        """Return a job that wasn't sent to the queue, from which the Space of now takes it."""
        job.generation = None
        if job.status is not JobStatus.CANCELLING:
            job.update(status=JobStatus.PENDING, space=None, waiting_event=None, queued_event=None)
            await self.store.mark_unsent(job)

    async def _requeue(self, job: Job, quota_error: QuotaError) -> None:
        """Return the job to the queue: a run that was refused for its quota has cost nothing."""
        job.generation = None
        if job.status is JobStatus.CANCELLING:
            return
        job.update(
            status=JobStatus.PENDING,
            pause_error=quota_error,
            queued_event=None,
            started_at=None,
            progress=None,
            pace=None,
        )
        await self.store.mark_unsent(job, quota_error)

    async def _wrap_up(self, job: Job) -> None:
        state = job.state.value
        has_reached_queue = state.queued_event is not None or state.started_at is not None
        if job.is_charged and not has_reached_queue:
            self.usage_limiter.release(job.queue_entry.rate_limit_key)
        self.connector.mark_suspect(state.space, state.error)
        if state.status.is_final:
            self.metrics.observe_job(state)
            self.estimates.observe_job(state)
            await self.result_saver.save(job)
            await self.store.mark_finished(job)
        await self.connector.close_unused()
        while self.result_saver.has_unsaved(job):
            await asyncio.sleep(SAVE_RETRY_INTERVAL)
            if await self.result_saver.retry_save(job):
                await self.store.mark_finished(job)


def _fail(job: Job, error: SD35Error) -> None:
    if job.state.value.is_followed:  # it was cancelled, and stays so
        job.update(is_followed=False)
    else:
        is_interrupted = isinstance(error, SpaceStoppedError)
        job.finish(JobStatus.INTERRUPTED if is_interrupted else JobStatus.FAILED, error=error)


class _SpaceSwitchedError(SD35Error):
    """Another Space, or another identity, was chosen before the job was sent."""


class _JobSendLog(SendLog):
    """Log of a job's sending, in its record.

    It ends a run that is to be made elsewhere now, or as somebody else.
    """

    def __init__(self, job: Job, store: JobStore, connector: SpaceConnector) -> None:
        self._job = job
        self._store = store
        self._connector = connector
        self._identity = job.identity

    def _check_space(self) -> None:
        has_other_identity = self._job.identity != self._identity
        if has_other_identity or self._connector.is_former(self._job.state.value.space):
            raise _SpaceSwitchedError("Another Space or token was chosen.")

    async def before_send(self) -> None:
        self._check_space()
        # Otherwise a job that the Space has run would look unsent after a crash, and be billed
        # twice.
        await self._store.mark_started(self._job)

    async def after_refusal(self) -> None:
        await self._store.mark_unsent(self._job)
        self._check_space()


def _show_wait(job: Job, event: Waiting) -> None:
    if job.status is not JobStatus.CANCELLING:
        job.update(waiting_event=event, status=JobStatus.CONNECTING)


def _show_position(job: Job, event: Queued) -> None:
    now = time.monotonic()
    state = job.state.value
    job.update(
        queued_event=event,
        queued_at=now if state.queued_event is None else state.queued_at,
        queued_event_at=now,
        status=JobStatus.QUEUED_REMOTELY,
        waiting_event=None,
    )


async def _on_event(job: Job, event: Event) -> None:
    if job.status is JobStatus.CANCELLING:
        return
    match event:
        case Waiting() | Queued() if job.state.value.is_followed:
            pass  # it stays cancelled
        case Waiting():
            _show_wait(job, event)
        case Queued():
            _show_position(job, event)
        case Progress():
            now = time.monotonic()
            pace = job.state.value.pace or Pace(now)
            job.update(progress=event, pace=pace.advance(event, now))
        case Preview():
            await _show_preview(job, event)
        case Notice():
            job.update(notices=(*job.state.value.notices, event)[-MAX_NOTICES:])
        case Started() | Finished():
            pass  # `JobRunner._on_start`, and `generation.finished` has it
        case _:
            assert_never(event)


async def _show_preview(job: Job, event: Preview) -> None:
    preview = event.fetched
    if preview is not None and len(preview.data) > MAX_PREVIEW_BYTES:
        try:
            preview = await anyio.to_thread.run_sync(shrink, preview, PREVIEW_LONGEST_SIDE)
        except PictureError as error:  # a damaged preview doesn't end the run
            log.info("Skipped a preview: %s", error)
            return
    first_preview_at = job.state.value.first_preview_at
    if first_preview_at is None:
        first_preview_at = time.monotonic()
    job.update(preview=preview, first_preview_at=first_preview_at)
