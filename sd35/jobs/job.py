"""One job: from its request to the kept picture, with a state that anybody can watch.

A job is a task of its own. It doesn't belong to the page that asked for it, and any page may watch
it.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import assert_never

import anyio
import anyio.to_thread

from sd35.client import Generation, Identity, Previews, SpaceClient, StopOutcome
from sd35.core.errors import PictureError, QuotaError, SD35Error
from sd35.core.events import Event, Finished, Notice, Preview, Progress, Queued, Started, Waiting
from sd35.core.observable import Observable
from sd35.core.picture import Picture, shrink
from sd35.core.request import GenerationRequest
from sd35.jobs.record import JobStatus
from sd35.jobs.scheduler import QueueEntry

__all__ = ["Job", "JobDependencies", "JobResult", "JobState"]

log = logging.getLogger(__name__)

MAX_PREVIEW_BYTES = 150_000
PREVIEW_LONGEST_SIDE = 768
"""A preview above the one is shrunk to the other, in pixels, before it goes to the pages."""

MAX_NOTICES = 20


@dataclass(frozen=True, slots=True)
class JobResult:
    """A finished picture: its file in the library, what it is, and the seed used, if known.

    `served_as` is the path by which it is asked for here, and `space` where it was made. `path` is
    `None` where it couldn't be written, for the reason `unwritten`: then it is kept in memory, and
    with `is_promised` it is tried again.
    """

    name: str
    url_path: str
    path: Path | None
    save_error: str
    format: str
    mime_type: str
    width: int
    height: int
    size_bytes: int
    seed: int | None
    space: str = ""
    is_demo: bool = False
    will_retry_save: bool = False


@dataclass(frozen=True, slots=True)
class JobState:
    """All that is to be known of a job at one moment. Times are of `time.monotonic()`, in seconds.

    `ahead` is how many go before, of so many `in_line`, while it waits for its turn here; with
    `is_held`, it waits until somebody lets it go on. `refusal` is why the Space refused it when it
    had its turn before. `stopped` is what stopping did at the Space; `None` where nothing had been
    sent. `reason` is why it was stopped, if nobody asked.
    """

    request: GenerationRequest
    status: JobStatus
    created_at: float
    jobs_ahead: int = 0
    queue_length: int = 0
    is_held: bool = False
    quota_error: QuotaError | None = None
    cancel_reason: str = ""
    space: SpaceClient | None = None
    waiting_event: Waiting | None = None
    queued_event: Queued | None = None
    eta_seconds: float | None = None
    started_at: float | None = None
    progress: Progress | None = None
    preview: Picture | None = None
    notices: tuple[Notice, ...] = ()
    first_preview_at: float | None = None
    ended_at: float | None = None
    result: JobResult | None = None
    cancel_outcome: StopOutcome | None = None
    error: SD35Error | None = None

    def is_significant_change(self, previous: "JobState") -> bool:
        """Whether this is news that whoever has seen that one shouldn't wait for: another phase, the first preview."""
        return self.status is not previous.status or (
            previous.preview is None and self.preview is not None
        )

    @property
    def size_bytes(self) -> int:
        """What the finished picture takes; 0 before there is one."""
        return 0 if self.result is None else self.result.size_bytes

    @property
    def elapsed_seconds(self) -> float:
        """How long it has taken so far, or took; without the time that it waited, once the Space has begun."""
        start = self.created_at if self.started_at is None else self.started_at
        return (time.monotonic() if self.ended_at is None else self.ended_at) - start


@dataclass(frozen=True, slots=True)
class JobDependencies:
    """What a job needs on its way.

    Attributes:
        turn: waits for a turn, and is held while the Space is asked.
        begin: writes down that the job is being run; before anything is sent.
        connected: returns the Space.
        refused: is told, before another one has its turn, that the quota is used up.
        save: keeps the finished picture.

    """

    slot: Callable[[QueueEntry], AbstractAsyncContextManager[None]]
    mark_started: Callable[["Job"], Awaitable[None]]
    get_space: Callable[[], Awaitable[SpaceClient]]
    on_quota_exceeded: Callable[["Job", QuotaError], Awaitable[None]]
    save_result: Callable[["Job", SpaceClient, Picture], Awaitable[JobResult]]


