"""Whose turn it is: so many at once, and between those who wait, each visitor in turn. Belongs to one event loop."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

__all__ = ["Line", "Ticket"]

Tell = Callable[[int, int], None]
"""Is told of each new place in the line: how many go before, and how many wait in all."""

MAX_REMEMBERED = 1000

LOOK_SECONDS = 30.0
"""How often it is looked whether a pause is over."""


@dataclass(eq=False, slots=True)
class Ticket:
    """A place in the line. Who changes it asks the line to `reconsider`.

    Attributes:
        payer: the visitor whose place it is.
        position: of a visitor's own places, the lowest goes first.
        tell: is told of each new place.
        is_held: it isn't called before it is released.
        heeds_pause: while the visitor's are paused, it isn't called, either.

    """

    payer: str
    position: float
    tell: Tell = lambda _ahead, _in_line: None
    is_held: bool = False
    heeds_pause: bool = True
    called: asyncio.Event = field(default_factory=asyncio.Event)


class Line:
    """Lets so many run at once, and so many of each visitor's; `None`: without limit."""

    def __init__(self, at_once: int | None = None, at_once_each: int | None = None) -> None:
        self._at_once = at_once
        self._at_once_each = at_once_each
        self._waiters: list[Ticket] = []
        self._running: Counter[str] = Counter()
        self._served: dict[str, int] = {}
        self._paused: dict[str, asyncio.TimerHandle] = {}
        self._turns = 0

    def __len__(self) -> int:
        return len(self._waiters)

    def waiting(self, payer: str) -> int:
        """How many of this visitor's wait."""
        return sum(waiter.payer == payer for waiter in self._waiters)

    @asynccontextmanager
    async def turn(self, ticket: Ticket) -> AsyncIterator[None]:
        """Wait for a turn, and have it while the block lasts."""
        ticket.called.clear()
        self._waiters.append(ticket)
        self.reconsider()
        try:
            await ticket.called.wait()
            yield
        finally:
            if ticket.called.is_set():
                self._running[ticket.payer] -= 1
                self._running += Counter()  # drops those that are zero
            else:
                self._waiters.remove(ticket)
            self.reconsider()

    def pause(self, payer: str, until: float, on_end: Callable[[], None] = lambda: None) -> None:
        """Call none of this visitor's that heed it until this moment, or until they are let go on.

        The moment is in seconds since 1970, by the clock on the wall: a laptop may sleep meanwhile.
        """
        self._stop_timer(payer)
        loop = asyncio.get_running_loop()

        def look() -> None:
            left = until - time.time()
            if left > 0:
                self._paused[payer] = loop.call_later(min(left, LOOK_SECONDS), look)
            else:
                on_end()
                self.resume(payer)

        look()

    def resume(self, payer: str) -> None:
        """Let this visitor's go on."""
        if self._stop_timer(payer):
            self.reconsider()

    def _stop_timer(self, payer: str) -> bool:
        timer = self._paused.pop(payer, None)
        if timer is not None:
            timer.cancel()
        return timer is not None

    def reconsider(self) -> None:
        """Call those who may go now, and tell the others where they stand."""
        running = self._running.copy()
        order = self._order(self._served)
        for waiter in order:
            if self._may_go(waiter, running):
                running[waiter.payer] += 1
                self._call(waiter)
        waiting = [waiter for waiter in order if not waiter.called.is_set()]
        for ahead, waiter in enumerate(waiting):
            waiter.tell(ahead, len(waiting))

    def _may_go(self, waiter: Ticket, running: Counter[str]) -> bool:
        is_room = self._at_once is None or running.total() < self._at_once
        return is_room and (
            self._at_once_each is None or running[waiter.payer] < self._at_once_each
        )

    def _call(self, waiter: Ticket) -> None:
        self._turns += 1
        self._served.pop(waiter.payer, None)
        self._served[waiter.payer] = self._turns  # the longest unserved first
        while len(self._served) > MAX_REMEMBERED:
            del self._served[next(iter(self._served))]
        self._running[waiter.payer] += 1
        self._waiters.remove(waiter)
        waiter.called.set()

    def _order(self, served: dict[str, int]) -> list[Ticket]:
        """The waiters as they will be called: who was served longest ago first, each visitor's own in order."""
        own: dict[str, deque[Ticket]] = {}
        for waiter in sorted(self._waiters, key=lambda each: each.position):
            if not waiter.is_held and not (waiter.heeds_pause and waiter.payer in self._paused):
                own.setdefault(waiter.payer, deque()).append(waiter)
        turns, order = self._turns, []
        rest = [
            (served.get(payer, -1), number, payer) for number, payer in enumerate(own)
        ]  # the first of equals
        heapify(rest)
        while rest:
            _, number, payer = heappop(rest)
            order.append(own[payer].popleft())
            turns += 1
            if own[payer]:
                heappush(rest, (turns, number, payer))
        return order
