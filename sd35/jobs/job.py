"""A job, and its state, which pages watch."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import anyio

from sd35.client import Generation, Identity, SpaceClient, StopOutcome
from sd35.core.errors import SD35Error
from sd35.core.events import Notice, Progress, Queued, Waiting
from sd35.core.observable import Observable
from sd35.core.origin import NO_ORIGIN, RequestOrigin
from sd35.core.picture import Picture
from sd35.core.request import GenerationRequest
from sd35.core.run_time import Pace, remaining_queue_seconds, remaining_run_seconds
from sd35.jobs.record import JobStatus
from sd35.jobs.scheduler import QueueEntry

__all__ = ["CANCELLABLE_STATUSES", "Job", "JobResult", "JobState"]

# The image of a job that is downloading is paid for already: cancelling would only lose it.
CANCELLABLE_STATUSES: Final = frozenset(
    {JobStatus.PENDING, JobStatus.CONNECTING, JobStatus.QUEUED_REMOTELY, JobStatus.RUNNING}
)

MAX_ESTIMATED_FRACTION: Final = 0.95


@dataclass(frozen=True, slots=True)
class JobResult:
    """The image of a completed job, as it is served.

    Attributes:
        url_path: the path that the image is served under.
        path: its file in the library; `None` if it isn't saved yet, or couldn't be.
        seed: the seed that the Space used, if it is known.
        save_error: why the image couldn't be saved at first.
        is_unsaved: whether it will be saved, at first or after an error.
    """

    name: str
    url_path: str
    path: Path | None
    format: str
    mime_type: str
    width: int
    height: int
    size_bytes: int
    seed: int | None
    space: str = ""
    is_demo: bool = False
    save_error: str = ""
    is_unsaved: bool = False

    @property
    def is_saving(self) -> bool:
        """Return whether the image will be saved in a moment."""
        return self.is_unsaved and not self.save_error


@dataclass(frozen=True, slots=True)
class JobState:
    """Snapshot of a job. Times are `time.monotonic()`, in seconds.

    Attributes:
        request: the request as it is sent, with the seed that was drawn.
        jobs_ahead: the number of jobs before this one, of `queue_length`, while it is pending.
        is_held: whether the job waits until its owner resumes it.
        queued_at: when the job joined the Space's queue.
        queued_event_at: when `queued_event` arrived, whose `eta_seconds` counts from then.
        pace: of the steps of the run.
        expected_seconds: how long the run usually takes; `None` if that isn't known.
        expected_tail_seconds: how long it usually takes from the last step to the image.
        expected_wait_seconds: how long a job usually waits in the Space's queue.
        pause_error: why the job is paused, such as a GPU quota that is used up.
        cancel_reason: why the job was cancelled; empty if its owner did it.
        cancel_outcome: what cancelling did at the Space; `None` if nothing had been sent.
        is_followed: whether the job is cancelled here, but its run can't be cancelled at the Space,
            so that it is followed in the background, to save its image.
    """

    request: GenerationRequest
    status: JobStatus
    created_at: float
    jobs_ahead: int = 0
    queue_length: int = 0
    is_held: bool = False
    pause_error: SD35Error | None = None
    cancel_reason: str = ""
    space: SpaceClient | None = None
    waiting_event: Waiting | None = None
    queued_event: Queued | None = None
    queued_at: float | None = None
    queued_event_at: float | None = None
    started_at: float | None = None
    progress: Progress | None = None
    pace: Pace | None = None
    expected_seconds: float | None = None
    expected_tail_seconds: float | None = None
    expected_wait_seconds: float | None = None
    preview: Picture | None = None
    notices: tuple[Notice, ...] = ()
    first_preview_at: float | None = None
    ended_at: float | None = None
    result: JobResult | None = None
    cancel_outcome: StopOutcome | None = None
    is_followed: bool = False
    error: SD35Error | None = None

    def is_significant_change(self, previous: "JobState") -> bool:
        """Return whether pages show this state at once: the job's end, or the first preview.

        Other changes come in quick succession when a run starts or ends.
        """
        is_first_preview = previous.preview is None and self.preview is not None
        has_ended = self.status is not previous.status and self.status.is_final
        return has_ended or is_first_preview

    @property
    def is_saving(self) -> bool:
        """Return whether the job's image is shown, and will be saved in a moment."""
        return self.result is not None and self.result.is_saving

    @property
    def is_saved(self) -> bool:
        """Return whether the job's image is in the library."""
        return self.result is not None and self.result.path is not None

    @property
    def is_waiting(self) -> bool:
        """Return whether the job waits for a Space that can't take it now."""
        # Other waits are short, and have no limit of their own.
        event = self.waiting_event if self.status is JobStatus.CONNECTING else None
        return event is not None and event.limit_seconds is not None

    @property
    def is_late(self) -> bool:
        """Return whether the image came after its owner had stopped waiting for it."""
        return self.status is JobStatus.COMPLETED and self.cancel_outcome is not None

    @property
    def size_bytes(self) -> int:
        """The size of the result's file; 0 without a result."""
        return 0 if self.result is None else self.result.size_bytes

    @property
    def remaining_seconds(self) -> float | None:
        """The estimated time until the image is there, of a job that the Space has.

        `None` if nothing is known; `Estimates.remaining_seconds` also knows of pending jobs.
        """
        now = time.monotonic()
        match self.status:
            case JobStatus.QUEUED_REMOTELY if self.queued_event is not None:
                return remaining_queue_seconds(
                    self.queued_event.eta_seconds,
                    now - (self.queued_event_at or now),
                    now - (self.queued_at or now),
                    self.expected_seconds,
                    self.expected_wait_seconds,
                )
            case JobStatus.RUNNING if self.pace is not None:
                return remaining_run_seconds(
                    self.pace,
                    self.elapsed_seconds,
                    self.expected_seconds,
                    now,
                    self.expected_tail_seconds or 0.0,
                )
            case _:
                return None

    @property
    def estimated_fraction(self) -> float | None:
        """The part of the run that is done, as its remaining time lets expect."""
        remaining_seconds = self.remaining_seconds
        if self.status is not JobStatus.RUNNING or remaining_seconds is None:
            return None
        # A bar that is full would say that the image is there.
        elapsed_seconds = self.elapsed_seconds
        total_seconds = elapsed_seconds + remaining_seconds
        return (
            min(MAX_ESTIMATED_FRACTION, elapsed_seconds / total_seconds) if total_seconds else 0.0
        )

    @property
    def elapsed_seconds(self) -> float:
        """The duration of the run, or of the job until the run starts."""
        start = self.created_at if self.started_at is None else self.started_at
        return (time.monotonic() if self.ended_at is None else self.ended_at) - start


