"""A thread for work that keeps a processor busy, shared fairly by all visitors."""

from collections.abc import Callable, Hashable
from typing import TypeVar
from weakref import WeakValueDictionary

import anyio
import anyio.to_thread

__all__ = ["FairWorker"]

Result = TypeVar("Result")


class FairWorker:
    """Runner of functions in a thread: one at a time, and each visitor in turn.

    Python runs one thread at a time, so several would be no faster, and the event loop would get
    one turn among many.
    """

    def __init__(self) -> None:
        self._limiter = anyio.CapacityLimiter(1)
        self._locks: WeakValueDictionary[Hashable, anyio.Lock] = WeakValueDictionary()

    async def run(self, function: Callable[[], Result], visitor_key: Hashable) -> Result:
        """Return what a function returns, when it is this visitor's turn."""
        # One call of each visitor waits for a turn: who sends hundreds waits for their own.
        lock = self._locks.setdefault(visitor_key, anyio.Lock())
        async with lock:
            return await anyio.to_thread.run_sync(function, limiter=self._limiter)
