"""How often somebody may try to log in."""

import ipaddress
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Final, TypeVar

from sd35.server.accounts import MAX_NAME_LENGTH, AccountError, normalize_username

__all__ = ["LoginThrottle", "RateLimiter"]


MAX_BUCKETS = 5000


class RateLimiter:
    """Counts the requests of each visitor. More than a page needs pass at once, and then so many a second."""

    def __init__(
        self,
        capacity: float = 150.0,
        refill_per_second: float = 15.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._capacity = capacity
        self._refill_per_second = refill_per_second
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def try_acquire(self, rate_limit_key: str) -> bool:
        """Whether one more request of this visitor's passes; it is counted if it does."""
        now = self._clock()
        tokens, updated_at = self._buckets.pop(rate_limit_key, (self._capacity, now))
        tokens = min(self._capacity, tokens + (now - updated_at) * self._refill_per_second)
        self._buckets[rate_limit_key] = (tokens - 1 if tokens >= 1 else tokens, now)
        while len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)
        return tokens >= 1


MAX_PER_MINUTE: Final = 60
MAX_PER_MINUTE_PER_IP: Final = 15
FAILURE_TTL_SECONDS: Final = 3600.0
MAX_TRACKED_KEYS: Final = 4096
"""More than can fail, by the rule for all, before it is forgotten: nobody can push out what was counted of somebody."""


class LoginThrottle:
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
        self._by_name_and_ip = _Backoff(free_attempts=5, max_delay=300)
        self._by_name = _Backoff(free_attempts=20, max_delay=30)
        self._recent_attempts: deque[float] = deque(maxlen=MAX_PER_MINUTE)
        self._by_ip: dict[str, deque[float]] = {}
        self._trusted: dict[tuple[str, str], None] = {}

    def acquire(self, name: object, client_ip: str | None) -> float:  # noqa: D417
        """Begin an attempt, and return 0; or return for how many seconds none may begin.

        It counts as a failure unless `succeeded` says otherwise.

        Args:
            name: as it was typed.
            address: where it came from; `None` if that isn't known, as behind a tunnel: then who
                guesses can't make the owner, who seems to be at the same place, wait for minutes.

        """
        username, ip_key = _username(name), _ip_key(client_ip)
        with self._lock:
            now = self._clock()
            delay = self._remaining_delay(username, ip_key, now)
            if delay > 0:
                return delay
            self._recent_attempts.append(now)
            self._by_name.add(username, now)
            if ip_key is not None:
                self._by_name_and_ip.add((username, ip_key), now)
                _touch(self._by_ip, ip_key, deque(maxlen=MAX_PER_MINUTE_PER_IP)).append(now)
            return 0.0

    def _remaining_delay(self, username: str, ip_key: str | None, now: float) -> float:
        if ip_key is None:
            return max(
                self._by_name.remaining_delay(username, now),
                _window_delay(self._recent_attempts, now),
            )
        pair_delay = self._by_name_and_ip.remaining_delay((username, ip_key), now)
        if (username, ip_key) in self._trusted:
            return pair_delay
        ip_attempts = self._by_ip.get(ip_key, deque[float](maxlen=MAX_PER_MINUTE_PER_IP))
        return max(
            pair_delay,
            self._by_name.remaining_delay(username, now),
            _window_delay(self._recent_attempts, now),
            _window_delay(ip_attempts, now),
        )

    def reset(self, name: object, client_ip: str | None) -> None:
        """Take back an attempt that has begun: the password was right. What failed there before it is forgiven."""
        username, ip_key = _username(name), _ip_key(client_ip)
        with self._lock:
            # Not all that had failed of this name: others, elsewhere, may be guessing at it.
            self._by_name.subtract(
                username, max(self._by_name_and_ip.subtract((username, ip_key)), 1)
            )
            if self._recent_attempts:
                self._recent_attempts.popleft()  # the oldest: what stays counts for longer than it would, never for less
            if ip_key is not None:
                if self._by_ip.get(ip_key):
                    self._by_ip[ip_key].popleft()
                _touch(self._trusted, (username, ip_key), None)


def _window_delay(timestamps: deque[float], now: float) -> float:
    """How long until there is room for one more within a minute."""
    return max(timestamps[0] + 60 - now, 0.0) if len(timestamps) == timestamps.maxlen else 0.0


K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


def _touch(entries: dict[K, V], key: K, default: V) -> V:
    """What is known under a key, as the newest of what is; the oldest go first where there are too many."""
    entries[key] = entries.pop(key, default)
    while len(entries) > MAX_TRACKED_KEYS:
        del entries[next(iter(entries))]
    return entries[key]


class _Backoff:
    """How often each key has failed, and when it did last."""

    def __init__(self, free_attempts: int, max_delay: float) -> None:
        self._free_attempts = free_attempts
        self._max_delay = max_delay
        self._failures: dict[Hashable, tuple[int, float]] = {}

    def remaining_delay(self, key: Hashable, now: float) -> float:
        """Return for how many seconds it has to wait."""
        count, last_time = self._failures.get(key, (0, now))
        if count < self._free_attempts:
            return 0.0
        return max(
            last_time + min(2.0 ** min(count - self._free_attempts, 20), self._max_delay) - now, 0.0
        )

    def add(self, key: Hashable, now: float) -> None:
        """Count one, and let go of the oldest keys if they are too many."""
        count, last_time = self._failures.pop(key, (0, now))
        self._failures[key] = (count + 1 if now - last_time < FAILURE_TTL_SECONDS else 1, now)
        while len(self._failures) > MAX_TRACKED_KEYS:
            del self._failures[next(iter(self._failures))]

    def subtract(self, key: Hashable, max_count: int = MAX_PER_MINUTE * 60) -> int:
        """Count so many less, if there are that many; return how many these were."""
        count, last_time = self._failures.get(key, (0, 0.0))
        if count > max_count:
            self._failures[key] = (count - max_count, last_time)
        else:
            self._failures.pop(key, None)
        return min(count, max_count)


def _username(name: object) -> str:
    """A name as it is compared; all that can't be one count as the same."""
    try:
        return normalize_username(name)
    except AccountError:
        return ""


def _ip_key(client_ip: str | None) -> str | None:
    """An address as it is counted: of IPv6 the network, of which a single person has all addresses."""
    try:
        ip = ipaddress.ip_address((client_ip or "").partition("%")[0])
    except ValueError:
        return client_ip[:MAX_NAME_LENGTH] if client_ip else None
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.ipv4_mapped:
        return str(ip.ipv4_mapped)
    return str(ipaddress.ip_network((ip, 64), strict=False))
