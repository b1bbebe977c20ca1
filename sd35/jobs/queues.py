"""What one visitor has asked for, as their pages watch it: what runs, what waits, what came to no good end."""

import asyncio
import datetime as dt
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sd35.client import Identity
from sd35.core.errors import QuotaError
from sd35.core.observable import Latest
from sd35.jobs.job import Job, JobState, Phase
from sd35.jobs.scheduler import Line
from sd35.jobs.store import Ledger

__all__ = ["Board", "News", "Pause", "Queues"]


MAX_TROUBLES = 50


@dataclass(frozen=True, slots=True)
class News:
    """How often something has changed, and how often something that nobody should wait for."""

    changes: int = 0
    urgent: int = 0


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing of a visitor's is sent for a while, or until they say so: the quota is used up."""

    refusal: QuotaError
    until: dt.datetime | None


class Board:
    """The jobs of one visitor. Belongs to one event loop.

    Attributes:
        news: changes with each of the jobs, to be watched.
        watchers: how many pages look.
        looks: how many have ever begun to.
        done: how many pictures have come, and how many jobs have failed (`bad`), since the program
            was started.
        repeats: of a job's id, the job that it was run again as.

    """

    def __init__(self, on_unwatched: Callable[["Board"], None] = lambda _: None) -> None:
        self._jobs: dict[str, Job] = {}
        self._dismissed: set[str] = set()
        self._on_unwatched = on_unwatched
        self.news = Latest(News())
        self._pause: Pause | None = None
        self.watchers = 0
        self.looks = 0
        self.done = 0
        self.bad = 0
        self.repeats: dict[str, Job] = {}

    @property
    def pause(self) -> Pause | None:
        """Why none of them is begun, if that is so."""
        is_over = (
            self._pause is not None
            and self._pause.until is not None
            and self._pause.until <= _now()
        )
        return None if is_over else self._pause

    @pause.setter
    def pause(self, pause: Pause | None) -> None:
        self._pause = pause

    def add(self, job: Job) -> None:
        """Take a job up."""
        self._jobs[job.id] = job
        job.on_change = self._changed
        self.change()

    def forget(self, job: Job) -> None:
        """Know nothing of the job any more."""
        if self._jobs.pop(job.id, None) is not None:
            self._dismissed.discard(job.id)
            self.repeats.pop(job.id, None)
            self.change()

    def is_dismissed(self, job: Job) -> bool:
        """Whether it was said here that a job isn't to be spoken of."""
        return job.id in self._dismissed

    def dismiss(self, job: Job) -> None:
        """Don't speak of a job any more that has ended."""
        if job.state.value.phase.is_final:
            self._dismissed.add(job.id)
            self.change()

    def undismiss(self, job: Job) -> None:
        """Speak of a job again."""
        self._dismissed.discard(job.id)
        self.change()

    def change(self) -> None:
        """Tell those who watch that something has changed."""
        news = self.news.value
        self.news.set(News(news.changes + 1, news.urgent + 1))

    def _changed(self, old: JobState, new: JobState) -> None:
        news = self.news.value
        is_urgent = new.is_urgent_after(old)
        if new.phase is Phase.RUNNING and self._pause is not None and self._pause.until is None:
            self._pause = None  # the Space has taken one after all
        if new.phase.is_final and not old.phase.is_final:
            self.done += new.phase is Phase.FINISHED
            self.bad += new.phase in {Phase.FAILED, Phase.INTERRUPTED}
        self.news.set(News(news.changes + 1, news.urgent + is_urgent))

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Count as one who looks while the block lasts."""
        self.watchers += 1
        self.looks += 1
        try:
            yield
        finally:
            self.watchers -= 1
            if not self.watchers:
                self._on_unwatched(self)

    @property
    def is_empty(self) -> bool:
        """Whether nothing of this visitor's is remembered."""
        return not self._jobs

    @property
    def unfinished(self) -> list[Job]:
        """What runs, and after that what waits, as it will have its turn."""
        jobs = (job for job in self._jobs.values() if not job.state.value.phase.is_final)
        return sorted(jobs, key=lambda job: (_waits(job), job.ticket.position))

    @property
    def running(self) -> list[Job]:
        """What has had its turn."""
        return [job for job in self.unfinished if not _waits(job)]

    @property
    def waiting(self) -> list[Job]:
        """What waits for its turn."""
        return [job for job in self.unfinished if _waits(job)]

    @property
    def troubles(self) -> list[Job]:
        """What has failed, was interrupted, or stopped unasked, the newest first; not what a program had asked for."""
        found = (
            job
            for job in reversed(self._jobs.values())
            if _is_trouble(job) and job.id not in self._dismissed
        )
        return [job for job, _ in zip(found, range(MAX_TROUBLES), strict=False)]

    @property
    def is_at_work(self) -> bool:
        """Whether something will happen by itself."""
        return any(not job.state.value.is_held for job in self.unfinished)


