"""Whose turn it is: so many at once, and between those who wait, each visitor in turn. Belongs to one event loop."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

__all__ = ["QueueEntry", "Scheduler"]

OnPosition = Callable[[int, int], None]
"""Is told of each new place in the line: how many go before, and how many wait in all."""

MAX_TRACKED_VISITORS = 1000

POLL_INTERVAL = 30.0
"""How often it is looked whether a pause is over."""


@dataclass(eq=False, slots=True)
class QueueEntry:
    """A place in the line. Who changes it asks the line to `reconsider`.

    Attributes:
        payer: the visitor whose place it is.
        position: of a visitor's own places, the lowest goes first.
        tell: is told of each new place.
        is_held: it isn't called before it is released.
        heeds_pause: while the visitor's are paused, it isn't called, either.

    """

    rate_limit_key: str
    position: float
    on_position: OnPosition = lambda _jobs_ahead, _queue_length: None
    is_held: bool = False
    respects_pause: bool = True
    slot_granted: asyncio.Event = field(default_factory=asyncio.Event)


class Scheduler:
    """Lets so many run at once, and so many of each visitor's; `None`: without limit."""

    def __init__(
        self, max_concurrent: int | None = None, max_concurrent_per_visitor: int | None = None
    ) -> None:
        self._max_concurrent = max_concurrent
        self._max_concurrent_per_visitor = max_concurrent_per_visitor
        self._entries: list[QueueEntry] = []
        self._running_counts: Counter[str] = Counter()
        self._last_served: dict[str, int] = {}
        self._pause_timers: dict[str, asyncio.TimerHandle] = {}
        self._sequence = 0

    def __len__(self) -> int:
        return len(self._entries)

    def queued_count(self, rate_limit_key: str) -> int:
        """How many of this visitor's wait."""
        return sum(entry.rate_limit_key == rate_limit_key for entry in self._entries)

    @asynccontextmanager
    async def slot(self, entry: QueueEntry) -> AsyncIterator[None]:
        """Wait for a turn, and have it while the block lasts."""
        entry.slot_granted.clear()
        self._entries.append(entry)
        self.schedule()
        try:
            await entry.slot_granted.wait()
            yield
        finally:
            if entry.slot_granted.is_set():
                self._running_counts[entry.rate_limit_key] -= 1
                self._running_counts += Counter()  # drops those that are zero
            else:
                self._entries.remove(entry)
            self.schedule()

    def pause(
        self,
        rate_limit_key: str,
        resume_timestamp: float,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        """Call none of this visitor's that heed it until this moment, or until they are let go on.

        The moment is in seconds since 1970, by the clock on the wall: a laptop may sleep meanwhile.
        """
        self._cancel_timer(rate_limit_key)
        loop = asyncio.get_running_loop()

        def check_pause() -> None:
            remaining = resume_timestamp - time.time()
            if remaining > 0:
                self._pause_timers[rate_limit_key] = loop.call_later(
                    min(remaining, POLL_INTERVAL), check_pause
                )
            else:
                on_end()
                self.resume(rate_limit_key)

        check_pause()

    def resume(self, rate_limit_key: str) -> None:
        """Let this visitor's go on."""
        if self._cancel_timer(rate_limit_key):
            self.schedule()

    def _cancel_timer(self, rate_limit_key: str) -> bool:
        timer = self._pause_timers.pop(rate_limit_key, None)
        if timer is not None:
            timer.cancel()
        return timer is not None

    def schedule(self) -> None:
        """Call those who may go now, and tell the others where they stand."""
        running_counts = self._running_counts.copy()
        order = self._scheduling_order(self._last_served)
        for entry in order:
            if self._has_capacity(entry, running_counts):
                running_counts[entry.rate_limit_key] += 1
                self._grant(entry)
        pending_entries = [entry for entry in order if not entry.slot_granted.is_set()]
        for jobs_ahead, entry in enumerate(pending_entries):
            entry.on_position(jobs_ahead, len(pending_entries))

    def _has_capacity(self, entry: QueueEntry, running_counts: Counter[str]) -> bool:
        has_free_slot = (
            self._max_concurrent is None or running_counts.total() < self._max_concurrent
        )
        return has_free_slot and (
            self._max_concurrent_per_visitor is None
            or running_counts[entry.rate_limit_key] < self._max_concurrent_per_visitor
        )

    def _grant(self, entry: QueueEntry) -> None:
        self._sequence += 1
        self._last_served.pop(entry.rate_limit_key, None)
        self._last_served[entry.rate_limit_key] = self._sequence  # the longest unserved first
        while len(self._last_served) > MAX_TRACKED_VISITORS:
            del self._last_served[next(iter(self._last_served))]
        self._running_counts[entry.rate_limit_key] += 1
        self._entries.remove(entry)
        entry.slot_granted.set()

    def _scheduling_order(self, last_served: dict[str, int]) -> list[QueueEntry]:
        """The waiters as they will be called: who was served longest ago first, each visitor's own in order."""
        entries_by_key: dict[str, deque[QueueEntry]] = {}
        for entry in sorted(self._entries, key=lambda entry: entry.position):
            if not entry.is_held and not (
                entry.respects_pause and entry.rate_limit_key in self._pause_timers
            ):
                entries_by_key.setdefault(entry.rate_limit_key, deque()).append(entry)
        sequence, order = self._sequence, []
        heap = [
            (last_served.get(rate_limit_key, -1), index, rate_limit_key)
            for index, rate_limit_key in enumerate(entries_by_key)
        ]  # the first of equals
        heapify(heap)
        while heap:
            _, index, rate_limit_key = heappop(heap)
            order.append(entries_by_key[rate_limit_key].popleft())
            sequence += 1
            if entries_by_key[rate_limit_key]:
                heappush(heap, (sequence, index, rate_limit_key))
        return order
