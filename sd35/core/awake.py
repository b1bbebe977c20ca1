"""Time limits that count only time in which the process ran: a clock, a sleep and a timeout.

Ctrl+Z, a frozen container and a sleeping laptop suspend a process. The system's clock goes on, so
that when the process wakes up, all limits by that clock have passed, although nothing was late: the
process didn't listen. Here, such a gap doesn't count.
"""

import asyncio
import time
from contextlib import suppress
from types import TracebackType
from weakref import WeakKeyDictionary

__all__ = ["AwakeTimeout", "awake_sleep", "awake_time"]

TICK_SECONDS = 0.5

# The longest gap between two ticks that counts. A busy event loop may be late, too.
MAX_GAP_SECONDS = 2.0


class _AwakeClock:
    """Clock of an event loop, which notices gaps by its own ticks."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._read_at = time.monotonic()

    def read(self) -> float:
        """Return the seconds that the event loop has run since the clock was made."""
        now = time.monotonic()
        gap = now - self._read_at
        if gap <= MAX_GAP_SECONDS:
            self._seconds += gap
        self._read_at = now
        return self._seconds

    def tick(self) -> None:
        """Read the clock, and do so again and again."""
        self.read()
        asyncio.get_running_loop().call_later(TICK_SECONDS, self.tick)


_clocks: WeakKeyDictionary[asyncio.AbstractEventLoop, _AwakeClock] = WeakKeyDictionary()


def awake_time() -> float:
    """Return seconds of a clock that stands still while the process is suspended.

    Its zero differs between event loops.
    """
    loop = asyncio.get_running_loop()
    clock = _clocks.get(loop)
    if clock is None:
        clock = _clocks[loop] = _AwakeClock()
        clock.tick()
    return clock.read()


async def awake_sleep(seconds: float) -> None:
    """Sleep for seconds in which the process runs."""
    with suppress(TimeoutError):
        async with AwakeTimeout(seconds):
            await asyncio.get_running_loop().create_future()  # never done


class AwakeTimeout:
    """Limit of a block in seconds in which the process runs, as an asynchronous context manager.

    Raises TimeoutError, as `asyncio.timeout` does; `None` means no limit.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._timeout = asyncio.timeout(None)
        self._end = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()
        if self._seconds is not None:
            self._end = awake_time() + self._seconds
            self._check()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._timeout.__aexit__(exc_type, exc, traceback)

    def _check(self) -> None:
        # When a suspended process wakes up, timers that are due run before the sockets are read.
        loop = asyncio.get_running_loop()
        remaining = self._end - awake_time()
        if remaining > 0:
            self._timer = loop.call_later(remaining, self._check)
        else:
            self._timeout.reschedule(loop.time())