def _waits(job: Job) -> bool:
    """Whether it has not been called yet."""
    return job.state.value.phase is Phase.WAITING and not job.ticket.called.is_set()


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _is_trouble(job: Job) -> bool:
    state = job.state.value
    is_bad = state.phase in {Phase.FAILED, Phase.INTERRUPTED} or (
        state.phase is Phase.STOPPED and state.reason != ""
    )
    return is_bad and not job.by_program


LEAST_PAUSE_SECONDS = 20.0
"""A Space that says to come back at once isn't asked more often than that."""

NOBODY_LOOKED = "No page looked any more."


class Queues:
    """The boards of all visitors.

    Args:
        line: whose turn it is.
        ledger: writes down what is changed.
        unwatched_seconds: how long jobs go on that no page looks at; `None`: to their end.
        track: starts a task that ends with the program.

    """

    def __init__(
        self,
        line: Line,
        ledger: Ledger,
        unwatched_seconds: float | None,
        track: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._line = line
        self._ledger = ledger
        self._unwatched_seconds = unwatched_seconds
        self._track = track
        self._boards: dict[str, Board] = {}

    def board(self, owner: str | None, job_id: str = "") -> Board:
        """The board of this owner, or of a job of somebody who can't be told from others; made when first asked for."""
        name = f"job {job_id}" if owner is None else owner
        if name not in self._boards:
            self._boards[name] = Board(self._note_unwatched)
        return self._boards[name]

    def board_of(self, job: Job) -> Board:
        """The board that a job is on."""
        return self.board(job.owner, job.id)

    def add(self, job: Job) -> None:
        """Take a job up."""
        board = self.board_of(job)
        board.add(job)
        self._note_unwatched(board)

    def forget(self, job: Job) -> None:
        """Know nothing of a job any more."""
        board = self.board_of(job)
        board.forget(job)
        self._drop_if_idle(board)

    def _drop_if_idle(self, board: Board) -> None:
        if board.is_empty and not board.watchers:
            self._boards = {name: each for name, each in self._boards.items() if each is not board}

    async def refused(self, job: Job, error: QuotaError) -> None:
        """Begin nothing more of who has no quota left, until it returns, or until they say so."""
        board = self.board_of(job)
        board.pause = Pause(error, error.retry_at)
        if error.retry_at is None:
            held = self._hold(board, is_held=True)
        else:
            held = []
            until = max(error.retry_at.timestamp(), time.time() + LEAST_PAUSE_SECONDS)
            self._line.pause(job.ticket.payer, until, board.change)
        board.change()
        if error.retry_at is not None and not job.by_program:
            await self._ledger.waits_again(job, error)
        await self._ledger.moved(held)

    def _hold(self, board: Board, *, is_held: bool) -> list[Job]:
        """Hold what waits, but for what a program waits for: that is rather told at once what stands against it."""
        jobs = [
            job for job in board.waiting if job.ticket.is_held is not is_held and not job.by_program
        ]
        for job in jobs:
            job.hold(is_held=is_held)
        self._line.reconsider()
        return jobs

    async def go_on(self, board: Board, payer: str, identity: Identity | None) -> None:
        """Let the jobs of a visitor, who is this now, have their turns, whatever they wait for."""
        for job in board.waiting:
            job.ask_as(identity)
        board.pause = None
        self._line.resume(payer)
        await self._ledger.moved(self._hold(board, is_held=False))
        board.change()

    async def move(self, job: Job, places: int) -> None:
        """Let a waiting job go so many places back in its owner's line, or forward, if negative."""
        board = self.board_of(job)
        order = board.waiting
        if job not in order:
            return
        positions = [each.ticket.position for each in order]
        at = order.index(job)
        order.insert(max(0, min(len(order) - 1, at + places)), order.pop(at))
        moved = [
            each
            for each, place in zip(order, positions, strict=True)
            if each.ticket.position != place
        ]
        for each, place in zip(order, positions, strict=True):
            each.ticket.position = place
        self._line.reconsider()
        board.change()
        await self._ledger.moved(moved)

    def _note_unwatched(self, board: Board) -> None:
        if board.watchers:
            return
        self._drop_if_idle(board)
        if self._unwatched_seconds is not None and not board.is_empty:
            self._track(self._end_unwatched(board, self._unwatched_seconds))

    async def _end_unwatched(self, board: Board, seconds: float) -> None:
        seen = board.looks
        await asyncio.sleep(seconds)
        if board.watchers or board.looks != seen:
            return
        await self._ledger.moved(self._hold(board, is_held=True))
        for job in board.running:
            if not job.by_program:
                job.stop(NOBODY_LOOKED)
