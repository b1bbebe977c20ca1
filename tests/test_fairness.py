"""What visitors may ask for, whose turn it is, and how fast somebody may ask."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd35.core.errors import AllowanceError
from sd35.jobs import limits
from sd35.jobs.limits import Allowance, Caps
from sd35.jobs.scheduler import Line, Ticket
from sd35.server.rate_limit import Pace


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
    counted = Allowance(Caps(hourly=2), clock)
    for minute in (0, 30):
        clock.now = minute * 60.0
        counted.take("ann", 0, 0)
    assert counted.left("ann", 0).pictures == 0
    with pytest.raises(AllowanceError, match="2 pictures within an hour") as refusal:
        counted.take("ann", 0, 0)
    assert refusal.value.retry_after_seconds == 30 * 60
    counted.take("bob", 0, 0)
    clock.now = 61 * 60.0
    assert counted.left("ann", 0).pictures == 1
    counted.take("ann", 0, 0)


def test_everybody_s_hour() -> None:
    """Visitors who come with a new name each time cost more than there is for all."""
    counted = Allowance(Caps(hourly=2, hourly_in_all=5), Clock())
    for number in range(5):
        counted.take(f"visitor {number}", 0, 0)
    assert counted.left("another", 0).pictures == 0
    with pytest.raises(AllowanceError, match="as many pictures were asked for here"):
        counted.take("another", 0, 0)


@pytest.mark.parametrize(
    ("mine", "of_all", "words"),
    [(3, 3, "As many of your pictures wait as may: 3"), (0, 9, "As many pictures wait")],
)
def test_what_waits(mine: int, of_all: int, words: str) -> None:
    """The line gets as long as somebody wants it to be."""
    counted = Allowance(Caps(hourly=10, waiting=3, waiting_in_all=9), Clock())
    with pytest.raises(AllowanceError, match=words):
        counted.take("ann", mine, of_all)
    assert counted.left("ann", 0).pictures == 10, "what was refused isn't counted"


def test_what_cost_nothing_is_given_back() -> None:
    """Who stops a picture before it was begun, or asks while the Space is away, has one less."""
    counted = Allowance(Caps(hourly=1, hourly_in_all=1), Clock())
    counted.take("ann", 0, 0)
    counted.give_back("ann")
    counted.give_back("ann")
    counted.take("ann", 0, 0)


def test_visitors_are_forgotten_at_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Visitors with ever new names fill the memory."""
    monkeypatch.setattr(limits, "MAX_PAYERS", 10)
    counted = Allowance(Caps(hourly=1), Clock())
    for number in range(100):
        counted.take(f"visitor {number}", 0, 0)
    assert counted.left("visitor 99", 0).pictures == 0
    assert counted.left("visitor 0", 0).pictures == 1


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 2000)), max_size=60), st.integers(1, 6)
)
def test_never_more_in_any_hour(asked: list[tuple[str, float]], hourly: int) -> None:
    """There is a way to ask for more within some hour than an hour's pictures."""
    clock = Clock()
    counted, taken = Allowance(Caps(hourly=hourly), clock), dict[str, list[float]]()
    for who, pause in asked:
        clock.now += pause
        try:
            counted.take(who, 0, 0)
        except AllowanceError:
            continue
        taken.setdefault(who, []).append(clock.now)
    for moments in taken.values():
        for moment in moments:
            assert sum(moment - 3600 < each <= moment for each in moments) <= hourly


