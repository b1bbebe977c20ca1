"""A crowd that comes and goes: what it costs, and what is left of it in memory."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench import usage
from bench.faces import Listener, PageClient
from bench.load import gather_limited, report_lost
from bench.processes import ServerProcess
from bench.usage import Memory
from bench.visit import VisitTimings, request_picture
from bench.visitor import Visitor

__all__ = ["CrowdResult", "measure_crowd"]

MAX_CONCURRENT = 50
SETTLE_SECONDS = 15.0
"""So long nothing happens before what is left is read; nothing is done to make it less."""

LIMIT_SECONDS = 60.0
WARM_UP_VISITORS = 5


@dataclass(frozen=True, slots=True)
class CrowdResult:
    """What a crowd leaves behind."""

    visitors: int
    memory_before: Memory
    peak_mib: float
    memory_after: Memory
    cpu_each: float
    seconds: float
    own_cpu: float
    lost_count: int


def measure_crowd(app: ServerProcess, visitors: int, expected: bytes) -> CrowdResult:
    """Let so many come, ask for what a page asks for, make one picture each, and leave."""
    page = PageClient.of(app)
    asyncio.run(
        _run_visits(page, WARM_UP_VISITORS, expected)
    )  # what is needed but once isn't theirs
    time.sleep(SETTLE_SECONDS)
    memory_before, cpu = usage.read_memory(app.pid), usage.cpu_seconds(app.pid)
    usage.reset_peak(app.pid)
    started_at, own_started_at = time.perf_counter(), time.process_time()
    lost_count = asyncio.run(_run_visits(page, visitors, expected))
    seconds, own_seconds = time.perf_counter() - started_at, time.process_time() - own_started_at
    cpu_each, peak = (usage.cpu_seconds(app.pid) - cpu) / visitors, usage.peak_mib(app.pid)
    time.sleep(SETTLE_SECONDS)
    return CrowdResult(
        visitors,
        memory_before,
        peak,
        usage.read_memory(app.pid),
        cpu_each,
        seconds,
        own_seconds / seconds,
        lost_count,
    )


async def _run_visits(page: PageClient, visitors: int, expected: bytes) -> int:
    """Return how many were lost."""
    return report_lost(
        "of the crowd",
        await gather_limited(MAX_CONCURRENT, (_visit(page, expected) for _ in range(visitors))),
    )


async def _visit(page: PageClient, expected: bytes) -> BaseException | None:
    """Do as a browser does; return what went wrong, if anything did."""
    visitor, face = Visitor(page.port), page.generate
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            await visitor.load_page()
            await _call_listeners(visitor, page.load_listeners)
            for listener in page.follow_ups(page.load_listeners):
                await _call_listeners(visitor, [listener])
            await request_picture(face, visitor, "", expected, VisitTimings())
            for listener in page.follow_ups([face.watch_listener or face.submit_listener("")]):
                await _call_listeners(visitor, [listener])
    except (OSError, EOFError, AssertionError, TimeoutError) as error:
        return error
    finally:
        visitor.close()
    return None


async def _call_listeners(visitor: Visitor, listeners: Sequence[Listener]) -> None:
    """Ask for all of these, and see the answers."""
    for listener in listeners:
        await visitor.join_queue(listener.fn_index, listener.data)
    completed_count = 0
    async for chunk in visitor.follow():
        completed_count += chunk.count(b'"process_completed"')
        assert b'"success":false' not in chunk, chunk
    assert completed_count == len(listeners), f"{completed_count} of {len(listeners)} answers came"
