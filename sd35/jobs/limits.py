"""What visitors may ask of a program that others can reach. The clock is given, so that hours can pass in a test."""

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from sd35.core.errors import UsageLimitError

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
    """Counts what each visitor has asked for in the last hour.

    Args:
        caps: the limits.
        clock: the time in seconds, that only goes forward.

    """

    def __init__(self, limits: UsageLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self._clock = clock
        self._all_timestamps: deque[float] = deque()
        self._timestamps_by_visitor: OrderedDict[str, deque[float]] = OrderedDict()

    def remaining(self, rate_limit_key: str, queued_count: int) -> RemainingQuota:
        """Return what this visitor, of whose requests so many wait, may still ask for."""
        limits = self.limits
        remaining_counts = []
        if limits.per_hour is not None:
            remaining_counts.append(
                limits.per_hour
                - self._count_recent(self._timestamps_by_visitor.get(rate_limit_key, deque()))
            )
        if limits.total_per_hour is not None:
            remaining_counts.append(
                limits.total_per_hour - self._count_recent(self._all_timestamps)
            )
        return RemainingQuota(
            max(0, min(remaining_counts)) if remaining_counts else None,
            limits.per_hour,
            queued_count,
            limits.max_queued,
        )

    def acquire(self, rate_limit_key: str, queued_count: int, total_queued: int) -> None:
        """Count a request of this visitor's.

        Raises:
            UsageLimitError: it is beyond a limit; nothing was counted.

        """
        limits, timestamps = (
            self.limits,
            self._timestamps_by_visitor.setdefault(rate_limit_key, deque()),
        )
        self._timestamps_by_visitor.move_to_end(rate_limit_key)
        if limits.max_queued is not None and queued_count >= limits.max_queued:
            raise UsageLimitError(
                f"As many of your pictures wait as may: {queued_count}.", _WAIT_REMEDY
            )
        if limits.max_queued_total is not None and total_queued >= limits.max_queued_total:
            raise UsageLimitError(
                "As many pictures wait here as may.", "Try again in some minutes."
            )
        if limits.per_hour is not None and self._count_recent(timestamps) >= limits.per_hour:
            raise self._limit_error(
                f"You have asked for {_format_picture_count(limits.per_hour)} within an hour, as many as may be.",
                timestamps,
            )
        if (
            limits.total_per_hour is not None
            and self._count_recent(self._all_timestamps) >= limits.total_per_hour
        ):
            raise self._limit_error(
                "Within this hour, as many pictures were asked for here as may be.",
                self._all_timestamps,
            )
        timestamps.append(self._clock())
        self._all_timestamps.append(self._clock())
        while len(self._timestamps_by_visitor) > MAX_TRACKED_VISITORS:
            self._timestamps_by_visitor.popitem(last=False)

    def release(self, rate_limit_key: str) -> None:
        """Uncount a request that cost nothing."""
        timestamps = self._timestamps_by_visitor.get(rate_limit_key)
        if timestamps:
            timestamp = timestamps.pop()
            if timestamp in self._all_timestamps:
                self._all_timestamps.remove(timestamp)

    def _count_recent(self, timestamps: deque[float]) -> int:
        while timestamps and timestamps[0] <= self._clock() - HOUR_SECONDS:
            timestamps.popleft()
        return len(timestamps)

    def _limit_error(self, message: str, timestamps: deque[float]) -> UsageLimitError:
        error = UsageLimitError(message, "What you have made stays here.")
        if timestamps:
            error.set_retry_after(timestamps[0] + HOUR_SECONDS - self._clock())
        return error


_WAIT_REMEDY = "Wait until one of them is begun."


def _format_picture_count(count: int) -> str:
    return "one picture" if count == 1 else f"{count} pictures"
