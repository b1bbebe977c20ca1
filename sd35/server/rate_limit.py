"""How often somebody may try to log in."""

import ipaddress
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Final, TypeVar

from sd35.server.accounts import MAX_NAME, AccountError, plain_name

__all__ = ["Attempts", "Pace"]


MAX_BUCKETS = 5000


class Pace:
    """Counts the requests of each visitor. More than a page needs pass at once, and then so many a second."""

    def __init__(
        self,
        size: float = 150.0,
        per_second: float = 15.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._size = size
        self._per_second = per_second
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, payer: str) -> bool:
        """Whether one more request of this visitor's passes; it is counted if it does."""
        now = self._clock()
        level, then = self._buckets.pop(payer, (self._size, now))
        level = min(self._size, level + (now - then) * self._per_second)
        self._buckets[payer] = (level - 1 if level >= 1 else level, now)
        while len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)
        return level >= 1


MAX_A_MINUTE: Final = 60
MAX_A_MINUTE_EACH: Final = 15
FORGOTTEN_AFTER_SECONDS: Final = 3600.0
MAX_KEYS: Final = 4096
"""More than can fail, by the rule for all, before it is forgotten: nobody can push out what was counted of somebody."""


class Attempts:
    """How often somebody may try to log in. An attempt counts from when it begins, so that no two slip through at once.

    - Five failures of one name from one address are free; then each is followed by a wait: 1 s, 2
      s, 4 s … 5 minutes.
    - Twenty failures of one name, from wherever, are free; then likewise, but 30 s at most: whoever
      guesses at a name can't keep its owner out for long.
    - In all there are at most 60 failures in a minute, and 15 of one address.
    - Who has logged in from an address before is held up by failures there alone, whatever others
      do elsewhere.

    A name that hasn't failed for an hour is as good as new. What is asked for too early is refused
    and not counted. Safe in threads.

    Args:
        clock: returns seconds, and never goes back.

    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._by_pair = _Failures(free=5, longest=300)
        self._by_name = _Failures(free=20, longest=30)
        self._all: deque[float] = deque(maxlen=MAX_A_MINUTE)
        self._by_place: dict[str, deque[float]] = {}
        self._at_home: dict[tuple[str, str], None] = {}

    def begin(self, name: object, address: str | None) -> float:
        """Begin an attempt, and return 0; or return for how many seconds none may begin.

        It counts as a failure unless `succeeded` says otherwise.

        Args:
            name: as it was typed.
            address: where it came from; `None` if that isn't known, as behind a tunnel: then who
                guesses can't make the owner, who seems to be at the same place, wait for minutes.

        """
        person, place = _person(name), _place(address)
        with self._lock:
            now = self._clock()
            wait = self._wait(person, place, now)
            if wait > 0:
                return wait
            self._all.append(now)
            self._by_name.add(person, now)
            if place is not None:
                self._by_pair.add((person, place), now)
                _newest(self._by_place, place, deque(maxlen=MAX_A_MINUTE_EACH)).append(now)
            return 0.0

    def _wait(self, person: str, place: str | None, now: float) -> float:
        if place is None:
            return max(self._by_name.wait(person, now), _wait_of(self._all, now))
        here = self._by_pair.wait((person, place), now)
        if (person, place) in self._at_home:
            return here
        of_place = self._by_place.get(place, deque[float](maxlen=MAX_A_MINUTE_EACH))
        return max(
            here, self._by_name.wait(person, now), _wait_of(self._all, now), _wait_of(of_place, now)
        )

    def succeeded(self, name: object, address: str | None) -> None:
        """Take back an attempt that has begun: the password was right. What failed there before it is forgiven."""
        person, place = _person(name), _place(address)
        with self._lock:
            # Not all that had failed of this name: others, elsewhere, may be guessing at it.
            self._by_name.take_back(person, max(self._by_pair.take_back((person, place)), 1))
            if self._all:
                self._all.popleft()  # the oldest: what stays counts for longer than it would, never for less
            if place is not None:
                if self._by_place.get(place):
                    self._by_place[place].popleft()
                _newest(self._at_home, (person, place), None)


def _wait_of(moments: deque[float], now: float) -> float:
    """How long until there is room for one more within a minute."""
    return max(moments[0] + 60 - now, 0.0) if len(moments) == moments.maxlen else 0.0


K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


def _newest(known: dict[K, V], key: K, otherwise: V) -> V:
    """What is known under a key, as the newest of what is; the oldest go first where there are too many."""
    known[key] = known.pop(key, otherwise)
    while len(known) > MAX_KEYS:
        del known[next(iter(known))]
    return known[key]


class _Failures:
    """How often each key has failed, and when it did last."""

    def __init__(self, free: int, longest: float) -> None:
        self._free = free
        self._longest = longest
        self._seen: dict[Hashable, tuple[int, float]] = {}

    def wait(self, key: Hashable, now: float) -> float:
        """Return for how many seconds it has to wait."""
        count, last = self._seen.get(key, (0, now))
        if count < self._free:
            return 0.0
        return max(last + min(2.0 ** min(count - self._free, 20), self._longest) - now, 0.0)

    def add(self, key: Hashable, now: float) -> None:
        """Count one, and let go of the oldest keys if they are too many."""
        count, last = self._seen.pop(key, (0, now))
        self._seen[key] = (count + 1 if now - last < FORGOTTEN_AFTER_SECONDS else 1, now)
        while len(self._seen) > MAX_KEYS:
            del self._seen[next(iter(self._seen))]

    def take_back(self, key: Hashable, number: int = MAX_A_MINUTE * 60) -> int:
        """Count so many less, if there are that many; return how many these were."""
        count, last = self._seen.get(key, (0, 0.0))
        if count > number:
            self._seen[key] = (count - number, last)
        else:
            self._seen.pop(key, None)
        return min(count, number)


def _person(name: object) -> str:
    """A name as it is compared; all that can't be one count as the same."""
    try:
        return plain_name(name)
    except AccountError:
        return ""


def _place(address: str | None) -> str | None:
    """An address as it is counted: of IPv6 the network, of which a single person has all addresses."""
    try:
        known = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return address[:MAX_NAME] if address else None
    if isinstance(known, ipaddress.IPv4Address):
        return str(known)
    if known.ipv4_mapped:
        return str(known.ipv4_mapped)
    return str(ipaddress.ip_network((known, 64), strict=False))
