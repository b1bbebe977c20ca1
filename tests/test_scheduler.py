"""Fair scheduling of jobs."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd35.jobs.scheduler import QueueEntry, Scheduler


class QueuedVisitors:
    """Tasks that wait for a slot, and hold it until `finish`."""

    def __init__(self, scheduler: Scheduler, stack: AsyncExitStack) -> None:
        self.scheduler = scheduler
        self.order: list[str] = []
        self.positions: dict[str, list[tuple[int, int]]] = {}
        self._stack = stack
        self._release_events: dict[str, asyncio.Event] = {}
        self._order = count()

    async def start(self, name: str) -> "asyncio.Task[None]":
        """Queue an entry of the visitor that is the first letter of `name`."""
        self._release_events[name] = asyncio.Event()
        self.positions[name] = []
        task = asyncio.ensure_future(
            self._occupy_slot(name, lambda *position: self.positions[name].append(position))
        )
        self._stack.callback(task.cancel)
        await drain_event_loop()
        return task

    async def finish(self, name: str) -> None:
        """Release the slot of an entry."""
        self._release_events[name].set()
        await drain_event_loop()

    async def _occupy_slot(self, name: str, on_position: Callable[[int, int], None]) -> None:
        async with self.scheduler.slot(QueueEntry(name[0], next(self._order), on_position)):
            self.order.append(name)
            await self._release_events[name].wait()


async def drain_event_loop() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.anyio
async def test_visitors_take_turns() -> None:
    """A visitor with many jobs doesn't keep the others waiting."""
    async with AsyncExitStack() as stack:
        visitors = QueuedVisitors(Scheduler(max_concurrent=1), stack)
        for name in ("a1", "a2", "a3", "b1", "c1", "b2"):
            await visitors.start(name)
        assert visitors.positions["a2"][-1] == (2, 5), "after b1 and c1: a has had a slot already"
        for _ in range(6):
            await visitors.finish(visitors.order[-1])
        assert visitors.order == ["a1", "b1", "c1", "a2", "b2", "a3"]
        assert visitors.positions["a3"][-1] == (0, 1)
        assert len(visitors.scheduler) == 0


@pytest.mark.anyio
async def test_concurrency_limits() -> None:
    """No more slots are granted than allowed in all and per visitor, and no fewer."""
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
async def test_positions_of_a_set_are_reported_once() -> None:
    """Many entries at once get their positions in one report, not in one for each of them."""
    async with AsyncExitStack() as stack:
        visitors = QueuedVisitors(Scheduler(1), stack)
        await asyncio.gather(*(visitors.start(f"a{index}") for index in range(40)))
        assert [*visitors.positions.values()] == [[], *([(index, 39)] for index in range(39))]


@pytest.mark.anyio
async def test_cancelled_entry_frees_its_place() -> None:
    """A cancelled entry gives back its place or its slot, and the others move up."""
    async with AsyncExitStack() as stack:
        visitors = QueuedVisitors(Scheduler(max_concurrent=1), stack)
        running = await visitors.start("a1")
        leaving = await visitors.start("b1")
        await visitors.start("c1")
        leaving.cancel()
        await drain_event_loop()
        assert visitors.positions["c1"][-1] == (0, 1)
        running.cancel()
        await drain_event_loop()
        assert visitors.order == ["a1", "c1"]


@pytest.mark.anyio
@given(names=st.lists(st.sampled_from("abcd"), min_size=1, max_size=20), at_once=st.integers(1, 3))
async def test_every_entry_gets_a_slot_in_order(names: list[str], at_once: int) -> None:
    """Each entry gets one slot, and those of one visitor get it in order."""
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
            own_order = [entry for entry in later if entry[0] == name]
            assert own_order == sorted(own_order, key=lambda entry: int(entry[1:])), (
                "a visitor's own jobs keep their order"
            )
