"""One job: from its request to the kept picture, with a state that anybody can watch.

A job is a task of its own. It doesn't belong to the page that asked for it, and any page may watch
it.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import assert_never

import anyio
import anyio.to_thread

from sd35.client import Generation, Identity, Previews, SpaceClient, StopOutcome
from sd35.core.errors import PictureError, QuotaError, SD35Error
from sd35.core.events import Event, Finished, Notice, Preview, Progress, Queued, Started, Waiting
from sd35.core.observable import Latest
from sd35.core.picture import Picture, shrink
from sd35.core.request import GenerationRequest
from sd35.jobs.scheduler import Ticket

__all__ = ["Job", "JobState", "Made", "Phase", "Steps"]

log = logging.getLogger(__name__)

MAX_PREVIEW_BYTES = 150_000
PREVIEW_LONGEST_SIDE = 768
"""A preview above the one is shrunk to the other, in pixels, before it goes to the pages."""

MAX_NOTICES = 20


class Phase(Enum):
    """Where a job is; first, where others may go before, in this program's own line."""

    WAITING = "waiting"
    CONNECTING = "connecting"
    QUEUED = "queued"
    RUNNING = "running"
    FETCHING = "fetching"
    STOPPING = "stopping"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"
    INTERRUPTED = "interrupted"

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen."""
        return self in {Phase.FINISHED, Phase.STOPPED, Phase.FAILED, Phase.INTERRUPTED}


@dataclass(frozen=True, slots=True)
class Made:
    """A finished picture: its file in the library, what it is, and the seed used, if known.

    `served_as` is the path by which it is asked for here, and `space` where it was made. `path` is
    `None` where it couldn't be written, for the reason `unwritten`: then it is kept in memory, and
    with `is_promised` it is tried again.
    """

    name: str
    served_as: str
    path: Path | None
    unwritten: str
    format: str
    mime_type: str
    width: int
    height: int
    size_bytes: int
    seed: int | None
    space: str = ""
    is_demo: bool = False
    is_promised: bool = False


@dataclass(frozen=True, slots=True)
class JobState:
    """All that is to be known of a job at one moment. Times are of `time.monotonic()`, in seconds.

    `ahead` is how many go before, of so many `in_line`, while it waits for its turn here; with
    `is_held`, it waits until somebody lets it go on. `refusal` is why the Space refused it when it
    had its turn before. `stopped` is what stopping did at the Space; `None` where nothing had been
    sent. `reason` is why it was stopped, if nobody asked.
    """

    request: GenerationRequest
    phase: Phase
    created_at: float
    ahead: int = 0
    in_line: int = 0
    is_held: bool = False
    refusal: QuotaError | None = None
    reason: str = ""
    space: SpaceClient | None = None
    waiting: Waiting | None = None
    queued: Queued | None = None
    eta_seconds: float | None = None
    started_at: float | None = None
    progress: Progress | None = None
    preview: Picture | None = None
    notices: tuple[Notice, ...] = ()
    first_preview_at: float | None = None
    ended_at: float | None = None
    made: Made | None = None
    stopped: StopOutcome | None = None
    error: SD35Error | None = None

    def is_urgent_after(self, seen: "JobState") -> bool:
        """Whether this is news that whoever has seen that one shouldn't wait for: another phase, the first preview."""
        return self.phase is not seen.phase or (seen.preview is None and self.preview is not None)

    @property
    def size_bytes(self) -> int:
        """What the finished picture takes; 0 before there is one."""
        return 0 if self.made is None else self.made.size_bytes

    @property
    def elapsed_seconds(self) -> float:
        """How long it has taken so far, or took; without the time that it waited, once the Space has begun."""
        began = self.created_at if self.started_at is None else self.started_at
        return (time.monotonic() if self.ended_at is None else self.ended_at) - began


