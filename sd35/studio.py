"""The use case: connect to the chosen Space, take requests, run them there as jobs, and remember them.

Everything here belongs to one event loop, that of the first call.
"""

import asyncio
import contextvars
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sd35.client import SpaceClient, Timeouts
from sd35.errors import ConnectionFailedError, ProtocolError, RateLimitedError, SD35Error
from sd35.events import Waiting
from sd35.job import Job
from sd35.latest import Latest
from sd35.request import PUBLIC_LIMITS, GenerationRequest, Limits, draw_seed
from sd35.source import PUBLIC_SPACE

__all__ = ["ConnectionState", "SpaceChoice", "Studio"]

log = logging.getLogger(__name__)

AUTO_TIMEOUTS = Timeouts(discovery=6.0, waking=0.0, attempts=1)
"""With `auto`, nobody waits longer than this for the public Space before the demo Space takes over."""

LOOK_AFTER_SECONDS = 0.3

MAX_JOBS = 200
"""Jobs that are remembered; the oldest finished ones are forgotten first."""


@dataclass(frozen=True, slots=True)
class SpaceChoice:
    """Which Space is wanted: `auto`, `demo`, `owner/name` or an address; and how to get there.

    `token` goes with it, `proxy` is on the way to it, and `hub` is Hugging Face's address.
    """

    wanted: str = "auto"
    token: str | None = None
    proxy: str | None = None
    hub: str = "https://huggingface.co"


@dataclass(frozen=True, slots=True)
class ConnectionState:
    """How it stands between this studio and a Space.

    Exactly one of these holds: `space` is there; `error` says why it isn't; neither: it is being looked for.
    `fallback` is why the public Space couldn't be used, where the demo Space has taken its place; `waiting` is what
    is known of one that is waking up.
    """

    wanted: str
    waiting: Waiting | None = None
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
        timeouts: the limit of each wait for the chosen Space.

    """

    def __init__(
        self,
        choice: SpaceChoice,
        start_demo: Callable[[], Awaitable[str]],
        folder: Path,
        timeouts: Timeouts | None = None,
    ) -> None:
        self._choice = choice
        self._start_demo = start_demo
        self._folder = folder
        self._timeouts = timeouts or (AUTO_TIMEOUTS if choice.wanted == "auto" else Timeouts())
        self._jobs: dict[str, Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._connecting: asyncio.Task[None] | None = None
        self._open_spaces: dict[SpaceClient, AsyncExitStack] = {}
        self.connection = Latest(ConnectionState(PUBLIC_SPACE if choice.wanted == "auto" else choice.wanted))

    def connect(self, *, again: bool = False) -> None:
        """Start looking for the Space, unless that is under way or done; with `again`, even if it is done."""
        if self._connecting is not None and not (again and self._connecting.done()):
            return
        self.connection.set(ConnectionState(self.connection.value.wanted))
        self._connecting = self._start(self._connect())

    @asynccontextmanager
    async def lifespan(self, _app: object) -> AsyncIterator[None]:
        """A server's lifespan: look for the Space soon after its start, and stop every run at its end."""
        # Not at once: a page that is asked for in this moment goes first, and asks for the connection itself.
        looking = asyncio.get_running_loop().call_later(LOOK_AFTER_SECONDS, self.connect)
        try:
            yield
        finally:
            looking.cancel()
            await self.aclose(limit_seconds=3)

    def submit(self, request: GenerationRequest) -> Job:
        """Start a job for this request; a random seed is drawn here, so that it is known whatever happens."""
        drawn = (
            replace(request, seed=draw_seed(self.connection.value.limits), randomize_seed=False)
            if request.randomize_seed
            else request
        )
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

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task that inherits nothing from the page's listener that it may have been called from.

        Gradio keeps in the context that a listener is running, and there takes a new component for an update: the
        demo Space could not be built.
        """
        task = asyncio.get_running_loop().create_task(work, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

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
            return ConnectionState(wanted, space=await self._open_demo())
        automatic = self._choice.wanted == "auto"
        try:
            return ConnectionState(wanted, space=await self._open_chosen())
        except (ConnectionFailedError, RateLimitedError) as error:
            if not automatic:
                raise
            log.warning("%s The demo Space takes its place.", error.happened)
            return ConnectionState(wanted, space=await self._open_demo(), fallback=error)

    async def _open_demo(self) -> SpaceClient:
        return await self._open(SpaceClient.connect(await self._start_demo()))

    async def _open_chosen(self) -> SpaceClient:
        choice, wanted = self._choice, self.connection.value.wanted

        def tell(waiting: Waiting) -> None:
            self.connection.set(ConnectionState(wanted, waiting=waiting))

        return await self._open(
            SpaceClient.connect(
                wanted, token=choice.token, proxy=choice.proxy, timeouts=self._timeouts, hub=choice.hub, tell=tell
            )
        )

    async def _open(self, connecting: AbstractAsyncContextManager[SpaceClient]) -> SpaceClient:
        stack = AsyncExitStack()
        space = await stack.enter_async_context(connecting)
        self._open_spaces[space] = stack
        return space

    async def _close_unused(self) -> None:
        """Let go of the connections to Spaces that were looked for again, once their last job has ended."""
        active = {job.state.value.space for job in self._jobs.values() if not job.state.value.phase.is_final}
        for space in set(self._open_spaces) - active - {self.connection.value.space}:
            await self._open_spaces.pop(space).aclose()
