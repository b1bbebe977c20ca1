"""Visitors who come and go: CPU per visit, and the memory that remains."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench import usage
from bench.endpoints import Listener, PageClient
from bench.load import gather_limited, report_lost
from bench.page_session import PageTimings, request_picture
from bench.processes import ServerProcess
from bench.usage import Memory
from bench.visitor import Visitor

__all__ = ["ChurnResult", "measure_churn"]

MAX_CONCURRENT = 50
SETTLE_SECONDS = 15.0  # without a visitor, before memory is read
LIMIT_SECONDS = 60.0
WARM_UP_VISITORS = 5


@dataclass(frozen=True, slots=True)
class ChurnResult:
    """Cost of visitors who came and went; `cpu_each` in seconds, `own_cpu` as a part of a core."""

    visitors: int
    memory_before: Memory
    peak_mib: float
    memory_after: Memory
    cpu_each: float
    seconds: float
    own_cpu: float
    lost_count: int


def measure_churn(app: ServerProcess, visitors: int, expected: bytes) -> ChurnResult:
    """Let visitors come, load the page with its data, generate one image each, and leave."""
    page = PageClient.of(app)
    asyncio.run(_run_visits(page, WARM_UP_VISITORS, expected))  # what is only needed once
    time.sleep(SETTLE_SECONDS)
    memory_before = usage.read_memory(app.pid)
    cpu_before = usage.cpu_seconds(app.pid)
    usage.reset_peak(app.pid)
    started_at = time.perf_counter()
    own_cpu_before = time.process_time()
    lost_count = asyncio.run(_run_visits(page, visitors, expected))
    seconds = time.perf_counter() - started_at
    own_seconds = time.process_time() - own_cpu_before
    cpu_seconds = usage.cpu_seconds(app.pid) - cpu_before
    peak = usage.peak_mib(app.pid)
    time.sleep(SETTLE_SECONDS)
    return ChurnResult(
        visitors=visitors,
        memory_before=memory_before,
        peak_mib=peak,
        memory_after=usage.read_memory(app.pid),
        cpu_each=cpu_seconds / visitors,
        seconds=seconds,
        own_cpu=own_seconds / seconds,
        lost_count=lost_count,
    )


async def _run_visits(page: PageClient, visitors: int, expected: bytes) -> int:
    """Return the number of lost visitors."""
    visits = (_visit(page, expected) for _ in range(visitors))
    return report_lost("who came and went", await gather_limited(MAX_CONCURRENT, visits))


async def _visit(page: PageClient, expected: bytes) -> BaseException | None:
    """Do what a browser does; return the error, if there was one."""
    visitor = Visitor(page.port)
    target = page.generate
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            await visitor.load_page()
            await _call_listeners(visitor, page.load_listeners)
            for listener in page.follow_ups(page.load_listeners):
                await _call_listeners(visitor, [listener])
            await request_picture(target, visitor, "", expected, PageTimings())
            for listener in page.follow_ups([page.watch]):
                await _call_listeners(visitor, [listener])
    except (OSError, EOFError, AssertionError, TimeoutError) as error:
        return error
    finally:
        visitor.close()
    return None


async def _call_listeners(visitor: Visitor, listeners: Sequence[Listener]) -> None:
    for listener in listeners:
        await visitor.join_queue(listener.fn_index, listener.data)
    completed_count = 0
    async for chunk in visitor.follow():
        completed_count += chunk.count(b'"process_completed"')
        assert b'"success":false' not in chunk, chunk
    assert completed_count == len(listeners), f"{completed_count} of {len(listeners)} answers came"
