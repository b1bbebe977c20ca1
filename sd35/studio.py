"""The use case: take a request, run it at a Space, keep what comes, and tell everybody who listens.

A job is a task of its own. It doesn't belong to the page that asked for it, and any page may watch it.
Everything here belongs to one event loop, that of the first call.
"""

import asyncio
import logging
import random
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import assert_never

import anyio
import anyio.to_thread
import stamina

from sd35.client import Generation, SpaceClient, StopOutcome, Timeouts
from sd35.errors import (
    BusyError,
    ConnectionFailedError,
    InvalidRequestError,
    PictureError,
    ProtocolError,
    RateLimitedError,
    SD35Error,
    SpaceAsleepError,
    UnreachableError,
)
from sd35.events import Event, Finished, Notice, Preview, Progress, Queued, RemotePicture, Started
from sd35.latest import Latest
from sd35.picture import Picture, shrink
from sd35.request import PUBLIC_LIMITS, GenerationRequest, Limits, problems

__all__ = ["PUBLIC_SPACE", "ConnectionState", "Job", "JobState", "Made", "Phase", "SpaceChoice", "Studio"]

log = logging.getLogger(__name__)

PUBLIC_SPACE = "stabilityai/stable-diffusion-3.5-large"

AUTO_TIMEOUTS = Timeouts(discovery=6.0)
"""With `auto`, nobody waits longer than this for the public Space before the demo Space takes over."""

MAX_JOBS = 200
"""Jobs that are remembered; the oldest finished ones are forgotten first."""

MAX_PREVIEW_BYTES = 150_000
PREVIEW_LONGEST_SIDE = 768
"""A preview above the one is shrunk to the other, in pixels, before it goes to the pages."""

MAX_NOTICES = 20

FETCH_ATTEMPTS = 4
PASSING_ERRORS = (UnreachableError, SpaceAsleepError, RateLimitedError, BusyError)
"""What may pass while a finished picture waits at the Space: its download costs nobody's quota."""


class Phase(Enum):
    """Where a job is."""

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
    """A finished picture: the file with its bytes as they came, what it is, and the seed that was used."""

    path: Path
    format: str
    mime_type: str
    width: int
    height: int
    size_bytes: int
    seed: int


@dataclass(frozen=True, slots=True)
class JobState:
    """All that is to be known of a job at one moment. Times are of `time.monotonic()`, in seconds.

    `stopped` is what stopping did at the Space; `None` where nothing had been sent.
    """

    request: GenerationRequest
    phase: Phase
    created_at: float
    space: SpaceClient | None = None
    queued: Queued | None = None
    eta_seconds: float | None = None
    started_at: float | None = None
    progress: Progress | None = None
    preview: Picture | None = None
    notices: tuple[Notice, ...] = ()
    ended_at: float | None = None
    made: Made | None = None
    stopped: StopOutcome | None = None
    error: SD35Error | None = None

    @property
    def elapsed_seconds(self) -> float:
        """How long it has taken so far, or took."""
        return (time.monotonic() if self.ended_at is None else self.ended_at) - self.created_at


