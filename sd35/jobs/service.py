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
from sd35.core.request import GenerationRequest, draw_seed
from sd35.core.visitor import HERE, Visitor
from sd35.jobs.artifacts import Kept, KeptPictures
from sd35.jobs.job import Job, JobState, Phase, Steps
from sd35.jobs.limits import NO_CAPS, Allowance, Caps, Left
from sd35.jobs.metrics import Metrics
from sd35.jobs.queues import Board, Queues
from sd35.jobs.recovery import Restorer
from sd35.jobs.results import Saver
from sd35.jobs.scheduler import Line, Ticket
from sd35.jobs.space_connection import ConnectionState, SpaceChoice, Spaces, start_task
from sd35.jobs.store import Ledger
from sd35.library.library import Library
from sd35.metadata.model import new_id

__all__ = ["ConnectionState", "House", "SpaceChoice", "Studio"]

log = logging.getLogger(__name__)

LOOK_AFTER_SECONDS = 0.3

MAX_JOBS = 1000
MAX_PICTURE_BYTES = 1 << 30
"""Jobs that are remembered, and the sum of their pictures where those don't last; the oldest are forgotten first."""

SAVE_AGAIN_SECONDS = 15.0
"""How often it is tried again to write a picture that couldn't be."""

LOOK_THROUGH_AFTER_SECONDS = 2.0
LOOK_THROUGH_SECONDS = 20.0
"""So long after a page was opened, and not more often than that, the library's folder is looked through."""


@dataclass(frozen=True, slots=True)
class House:
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

    served: Path
    library: Library
    is_lasting: bool = True
    caps: Caps = NO_CAPS
    lends_token: bool = False
    unwatched_seconds: float | None = None