class Job:
    """One picture on its way.

    Args:
        id: what the job, and its picture, are called; who knows it, and is its owner if it has one,
            may watch it.
        asked: the request as it was made.
        state: what is known of it; its request has its random seed drawn.
        ticket: its place in the line.
        owner: whose it is; `None`: who knows its id.
        identity: as whom the Space is asked.
        by_program: whether a program waits for it, and not a person at a page.

    Attributes:
        state: what is known of the job, to be watched.
        on_change: is told of each change.

    """

    def __init__(
        self,
        *,
        id: str,  # noqa: A002  # what it is
        original_request: GenerationRequest,
        state: JobState,
        queue_entry: QueueEntry,
        owner: str | None = None,
        identity: Identity | None = None,
        is_api_call: bool = False,
    ) -> None:
        self.id = id
        self.original_request = original_request
        self.owner = owner
        self.is_api_call = is_api_call
        self.queue_entry = queue_entry
        queue_entry.on_position = self._on_position
        self.state = Observable(state)
        self.on_change: Callable[[JobState, JobState], None] = lambda _old, _new: None
        self._identity = identity
        self._cancel_scope = anyio.CancelScope()
        self._is_interrupted = False

    def cancel(self, reason: str = "") -> None:
        """End the job: its run is cancelled at the Space, and its state says what that did, and why it was.

        A picture that is already on its way here is not thrown away.
        """
        if self.state.value.status in {
            JobStatus.PENDING,
            JobStatus.CONNECTING,
            JobStatus.QUEUED_REMOTELY,
            JobStatus.RUNNING,
        }:
            self._update(status=JobStatus.CANCELLING, is_held=False, cancel_reason=reason)
            self._cancel_scope.cancel()

    def abort(self) -> None:
        """End the job as `stop` does, because this program comes to its end."""
        self._is_interrupted = (
            self.state.value.status is not JobStatus.CANCELLING
        )  # then somebody has asked for its end
        self.cancel()

    def set_identity(self, identity: Identity | None) -> None:
        """Ask the Space as who this is, from the next turn on: what was known before may have expired."""
        self._identity = identity

    def set_held(self, *, is_held: bool) -> None:
        """Keep the job from its turn, or let it go on; the line is to be told."""
        self.queue_entry.is_held = is_held
        if self.state.value.status is JobStatus.PENDING:
            self._update(is_held=is_held)

    def _update(self, **changes: object) -> None:
        old = self.state.value
        self.state.set(replace(old, **changes))  # type: ignore[arg-type]
        self.on_change(old, self.state.value)

    def _finish(self, status: JobStatus, **changes: object) -> None:
        self._update(status=status, ended_at=time.monotonic(), preview=None, **changes)

    def set_result(self, result: JobResult) -> None:
        """Say that a picture that couldn't be written before is written now."""
        self._update(result=result)

    async def run(self, dependencies: JobDependencies) -> None:
        """Run the job to its end, whatever that is; raises nothing."""
        try:
            generation = await self._generate(dependencies)
            space = self.state.value.space
            if generation is None or generation.finished is None or space is None:
                cancel_outcome = None if generation is None else generation.stopped
                self._finish(
                    JobStatus.INTERRUPTED if self._is_interrupted else JobStatus.CANCELLED,
                    cancel_outcome=cancel_outcome,
                )
            else:  # it can't be stopped any more: that would only lose the picture
                self._update(status=JobStatus.DOWNLOADING)
                picture = await generation.fetch()
                self._finish(
                    JobStatus.COMPLETED, result=await dependencies.save_result(self, space, picture)
                )
        except SD35Error as error:
            self._finish(JobStatus.FAILED, error=error)
        except Exception:  # the edge of a task: nobody above would hear of it
            log.exception("a job failed in a way that wasn't foreseen")
            self._finish(
                JobStatus.FAILED,
                error=SD35Error("This program failed in a way that wasn't foreseen."),
            )
        finally:
            self._identity = None  # it may hold a token

    async def _generate(self, dependencies: JobDependencies) -> Generation | None:
        """Follow the run to its end or until it is stopped; `None` if nothing was sent."""
        generation: Generation | None = None
        with self._cancel_scope:
            while generation is None:
                async with dependencies.slot(self.queue_entry):
                    await dependencies.mark_started(self)
                    self._update(status=JobStatus.CONNECTING, quota_error=None, is_held=False)
                    space = await dependencies.get_space()
                    self._update(space=space)
                    generation = space.generate(
                        self.state.value.request, previews=Previews.NEWEST, identity=self._identity
                    )
                    try:
                        async with generation:
                            async for event in generation:
                                await self._on_event(event)
                    except QuotaError as error:
                        await dependencies.on_quota_exceeded(self, error)
                        if error.retry_at is None or self.is_api_call:
                            raise
                        self._requeue(error)
                        generation = None
        return generation

    def _requeue(self, quota_error: QuotaError) -> None:
        """Go back to the line: what was refused for its quota hasn't cost anything."""
        if self.state.value.status is not JobStatus.CANCELLING:
            self._update(
                status=JobStatus.PENDING,
                quota_error=quota_error,
                queued_event=None,
                started_at=None,
                progress=None,
                eta_seconds=None,
            )

    def _on_position(self, jobs_ahead: int, queue_length: int) -> None:
        state = self.state.value
        if state.status is JobStatus.PENDING and (state.jobs_ahead, state.queue_length) != (
            jobs_ahead,
            queue_length,
        ):
            self._update(jobs_ahead=jobs_ahead, queue_length=queue_length)

    async def _on_event(self, event: Event) -> None:
        if self.state.value.status is JobStatus.CANCELLING:
            return
        match event:
            case Waiting():
                self._update(waiting_event=event, status=JobStatus.CONNECTING)
            case Queued():
                self._update(
                    queued_event=event, status=JobStatus.QUEUED_REMOTELY, waiting_event=None
                )
            case Started(eta_seconds=eta_seconds):
                self._update(
                    status=JobStatus.RUNNING,
                    started_at=time.monotonic(),
                    eta_seconds=eta_seconds,
                    waiting_event=None,
                )
            case Progress():
                self._update(progress=event)
            case Preview():
                await self._on_preview(event)
            case Notice():
                self._update(notices=(*self.state.value.notices, event)[-MAX_NOTICES:])
            case Finished():
                pass  # `generation.finished` has it
            case _:
                assert_never(event)

    async def _on_preview(self, event: Preview) -> None:
        preview = event.fetched
        if preview is not None and len(preview.data) > MAX_PREVIEW_BYTES:
            try:
                preview = await anyio.to_thread.run_sync(shrink, preview, PREVIEW_LONGEST_SIDE)
            except PictureError as error:  # no reason to lose the picture
                log.info("a preview was passed over: %s", error)
                return
        first_preview_at = self.state.value.first_preview_at
        self._update(
            preview=preview,
            first_preview_at=time.monotonic() if first_preview_at is None else first_preview_at,
        )
