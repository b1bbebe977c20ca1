"""A value whose changes can be awaited. The newest wins: slow watchers skip the values between."""

from collections.abc import AsyncGenerator, Callable
from typing import Generic, TypeVar

import anyio

__all__ = ["Observable"]

T = TypeVar("T")


class Observable(Generic[T]):
    """Holder of a value in one event loop. Setting it never waits for the watchers."""

    def __init__(self, value: T) -> None:
        self._value = value
        self._change_event = anyio.Event()

    @property
    def value(self) -> T:
        """The newest value."""
        return self._value

    def set(self, value: T) -> None:
        """Replace the value and wake the watchers."""
        self._value = value
        # An event can't be cleared without a race: a watcher that hasn't run yet would miss it.
        self._change_event.set()
        self._change_event = anyio.Event()

    async def wait_for_change(self, last_value: T, timeout_seconds: float) -> T:
        """Return the newest value once it isn't `last_value`, or after the timeout in any case."""
        with anyio.move_on_after(timeout_seconds):
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
        """Yield the newest value after each change, forever.

        Args:
            min_interval: seconds between two values.
            max_interval: seconds after which an unchanged value is yielded again.
            is_urgent: return whether a new value, the second argument, is yielded at once.
        """
        while True:
            value = self._value
            yield value
            # Until then only an urgent change counts: a page that showed every step of every job
            # would keep browser and server busy with that alone.
            with anyio.move_on_after(min_interval):
                while not is_urgent(value, self._value):
                    await self._change_event.wait()
            await self.wait_for_change(value, max_interval - min_interval)
