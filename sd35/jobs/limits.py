"""What visitors may ask of a program that others can reach. The clock is given, so that hours can pass in a test."""

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from sd35.core.errors import AllowanceError

__all__ = ["NO_CAPS", "Allowance", "Caps", "Left"]

HOUR_SECONDS = 3600.0

MAX_PAYERS = 5000
"""Visitors whose hour is remembered; of those beyond, who has asked least recently is forgotten."""


@dataclass(frozen=True, slots=True)
class Caps:
    """The limits. `None`: none.

    Attributes:
        hourly: pictures per visitor and hour.
        hourly_in_all: pictures of all visitors per hour.
        waiting: requests of one visitor that may wait for their turn.
        waiting_in_all: requests that may wait for their turn.
        at_once: runs at the Space at the same time.
        at_once_each: of those, one visitor's.

    """

    hourly: int | None = None
    hourly_in_all: int | None = None
    waiting: int | None = None
    waiting_in_all: int | None = None
    at_once: int | None = None
    at_once_each: int | None = None


NO_CAPS = Caps()


@dataclass(frozen=True, slots=True)
class Left:
    """What one visitor may still ask for. `None`: no limit.

    Attributes:
        pictures: in this hour.
        of: in an hour.
        waiting: how many of this visitor's requests wait.
        may_wait: how many may.

    """

    pictures: int | None
    of: int | None
    waiting: int
    may_wait: int | None


class Allowance:
    """Counts what each visitor has asked for in the last hour.

    Args:
        caps: the limits.
        clock: the time in seconds, that only goes forward.

    """

    def __init__(self, caps: Caps, clock: Callable[[], float] = time.monotonic) -> None:
        self.caps = caps
        self._clock = clock
        self._all: deque[float] = deque()
        self._each: OrderedDict[str, deque[float]] = OrderedDict()

    def left(self, payer: str, waiting: int) -> Left:
        """Return what this visitor, of whose requests so many wait, may still ask for."""
        caps = self.caps
        rooms = []
        if caps.hourly is not None:
            rooms.append(caps.hourly - self._count(self._each.get(payer, deque())))
        if caps.hourly_in_all is not None:
            rooms.append(caps.hourly_in_all - self._count(self._all))
        return Left(max(0, min(rooms)) if rooms else None, caps.hourly, waiting, caps.waiting)

    def take(self, payer: str, waiting: int, waiting_in_all: int) -> None:
        """Count a request of this visitor's.

        Raises:
            AllowanceError: it is beyond a limit; nothing was counted.

        """
        caps, mine = self.caps, self._each.setdefault(payer, deque())
        self._each.move_to_end(payer)
        if caps.waiting is not None and waiting >= caps.waiting:
            raise AllowanceError(
                f"As many of your pictures wait as may: {waiting}.", _WAIT_FOR_YOURS
            )
        if caps.waiting_in_all is not None and waiting_in_all >= caps.waiting_in_all:
            raise AllowanceError("As many pictures wait here as may.", "Try again in some minutes.")
        if caps.hourly is not None and self._count(mine) >= caps.hourly:
            raise self._used_up(
                f"You have asked for {_pictures(caps.hourly)} within an hour, as many as may be.",
                mine,
            )
        if caps.hourly_in_all is not None and self._count(self._all) >= caps.hourly_in_all:
            raise self._used_up(
                "Within this hour, as many pictures were asked for here as may be.", self._all
            )
        mine.append(self._clock())
        self._all.append(self._clock())
        while len(self._each) > MAX_PAYERS:
            self._each.popitem(last=False)

    def give_back(self, payer: str) -> None:
        """Uncount a request that cost nothing."""
        mine = self._each.get(payer)
        if mine:
            moment = mine.pop()
            if moment in self._all:
                self._all.remove(moment)

    def _count(self, moments: deque[float]) -> int:
        while moments and moments[0] <= self._clock() - HOUR_SECONDS:
            moments.popleft()
        return len(moments)

    def _used_up(self, happened: str, moments: deque[float]) -> AllowanceError:
        error = AllowanceError(happened, "What you have made stays here.")
        if moments:
            error.come_back_after(moments[0] + HOUR_SECONDS - self._clock())
        return error


_WAIT_FOR_YOURS = "Wait until one of them is begun."


def _pictures(number: int) -> str:
    return "one picture" if number == 1 else f"{number} pictures"