class Studio:
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
        choice: SpaceChoice,
        start_demo: Callable[[], Awaitable[str]],
        house: House,
        timeouts: Timeouts | None = None,
    ) -> None:
        self._house = house
        self._allowance = Allowance(house.caps)
        self._line = Line(house.caps.at_once, house.caps.at_once_each)
        self._jobs: dict[str, Job] = {}
        self._coming: dict[str, str] = {}
        self._counted: set[str] = set()
        self._tasks: dict[asyncio.Task[None], Job | None] = {}
        self._last_position = 0.0
        self._repeating = asyncio.Lock()
        self._look_through_at = 0.0
        self.library = house.library
        self._ledger = Ledger(self.library)
        self.queues = Queues(self._line, self._ledger, house.unwatched_seconds, self._track)
        self.kept = KeptPictures(house.served)
        self._saver = Saver(self.library, self.kept)
        self._restorer = Restorer(self._ledger, self._saver, self._identity)
        self.metrics = Metrics(
            lambda: Counter(job.state.value.phase.value for job in self._jobs.values())
        )
        self.spaces = Spaces(choice, start_demo, timeouts, self._spaces_in_use)
        self.connection = self.spaces.connection
        self.connect = self.spaces.connect
        self.connected = self.spaces.connected
        self._steps = Steps(
            self._line.turn,
            self._ledger.begun,
            self.connected,
            self.queues.refused,
            self._saver.save,
        )

    def _spaces_in_use(self) -> set[SpaceClient | None]:
        return {
            job.state.value.space
            for job in self._jobs.values()
            if not job.state.value.phase.is_final
        }

    @asynccontextmanager
    async def lifespan(self, _app: object) -> AsyncIterator[None]:
        """A server's lifespan: look for the Space soon after its start, and stop every run at its end."""
        # Not at once: a page that is asked for in this moment goes first, and asks for the
        # connection itself.
        looking = asyncio.get_running_loop().call_later(LOOK_AFTER_SECONDS, self.connect)
        try:
            yield
        finally:
            looking.cancel()
            await self.aclose(limit_seconds=3)

    async def submit(
        self, request: GenerationRequest, visitor: Visitor = HERE, *, by_program: bool = False
    ) -> Job:
        """Write a job down for this request, and start it; a random seed is drawn here, so that it is known.

        Raises:
            AllowanceError: it is more than this visitor may ask for now.
            LibraryError: it can't be written down, so that it isn't sent, either.

        """
        if visitor is not HERE:
            waiting, in_all = self._waiting(visitor.payer), len(self._line) + len(self._coming)
            self._allowance.take(visitor.payer, waiting, in_all)
        limits = self.connection.value.limits
        is_random = request.randomize_seed
        drawn = (
            replace(request, seed=draw_seed(limits), randomize_seed=False) if is_random else request
        )
        job = Job(
            id=new_id(),
            asked=request,
            state=JobState(drawn, Phase.WAITING, time.monotonic()),
            ticket=Ticket(visitor.payer, self._next_position(), heeds_pause=not by_program),
            owner=visitor.owner,
            identity=self._identity(visitor),
            by_program=by_program,
        )
        await self._write_down(job, is_counted=visitor is not HERE)
        self._forget_old_jobs()
        self._start(job)
        return job

    async def _write_down(self, job: Job, *, is_counted: bool) -> None:
        payer = job.ticket.payer
        self._coming[job.id] = payer
        adding = asyncio.ensure_future(self._ledger.add(job, self.connection.value.wanted))
        try:
            await asyncio.shield(adding)
        except BaseException as error:
            if is_counted:
                self._allowance.give_back(payer)
            if isinstance(error, asyncio.CancelledError):
                self._track(self._withdraw(adding, job))
            raise
        finally:
            self._coming.pop(job.id, None)
        if is_counted:
            self._counted.add(job.id)

    async def _withdraw(self, adding: "asyncio.Future[None]", job: Job) -> None:
        """Write down that a job was stopped whose caller left while it was written down."""
        await asyncio.wait([adding])
        if adding.exception() is None:
            await self._ledger.withdrawn(job)

    def _waiting(self, payer: str) -> int:
        return self._line.waiting(payer) + sum(each == payer for each in self._coming.values())

    def _next_position(self) -> float:
        self._last_position = max(self._last_position + 1, time.time())
        return self._last_position

    def _identity(self, visitor: Visitor) -> Identity | None:
        """As whom a visitor's run is asked for; `None`: with the connection's own token."""
        if visitor is HERE or (self._house.lends_token and visitor.token is None):
            return None
        return Identity(visitor.token, visitor.ip_token)

    def _start(self, job: Job) -> None:
        self._remember(job)
        self._track(self._run(job), job)

    def _remember(self, job: Job) -> None:
        self._jobs[job.id] = job
        self.queues.add(job)

    def _track(self, work: Coroutine[Any, Any, None], job: Job | None = None) -> None:
        task = start_task(work)
        self._tasks[task] = job
        task.add_done_callback(lambda task: self._tasks.pop(task, None))

    async def _run(self, job: Job) -> None:
        """Run the job; a Space that turned out to be gone, or another than it was, is looked for again next time."""
        await job.run(self._steps)
        state = job.state.value
        is_counted = job.id in self._counted
        self._counted.discard(job.id)
        if is_counted and state.queued is None and state.started_at is None:
            self._allowance.give_back(job.ticket.payer)
        self.spaces.doubt(state.space, state.error)
        self.metrics.ended(state)
        await self._ledger.ended(job)
        await self.spaces.close_unused()
        while self._saver.has_unsaved(job):
            await asyncio.sleep(SAVE_AGAIN_SECONDS)
            if await self._saver.save_again(job):
                await self._ledger.ended(job)

    def board(self, visitor: Visitor, job_id: object = "") -> Board:
        """What this visitor has asked for; of one who can't be told from others, the one job whose id is known."""
        if visitor.owner is None and job_id not in self._jobs:
            return Board()
        return self.queues.board(visitor.owner, str(job_id))

    async def welcome(self, visitor: Visitor) -> None:
        """Take up again what is this visitor's, and was left by a program that is gone: held, until they say so.

        Raises:
            LibraryError: the index can't be read or written.

        """
        if visitor.owner is None:
            return
        self._look_through()
        for job in await self._restorer.left(visitor):
            if job.id in self._jobs or job.id in self._coming:
                continue
            if job.state.value.phase.is_final:
                self._remember(job)
            else:
                self._start(job)

    def _look_through(self) -> None:
        """Have the library's folder looked through, somewhat later, if that is long ago: a page goes first."""
        if time.monotonic() < self._look_through_at:
            return
        self._look_through_at = time.monotonic() + LOOK_THROUGH_SECONDS
        after = 0.0 if self.library.is_to_be_scanned else LOOK_THROUGH_AFTER_SECONDS

        async def look() -> None:
            await asyncio.sleep(after)
            await self._ledger.rescan()
            await self._ledger.ensure(
                [job for job in self._jobs.values() if not job.state.value.phase.is_final]
            )
            await self._settle()

        self._track(look())

    async def _settle(self) -> None:
        """Speak no more of jobs that seemed to be interrupted, and whose pictures were found."""
        for job in list(self._jobs.values()):
            if job.state.value.phase is Phase.INTERRUPTED and await self._ledger.is_saved(job):
                self._forget(job)

    def job(self, job_id: object, visitor: Visitor = HERE) -> Job | None:
        """The job of this id, if it is remembered and is this visitor's."""
        job = self._jobs.get(job_id) if isinstance(job_id, str) else None
        return job if job is not None and visitor.may_see(job.owner) else None

    async def find(self, job_id: object, visitor: Visitor) -> Job | None:
        """The job of this id, also if only the library knows it.

        Raises:
            LibraryError: the index can't be read.

        """
        job = self.job(job_id, visitor)
        if job is not None or not isinstance(job_id, str) or job_id in self._jobs:
            return job
        return await self._restorer.find(job_id, visitor)

    async def again(self, job: Job, visitor: Visitor) -> Job:
        """Run a job that came to no good end once more, as it was, with its seed; as a job of its own, and only once.

        Raises:
            AllowanceError: it is more than this visitor may ask for now.
            InvalidRequestError: that was done before, and it isn't known any more as which job.
            LibraryError: it can't be written down.

        """
        board = self.queues.board_of(job)
        async with self._repeating:  # another page may ask for the same
            return board.repeats.get(job.id) or await self._repeat(job, visitor, board)

    async def _repeat(self, job: Job, visitor: Visitor, board: Board) -> Job:
        if not board.is_dismissed(job) and await self._ledger.is_dismissed(job):
            if job.id in self._jobs:  # another program on this library has done that
                self._forget(job)
            raise InvalidRequestError(
                "This was run again already, or cleared.",
                "Look for it in the library, or generate it anew.",
            )
        board.dismiss(job)
        try:
            new = board.repeats[job.id] = await self.submit(job.state.value.request, visitor)
        except BaseException:  # it may also be cancelled
            board.undismiss(job)
            raise
        await self._ledger.dismissed(job)
        return new

    async def dismiss(self, job: Job) -> None:
        """Don't speak of a job any more that has ended."""
        self.queues.board_of(job).dismiss(job)
        await self._ledger.dismissed(job)

    async def go_on(self, visitor: Visitor, job_id: object = "") -> None:
        """Let this visitor's jobs have their turns, whatever they wait for."""
        await self.queues.go_on(self.board(visitor, job_id), visitor.payer, self._identity(visitor))

    def handed_out(self, path: str) -> Kept | None:
        """What is handed out by this path; a picture's file, wherever it has been moved to in the library."""
        kept = self.kept.find(path)
        if kept is None or isinstance(kept.content, bytes) or kept.content.is_file():
            return kept
        try:
            entry = self.library.entry(self.kept.job_of(path))
        except LibraryError:
            return kept
        return kept if entry is None else replace(kept, content=self.library.path_of(entry))

    def left(self, visitor: Visitor) -> Left | None:
        """Return what this visitor may still ask for; `None` where there are no limits."""
        return (
            None
            if visitor is HERE
            else self._allowance.left(visitor.payer, self._waiting(visitor.payer))
        )

    @property
    def caps(self) -> Caps:
        """What each visitor may ask for."""
        return self._house.caps

    async def aclose(self, limit_seconds: float = 5.0) -> None:
        """Interrupt what runs, at the Space too, leave what waits for the next time, and let go of the connections."""
        for task, job in list(self._tasks.items()):
            if job is None or job.state.value.phase in {Phase.WAITING, Phase.FINISHED}:
                task.cancel()
            else:
                job.interrupt()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=limit_seconds)
            for task in late:
                task.cancel()
        await self.spaces.aclose()

    def _forget_old_jobs(self) -> None:
        ended = (job for job in self._jobs.values() if job.state.value.phase.is_final)
        done = [job for job in ended if not self._saver.has_unsaved(job)]
        size = sum(job.state.value.size_bytes for job in done)
        gone: list[str] = []
        for job in done:
            is_small = self._house.is_lasting or size <= MAX_PICTURE_BYTES
            if len(self._jobs) < MAX_JOBS and is_small:
                break
            size -= job.state.value.size_bytes
            self._forget(job)
            gone.append(job.id)
        if gone and not self._house.is_lasting:
            self._track(self._ledger.discard(gone))

    def _forget(self, job: Job) -> None:
        del self._jobs[job.id]
        self.queues.forget(job)
        self.kept.forget(job.id)
