"""Estimates of the time until jobs are finished.

They come from what the Space says of its queue and its last runs, from the steps of a run, and from
the runs of the same Space in the library. Where none of them tells anything, there is no estimate.
"""

import math
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from statistics import median
from typing import Final

from sd35.client import SpaceClient
from sd35.core.errors import LibraryError
from sd35.core.observable import Observable
from sd35.core.request import GenerationRequest
from sd35.core.run_time import RunSample, RunTimes, finish_times, run_work
from sd35.core.visitor import Visitor
from sd35.jobs.job import Job, JobState
from sd35.jobs.limits import UsageLimits
from sd35.jobs.provenance import space_label
from sd35.jobs.queues import QueueRegistry
from sd35.jobs.record import JobStatus
from sd35.jobs.registry import JobRegistry
from sd35.jobs.scheduler import Scheduler
from sd35.jobs.space_connection import ConnectionState
from sd35.jobs.store import JobStore
from sd35.jobs.tasks import BackgroundTasks

__all__ = ["Estimates"]

MAX_USUAL_RUNS: Final = 9  # the newest: their settings are those of the next ones, more or less

MAX_FORECAST_AGE: Final = 0.25  # seconds: a page shows up to 50 pending jobs, ten times a second

WATCH_INTERVAL: Final = 3600.0  # seconds: any change of the connection comes at once

# Name and model of a Space: a Space on this machine has one name for all models.
_SpaceKey = tuple[str, str, bool]


