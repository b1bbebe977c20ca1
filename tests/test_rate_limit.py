"""The sliding-window rate limiter, and the throttle of logins that is built on it."""

import math
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd35.core.rate_limit import RateLimiter
from sd35.server.client_ip import ip_key
from sd35.server.login_throttle import MAX_TRACKED_KEYS, LoginThrottle

LIMIT_SECONDS = 20


class Clock:
    """A clock that stands still until a test sets it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now


def test_limiter_lets_events_pass_again_when_old_ones_leave_the_window() -> None:
    """Each key has its own window, and an event counts for one period."""
    clock = Clock()
    limiter = RateLimiter(3, 10, clock)
    assert [limiter.try_acquire("a") for _ in range(5)] == [True] * 3 + [False] * 2
    assert limiter.try_acquire("b")
    clock.now += 4
    assert limiter.retry_after("a") == 6
    clock.now += 6
    assert limiter.retry_after("a") == 0
    assert [limiter.try_acquire("a") for _ in range(4)] == [True] * 3 + [False]


def test_released_events_do_not_count() -> None:
    """The newest event, or a given one, is taken back, and nothing twice."""
    clock = Clock()
    limiter = RateLimiter(2, 10, clock)
    assert limiter.release("a") is None
    limiter.record("a")
    clock.now += 1
    limiter.record("a")
    assert limiter.release("a", 1000.0) == 1000.0
    limiter.release("a", 1000.0)
    assert limiter.remaining("a") == 1
    assert limiter.release("a") == 1001.0
    assert limiter.remaining("a") == 2
    assert RateLimiter(math.inf, 10, clock).remaining("a") == math.inf


def test_limiter_memory_is_bounded() -> None:
    """Idle keys disappear, and beyond the maximum the least recently used key does."""
    clock = Clock()
    limiter = RateLimiter(1, 10, clock, max_keys=50)
    for index in range(200):
        limiter.record(index)
    assert len(limiter._events) == 50
    assert limiter.remaining(199) == 0
    clock.now += 10
    assert len(limiter._events) == 0


def measure_delays(
    throttle: LoginThrottle, clock: Clock, count: int, address: str | None = "1.2.3.4"
) -> list[float]:
    """Fail `count` times, each as soon as possible, and return the delays."""
    delays = []
    for index in range(count):
        addresses = {"anywhere": f"10.0.0.{index}", "a few": f"10.0.0.{index % 5}"}
        client_ip = address and addresses.get(address, address)
        delay = throttle.acquire("anna", client_ip)
        delays.append(delay)
        clock.now += delay
        assert not delay or throttle.acquire("anna", client_ip) == 0
    return delays


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("1.2.3.4", [0.0] * 5 + [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]),
        ("anywhere", [0.0] * 5 + [1, 2, 4, 8, 16, 30, 30]),
        ("a few", [0.0] * 20 + [1, 2, 4, 8, 16, 30, 30]),
        (None, [0.0] * 5 + [1, 2, 4, 8, 16, 30, 30]),
    ],
)
def test_delays_double(address: str | None, expected: list[float]) -> None:
    """After the free attempts each failure doubles the delay, up to a limit, for an hour."""
    clock = Clock()
    throttle = LoginThrottle(clock)
    assert measure_delays(throttle, clock, len(expected), address=address) == expected
    assert throttle.acquire("bert", "1.2.3.4") == 0, "another name"
    if address == "1.2.3.4":
        assert throttle.acquire("anna", "1.2.3.5") == 0, "another address"
        clock.now += 301
        assert throttle.acquire("anna", "1.2.3.4") == 0
        assert throttle.acquire("anna", "1.2.3.4") == 300
        clock.now += 3600
        assert measure_delays(throttle, clock, 6)[-2:] == [0, 1], "forgotten"


def test_refused_attempts_do_not_count() -> None:
    """Attempts during a delay don't make it longer, so a stranger can't lock a user out."""
    clock = Clock()
    throttle = LoginThrottle(clock)
    assert measure_delays(throttle, clock, 5) == [0] * 5
    for _ in range(99):
        assert throttle.acquire("anna", "1.2.3.4") == 1
    clock.now += 0.75
    assert throttle.acquire("anna", "1.2.3.4") == 0.25
    clock.now += 0.25
    assert throttle.acquire("anna", "1.2.3.4") == 0


def test_one_address_can_not_use_up_the_limit_of_all() -> None:
    """One address has 15 failures a minute, and others can still log in."""
    clock = Clock()
    throttle = LoginThrottle(clock)
    delays = [throttle.acquire(f"name {index}", "6.6.6.6") for index in range(16)]
    assert delays == [0.0] * 15 + [60.0]
    assert throttle.acquire("anna", "1.2.3.4") == 0
    clock.now += 61
    assert throttle.acquire("name 16", "6.6.6.6") == 0


def test_guesses_from_elsewhere_do_not_delay_a_known_address() -> None:
    """A user is delayed by failures in the same browser or at the same address alone."""
    clock = Clock()
    throttle = LoginThrottle(clock)
    assert throttle.acquire("anna", "1.2.3.4") == 0
    throttle.reset("anna", "1.2.3.4")
    throttle.trust("anna", "secret")
    for index in range(61):
        clock.now += throttle.acquire("anna", f"10.0.1.{index}")
        throttle.acquire(f"name {index}", f"10.0.2.{index}")
    for unknown_client in (("5.6.7.8",), (None,), (None, "other secret"), ("5.6.7.8", "secret\0")):
        assert throttle.acquire("anna", *unknown_client) > 0
    for client in (("1.2.3.4", "other secret"), ("5.6.7.8", "secret")):
        delays = [throttle.acquire("anna", *client) for _ in range(6)]
        assert delays == [0.0] * 5 + [1.0]


def test_sixty_failures_a_minute_in_all() -> None:
    """Many addresses with many names have 60 failures a minute; right passwords don't count."""
    clock = Clock()
    throttle = LoginThrottle(clock)
    for index in range(60):
        assert throttle.acquire(f"name {index}", f"10.0.0.{index}") == 0
        clock.now += 0.5
    assert throttle.acquire("anna", "1.2.3.4") == 30
    throttle.reset("name 59", "10.0.0.59")
    assert throttle.acquire("anna", "1.2.3.4") == 0
    assert throttle.acquire("bert", "1.2.3.4") == 30
    clock.now += 30
    assert throttle.acquire("bert", "1.2.3.4") == 0


