"""Fair scheduling of jobs: which pending job gets the next slot."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Final

__all__ = ["QueueEntry", "Scheduler"]

# Callback that gets the number of entries ahead, and of all pending ones.
OnPosition = Callable[[int, int], None]

MAX_TRACKED_VISITORS: Final = 1000

POLL_INTERVAL: Final = 30.0


@dataclass(eq=False, slots=True)
class QueueEntry:
    """Entry of the queue. After a change, call `Scheduler.schedule`.

    Attributes:
        rate_limit_key: the visitor whose entry it is.
        position: the order among the entries of one visitor, lowest first.
        is_held: whether the entry gets no slot until it is released.
        respects_pause: whether a pause of the visitor applies.
    """

    rate_limit_key: str
    position: float
    on_position: OnPosition = lambda _jobs_ahead, _queue_length: None
    is_held: bool = False
    respects_pause: bool = True
    slot_granted: asyncio.Event = field(default_factory=asyncio.Event)


class Scheduler:
    """In-memory scheduler that grants slots to pending entries, fairly across visitors.

    Not thread-safe. A limit of `None` means no limit.
    """

    def __init__(
        self, max_concurrent: int | None = None, max_concurrent_per_visitor: int | None = None
    ) -> None:
        self._max_concurrent = math.inf if max_concurrent is None else max_concurrent
        self._max_concurrent_per_visitor = (
            math.inf if max_concurrent_per_visitor is None else max_concurrent_per_visitor
        )
        self._entries: list[QueueEntry] = []
        self._running_counts: Counter[str] = Counter()
        self._last_served: dict[str, None] = {}  # visitors, by the time of their last slot
        self._pause_timers: dict[str, asyncio.TimerHandle] = {}
        self._report: asyncio.Handle | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def queued_count(self, rate_limit_key: str) -> int:
        """Return the number of a visitor's pending entries."""
        return sum(entry.rate_limit_key == rate_limit_key for entry in self._entries)

    @asynccontextmanager
    async def slot(self, entry: QueueEntry) -> AsyncIterator[None]:
        """Wait for a slot, and hold it while the block lasts."""
        entry.slot_granted.clear()
        self._entries.append(entry)
        self.schedule()
        try:
            await entry.slot_granted.wait()
            yield
        finally:
            # A waiter can be cancelled just after it was granted the slot. So it counts whether the
            # entry is still pending, not whether the wait has returned.
            if entry in self._entries:
                self._entries.remove(entry)
                self.schedule()
            else:
                self.release(entry)

    def release(self, entry: QueueEntry) -> None:
        """Take back the slot of an entry, before the end of its block."""
        if entry.slot_granted.is_set():
            entry.slot_granted.clear()
            self._running_counts[entry.rate_limit_key] -= 1
            self._running_counts += Counter()  # drops zero counts, which would pile up
            self.schedule()

    def pause(
        self,
        rate_limit_key: str,
        resume_timestamp: float,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        """Grant a visitor no slots until a time (seconds since 1970), or until `resume`."""
        self._cancel_timer(rate_limit_key)
        loop = asyncio.get_running_loop()

        def check_pause() -> None:
            # Polled by the wall clock: a laptop may sleep meanwhile, and the event loop's clock
            # stops then.
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
        """End the pause of a visitor."""
        if self._cancel_timer(rate_limit_key):
            self.schedule()

    def _cancel_timer(self, rate_limit_key: str) -> bool:
        timer = self._pause_timers.pop(rate_limit_key, None)
        if timer is not None:
            timer.cancel()
        return timer is not None

    def schedule(self) -> None:
        """Grant the free slots, and soon report their positions to the entries still pending."""
        for entry in self.scheduling_order():
            if self._has_capacity(entry.rate_limit_key):
                self._grant(entry)
        # Once for all entries of a set: each report goes to every pending entry.
        if self._report is None:
            self._report = asyncio.get_running_loop().call_soon(self._report_positions)

    def _report_positions(self) -> None:
        self._report = None
        pending = self.scheduling_order()
        for jobs_ahead, entry in enumerate(pending):
            entry.on_position(jobs_ahead, len(pending))

    def _has_capacity(self, rate_limit_key: str) -> bool:
        return (
            self._running_counts.total() < self._max_concurrent
            and self._running_counts[rate_limit_key] < self._max_concurrent_per_visitor
        )

    def _grant(self, entry: QueueEntry) -> None:
        # Removed first: assigning to a key that exists would leave it where it is.
        self._last_served.pop(entry.rate_limit_key, None)
        self._last_served[entry.rate_limit_key] = None
        if len(self._last_served) > MAX_TRACKED_VISITORS:
            del self._last_served[next(iter(self._last_served))]
        self._running_counts[entry.rate_limit_key] += 1
        self._entries.remove(entry)
        entry.slot_granted.set()

    def scheduling_order(self) -> list[QueueEntry]:
        """Return the entries that may get a slot, visitors in turn, longest unserved first."""
        entries_by_key: dict[str, list[QueueEntry]] = {}
        for entry in sorted(self._entries, key=lambda entry: entry.position):
            is_paused = entry.respects_pause and entry.rate_limit_key in self._pause_timers
            if not entry.is_held and not is_paused:
                entries_by_key.setdefault(entry.rate_limit_key, []).append(entry)
        # A visitor who gets a slot moves behind all others. So the order is one entry of each
        # visitor, then the next one of each. The sort is stable: without a slot yet, first come.
        ranks = {key: rank for rank, key in enumerate(self._last_served)}
        keys = sorted(entries_by_key, key=lambda key: ranks.get(key, -1))
        rounds = zip_longest(*(entries_by_key[key] for key in keys))
        return [entry for entries in rounds for entry in entries if entry is not None]