class Job:
    """One picture on its way.

    Attributes:
        id: can't be guessed; who knows it may watch and stop the job.
        asked: the request as it was made; that of the state has its random seed drawn.
        state: what is known of the job, to be watched.

    """

    def __init__(self, asked: GenerationRequest, request: GenerationRequest) -> None:
        self.id = secrets.token_urlsafe(16)
        self.asked = asked
        self.state = Latest(JobState(request, Phase.CONNECTING, time.monotonic()))
        self._scope = anyio.CancelScope()

    def stop(self) -> None:
        """End the job: its run is cancelled at the Space, and its state says what that did.

        A picture that is already on its way here is not thrown away.
        """
        if self.state.value.phase in {Phase.CONNECTING, Phase.QUEUED, Phase.RUNNING}:
            self._update(phase=Phase.STOPPING)
            self._scope.cancel()

    def _update(self, **changes: object) -> None:
        self.state.set(replace(self.state.value, **changes))  # type: ignore[arg-type]

    def _end(self, phase: Phase, **changes: object) -> None:
        self._update(phase=phase, ended_at=time.monotonic(), preview=None, **changes)

    async def run(self, connected: Callable[[], Awaitable[SpaceClient]], folder: Path) -> None:
        """Run the job to its end, whatever that is; raises nothing."""
        try:
            generation = await self._generate(connected)
            if generation is None or generation.finished is None:
                stopped = None if generation is None else generation.stopped
                self._end(Phase.STOPPED, stopped=stopped)
            else:  # it can't be stopped any more: that would only lose the picture
                self._update(phase=Phase.FETCHING)
                self._end(Phase.FINISHED, made=await self._keep(generation.finished, folder))
        except SD35Error as error:
            self._end(Phase.FAILED, error=error)
        except Exception:  # the edge of a task: nobody above would hear of it
            log.exception("a job failed in a way that wasn't foreseen")
            self._end(Phase.FAILED, error=SD35Error("This program failed in a way that wasn't foreseen."))

    async def _generate(self, connected: Callable[[], Awaitable[SpaceClient]]) -> Generation | None:
        """Follow the run to its end or until it is stopped; `None` if nothing was sent."""
        generation: Generation | None = None
        with self._scope:
            space = await connected()
            self._update(space=space)
            _refuse_invalid(self.state.value.request, space.contract.limits)
            generation = space.generate(self.state.value.request)
            await self._follow(space, generation)
        return generation

    async def _follow(self, space: SpaceClient, generation: Generation) -> None:
        """Fold the run's events into the state; previews are fetched beside it, and only the newest."""
        newest: Latest[RemotePicture | None] = Latest(None)
        async with generation:
            self._update(phase=Phase.QUEUED)
            previews = asyncio.ensure_future(self._show_previews(space, newest))
            try:
                async for event in generation:
                    self._take(event, newest)
            finally:
                previews.cancel()

    def _take(self, event: Event, newest: Latest[RemotePicture | None]) -> None:
        match event:
            case Queued():
                self._update(queued=event)
            case Started(eta_seconds=eta):
                self._update(phase=Phase.RUNNING, started_at=time.monotonic(), eta_seconds=eta)
            case Progress():
                self._update(progress=event)
            case Preview(picture=picture):
                newest.set(picture)
            case Notice():
                self._update(notices=(*self.state.value.notices, event)[-MAX_NOTICES:])
            case Finished():
                pass  # `generation.finished` has it
            case _:
                assert_never(event)

    async def _show_previews(self, space: SpaceClient, newest: Latest[RemotePicture | None]) -> None:
        shown: RemotePicture | None = None
        while True:
            shown = await newest.wait_for_change(shown, limit_seconds=3600)
            if shown is None:
                continue
            try:
                preview = await space.fetch(shown)
                if len(preview.data) > MAX_PREVIEW_BYTES:
                    preview = await anyio.to_thread.run_sync(shrink, preview, PREVIEW_LONGEST_SIDE)
            except SD35Error as error:  # a preview that can't be had is no reason to lose the picture
                log.info("a preview was passed over: %s", error)
            else:
                self._update(preview=preview)

    async def _keep(self, finished: Finished, folder: Path) -> Made:
        """Fetch the picture, and again if the network fails, and write its bytes as they came."""
        space = self.state.value.space
        assert space is not None
        async for attempt in stamina.retry_context(on=PASSING_ERRORS, attempts=FETCH_ATTEMPTS, wait_initial=0.5):
            with attempt:
                picture = await space.fetch(finished.picture)
        seed = self.state.value.request.seed if finished.seed is None else finished.seed
        name = _file_name(space, self.state.value.request.prompt, seed, picture)
        path = folder / self.id / name
        try:
            await anyio.to_thread.run_sync(_write, path, picture.data)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise PictureError(f"The picture came, but couldn't be written: {reason}.", "Free some space.") from error
        return Made(path, picture.format, picture.mime_type, picture.width, picture.height, len(picture.data), seed)


def _refuse_invalid(request: GenerationRequest, limits: Limits) -> None:
    found = problems(request, limits)
    if found:
        raise InvalidRequestError(" ".join(problem.message for problem in found))


def _file_name(space: SpaceClient, prompt: str, seed: int, picture: Picture) -> str:
    """A name that says what it is, on any file system: which Space, which prompt, which seed."""
    model = "demo-painter" if space.contract.is_demo else space.name.rpartition("/")[2]
    words = re.sub(r"[\W_]+", "-", f"{model} {prompt}", flags=re.ASCII).strip("-").lower()
    return f"{words[:70].rstrip('-')}-seed-{seed}{picture.suffix}"


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(data)
    part.rename(path)


@dataclass(frozen=True, slots=True)
class SpaceChoice:
    """Which Space is wanted: `auto`, `demo`, `owner/name` or an address; and the token that goes with it."""

    wanted: str = "auto"
    token: str | None = None


@dataclass(frozen=True, slots=True)
class ConnectionState:
    """How it stands between this studio and a Space.

    Exactly one of these holds: `space` is there; `error` says why it isn't; neither: it is being looked for.
    `fallback` is why the public Space couldn't be used, where the demo Space has taken its place.
    """

    wanted: str
    space: SpaceClient | None = None
    error: SD35Error | None = None
    fallback: SD35Error | None = None

    @property
    def is_settled(self) -> bool:
        """Whether the looking is over, well or badly."""
        return self.space is not None or self.error is not None

    @property
    def limits(self) -> Limits:
        """The Space's limits; until it has said them, the public Space's."""
        return PUBLIC_LIMITS if self.space is None else self.space.contract.limits


