"""What visitors may ask for, whose turn it is, and how fast somebody may ask."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd35.core.errors import UsageLimitError
from sd35.jobs import limits
from sd35.jobs.limits import UsageLimiter, UsageLimits
from sd35.jobs.scheduler import QueueEntry, Scheduler


class Clock:
    """A time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return how late it is."""
        return self.now


def test_an_hour_s_pictures() -> None:
    """More than an hour's pictures can be asked for, or the hour never ends, or it isn't told when."""
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


def test_everybody_s_hour() -> None:
    """Visitors who come with a new name each time cost more than there is for all."""
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
def test_what_waits(own_queued: int, total_queued: int, expected_message: str) -> None:
    """The line gets as long as somebody wants it to be."""
    limiter = UsageLimiter(UsageLimits(per_hour=10, max_queued=3, max_queued_total=9), Clock())
    with pytest.raises(UsageLimitError, match=expected_message):
        limiter.acquire("ann", own_queued, total_queued)
    assert limiter.remaining("ann", 0).remaining == 10, "what was refused isn't counted"


def test_what_cost_nothing_is_given_back() -> None:
    """Who stops a picture before it was begun, or asks while the Space is away, has one less."""
    limiter = UsageLimiter(UsageLimits(per_hour=1, total_per_hour=1), Clock())
    limiter.acquire("ann", 0, 0)
    limiter.release("ann")
    limiter.release("ann")
    limiter.acquire("ann", 0, 0)


def test_visitors_are_forgotten_at_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Visitors with ever new names fill the memory."""
    monkeypatch.setattr(limits, "MAX_TRACKED_VISITORS", 10)
    limiter = UsageLimiter(UsageLimits(per_hour=1), Clock())
    for index in range(100):
        limiter.acquire(f"visitor {index}", 0, 0)
    assert limiter.remaining("visitor 99", 0).remaining == 0
    assert limiter.remaining("visitor 0", 0).remaining == 1


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 2000)), max_size=60), st.integers(1, 6)
)
def test_never_more_in_any_hour(submissions: list[tuple[str, float]], hourly: int) -> None:
    """There is a way to ask for more within some hour than an hour's pictures."""
    clock = Clock()
    limiter, acquired_at = (
        UsageLimiter(UsageLimits(per_hour=hourly), clock),
        dict[str, list[float]](),
    )
    for visitor, pause in submissions:
        clock.now += pause
        try:
            limiter.acquire(visitor, 0, 0)
        except UsageLimitError:
            continue
        acquired_at.setdefault(visitor, []).append(clock.now)
    for acquisition_times in acquired_at.values():
        for moment in acquisition_times:
            assert (
                sum(moment - 3600 < other_moment <= moment for other_moment in acquisition_times)
                <= hourly
            )


class QueuedVisitors:
    """Tasks that wait for their turn, and have it until they are told to go."""

    def __init__(self, line: Scheduler, stack: AsyncExitStack) -> None:
        self.scheduler = line
        self.order: list[str] = []
        self.places: dict[str, list[tuple[int, int]]] = {}
        self._stack = stack
        self._release_events: dict[str, asyncio.Event] = {}
        self._positions = count()

    async def start(self, name: str) -> "asyncio.Task[None]":
        """Let `name` come, a picture of the visitor that its first letter is."""
        self._release_events[name], self.places[name] = asyncio.Event(), []
        task = asyncio.ensure_future(
            self._occupy_slot(name, lambda *place: self.places[name].append(place))
        )
        self._stack.callback(task.cancel)
        await drain_event_loop()
        return task

    async def finish(self, name: str) -> None:
        """Let `name` be done."""
        self._release_events[name].set()
        await drain_event_loop()

    async def _occupy_slot(self, name: str, on_position: Callable[[int, int], None]) -> None:
        async with self.scheduler.slot(QueueEntry(name[0], next(self._positions), on_position)):
            self.order.append(name)
            await self._release_events[name].wait()


async def drain_event_loop() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.anyio
async def test_each_visitor_in_turn() -> None:
    """Who asks for much at once keeps all others waiting until it is done."""
    async with AsyncExitStack() as stack:
        visitors = QueuedVisitors(Scheduler(max_concurrent=1), stack)
        for name in ("a1", "a2", "a3", "b1", "c1", "b2"):
            await visitors.start(name)
        assert visitors.places["a2"][-1] == (2, 5), "after b1 and c1: a has had a turn already"
        for _ in range(6):
            await visitors.finish(visitors.order[-1])
        assert visitors.order == ["a1", "b1", "c1", "a2", "b2", "a3"]
        assert visitors.places["a3"][-1] == (0, 1)
        assert len(visitors.scheduler) == 0


@pytest.mark.anyio
async def test_so_many_at_once() -> None:
    """More run at once than was said, in all or of one visitor; or fewer, though there is room."""
    async with AsyncExitStack() as stack:
        visitors = QueuedVisitors(Scheduler(max_concurrent=2, max_concurrent_per_visitor=1), stack)
        for name in ("a1", "a2", "b1", "c1"):
            await visitors.start(name)
        assert visitors.order == ["a1", "b1"]
        assert visitors.scheduler.queued_count("a") == 1
        await visitors.finish("b1")
        assert visitors.order == ["a1", "b1", "c1"]
        await visitors.finish("a1")
        assert visitors.order == ["a1", "b1", "c1", "a2"]


@pytest.mark.anyio
async def test_who_leaves_the_line() -> None:
    """Who gives up keeps a place, or a turn that nobody else gets; or others aren't told that they have moved up."""
    async with AsyncExitStack() as stack:
        visitors = QueuedVisitors(Scheduler(max_concurrent=1), stack)
        running = await visitors.start("a1")
        leaving = await visitors.start("b1")
        await visitors.start("c1")
        leaving.cancel()
        await drain_event_loop()
        assert visitors.places["c1"][-1] == (0, 1)
        running.cancel()
        await drain_event_loop()
        assert visitors.order == ["a1", "c1"]


@pytest.mark.anyio
@given(names=st.lists(st.sampled_from("abcd"), min_size=1, max_size=20), at_once=st.integers(1, 3))
async def test_nobody_starves(names: list[str], at_once: int) -> None:
    """There is an order of coming in which somebody never has a turn, or has far fewer than others."""
    async with AsyncExitStack() as stack:
        visitors = QueuedVisitors(Scheduler(max_concurrent=at_once), stack)
        entries = [f"{name}{index}" for index, name in enumerate(names)]
        for name in entries:
            await visitors.start(name)
        pending = entries.copy()
        while pending:
            finished_entry = next(name for name in visitors.order if name in pending)
            pending.remove(finished_entry)
            await visitors.finish(finished_entry)
        assert Counter(visitors.order) == Counter(entries)
        later = visitors.order[at_once:]
        for name in set(names):
            own_value = [entry for entry in later if entry[0] == name]
            assert own_value == sorted(own_value, key=lambda entry: int(entry[1:])), (
                "one's own are made in order"
            )
