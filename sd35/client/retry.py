"""Doing again what is safe to repeat: reading a description, asking to be queued, fetching a picture. Never a run."""

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import stamina

from sd35.client.timeouts import Timeouts
from sd35.core.errors import SD35Error
from sd35.core.events import Waiting

__all__ = ["Tell", "retrying"]

T = TypeVar("T")

Tell = Callable[[Waiting], None]
"""Is told of each wait before something is tried again."""


async def retrying(
    work: Callable[[], Awaitable[T]],
    may_pass: Callable[[SD35Error], bool],
    timeouts: Timeouts,
    tell: Tell,
) -> T:
    """Return what `work` returns, tried again after the errors that may pass.

    That ends after `Timeouts.attempts`, or when they, or the wait that a server asks for, take
    longer than `Timeouts.retry_after`.

    Raises:
        SD35Error: that of the last attempt.

    """
    began = time.monotonic()

    def again(error: Exception) -> bool | float:
        if not isinstance(error, SD35Error) or not may_pass(error):
            return False
        wait = error.retry_after_seconds
        if max(wait or 0.0, time.monotonic() - began) > timeouts.retry_after:
            return False
        tell(Waiting(error.happened, time.monotonic() - began))
        return True if wait is None else wait

    try:  # before anything has failed, to be ready to retry would cost as much as a request
        return await work()
    except SD35Error as error:
        failed = error
    attempts = stamina.retry_context(
        on=again,
        attempts=timeouts.attempts,
        timeout=None,
        wait_initial=0.25,
        wait_max=5.0,
        wait_jitter=0.25,
    )
    async for attempt in attempts:
        with attempt:
            if attempt.num == 1:
                raise failed
            return await work()
    raise AssertionError("the last attempt's error is raised")
