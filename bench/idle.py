"""What a program costs that nobody uses: its memory, its CPU, and how long it takes to answer with next to nothing."""

import asyncio
import statistics
import time
from dataclasses import dataclass

from bench import usage
from bench.faces import Listener
from bench.processes import Program
from bench.usage import Memory
from bench.visitor import Visitor

__all__ = ["NEVER", "Idle", "events", "idle", "idle_with_page"]

SETTLE_SECONDS = 3.0
EVENTS = 50
LIMIT_SECONDS = 60.0
NEVER = ", in 3600 s"
"""A run that has nothing to show for minutes."""


@dataclass(frozen=True, slots=True)
class Idle:
    """What is used while nothing happens: memory, and CPU as a part of one core."""

    memory: Memory
    cpu: float


def idle(program: Program, seconds: float) -> Idle:
    """Watch a program that is left alone."""
    return asyncio.run(_idle(program.pid, seconds))


async def _idle(pid: int, seconds: float) -> Idle:
    await asyncio.sleep(SETTLE_SECONDS)
    began, cpu = time.perf_counter(), usage.cpu_seconds(pid)
    await asyncio.sleep(seconds)
    return Idle(usage.memory(pid), (usage.cpu_seconds(pid) - cpu) / (time.perf_counter() - began))


def idle_with_page(program: Program, asked: Listener, shown: Listener, seconds: float) -> Idle:
    """Watch a program while one page follows a run that has nothing to show yet."""
    return asyncio.run(_idle_with_page(program, asked, shown, seconds))


async def _idle_with_page(
    program: Program, asked: Listener, shown: Listener, seconds: float
) -> Idle:
    visitor = await Visitor(program.port).come()
    await visitor.ask(asked.fn_index, asked.data)
    await _follow(visitor)
    await visitor.ask(shown.fn_index, shown.data)
    following = asyncio.create_task(_follow(visitor))
    seen = await _idle(program.pid, seconds)
    assert not following.done(), "the stream ended"
    following.cancel()
    visitor.leave()
    return seen


async def _follow(visitor: Visitor) -> None:
    async for _ in visitor.follow():
        pass


def events(program: Program, asked: Listener) -> float:
    """Return the median seconds from asking a listener to its answer, one after another."""
    return asyncio.run(_events(program, asked))


async def _events(program: Program, asked: Listener) -> float:
    visitor, took = await Visitor(program.port).come(), list[float]()
    for _ in range(EVENTS):
        began = time.perf_counter()
        async with asyncio.timeout(LIMIT_SECONDS):
            await visitor.ask(asked.fn_index, asked.data)
            await _follow(visitor)
        took.append(time.perf_counter() - began)
    visitor.leave()
    return statistics.median(took)
