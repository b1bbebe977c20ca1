"""A rate limiter for requests, logins and generations: a sliding window per key."""

import math
import time
from collections import deque
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Final

from cachetools import TTLCache

__all__ = ["RateLimiter"]

MAX_KEYS: Final = 5000


class RateLimiter:
    """Limiter of the events of each key within the last `period` seconds. Not thread-safe.

    Args:
        limit: events per key and period; `math.inf` counts without a limit.
        period: seconds.
        clock: a monotonic clock in seconds.
        max_keys: keys to remember; beyond that, the least recently used one is forgotten.
    """

    def __init__(
        self,
        limit: float,
        period: float,
        clock: Callable[[], float] = time.monotonic,
        max_keys: int = MAX_KEYS,
    ) -> None:
        self._limit = limit
        self._period = period
        self._clock = clock
        # A key expires with its newest event. Otherwise a client that changes its key with every
        # request would leave thousands of full windows behind.
        self._events: TTLCache[Hashable, deque[float]] = TTLCache(max_keys, period, clock)

    def remaining(self, key: Hashable) -> float:
        """Return how many more events are allowed now."""
        return max(0, self._limit - len(self._recent(key)))

    def retry_after(self, key: Hashable, count: int = 1) -> float:
        """Return the seconds until so many more events are allowed; 0 if they are allowed now.

        `math.inf` if they never are at once.
        """
        if count > self._limit:
            return math.inf
        # `record` counts events beyond the limit, too, so that several may have to expire.
        events = self._recent(key)
        excess = len(events) + count - self._limit
        if excess <= 0:
            return 0.0
        return max(0.0, events[int(excess) - 1] + self._period - self._clock())

    def record(self, key: Hashable) -> None:
        """Count an event, even beyond the limit."""
        events = self._recent(key)
        events.append(self._clock())
        self._events[key] = events  # assigning restarts the time to live

    def try_acquire(self, key: Hashable) -> bool:
        """Count an event and return true, unless it is beyond the limit."""
        if not self.remaining(key):
            return False
        self.record(key)
        return True

    def release(self, key: Hashable, event: float | None = None) -> float | None:
        """Uncount an event, by default the newest one, and return its time, if there is one."""
        events = self._recent(key)
        if event is not None:
            with suppress(ValueError):
                events.remove(event)
            return event
        return events.pop() if events else None

    def _recent(self, key: Hashable) -> deque[float]:
        events = self._events.get(key, deque[float]())
        while events and events[0] <= self._clock() - self._period:
            events.popleft()
        return events
