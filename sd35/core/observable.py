"""A value whose changes can be awaited. The newest wins: slow watchers skip the values between."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Generic, TypeVar

__all__ = ["Observable"]

T = TypeVar("T")


class Observable(Generic[T]):
    """Holder of a value in one event loop. Setting it never waits for the watchers."""

    def __init__(self, value: T) -> None:
        self._value = value
        # By what each watcher waits for: one that waits for something else isn't woken.
        self._waiters: dict[asyncio.Future[None], Callable[[T], bool]] = {}

    @property
    def value(self) -> T:
        """The newest value."""
        return self._value

    def set(self, value: T) -> None:
        """Replace the value and wake the watchers."""
        self._value = value
        for future, is_awaited in self._waiters.items():
            if not future.done() and is_awaited(value):
                future.set_result(None)

    async def wait_for_change(self, last_value: T, timeout_seconds: float) -> T:
        """Return the newest value once it isn't `last_value`, or after the timeout in any case."""
        await self._wait_for(lambda value: value is not last_value, timeout_seconds)
        return self._value

    async def _wait_for(self, is_awaited: Callable[[T], bool], timeout_seconds: float) -> None:
        """Wait for a value, for some seconds at most."""
        if is_awaited(self._value):
            return
        # Not `asyncio.timeout` and an event: this is done for each preview of each page.
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        timer = loop.call_later(timeout_seconds, _resolve, future)
        self._waiters[future] = is_awaited
        try:
            await future
        finally:
            timer.cancel()
            del self._waiters[future]

    async def watch(
        self,
        *,
        min_interval: float | Callable[[], float],
        max_interval: float,
        is_urgent: Callable[[T, T], bool] = lambda _old, _new: False,
    ) -> AsyncGenerator[T, None]:
        """Yield the newest value after each change, forever.

        Args:
            min_interval: seconds between two values; a function is asked each time.
            max_interval: seconds after which an unchanged value is yielded again.
            is_urgent: return whether a new value, the second argument, is yielded at once.
        """
        while True:
            value = self._value
            yield value
            # Until then only an urgent change counts: a page that showed every step of every job
            # would keep browser and server busy with that alone.
            interval = min_interval() if callable(min_interval) else min_interval
            await self._wait_for(partial(is_urgent, value), interval)
            await self.wait_for_change(value, max_interval - interval)


def _resolve(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