class Estimates:
    """Estimates of one job service, in seconds; `None` where nothing is known."""

    def __init__(
        self,
        *,
        store: JobStore,
        scheduler: Scheduler,
        registry: JobRegistry,
        queues: QueueRegistry,
        connection: Observable[ConnectionState],
        limits: UsageLimits,
        tasks: BackgroundTasks,
    ) -> None:
        self._store = store
        self._scheduler = scheduler
        self._registry = registry
        self._queues = queues
        self._connection = connection
        self._limits = limits
        self._tasks = tasks
        self._times: dict[_SpaceKey, RunTimes] = {}
        self._loading: set[_SpaceKey] = set()
        self._forecast: dict[str, float] = {}
        self._forecast_at = -math.inf

    async def watch_spaces(self) -> None:
        """Read the runs of each Space once it is connected, so that a first press has estimates."""
        connections = self._connection.watch(min_interval=0.0, max_interval=WATCH_INTERVAL)
        async with aclosing(connections):
            async for _ in connections:
                await self.load()

    async def load(self) -> None:
        """Read the runs of the current Space from the library, unless that was done."""
        space = self._connection.value.space
        if space is not None:
            await self._load(_space_key(space))

    async def _load(self, key: _SpaceKey) -> None:
        if key in self._loading:
            return
        self._loading.add(key)
        samples: Sequence[RunSample] = ()
        space, model, is_demo = key
        with suppress(LibraryError):  # the jobs themselves report it
            samples = await self._store.run_samples(space, model, is_demo=is_demo)
        # Runs may have ended meanwhile.
        self._times[key] = RunTimes((*self._run_times(key).samples, *samples))

    def _run_times(self, key: _SpaceKey) -> RunTimes:
        return self._times.get(key, _NO_TIMES)

    def _times_of(self, space: SpaceClient) -> RunTimes:
        key = _space_key(space)
        if key not in self._loading:
            self._tasks.start(self._load(key))
        return self._run_times(key)

    def observe_job(self, state: JobState) -> None:
        """Take the time of a completed job into account."""
        if state.status is not JobStatus.COMPLETED or state.space is None:
            return
        if state.started_at is None or state.is_late:
            return
        wait_seconds = None
        if state.queued_at is not None:
            wait_seconds = max(0.0, state.started_at - state.queued_at)
        tail_seconds = None
        if state.pace is not None and state.pace.is_at_end and state.ended_at is not None:
            tail_seconds = max(0.0, state.ended_at - state.pace.position_at)
        work = run_work(state.request)
        sample = RunSample(work, state.elapsed_seconds, wait_seconds, tail_seconds)
        key = _space_key(state.space)
        self._times[key] = self._run_times(key).with_sample(sample)

    def expectation(
        self, space: SpaceClient, request: GenerationRequest, space_average: float | None = None
    ) -> dict[str, float | None]:
        """Return the fields of a job's state that say how long its run and its wait usually take.

        `space_average` is the duration of the Space's last runs.
        """
        times = self._times_of(space)
        return {
            "expected_seconds": times.run_seconds(run_work(request), space_average),
            "expected_tail_seconds": times.tail_seconds,
            "expected_wait_seconds": times.wait_seconds,
        }

    def run_seconds(self, request: GenerationRequest, count: int = 1) -> float | None:
        """Return how long so many images of a request would take, without the jobs in the queue."""
        seconds = self._job_seconds(request)
        if seconds is None:
            return None
        slots = min(
            self._limits.max_concurrent or count, self._limits.max_concurrent_per_visitor or count
        )
        return seconds * math.ceil(count / slots)

    def total_seconds(self, requests: Iterable[GenerationRequest]) -> float | None:
        """Return how long images of different requests would take, as `run_seconds` does."""
        counts = Counter(
            # The prompt makes no difference.
            replace(request, prompt="", negative_prompt="", seed=0)
            for request in requests
        )
        seconds = [self.run_seconds(request, count) for request, count in counts.items()]
        known_seconds = [value for value in seconds if value is not None]
        return sum(known_seconds) if len(known_seconds) == len(seconds) else None

    async def usual_seconds(self, space: str, model: str, *, is_demo: bool) -> float | None:
        """Return how long the newest images of a Space have taken, which may not be connected."""
        key = (space, model, is_demo)
        await self._load(key)
        samples = self._run_times(key).samples[:MAX_USUAL_RUNS]
        return median(sample.seconds for sample in samples) if samples else None

    def _job_seconds(self, request: GenerationRequest) -> float | None:
        """Return the time of a job that isn't sent yet, with its wait in the Space's queue."""
        space = self._connection.value.space
        if space is None:
            return None
        times = self._times_of(space)
        seconds = times.run_seconds(run_work(request))
        return None if seconds is None else seconds + (times.wait_seconds or 0.0)

    def remaining_seconds(self, job: Job) -> float | None:
        """Return the time until a job is finished; `None` for one that is paused, too."""
        if job.status.is_final or job.status is JobStatus.CANCELLING:
            return None
        if job.status is JobStatus.PENDING and not job.queue_entry.slot_granted.is_set():
            return _finite(self._pending_forecast(job.id))
        return _finite(self._running_seconds(job))

    def queue_seconds(self, visitor: Visitor) -> float | None:
        """Return the time until all jobs of a visitor that aren't held are finished.

        `None` also if there are none, or the queue is paused.
        """
        if visitor.owner is None:
            return None
        queue = self._queues.get_queue(visitor.owner)
        jobs = [
            job
            for job in queue.open_jobs
            if not job.state.value.is_held and job.status is not JobStatus.CANCELLING
        ]
        if not jobs or queue.pause_error is not None:
            return None
        seconds = [self.remaining_seconds(job) for job in jobs]
        known_seconds = [value for value in seconds if value is not None]
        return max(known_seconds) if len(known_seconds) == len(jobs) else None

    def _pending_forecast(self, job_id: str) -> float:
        now = time.monotonic()
        if now - self._forecast_at > MAX_FORECAST_AGE or job_id not in self._forecast:
            self._forecast = self._forecast_pending()
            self._forecast_at = now
        return self._forecast.get(job_id, math.inf)

    def _forecast_pending(self) -> dict[str, float]:
        """Return in how many seconds each job of all visitors will be finished.

        It is infinite for those that have a slot, are paused or are held.
        """
        jobs = {id(job.queue_entry): job for job in self._registry.unfinished_jobs}
        # An image that is being downloaded doesn't hold up the next run.
        running = [
            (job.queue_entry.rate_limit_key, self._running_seconds(job))
            for job in jobs.values()
            if job.queue_entry.slot_granted.is_set()
        ]
        order = self._scheduler.scheduling_order()
        pending = [jobs[id(entry)] for entry in order if id(entry) in jobs]
        times = finish_times(
            running,
            [(job.queue_entry.rate_limit_key, self._pending_seconds(job)) for job in pending],
            self._limits.max_concurrent,
            self._limits.max_concurrent_per_visitor,
        )
        # A paused job is in no order. Without its time, each look at it would be a new forecast.
        forecast = dict.fromkeys((job.id for job in jobs.values()), math.inf)
        return forecast | {job.id: seconds for job, seconds in zip(pending, times, strict=True)}

    def _pending_seconds(self, job: Job) -> float:
        seconds = self._job_seconds(job.state.value.request)
        return math.inf if seconds is None else seconds

    def _running_seconds(self, job: Job) -> float:
        """Return the remaining time of a job that has a slot, infinite if it is unknown."""
        state = job.state.value
        match state.status:
            case JobStatus.DOWNLOADING | JobStatus.CANCELLING:
                seconds: float | None = 0.0
            case JobStatus.PENDING | JobStatus.CONNECTING if not state.is_waiting:
                seconds = self._job_seconds(state.request)
            case _:
                seconds = state.remaining_seconds
        return math.inf if seconds is None else seconds


_NO_TIMES: Final = RunTimes()


def _space_key(space: SpaceClient) -> _SpaceKey:
    return space_label(space), space.model, space.contract.is_demo


def _finite(seconds: float) -> float | None:
    return seconds if math.isfinite(seconds) else None