class Visitors:
    """Tasks that wait for their turn, and have it until they are told to go."""

    def __init__(self, line: Line, stack: AsyncExitStack) -> None:
        self.line = line
        self.order: list[str] = []
        self.places: dict[str, list[tuple[int, int]]] = {}
        self._stack = stack
        self._go: dict[str, asyncio.Event] = {}
        self._positions = count()

    async def comes(self, name: str) -> "asyncio.Task[None]":
        """Let `name` come, a picture of the visitor that its first letter is."""
        self._go[name], self.places[name] = asyncio.Event(), []
        task = asyncio.ensure_future(
            self._visit(name, lambda *place: self.places[name].append(place))
        )
        self._stack.callback(task.cancel)
        await settle()
        return task

    async def goes(self, name: str) -> None:
        """Let `name` be done."""
        self._go[name].set()
        await settle()

    async def _visit(self, name: str, tell: Callable[[int, int], None]) -> None:
        async with self.line.turn(Ticket(name[0], next(self._positions), tell)):
            self.order.append(name)
            await self._go[name].wait()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.anyio
async def test_each_visitor_in_turn() -> None:
    """Who asks for much at once keeps all others waiting until it is done."""
    async with AsyncExitStack() as stack:
        visitors = Visitors(Line(at_once=1), stack)
        for name in ("a1", "a2", "a3", "b1", "c1", "b2"):
            await visitors.comes(name)
        assert visitors.places["a2"][-1] == (2, 5), "after b1 and c1: a has had a turn already"
        for _ in range(6):
            await visitors.goes(visitors.order[-1])
        assert visitors.order == ["a1", "b1", "c1", "a2", "b2", "a3"]
        assert visitors.places["a3"][-1] == (0, 1)
        assert len(visitors.line) == 0


@pytest.mark.anyio
async def test_so_many_at_once() -> None:
    """More run at once than was said, in all or of one visitor; or fewer, though there is room."""
    async with AsyncExitStack() as stack:
        visitors = Visitors(Line(at_once=2, at_once_each=1), stack)
        for name in ("a1", "a2", "b1", "c1"):
            await visitors.comes(name)
        assert visitors.order == ["a1", "b1"]
        assert visitors.line.waiting("a") == 1
        await visitors.goes("b1")
        assert visitors.order == ["a1", "b1", "c1"]
        await visitors.goes("a1")
        assert visitors.order == ["a1", "b1", "c1", "a2"]


@pytest.mark.anyio
async def test_who_leaves_the_line() -> None:
    """Who gives up keeps a place, or a turn that nobody else gets; or others aren't told that they have moved up."""
    async with AsyncExitStack() as stack:
        visitors = Visitors(Line(at_once=1), stack)
        running = await visitors.comes("a1")
        leaving = await visitors.comes("b1")
        await visitors.comes("c1")
        leaving.cancel()
        await settle()
        assert visitors.places["c1"][-1] == (0, 1)
        running.cancel()
        await settle()
        assert visitors.order == ["a1", "c1"]


@pytest.mark.anyio
@given(names=st.lists(st.sampled_from("abcd"), min_size=1, max_size=20), at_once=st.integers(1, 3))
async def test_nobody_starves(names: list[str], at_once: int) -> None:
    """There is an order of coming in which somebody never has a turn, or has far fewer than others."""
    async with AsyncExitStack() as stack:
        visitors = Visitors(Line(at_once=at_once), stack)
        asked = [f"{name}{number}" for number, name in enumerate(names)]
        for name in asked:
            await visitors.comes(name)
        left = asked.copy()
        while left:
            done = next(name for name in visitors.order if name in left)
            left.remove(done)
            await visitors.goes(done)
        assert Counter(visitors.order) == Counter(asked)
        later = visitors.order[at_once:]
        for name in set(names):
            own = [each for each in later if each[0] == name]
            assert own == sorted(own, key=lambda each: int(each[1:])), "one's own are made in order"


def test_pace() -> None:
    """A page's own requests are too many, or a flood of them isn't; or who has waited isn't let in again."""
    clock = Clock()
    pace = Pace(size=10, per_second=2, clock=clock)
    assert [pace.allows("a") for _ in range(12)] == [True] * 10 + [False] * 2
    assert pace.allows("b")
    clock.now = 1.0
    assert [pace.allows("a") for _ in range(3)] == [True, True, False]
