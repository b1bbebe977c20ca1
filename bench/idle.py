"""Cost of a server that does nothing: memory, CPU, and the time for one trivial event."""

import asyncio
import statistics
import time
from dataclasses import dataclass

from bench import usage
from bench.endpoints import Listener
from bench.processes import ServerProcess
from bench.usage import Memory
from bench.visitor import Visitor

__all__ = [
    "ENDLESS_RUN_SUFFIX",
    "IdleUsage",
    "idle_with_page",
    "measure_event_seconds",
    "measure_idle",
]

SETTLE_SECONDS = 3.0
EVENT_COUNT = 50
LIMIT_SECONDS = 60.0
ENDLESS_RUN_SUFFIX = ", in 3600 s"  # of a prompt: the run shows nothing for minutes


@dataclass(frozen=True, slots=True)
class IdleUsage:
    """Usage while nothing happens; `cpu` as a part of one core."""

    memory: Memory
    cpu: float


async def measure_idle(program: ServerProcess, seconds: float) -> IdleUsage:
    """Measure a server that is left alone."""
    await asyncio.sleep(SETTLE_SECONDS)
    started_at = time.perf_counter()
    cpu_before = usage.cpu_seconds(program.pid)
    await asyncio.sleep(seconds)
    cpu_seconds = usage.cpu_seconds(program.pid) - cpu_before
    memory = usage.read_memory(program.pid)
    return IdleUsage(memory, cpu_seconds / (time.perf_counter() - started_at))


async def idle_with_page(
    program: ServerProcess, submit_listener: Listener, watch_listener: Listener, seconds: float
) -> IdleUsage:
    """Measure a server while one page follows a run that has nothing to show yet."""
    visitor = await Visitor(program.port).load_page()
    await visitor.join_queue(
        submit_listener.fn_index, submit_listener.data, submit_listener.event_data
    )
    await _follow(visitor)
    await visitor.join_queue(watch_listener.fn_index, watch_listener.data)
    follow_task = asyncio.create_task(_follow(visitor))
    usage_sample = await measure_idle(program, seconds)
    assert not follow_task.done(), "the stream ended"
    follow_task.cancel()
    visitor.close()
    return usage_sample


async def _follow(visitor: Visitor) -> None:
    async for _ in visitor.follow():
        pass


async def measure_event_seconds(program: ServerProcess, listener: Listener) -> float:
    """Return the median seconds from calling a listener to its answer, one call at a time."""
    visitor = await Visitor(program.port).load_page()
    durations = list[float]()
    for _ in range(EVENT_COUNT):
        started_at = time.perf_counter()
        async with asyncio.timeout(LIMIT_SECONDS):
            await visitor.join_queue(listener.fn_index, listener.data)
            await _follow(visitor)
        durations.append(time.perf_counter() - started_at)
    visitor.close()
    return statistics.median(durations)
