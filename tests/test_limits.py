"""Usage limits of visitors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd35.core.errors import UsageLimitError
from sd35.jobs import limits
from sd35.jobs.limits import UsageLimiter, UsageLimits


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now


def test_hourly_limit_of_a_visitor() -> None:
    """The hourly limit refuses more images, says when the next one is possible, and passes."""
    clock = Clock()
    limiter = UsageLimiter(UsageLimits(per_hour=2), clock)
    for minute in (0, 30):
        clock.now = minute * 60.0
        limiter.acquire("ann", 0, 0)
    assert limiter.remaining("ann", 0).remaining == 0
    with pytest.raises(UsageLimitError, match="2 images per hour") as refusal:
        limiter.acquire("ann", 0, 0)
    assert refusal.value.retry_after_seconds == 30 * 60
    limiter.acquire("bob", 0, 0)
    clock.now = 61 * 60.0
    assert limiter.remaining("ann", 0).remaining == 1
    limiter.acquire("ann", 0, 0)


def test_refused_set_says_when_all_of_it_is_possible() -> None:
    """A set is refused until the hourly limit has room for all its images."""
    clock = Clock()
    limiter = UsageLimiter(UsageLimits(per_hour=4), clock)
    for minute in (0, 10, 20):
        clock.now = minute * 60.0
        limiter.acquire("ann", 0, 0)
    with pytest.raises(UsageLimitError, match="1 more image") as refusal:
        limiter.acquire("ann", 0, 0, count=3)
    assert refusal.value.retry_after_seconds == 50 * 60
    with pytest.raises(UsageLimitError, match="fewer at once") as refusal:
        limiter.acquire("ann", 0, 0, count=5)
    assert refusal.value.retry_at is None
    clock.now = 70 * 60.0
    limiter.acquire("ann", 0, 0, count=3)


def test_hourly_limit_of_all_visitors() -> None:
    """The total limit holds for visitors who come under ever new names."""
    limiter = UsageLimiter(UsageLimits(per_hour=2, total_per_hour=5), Clock())
    for index in range(5):
        limiter.acquire(f"visitor {index}", 0, 0)
    assert limiter.remaining("another", 0).remaining == 0
    with pytest.raises(UsageLimitError, match="hourly limit"):
        limiter.acquire("another", 0, 0)


@pytest.mark.parametrize(
    ("own_queued", "total_queued", "expected_message"),
    [(3, 3, "You already have 3 images"), (0, 9, "The queue is full")],
)
def test_queue_limits(own_queued: int, total_queued: int, expected_message: str) -> None:
    """The queue limits of one visitor and of all refuse a request without counting it."""
    limiter = UsageLimiter(UsageLimits(per_hour=10, max_queued=3, max_queued_total=9), Clock())
    with pytest.raises(UsageLimitError, match=expected_message):
        limiter.acquire("ann", own_queued, total_queued)
    assert limiter.remaining("ann", 0).remaining == 10, "a refused request isn't counted"


def test_released_request_is_not_counted() -> None:
    """A request that cost nothing can be made again."""
    limiter = UsageLimiter(UsageLimits(per_hour=1, total_per_hour=1), Clock())
    limiter.acquire("ann", 0, 0)
    limiter.release("ann")
    limiter.release("ann")
    limiter.acquire("ann", 0, 0)


def test_tracked_visitors_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the newest visitors are tracked."""
    monkeypatch.setattr(limits, "MAX_TRACKED_VISITORS", 10)
    limiter = UsageLimiter(UsageLimits(per_hour=1), Clock())
    for index in range(100):
        limiter.acquire(f"visitor {index}", 0, 0)
    assert limiter.remaining("visitor 99", 0).remaining == 0
    assert limiter.remaining("visitor 0", 0).remaining == 1


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 2000)), max_size=60), st.integers(1, 6)
)
def test_hourly_limit_holds_in_any_hour(
    submissions: list[tuple[str, float]], per_hour: int
) -> None:
    """No hour has more accepted requests of a visitor than the limit."""
    clock = Clock()
    limiter = UsageLimiter(UsageLimits(per_hour=per_hour), clock)
    accepted: dict[str, list[float]] = {}
    for visitor, pause in submissions:
        clock.now += pause
        try:
            limiter.acquire(visitor, 0, 0)
        except UsageLimitError:
            continue
        accepted.setdefault(visitor, []).append(clock.now)
    for times in accepted.values():
        for end in times:
            assert sum(end - 3600 < time <= end for time in times) <= per_hour