def test_right_passwords_are_never_delayed() -> None:
    """A program may log in again and again."""
    throttle = LoginThrottle(Clock())
    for _ in range(500):
        assert throttle.acquire("anna", "1.2.3.4") == 0
        throttle.reset("anna", "1.2.3.4")


def test_right_password_forgives_own_failures() -> None:
    """Typing errors before a login don't add up."""
    clock = Clock()
    throttle = LoginThrottle(clock)
    for _ in range(30):
        assert measure_delays(throttle, clock, 4) == [0] * 4
        assert throttle.acquire("anna", "1.2.3.4") == 0
        throttle.reset("anna", "1.2.3.4")
        clock.now += 60


@pytest.mark.parametrize("address", ["1.2.3.4", None])
def test_right_password_does_not_forgive_guesses_from_elsewhere(address: str | None) -> None:
    """Whoever guesses at a name doesn't start over when its user logs in."""
    clock = Clock()
    throttle = LoginThrottle(clock)
    measure_delays(throttle, clock, 7, "anywhere")
    clock.now += throttle.acquire("anna", address)
    assert throttle.acquire("anna", address) == 0
    throttle.reset("anna", address)
    assert throttle.acquire("anna", "1.2.3.5") == 4


def test_parallel_attempts_count_before_they_have_failed() -> None:
    """Of two hundred simultaneous guesses, five are checked."""
    throttle = LoginThrottle(Clock())
    barrier = threading.Barrier(50)

    def attempt_four_times(_: int) -> list[float]:
        barrier.wait(LIMIT_SECONDS)
        return [throttle.acquire("anna", "1.2.3.4") for _ in range(4)]

    with ThreadPoolExecutor(50) as pool:
        delays = [delay for group in pool.map(attempt_four_times, range(50)) for delay in group]
    assert (len(delays), delays.count(0), delays.count(1)) == (200, 5, 195)


@pytest.mark.parametrize(
    ("names", "addresses"),
    [
        (["anna", "Anna", "ＡＮＮＡ"], ["1.2.3.4"]),
        (["anna"], ["2001:db8::1", "2001:db8::2", "2001:DB8:0:0:ffff::", "2001:db8::1%eth0"]),
        (["anna"], ["1.2.3.4", "::ffff:1.2.3.4"]),
        (["anna"], ["testclient"]),
        (["", "a\0", "x" * 99, "a:b"], ["1.2.3.4"]),
        ([None, 7, b"x"], ["1.2.3.4"]),
    ],
    ids=["name", "network", "mapped", "no address", "no names", "no text"],
)
def test_other_spellings_share_one_count(names: list[object], addresses: list[str]) -> None:
    """Writing a name or an address differently gives no additional guesses."""
    throttle = LoginThrottle(Clock())
    attempts = [(name, ip_key(address)) for name in names for address in addresses] * 6
    assert [throttle.acquire(*attempt) for attempt in attempts][:6] == [0] * 5 + [1]


def test_throttle_memory_is_bounded() -> None:
    """Guesses at ever new names neither fill the memory nor push out other failures."""
    clock = Clock()
    throttle = LoginThrottle(clock)
    assert measure_delays(throttle, clock, 7)[-1] == 2
    for index in range(2 * MAX_TRACKED_KEYS):
        clock.now += 1.1
        assert throttle.acquire(f"name {index}", f"address {index}") == 0
        if index == 3000:
            assert measure_delays(throttle, clock, 1) == [0], "the delay is over"
            assert measure_delays(throttle, clock, 1) == [8], "not forgotten"
    assert len(throttle._by_name._failures) <= MAX_TRACKED_KEYS
    assert len(throttle._by_name_and_client._failures) <= MAX_TRACKED_KEYS
    assert len(throttle._by_ip._events) <= 60


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b"]),
            st.sampled_from(["1", "2", None]),
            st.booleans(),
            st.floats(0, 40),
        ),
        max_size=200,
    )
)
def test_limits_hold_for_any_sequence(
    login_attempts: list[tuple[str, str | None, bool, float]],
) -> None:
    """No order of attempts has more than 60 failures a minute, or a delay beyond the maximum."""
    clock = Clock()
    throttle = LoginThrottle(clock)
    failure_times: list[float] = []
    for name, address, is_right, seconds in login_attempts:
        clock.now += seconds / 20
        delay = throttle.acquire(name, address)
        assert 0 <= delay <= (60 if address is None else 300)
        if delay == 0 and is_right:
            throttle.reset(name, address)
        elif delay == 0:
            failure_times.append(clock.now)
    pairs = zip(failure_times, failure_times[60:], strict=False)
    assert all(later - first >= 59.999 for first, later in pairs)