@dataclass(eq=False, kw_only=True, repr=False)
class Job:
    """One request on its way, independent of the page that submitted it. Not thread-safe.

    Attributes:
        id: the id of the job and its image; for a job without an owner, it alone gives access.
        original_request: the request as it was submitted.
        state: the newest state, to be watched.
        origin: where the request comes from.
        owner: the owner of the job and its image; `None` for an anonymous program.
        identity: whose GPU quota the run uses; `None` for that of the connection's token.
        is_api_call: whether a program waits for the job, instead of a person at a page.
        is_charged: whether the job counts against its visitor's usage limits.
        on_change: called with the old and the new state.
        cancel_scope: the scope that the run is in.
        generation: the run at the Space, once there is one.
        on_follow: called when the job is cancelled, but its run goes on being followed.
        is_aborted: whether the job ends because the program shuts down.
    """

    id: str
    original_request: GenerationRequest
    state: Observable[JobState]
    queue_entry: QueueEntry
    origin: RequestOrigin = NO_ORIGIN
    owner: str | None = None
    identity: Identity | None = None
    is_api_call: bool = False
    is_charged: bool = False
    on_change: Callable[[JobState, JobState], None] = lambda _old, _new: None
    cancel_scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    generation: Generation | None = None
    on_follow: Callable[[], None] = lambda: None
    is_aborted: bool = False

    def __post_init__(self) -> None:
        self.queue_entry.on_position = self._on_position

    @property
    def is_unsent(self) -> bool:
        """Return whether the Space certainly hasn't run the job, and won't."""
        return self.generation is None or self.generation.is_unsent

    @property
    def is_saving(self) -> bool:
        """Return whether the image is shown, and will be saved in a moment."""
        return self.state.value.is_saving

    @property
    def status(self) -> JobStatus:
        """The current status."""
        return self.state.value.status

    def update(self, **changes: object) -> None:
        """Change fields of the state, and notify its watchers."""
        old = self.state.value
        self.state.set(replace(old, **changes))  # type: ignore[arg-type]  # the fields' own types
        self.on_change(old, self.state.value)

    def finish(self, status: JobStatus, **changes: object) -> None:
        """Set a final status, and drop the preview."""
        # Hundreds of jobs stay in memory, and a preview is up to 150 kB.
        self.update(status=status, ended_at=time.monotonic(), preview=None, **changes)

    def cancel(self, reason: str = "") -> None:
        """Cancel the job and its run at the Space, unless its image is being downloaded.

        A run that the Space can't cancel is followed in the background, and its image is saved.
        """
        if self.status not in CANCELLABLE_STATUSES:
            return
        if self.generation is None or self.generation.can_be_cancelled:
            self.update(status=JobStatus.CANCELLING, is_held=False, cancel_reason=reason)
            self.cancel_scope.cancel()
            return
        self.update(
            status=JobStatus.CANCELLED,
            cancel_reason=reason,
            cancel_outcome=StopOutcome.MAY_FINISH,
            is_followed=True,
            ended_at=time.monotonic(),
        )
        self.on_follow()

    def keep_waiting(self) -> bool:
        """Show a cancelled job as running again; return `False` if its run isn't followed."""
        if not self.state.value.is_followed:
            return False
        self.update(
            status=JobStatus.RUNNING,
            cancel_reason="",
            cancel_outcome=None,
            is_followed=False,
            ended_at=None,
        )
        return True

    def abort(self) -> None:
        """Cancel the job and its run because the program shuts down."""
        # A job that its owner has cancelled ends as cancelled, not as interrupted.
        self.is_aborted = self.status not in {JobStatus.CANCELLING, JobStatus.CANCELLED}
        if self.status in CANCELLABLE_STATUSES:
            self.update(status=JobStatus.CANCELLING, is_held=False)
        self.cancel_scope.cancel()

    def set_held(self, *, is_held: bool) -> None:
        """Hold the job, or release it; call `Scheduler.schedule` afterwards."""
        self.queue_entry.is_held = is_held
        if self.status is JobStatus.PENDING:
            self.update(is_held=is_held)

    def _on_position(self, jobs_ahead: int, queue_length: int) -> None:
        state = self.state.value
        # Each update wakes all pages of the visitor, and the scheduler reports every position.
        has_moved = (state.jobs_ahead, state.queue_length) != (jobs_ahead, queue_length)
        if state.status is JobStatus.PENDING and has_moved:
            self.update(jobs_ahead=jobs_ahead, queue_length=queue_length)
