"""The use case: connect to the chosen Space, take requests, run them there as jobs, and remember them.

Everything here belongs to one event loop, that of the first call.
"""

import asyncio
import contextvars
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from sd35.allowance import NO_CAPS, Allowance, Caps, Left
from sd35.client import Identity, SpaceClient, Timeouts
from sd35.errors import AccessDeniedError, ConnectionFailedError, ProtocolError, RateLimitedError, SD35Error
from sd35.events import Waiting
from sd35.job import Job
from sd35.kept import Kept, KeptPictures
from sd35.latest import Latest
from sd35.line import Line
from sd35.metrics import Metrics
from sd35.request import PUBLIC_LIMITS, GenerationRequest, Limits, draw_seed
from sd35.source import PUBLIC_SPACE
from sd35.visitor import HERE, Visitor

__all__ = ["ConnectionState", "House", "SpaceChoice", "Studio"]

log = logging.getLogger(__name__)

AUTO_TIMEOUTS = Timeouts(discovery=6.0, waking=0.0, attempts=1)
"""With `auto`, nobody waits longer than this for the public Space before the demo Space takes over."""

LOOK_AFTER_SECONDS = 0.3

MAX_JOBS = 1000
MAX_PICTURE_BYTES = 1 << 30
"""Jobs that are remembered, and the sum of their pictures; the oldest finished ones are forgotten first."""


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


@dataclass(frozen=True, slots=True)
class House:
    """What holds for pictures and visitors here.

    Attributes:
        served: Gradio's own folder, in which programs are told that pictures are.
        folder: where finished pictures are written; `None`: they are kept in memory.
        is_lasting: whether they stay there when this program forgets them, or ends.
        caps: what each visitor may ask for.
        lends_token: whether visitors' pictures are asked for with the token of who runs this program.

    """

    served: Path
    folder: Path | None
    is_lasting: bool = False
    caps: Caps = NO_CAPS
    lends_token: bool = False


class Studio:
    """Connects to the chosen Space, runs jobs there, and remembers them.

    Args:
        choice: which Space.
        start_demo: starts the embedded demo Space, if it isn't running, and returns its address.
        house: what holds for pictures and visitors.
        timeouts: the limit of each wait for the chosen Space.

    Attributes:
        kept: the pictures that are handed out.
        metrics: what is counted.
        on_settled: is told when a Space was found, or wasn't, before anybody else.

    """

    def __init__(
        self,
        choice: SpaceChoice,
        start_demo: Callable[[], Awaitable[str]],
        house: House,
        timeouts: Timeouts | None = None,
    ) -> None:
        self._choice = choice
        self._start_demo = start_demo
        self._house = house
        self._timeouts = timeouts or (AUTO_TIMEOUTS if choice.wanted == "auto" else Timeouts())
        self._allowance = Allowance(house.caps)
        self._line = Line(house.caps.at_once, house.caps.at_once_each)
        self._jobs: dict[str, Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._connecting: asyncio.Task[None] | None = None
        self._open_spaces: dict[SpaceClient, AsyncExitStack] = {}
        self.kept = KeptPictures(house.served)
        self.metrics = Metrics(lambda: Counter(job.state.value.phase.value for job in self._jobs.values()))
        self.on_settled: Callable[[ConnectionState], None] = lambda _: None
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

    def submit(self, request: GenerationRequest, visitor: Visitor = HERE) -> Job:
        """Start a job for this request; a random seed is drawn here, so that it is known whatever happens.

        Raises:
            AllowanceError: it is more than this visitor may ask for now.

        """
        if visitor is not HERE:
            self._allowance.take(visitor.payer, self._line.waiting(visitor.payer), len(self._line))
        drawn = (
            replace(request, seed=draw_seed(self.connection.value.limits), randomize_seed=False)
            if request.randomize_seed
            else request
        )
        job = Job(request, drawn, visitor.owner, self._identity(visitor))
        self._forget_old_jobs()
        self._jobs[job.id] = job
        self._start(self._run(job, visitor.payer))
        return job

    def _identity(self, visitor: Visitor) -> Identity | None:
        """As whom a visitor's run is asked for; `None`: with the connection's own token."""
        if visitor is HERE or (self._house.lends_token and visitor.token is None):
            return None
        return Identity(visitor.token, visitor.ip_token)

    async def _run(self, job: Job, payer: str) -> None:
        """Run the job; a Space that turned out to be gone, or another than it was, is looked for again next time."""
        is_here = payer == HERE.payer
        turn = _at_once if is_here else partial(self._line.turn, payer)
        await job.run(turn, self.connected, self._house.folder, self._keep)
        state, connection = job.state.value, self.connection.value
        if not is_here and state.queued is None and state.started_at is None:
            self._allowance.give_back(payer)
        if (
            isinstance(state.error, ConnectionFailedError | ProtocolError)
            and not isinstance(state.error, AccessDeniedError)
            and state.space is connection.space is not None
        ):
            self.connection.set(ConnectionState(connection.wanted, error=state.error))
        self.metrics.ended(state)
        await self._close_unused()

    def _keep(self, job: Job, kept: Kept) -> str:
        return self.kept.keep(job.id, kept)

    def left(self, visitor: Visitor) -> Left | None:
        """Return what this visitor may still ask for; `None` where there are no limits."""
        return None if visitor is HERE else self._allowance.left(visitor.payer, self._line.waiting(visitor.payer))

    @property
    def caps(self) -> Caps:
        """What each visitor may ask for."""
        return self._house.caps

    def job(self, job_id: object, visitor: Visitor = HERE) -> Job | None:
        """The job of this id, if it is remembered and is this visitor's."""
        job = self._jobs.get(job_id) if isinstance(job_id, str) else None
        return job if job is not None and visitor.may_see(job.owner) else None

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
        done = [job for job in self._jobs.values() if job.state.value.phase.is_final]
        size = sum(job.state.value.size_bytes for job in done)
        for job in done:
            if len(self._jobs) < MAX_JOBS and size <= MAX_PICTURE_BYTES:
                return
            del self._jobs[job.id]
            size -= job.state.value.size_bytes
            for file in self.kept.forget(job.id):
                if not self._house.is_lasting:
                    file.unlink(missing_ok=True)

    async def _connect(self) -> None:
        wanted = self.connection.value.wanted
        try:
            connection = await self._find(wanted)
        except SD35Error as error:
            connection = ConnectionState(wanted, error=error)
        except Exception:  # the edge of a task
            log.exception("connecting failed in a way that wasn't foreseen")
            connection = ConnectionState(wanted, error=ConnectionFailedError(f"{wanted} can't be used: see the log."))
        self.on_settled(connection)
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


def _at_once(_tell: Callable[[int, int], None]) -> AbstractAsyncContextManager[None]:
    """A turn that needs no waiting."""
    return nullcontext()
