"""A value that changes and can be watched: the newest counts, and a slow watcher misses what was overtaken."""

from collections.abc import AsyncGenerator, Callable
from typing import Generic, TypeVar

import anyio

__all__ = ["Observable"]

T = TypeVar("T")


class Observable(Generic[T]):
    """Holds the newest value. Setting it never waits for those who watch. Belongs to one event loop."""

    def __init__(self, value: T) -> None:
        self._value = value
        self._change_event = anyio.Event()

    @property
    def value(self) -> T:
        """The newest value."""
        return self._value

    def set(self, value: T) -> None:
        """Replace the value and wake those who watch."""
        self._value = value
        self._change_event.set()
        self._change_event = anyio.Event()

    async def wait_for_change(self, last_value: T, limit_seconds: float) -> T:
        """Return the newest value as soon as it isn't `seen` (by identity), or after the limit whatever it is."""
        with anyio.move_on_after(limit_seconds):
            while self._value is last_value:
                await self._change_event.wait()
        return self._value

    async def watch(
        self,
        *,
        min_interval: float,
        max_interval: float,
        is_urgent: Callable[[T, T], bool] = lambda _old, _new: False,
    ) -> AsyncGenerator[T, None]:
        """Yield the newest value, for ever: after a change, but not more often and not less often than said.

        The intervals are in seconds. A value that hasn't changed for `at_least_every` is yielded
        again. One that `is_urgent`, compared with the one yielded before it, doesn't wait for its
        interval.
        """
        while True:
            value = self._value
            yield value
            with anyio.move_on_after(min_interval):
                while not is_urgent(value, self._value):
                    await self._change_event.wait()
            await self.wait_for_change(value, max_interval - min_interval)