class Studio:
    """Connects to the chosen Space, runs jobs there, and remembers them.

    Args:
        choice: which Space.
        start_demo: starts the embedded demo Space, if it isn't running, and returns its address.
        folder: where finished pictures are written.

    """

    def __init__(self, choice: SpaceChoice, start_demo: Callable[[], Awaitable[str]], folder: Path) -> None:
        self._choice = choice
        self._start_demo = start_demo
        self._folder = folder
        self._jobs: dict[str, Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._connecting: asyncio.Task[None] | None = None
        self._open_spaces: dict[SpaceClient, AsyncExitStack] = {}
        self._random = random.SystemRandom()
        self.connection = Latest(ConnectionState(PUBLIC_SPACE if choice.wanted == "auto" else choice.wanted))

    def connect(self, *, again: bool = False) -> None:
        """Start looking for the Space, unless that is under way or done; with `again`, even if it is done."""
        if self._connecting is not None and not (again and self._connecting.done()):
            return
        self.connection.set(ConnectionState(self.connection.value.wanted))
        self._connecting = self._start(self._connect())

    @asynccontextmanager
    async def lifespan(self, _app: object) -> AsyncIterator[None]:
        """A server's lifespan: look for the Space from its start, and stop every run at its end."""
        self.connect()
        try:
            yield
        finally:
            await self.aclose(limit_seconds=3)

    def submit(self, request: GenerationRequest) -> Job:
        """Start a job for this request; a random seed is drawn here, so that it is known whatever happens."""
        drawn = replace(request, seed=self._draw_seed(), randomize_seed=False) if request.randomize_seed else request
        job = Job(request, drawn)
        self._forget_old_jobs()
        self._jobs[job.id] = job
        self._start(self._run(job))
        return job

    async def _run(self, job: Job) -> None:
        """Run the job; a Space that turned out to be gone, or another than it was, is looked for again next time."""
        await job.run(self.connected, self._folder)
        state, connection = job.state.value, self.connection.value
        if (
            isinstance(state.error, ConnectionFailedError | ProtocolError)
            and state.space is connection.space is not None
        ):
            self.connection.set(ConnectionState(connection.wanted, error=state.error))
        await self._close_unused()

    def job(self, job_id: str) -> Job | None:
        """The job of this id, if it is remembered."""
        return self._jobs.get(job_id)

    async def connected(self) -> SpaceClient:
        """Return the Space, once it is found; one that couldn't be reached is looked for again.

        Raises:
            SD35Error: it can't be found or used; the kind says why.

        """
        self.connect(again=self.connection.value.error is not None)
        while True:
            connection = self.connection.value
            if connection.space is not None:
                return connection.space
            if connection.error is not None:
                raise connection.error
            await self.connection.wait_for_change(connection, limit_seconds=60)

    async def aclose(self, limit_seconds: float = 5.0) -> None:
        """Stop every job, at the Space too, and let go of the connections."""
        for job in self._jobs.values():
            job.stop()
        if self._connecting is not None:
            self._connecting.cancel()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=limit_seconds)
            for task in late:
                task.cancel()
        for stack in self._open_spaces.values():
            await stack.aclose()
        self._open_spaces.clear()

    def _start(self, work: Awaitable[None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _draw_seed(self) -> int:
        span = self.connection.value.limits.seed or PUBLIC_LIMITS.seed
        assert span is not None
        return self._random.randint(int(span.minimum), int(span.maximum))

    def _forget_old_jobs(self) -> None:
        over = len(self._jobs) - MAX_JOBS + 1
        for job_id in [key for key, job in self._jobs.items() if job.state.value.phase.is_final][: max(0, over)]:
            del self._jobs[job_id]

    async def _connect(self) -> None:
        wanted = self.connection.value.wanted
        try:
            connection = await self._find(wanted)
        except SD35Error as error:
            connection = ConnectionState(wanted, error=error)
        except Exception:  # the edge of a task
            log.exception("connecting failed in a way that wasn't foreseen")
            connection = ConnectionState(wanted, error=ConnectionFailedError(f"{wanted} can't be used: see the log."))
        self.connection.set(connection)
        await self._close_unused()

    async def _find(self, wanted: str) -> ConnectionState:
        if wanted == "demo":
            return ConnectionState(wanted, await self._open_demo())
        automatic = self._choice.wanted == "auto"
        try:
            timeouts = AUTO_TIMEOUTS if automatic else Timeouts()
            return ConnectionState(wanted, await self._open(wanted, self._choice.token, timeouts))
        except (ConnectionFailedError, RateLimitedError) as error:
            if not automatic:
                raise
            log.warning("%s The demo Space takes its place.", error.happened)
            return ConnectionState(wanted, await self._open_demo(), fallback=error)

    async def _open_demo(self) -> SpaceClient:
        return await self._open(await self._start_demo(), None, Timeouts())

    async def _open(self, source: str, token: str | None, timeouts: Timeouts) -> SpaceClient:
        stack = AsyncExitStack()
        space = await stack.enter_async_context(SpaceClient.connect(source, token=token, timeouts=timeouts))
        self._open_spaces[space] = stack
        return space

    async def _close_unused(self) -> None:
        """Let go of the connections to Spaces that were looked for again, once their last job has ended."""
        active = {job.state.value.space for job in self._jobs.values() if not job.state.value.phase.is_final}
        for space in set(self._open_spaces) - active - {self.connection.value.space}:
            await self._open_spaces.pop(space).aclose()
