"""Retries of what is safe to repeat: reading a description, joining a queue, fetching an image."""

import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import stamina

from sd35.client.timeouts import Timeouts
from sd35.core.errors import SD35Error
from sd35.core.events import Waiting

__all__ = ["OnWait", "with_retry"]

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
    started_at = time.monotonic()

    def should_retry(error: Exception) -> bool | float:
        if not isinstance(error, SD35Error) or not is_retryable(error):
            return False
        delay = error.retry_after_seconds
        if max(delay or 0.0, time.monotonic() - started_at) > timeouts.retry_after:
            return False
        on_wait(Waiting(error.happened, time.monotonic() - started_at))
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