@dataclass(frozen=True, slots=True)
class Steps:
    """What a job needs on its way.

    Attributes:
        turn: waits for a turn, and is held while the Space is asked.
        begin: writes down that the job is being run; before anything is sent.
        connected: returns the Space.
        refused: is told, before another one has its turn, that the quota is used up.
        save: keeps the finished picture.

    """

    turn: Callable[[Ticket], AbstractAsyncContextManager[None]]
    begin: Callable[["Job"], Awaitable[None]]
    connected: Callable[[], Awaitable[SpaceClient]]
    refused: Callable[["Job", QuotaError], Awaitable[None]]
    save: Callable[["Job", SpaceClient, Picture], Awaitable[Made]]


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
        asked: GenerationRequest,
        state: JobState,
        ticket: Ticket,
        owner: str | None = None,
        identity: Identity | None = None,
        by_program: bool = False,
    ) -> None:
        self.id = id
        self.asked = asked
        self.owner = owner
        self.by_program = by_program
        self.ticket = ticket
        ticket.tell = self._tell_place
        self.state = Latest(state)
        self.on_change: Callable[[JobState, JobState], None] = lambda _old, _new: None
        self._identity = identity
        self._scope = anyio.CancelScope()
        self._is_interrupted = False

    def stop(self, reason: str = "") -> None:
        """End the job: its run is cancelled at the Space, and its state says what that did, and why it was.

        A picture that is already on its way here is not thrown away.
        """
        if self.state.value.phase in {Phase.WAITING, Phase.CONNECTING, Phase.QUEUED, Phase.RUNNING}:
            self._update(phase=Phase.STOPPING, is_held=False, reason=reason)
            self._scope.cancel()

    def interrupt(self) -> None:
        """End the job as `stop` does, because this program comes to its end."""
        self._is_interrupted = (
            self.state.value.phase is not Phase.STOPPING
        )  # then somebody has asked for its end
        self.stop()

    def ask_as(self, identity: Identity | None) -> None:
        """Ask the Space as who this is, from the next turn on: what was known before may have expired."""
        self._identity = identity

    def hold(self, *, is_held: bool) -> None:
        """Keep the job from its turn, or let it go on; the line is to be told."""
        self.ticket.is_held = is_held
        if self.state.value.phase is Phase.WAITING:
            self._update(is_held=is_held)

    def _update(self, **changes: object) -> None:
        old = self.state.value
        self.state.set(replace(old, **changes))  # type: ignore[arg-type]
        self.on_change(old, self.state.value)

    def _end(self, phase: Phase, **changes: object) -> None:
        self._update(phase=phase, ended_at=time.monotonic(), preview=None, **changes)

    def saved(self, made: Made) -> None:
        """Say that a picture that couldn't be written before is written now."""
        self._update(made=made)

    async def run(self, steps: Steps) -> None:
        """Run the job to its end, whatever that is; raises nothing."""
        try:
            generation = await self._generate(steps)
            space = self.state.value.space
            if generation is None or generation.finished is None or space is None:
                stopped = None if generation is None else generation.stopped
                self._end(
                    Phase.INTERRUPTED if self._is_interrupted else Phase.STOPPED, stopped=stopped
                )
            else:  # it can't be stopped any more: that would only lose the picture
                self._update(phase=Phase.FETCHING)
                picture = await generation.fetch()
                self._end(Phase.FINISHED, made=await steps.save(self, space, picture))
        except SD35Error as error:
            self._end(Phase.FAILED, error=error)
        except Exception:  # the edge of a task: nobody above would hear of it
            log.exception("a job failed in a way that wasn't foreseen")
            self._end(
                Phase.FAILED, error=SD35Error("This program failed in a way that wasn't foreseen.")
            )
        finally:
            self._identity = None  # it may hold a token

    async def _generate(self, steps: Steps) -> Generation | None:
        """Follow the run to its end or until it is stopped; `None` if nothing was sent."""
        generation: Generation | None = None
        with self._scope:
            while generation is None:
                async with steps.turn(self.ticket):
                    await steps.begin(self)
                    self._update(phase=Phase.CONNECTING, refusal=None, is_held=False)
                    space = await steps.connected()
                    self._update(space=space)
                    generation = space.generate(
                        self.state.value.request, previews=Previews.NEWEST, identity=self._identity
                    )
                    try:
                        async with generation:
                            async for event in generation:
                                await self._take(event)
                    except QuotaError as error:
                        await steps.refused(self, error)
                        if error.retry_at is None or self.by_program:
                            raise
                        self._wait_again(error)
                        generation = None
        return generation

    def _wait_again(self, refusal: QuotaError) -> None:
        """Go back to the line: what was refused for its quota hasn't cost anything."""
        if self.state.value.phase is not Phase.STOPPING:
            self._update(
                phase=Phase.WAITING,
                refusal=refusal,
                queued=None,
                started_at=None,
                progress=None,
                eta_seconds=None,
            )

    def _tell_place(self, ahead: int, in_line: int) -> None:
        state = self.state.value
        if state.phase is Phase.WAITING and (state.ahead, state.in_line) != (ahead, in_line):
            self._update(ahead=ahead, in_line=in_line)

    async def _take(self, event: Event) -> None:
        if self.state.value.phase is Phase.STOPPING:
            return
        match event:
            case Waiting():
                self._update(waiting=event, phase=Phase.CONNECTING)
            case Queued():
                self._update(queued=event, phase=Phase.QUEUED, waiting=None)
            case Started(eta_seconds=eta):
                self._update(
                    phase=Phase.RUNNING, started_at=time.monotonic(), eta_seconds=eta, waiting=None
                )
            case Progress():
                self._update(progress=event)
            case Preview():
                await self._show(event)
            case Notice():
                self._update(notices=(*self.state.value.notices, event)[-MAX_NOTICES:])
            case Finished():
                pass  # `generation.finished` has it
            case _:
                assert_never(event)

    async def _show(self, event: Preview) -> None:
        preview = event.fetched
        if preview is not None and len(preview.data) > MAX_PREVIEW_BYTES:
            try:
                preview = await anyio.to_thread.run_sync(shrink, preview, PREVIEW_LONGEST_SIDE)
            except PictureError as error:  # no reason to lose the picture
                log.info("a preview was passed over: %s", error)
                return
        first = self.state.value.first_preview_at
        self._update(preview=preview, first_preview_at=time.monotonic() if first is None else first)
