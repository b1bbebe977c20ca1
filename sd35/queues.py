"""What visitors' jobs wait for: their order, what holds them, and who looks. Belongs to one event loop."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from sd35.board import Board, Pause
from sd35.client import Identity
from sd35.errors import QuotaError
from sd35.job import Job
from sd35.ledger import Ledger
from sd35.line import Line

__all__ = ["Queues"]

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
        jobs = [job for job in board.waiting if job.ticket.is_held is not is_held and not job.by_program]
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
        moved = [each for each, place in zip(order, positions, strict=True) if each.ticket.position != place]
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
