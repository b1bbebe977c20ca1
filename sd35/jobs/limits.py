"""What visitors may ask of a program that others can reach. The clock is given, so that hours can pass in a test."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from sd35.core.errors import UsageLimitError
from sd35.core.rate_limit import RateLimiter

__all__ = ["UNLIMITED", "RemainingQuota", "UsageLimiter", "UsageLimits"]

HOUR_SECONDS = 3600.0

MAX_TRACKED_VISITORS = 5000
"""Visitors whose hour is remembered; of those beyond, who has asked least recently is forgotten."""


@dataclass(frozen=True, slots=True)
class UsageLimits:
    """The limits. `None`: none.

    Attributes:
        hourly: pictures per visitor and hour.
        hourly_in_all: pictures of all visitors per hour.
        waiting: requests of one visitor that may wait for their turn.
        waiting_in_all: requests that may wait for their turn.
        at_once: runs at the Space at the same time.
        at_once_each: of those, one visitor's.

    """

    per_hour: int | None = None
    total_per_hour: int | None = None
    max_queued: int | None = None
    max_queued_total: int | None = None
    max_concurrent: int | None = None
    max_concurrent_per_visitor: int | None = None


UNLIMITED = UsageLimits()


@dataclass(frozen=True, slots=True)
class RemainingQuota:
    """What one visitor may still ask for. `None`: no limit.

    Attributes:
        pictures: in this hour.
        of: in an hour.
        waiting: how many of this visitor's requests wait.
        may_wait: how many may.

    """

    remaining: int | None
    limit: int | None
    queued_count: int
    max_queued: int | None


class UsageLimiter:
    """Counter of the requests of each visitor within the last hour.

    Args:
        limits: what is allowed.
        clock: a monotonic clock in seconds.

    """

    def __init__(self, limits: UsageLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self._per_visitor = _hourly_limiter(limits.per_hour, clock)
        self._total = _hourly_limiter(limits.total_per_hour, clock)

    def remaining(self, rate_limit_key: str, queued_count: int) -> RemainingQuota:
        """Return what a visitor with this many queued requests may still ask for."""
        remaining = min(self._per_visitor.remaining(rate_limit_key), self._total.remaining(None))
        return RemainingQuota(
            None if math.isinf(remaining) else int(remaining),
            self.limits.per_hour,
            queued_count,
            self.limits.max_queued,
        )

    def acquire(self, rate_limit_key: str, queued_count: int, total_queued: int) -> None:
        """Count a request of a visitor.

        Raises:
            UsageLimitError: it is beyond a limit, and was not counted.

        """
        limits = self.limits
        if limits.max_queued is not None and queued_count >= limits.max_queued:
            raise UsageLimitError(
                f"As many of your pictures wait as may: {queued_count}.", _WAIT_REMEDY
            )
        if limits.max_queued_total is not None and total_queued >= limits.max_queued_total:
            raise UsageLimitError(
                "As many pictures wait here as may.", "Try again in some minutes."
            )
        if not self._per_visitor.remaining(rate_limit_key):
            message = f"You have asked for {_format_picture_count(limits.per_hour or 0)} within an hour, as many as may be."
            raise _limit_error(message, self._per_visitor.retry_after(rate_limit_key))
        if not self._total.remaining(None):
            message = "Within this hour, as many pictures were asked for here as may be."
            raise _limit_error(message, self._total.retry_after(None))
        self._per_visitor.record(rate_limit_key)
        self._total.record(None)

    def release(self, rate_limit_key: str) -> None:
        """Uncount the newest request of a visitor, because it cost nothing."""
        event = self._per_visitor.release(rate_limit_key)
        if event is not None:
            self._total.release(None, event)


def _hourly_limiter(limit: int | None, clock: Callable[[], float]) -> RateLimiter:
    return RateLimiter(
        math.inf if limit is None else limit, HOUR_SECONDS, clock, MAX_TRACKED_VISITORS
    )


def _limit_error(message: str, retry_after: float) -> UsageLimitError:
    error = UsageLimitError(message, "What you have made stays here.")
    error.set_retry_after(retry_after)
    return error


_WAIT_REMEDY = "Wait until one of them is begun."


def _format_picture_count(count: int) -> str:
    return "one picture" if count == 1 else f"{count} pictures"
