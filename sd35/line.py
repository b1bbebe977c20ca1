"""Whose turn it is: so many at once, and between those who wait, each visitor in turn. Belongs to one event loop."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

__all__ = ["Line"]

Tell = Callable[[int, int], None]
"""Is told of each new place in the line: how many go before, and how many wait in all."""

MAX_REMEMBERED = 1000


@dataclass(eq=False, slots=True)
class _Waiter:
    payer: str
    tell: Tell
    called: asyncio.Event = field(default_factory=asyncio.Event)


class Line:
    """Lets so many run at once, and so many of each visitor's; `None`: without limit."""

    def __init__(self, at_once: int | None = None, at_once_each: int | None = None) -> None:
        self._at_once = at_once
        self._at_once_each = at_once_each
        self._waiters: list[_Waiter] = []
        self._running: Counter[str] = Counter()
        self._served: dict[str, int] = {}
        self._turns = 0

    def __len__(self) -> int:
        return len(self._waiters)

    def waiting(self, payer: str) -> int:
        """How many of this visitor's wait."""
        return sum(waiter.payer == payer for waiter in self._waiters)

    @asynccontextmanager
    async def turn(self, payer: str, tell: Tell) -> AsyncIterator[None]:
        """Wait for a turn, and have it while the block lasts."""
        waiter = _Waiter(payer, tell)
        self._waiters.append(waiter)
        self._advance()
        try:
            await waiter.called.wait()
            yield
        finally:
            if waiter.called.is_set():
                self._running[payer] -= 1
                self._running += Counter()  # drops those that are zero
            else:
                self._waiters.remove(waiter)
            self._advance()

    def _advance(self) -> None:
        """Call those who may go now, and tell the others where they stand."""
        running = self._running.copy()
        order = self._order(dict(self._served))
        for waiter in order:
            if self._may_go(waiter, running):
                running[waiter.payer] += 1
                self._call(waiter)
        waiting = [waiter for waiter in order if not waiter.called.is_set()]
        for ahead, waiter in enumerate(waiting):
            waiter.tell(ahead, len(waiting))

    def _may_go(self, waiter: _Waiter, running: Counter[str]) -> bool:
        is_room = self._at_once is None or running.total() < self._at_once
        return is_room and (self._at_once_each is None or running[waiter.payer] < self._at_once_each)

    def _call(self, waiter: _Waiter) -> None:
        self._turns += 1
        self._served.pop(waiter.payer, None)
        self._served[waiter.payer] = self._turns  # the longest unserved first
        while len(self._served) > MAX_REMEMBERED:
            del self._served[next(iter(self._served))]
        self._running[waiter.payer] += 1
        self._waiters.remove(waiter)
        waiter.called.set()

    def _order(self, served: dict[str, int]) -> list[_Waiter]:
        """The waiters as they will be called: who was served longest ago first, each visitor's own in order."""
        rest, order, turns = list(self._waiters), [], self._turns
        while rest:
            following = min(rest, key=lambda waiter: served.get(waiter.payer, -1))  # the first of equals
            rest.remove(following)
            order.append(following)
            turns += 1
            served[following.payer] = turns
        return order
