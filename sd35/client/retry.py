"""Retries of what is safe to repeat: reading a description, joining a queue, fetching an image."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeVar

import stamina

from sd35.client.timeouts import Timeouts
from sd35.core.awake import AwakeTimeout, awake_sleep, awake_time
from sd35.core.errors import (
    BusyError,
    RateLimitedError,
    SD35Error,
    SpaceAsleepError,
    UnreachableError,
)
from sd35.core.events import Waiting
from sd35.core.text import format_duration

__all__ = ["OnWait", "OutageWait", "RetrySignal", "is_outage", "with_retry"]

T = TypeVar("T")

OnWait = Callable[[Waiting], None]  # called at each wait before a retry

# In seconds.
_BACKOFF: Final = {"wait_initial": 0.25, "wait_max": 5.0, "wait_jitter": 0.25}


async def with_retry(
    operation: Callable[[], Awaitable[T]],
    is_retryable: Callable[[SD35Error], bool],
    timeouts: Timeouts,
    on_wait: OnWait,
) -> T:
    """Return the result of `operation`, retried after retryable errors; raise the last error.

    Gives up after `Timeouts.attempts`, or when the attempts, or the wait that a server asks for,
    take longer than `Timeouts.retry_after`.
    """
    started_at = awake_time()

    def should_retry(error: Exception) -> bool | float:
        if not isinstance(error, SD35Error) or not is_retryable(error):
            return False
        delay = error.retry_after_seconds
        if max(delay or 0.0, awake_time() - started_at) > timeouts.retry_after:
            return False
        on_wait(Waiting(error.happened, awake_time() - started_at))
        return True if delay is None else delay

    # Setting up stamina takes as long as a request to a server nearby: only after a failure.
    try:
        return await operation()
    except SD35Error as error:
        first_error = error
    attempts = stamina.retry_context(
        on=should_retry,
        attempts=timeouts.attempts,
        timeout=None,
        **_BACKOFF,
    )
    async for attempt in attempts:
        with attempt:
            if attempt.num == 1:
                raise first_error
            return await operation()
    raise AssertionError("the last attempt's error is raised")


# The delay before an attempt to hand over a request grows from the one to the other, in seconds. A
# server may ask for a longer one.
MIN_OUTAGE_DELAY = 0.5
MAX_OUTAGE_DELAY: Final = 30.0
MIN_SIGNAL_DELAY: Final = 3.0
MAX_RETRY_AFTER: Final = 3600.0
DELAY_GROWTH: Final = 1.5

_OUTAGE_ERRORS: Final = (UnreachableError, SpaceAsleepError, BusyError, RateLimitedError)


def is_outage(error: BaseException) -> bool:
    """Return whether a Space can't take a request now, but will be able to without a change."""
    return isinstance(error, _OUTAGE_ERRORS)


class RetrySignal:
    """Signal that ends the waits for a Space early, because it may be ready again."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def send(self) -> None:
        """End all current waits."""
        self._event.set()
        self._event = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        """Sleep, or return at the next signal."""
        with suppress(TimeoutError):
            async with AwakeTimeout(seconds):
                await self._event.wait()


class OutageWait:
    """Waits with one request for a Space that can't take it, with backoff and a limit for all."""

    def __init__(self, limit_seconds: float, on_wait: OnWait, signal: RetrySignal) -> None:
        self._limit_seconds = limit_seconds
        self._on_wait = on_wait
        self._signal = signal
        self._delay = MIN_OUTAGE_DELAY
        self._started_at: float | None = None

    async def pause(self, error: SD35Error) -> None:
        """Wait before the next attempt; raise the error if that would exceed the limit."""
        if self._started_at is None:
            self._started_at = awake_time()
        waited_seconds = awake_time() - self._started_at
        delay = max(self._delay, min(error.retry_after_seconds or 0.0, MAX_RETRY_AFTER))
        if waited_seconds + delay > self._limit_seconds:
            if waited_seconds > self._delay:
                error.happened += f" Gave up after {format_duration(waited_seconds)}."
            raise error
        self._on_wait(Waiting(error.happened, waited_seconds, self._limit_seconds))
        paused_at = awake_time()
        # Many clients of a Space that comes back would otherwise ask at the same moment.
        await self._signal.sleep(delay * random.uniform(1.0, 1.25))  # noqa: S311  # no secret
        # Whoever sends the signal again and again can't make this program ask in a rush.
        shortest_delay = min(self._delay, MIN_SIGNAL_DELAY)
        await awake_sleep(paused_at + shortest_delay - awake_time())
        self._delay = min(self._delay * DELAY_GROWTH, MAX_OUTAGE_DELAY)
