"""How fast somebody may ask: a bucket of so many requests, that fills again at so many a second."""

import time
from collections import OrderedDict
from collections.abc import Callable

__all__ = ["Pace"]

MAX_KEYS = 5000


class Pace:
    """Counts the requests of each visitor. More than a page needs pass at once, and then so many a second."""

    def __init__(
        self, size: float = 150.0, per_second: float = 15.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._size = size
        self._per_second = per_second
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, payer: str) -> bool:
        """Whether one more request of this visitor's passes; it is counted if it does."""
        now = self._clock()
        level, then = self._buckets.pop(payer, (self._size, now))
        level = min(self._size, level + (now - then) * self._per_second)
        self._buckets[payer] = (level - 1 if level >= 1 else level, now)
        while len(self._buckets) > MAX_KEYS:
            self._buckets.popitem(last=False)
        return level >= 1
