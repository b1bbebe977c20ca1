"""Brute-force protection for logins."""

import threading
import time
from collections.abc import Callable, Hashable
from typing import Final

from cachetools import LRUCache, TTLCache

from sd35.core.rate_limit import RateLimiter
from sd35.server.accounts import AccountError, normalize_username

__all__ = ["LoginThrottle"]

MAX_PER_MINUTE: Final = 60
MAX_PER_MINUTE_PER_IP: Final = 15
FAILURE_TTL_SECONDS: Final = 3600.0

# More than the 3,600 failures that 60 a minute allow within an hour: with fewer, failures of many
# keys would push out those of the key under attack.
MAX_TRACKED_KEYS: Final = 4096


class LoginThrottle:
    """Limits on login attempts, per name, per client and in all. Thread-safe.

    - One name from one IP: five failures are free; then each is followed by a delay of 1 s, 2 s,
      4 s … 5 minutes.
    - One name from an unknown IP, behind a tunnel or proxy that hides it, or from ever new IPs:
      five failures in all are free; then likewise, but up to 30 s only, because a stranger who
      guesses must not lock the user out for long.
    - One name from anywhere: twenty failures are free; then up to 30 s, too.
    - 60 failures a minute in all, 15 from one IP.
    - Where a user has logged in before (a browser, or an IP), only the failures from there count.

    Failures are forgotten after an hour without another one. Refused attempts don't count.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._by_name_and_client = _Backoff(free_attempts=5, max_delay=300, clock=clock)
        self._by_name_from_new_clients = _Backoff(free_attempts=5, max_delay=30, clock=clock)
        self._by_name = _Backoff(free_attempts=20, max_delay=30, clock=clock)
        self._by_ip = RateLimiter(MAX_PER_MINUTE_PER_IP, 60, clock)
        self._total = RateLimiter(MAX_PER_MINUTE, 60, clock)
        self._trusted: LRUCache[tuple[str, str], bool] = LRUCache(MAX_TRACKED_KEYS)

    def acquire(self, name: object, client_ip: str | None, browser: str | None = None) -> float:
        """Count an attempt and return 0, or return the seconds until one is allowed.

        It counts as a failure from the start, until `reset`: otherwise many parallel guesses would
        pass before the first one has failed.

        Args:
            name: as it was typed.
            client_ip: `None` behind a tunnel, where all visitors look alike.
            browser: the secret of the browser, if it has one.
        """
        username = _username(name)
        with self._lock:
            client = self._client(username, client_ip, browser)
            delay = self._remaining_delay(username, client, client_ip)
            if delay > 0:
                return delay
            self._total.record(None)
            self._by_name.add(username)
            if self._is_new(username, client):
                self._by_name_from_new_clients.add(username)
            if client is not None:
                self._by_name_and_client.add((username, client))
            if client_ip is not None:
                self._by_ip.record(client_ip)
            return 0.0

    def _client(self, username: str, client_ip: str | None, browser: str | None) -> str | None:
        """Return the browser if the user has logged in there, else the IP."""
        is_trusted = browser is not None and (username, browser) in self._trusted
        return browser if is_trusted else client_ip

    def _is_new(self, username: str, client: str | None) -> bool:
        """Return whether the user has neither logged in nor failed there, as far as is known."""
        if client is None:
            return True
        key = (username, client)
        return key not in self._trusted and key not in self._by_name_and_client

    def _remaining_delay(self, username: str, client: str | None, client_ip: str | None) -> float:
        client_delay = self._by_name_and_client.remaining_delay((username, client))
        if (username, client) in self._trusted:
            return client_delay
        delays = [
            client_delay,
            self._by_name.remaining_delay(username),
            self._total.retry_after(None),
        ]
        if self._is_new(username, client):
            delays.append(self._by_name_from_new_clients.remaining_delay(username))
        if client_ip is not None:
            delays.append(self._by_ip.retry_after(client_ip))
        return max(delays)

    def reset(self, name: object, client_ip: str | None, browser: str | None = None) -> None:
        """Uncount an attempt with the right password, and the failures of this name and client."""
        username = _username(name)
        with self._lock:
            client = self._client(username, client_ip, browser)
            client_failures = self._by_name_and_client.subtract((username, client))
            # Only the failures from this client: those from others may be guesses of an attacker.
            self._by_name.subtract(username, max(client_failures, 1))
            if (username, client) not in self._trusted:
                self._by_name_from_new_clients.subtract(username, 1)
            self._total.release(None)
            if client_ip is not None:
                self._by_ip.release(client_ip)
                self._trusted[username, client_ip] = True

    def trust(self, username: str, browser: str) -> None:
        """Count the failures of this user in this browser alone, where the user is logged in."""
        with self._lock:
            self._trusted[username, browser] = True


class _Backoff:
    """Failures per key, each followed by a longer delay once the free attempts are used up."""

    def __init__(self, free_attempts: int, max_delay: float, clock: Callable[[], float]) -> None:
        self._free_attempts = free_attempts
        self._max_delay = max_delay
        self._clock = clock
        self._failures: TTLCache[Hashable, tuple[int, float]] = TTLCache(
            MAX_TRACKED_KEYS, FAILURE_TTL_SECONDS, clock
        )

    def remaining_delay(self, key: Hashable) -> float:
        """Return the seconds until the next attempt is allowed."""
        count, last_failure = self._failures.get(key, (0, 0.0))
        if count < self._free_attempts:
            return 0.0
        exponent = min(count - self._free_attempts, 20)  # 2.0 ** 1024 would overflow
        delay = min(2.0**exponent, self._max_delay)
        return max(last_failure + delay - self._clock(), 0.0)

    def __contains__(self, key: Hashable) -> bool:
        """Return whether there are failures."""
        return key in self._failures

    def add(self, key: Hashable) -> None:
        """Count a failure now."""
        count, _ = self._failures.get(key, (0, 0.0))
        self._failures[key] = (count + 1, self._clock())

    def subtract(self, key: Hashable, max_count: int | None = None) -> int:
        """Uncount up to `max_count` failures, or all, and return how many these were."""
        count, last_failure = self._failures.pop(key, (0, 0.0))
        if max_count is None or count <= max_count:
            return count
        self._failures[key] = (count - max_count, last_failure)
        return max_count


def _username(name: object) -> str:
    """Return the normalized name. All invalid names count as one."""
    try:
        return normalize_username(name)
    except AccountError:
        return ""
