"""One job: from its request to the kept picture, with a state that anybody can watch.

A job is a task of its own. It doesn't belong to the page that asked for it, and any page may watch it.
"""

import datetime as dt
import logging
import secrets
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
from sd35.errors import PictureError, SD35Error
from sd35.events import Event, Finished, Notice, Preview, Progress, Queued, Started, Waiting
from sd35.files import file_name, write_new
from sd35.kept import Kept
from sd35.latest import Latest
from sd35.picture import Picture, shrink
from sd35.request import GenerationRequest

__all__ = ["Job", "JobState", "Made", "Phase"]

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

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen."""
        return self in {Phase.FINISHED, Phase.STOPPED, Phase.FAILED}


@dataclass(frozen=True, slots=True)
class Made:
    """A finished picture: the file with its bytes as they came, what it is, and the seed used, if known.

    `served_as` is the path by which it is asked for here.
    `path` is `None` where it couldn't be written, for the reason `unwritten`: then it is kept in memory.
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


@dataclass(frozen=True, slots=True)
class JobState:
    """All that is to be known of a job at one moment. Times are of `time.monotonic()`, in seconds.

    `ahead` is how many go before, of so many `in_line`, while it waits for its turn here. `stopped` is what stopping
    did at the Space; `None` where nothing had been sent.
    """

    request: GenerationRequest
    phase: Phase
    created_at: float
    ahead: int = 0
    in_line: int = 0
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
        """How long it has taken so far, or took."""
        return (time.monotonic() if self.ended_at is None else self.ended_at) - self.created_at


Turn = Callable[[Callable[[int, int], None]], AbstractAsyncContextManager[None]]
"""Waits for a turn, tells of each new place in the line, and is held while the Space is asked."""

Keep = Callable[["Job", Kept], str]
"""Hands out a job's finished picture from now on, and returns the path by which it is asked for."""


class Job:
    """One picture on its way.

    Attributes:
        id: can't be guessed; who knows it, and is its owner if it has one, may watch and stop the job.
        asked: the request as it was made; that of the state has its random seed drawn.
        owner: whose it is; `None`: who knows its id.
        state: what is known of the job, to be watched.

    """

    def __init__(
        self,
        asked: GenerationRequest,
        request: GenerationRequest,
        owner: str | None = None,
        identity: Identity | None = None,
    ) -> None:
        self.id = secrets.token_urlsafe(16)
        self.asked = asked
        self.owner = owner
        self._identity = identity
        self.state = Latest(JobState(request, Phase.WAITING, time.monotonic()))
        self._scope = anyio.CancelScope()

    def stop(self) -> None:
        """End the job: its run is cancelled at the Space, and its state says what that did.

        A picture that is already on its way here is not thrown away.
        """
        if self.state.value.phase in {Phase.WAITING, Phase.CONNECTING, Phase.QUEUED, Phase.RUNNING}:
            self._update(phase=Phase.STOPPING)
            self._scope.cancel()

    def _update(self, **changes: object) -> None:
        self.state.set(replace(self.state.value, **changes))  # type: ignore[arg-type]

    def _end(self, phase: Phase, **changes: object) -> None:
        self._update(phase=phase, ended_at=time.monotonic(), preview=None, **changes)

    async def run(
        self, turn: Turn, connected: Callable[[], Awaitable[SpaceClient]], folder: Path | None, keep: Keep
    ) -> None:
        """Run the job to its end, whatever that is; raises nothing."""
        try:
            generation = await self._generate(turn, connected)
            if generation is None or generation.finished is None:
                stopped = None if generation is None else generation.stopped
                self._end(Phase.STOPPED, stopped=stopped)
            else:  # it can't be stopped any more: that would only lose the picture
                self._update(phase=Phase.FETCHING)
                self._end(Phase.FINISHED, made=await self._keep(generation, folder, keep))
        except SD35Error as error:
            self._end(Phase.FAILED, error=error)
        except Exception:  # the edge of a task: nobody above would hear of it
            log.exception("a job failed in a way that wasn't foreseen")
            self._end(Phase.FAILED, error=SD35Error("This program failed in a way that wasn't foreseen."))
        finally:
            self._identity = None  # it may hold a token

    async def _generate(self, turn: Turn, connected: Callable[[], Awaitable[SpaceClient]]) -> Generation | None:
        """Follow the run to its end or until it is stopped; `None` if nothing was sent."""
        generation: Generation | None = None
        with self._scope:
            async with turn(self._tell_place):
                self._update(phase=Phase.CONNECTING)
                space = await connected()
                self._update(space=space)
                identity = self._identity
                generation = space.generate(self.state.value.request, previews=Previews.NEWEST, identity=identity)
                async with generation:
                    async for event in generation:
                        await self._take(event)
        return generation

    def _tell_place(self, ahead: int, in_line: int) -> None:
        if self.state.value.phase is Phase.WAITING:
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
                self._update(phase=Phase.RUNNING, started_at=time.monotonic(), eta_seconds=eta, waiting=None)
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

    async def _keep(self, generation: Generation, folder: Path | None, keep: Keep) -> Made:
        """Fetch the picture and keep its bytes as they came: in a file, or else in memory."""
        space = self.state.value.space
        assert space is not None
        picture = await generation.fetch()
        name, path, reason = file_name(space.model, self.state.value.request.prompt, picture.seed, picture), None, ""
        if folder is not None:
            try:
                day = folder / f"{dt.datetime.now().astimezone():%Y-%m-%d}"
                path = await anyio.to_thread.run_sync(write_new, day, name, picture.data)
                name = path.name
            except OSError as error:
                reason = error.strerror or type(error).__name__
                log.warning("a picture couldn't be written, and is kept in memory: %s", reason)
        served_as = keep(self, Kept(self.owner, name, picture.mime_type, picture.data if path is None else path))
        return Made(
            name,
            served_as,
            path,
            reason,
            picture.format,
            picture.mime_type,
            picture.width,
            picture.height,
            len(picture.data),
            picture.seed,
        )
