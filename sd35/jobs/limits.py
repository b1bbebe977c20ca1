"""Usage limits of visitors, where others can reach the page."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

from sd35.core.errors import UsageLimitError
from sd35.core.rate_limit import RateLimiter
from sd35.core.text import pluralize

__all__ = ["UNLIMITED", "RemainingQuota", "UsageLimiter", "UsageLimits"]

HOUR_SECONDS: Final = 3600.0

# Without a login, a new cookie makes a new visitor: their number must be bounded.
MAX_TRACKED_VISITORS: Final = 5000


@dataclass(frozen=True, slots=True)
class UsageLimits:
    """Limits per visitor, and in total; hourly ones count images. `None` means no limit."""

    per_hour: int | None = None
    total_per_hour: int | None = None
    max_queued: int | None = None
    max_queued_total: int | None = None
    max_concurrent: int | None = None
    max_concurrent_per_visitor: int | None = None

    @classmethod
    def for_owner(cls, *, max_concurrent: int | None = None) -> Self:
        """Return the limits of a page that only its owner can reach; 0 for no limit."""
        return cls(max_concurrent=_limit(max_concurrent, 1))

    @classmethod
    def for_visitors(
        cls,
        *,
        per_hour: int | None = None,
        total_per_hour: int | None = None,
        max_queued: int | None = None,
        max_queued_total: int | None = None,
        max_concurrent: int | None = None,
        has_own_quotas: bool = False,
    ) -> Self:
        """Return the limits of a public page; `None` for the default, 0 for no limit.

        With `has_own_quotas`, each visitor's jobs use that visitor's quota, and run in parallel.
        """
        return cls(
            per_hour=_limit(per_hour, 30),
            total_per_hour=_limit(total_per_hour, 200),
            max_queued=_limit(max_queued, 12),  # a press makes several
            max_queued_total=_limit(max_queued_total, 100),
            max_concurrent=_limit(max_concurrent, 20 if has_own_quotas else 1),
            max_concurrent_per_visitor=1,
        )


def _limit(value: int | None, default: int) -> int | None:
    return (default if value is None else value) or None


UNLIMITED = UsageLimits()


@dataclass(frozen=True, slots=True)
class RemainingQuota:
    """Images that a visitor may still generate this hour, and jobs they have queued.

    `None` means no limit.
    """

    remaining: int | None
    limit: int | None
    queued_count: int
    max_queued: int | None


class UsageLimiter:
    """Counter of the requests of each visitor within the last hour."""

    def __init__(self, limits: UsageLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self._per_visitor = _hourly_limiter(limits.per_hour, clock)
        self._total = _hourly_limiter(limits.total_per_hour, clock)

    def remaining(self, rate_limit_key: str, queued_count: int) -> RemainingQuota:
        """Return the remaining quota of a visitor who has this many queued requests."""
        remaining = min(self._per_visitor.remaining(rate_limit_key), self._total.remaining(None))
        return RemainingQuota(
            None if math.isinf(remaining) else int(remaining),
            self.limits.per_hour,
            queued_count,
            self.limits.max_queued,
        )

    def acquire(
        self, rate_limit_key: str, queued_count: int, total_queued: int, count: int = 1
    ) -> None:
        """Count requests of a visitor, all or none.

        Raises:
            UsageLimitError: they are beyond a limit, and none was counted.
        """
        limits = self.limits
        # The queue's limits first: they pass sooner than the hourly ones.
        if limits.max_queued is not None and queued_count + count > limits.max_queued:
            raise _queue_error(limits.max_queued, queued_count, count)
        if limits.max_queued_total is not None and total_queued + count > limits.max_queued_total:
            raise UsageLimitError("The queue is full.", "Try again in a few minutes.")
        remaining = self._per_visitor.remaining(rate_limit_key)
        if remaining < count:
            message = (
                f"You've reached the limit of {pluralize(limits.per_hour or 0, 'image')} per hour."
            )
            if remaining:
                message = f"You can generate {pluralize(int(remaining), 'more image')} this hour."
            retry_after = self._per_visitor.retry_after(rate_limit_key, count)
            raise _limit_error(message, retry_after)
        if self._total.remaining(None) < count:
            message = "This page has reached its hourly limit."
            raise _limit_error(message, self._total.retry_after(None, count))
        for _ in range(count):
            self._per_visitor.record(rate_limit_key)
            self._total.record(None)

    def release(self, rate_limit_key: str) -> None:
        """Uncount the newest request of a visitor, because it cost nothing."""
        # The same moment is removed from both windows; else one of them would run full.
        event = self._per_visitor.release(rate_limit_key)
        if event is not None:
            self._total.release(None, event)


def _hourly_limiter(limit: int | None, clock: Callable[[], float]) -> RateLimiter:
    return RateLimiter(
        math.inf if limit is None else limit, HOUR_SECONDS, clock, MAX_TRACKED_VISITORS
    )


def _queue_error(limit: int, queued_count: int, count: int) -> UsageLimitError:
    if queued_count >= limit:
        return UsageLimitError(
            f"You already have {pluralize(queued_count, 'image')} in the queue,"
            " which is the limit.",
            "Wait until one of them starts.",
        )
    room = limit - queued_count
    return UsageLimitError(
        f"{pluralize(count, 'image')} at once are too many: your queue has room for {room}.",
        "Generate fewer at once.",
    )


def _limit_error(message: str, retry_after: float) -> UsageLimitError:
    if math.isinf(retry_after):
        return UsageLimitError(message, "Generate fewer at once.")
    error = UsageLimitError(message, "Your images are kept.")
    error.set_retry_after(retry_after)
    return error
