"""A crowd that comes and goes: what it costs, and what is left of it in memory."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench import usage
from bench.faces import Listener, Page
from bench.load import few_at_once, say_lost
from bench.processes import Program
from bench.usage import Memory
from bench.visit import Told, generate
from bench.visitor import Visitor

__all__ = ["Crowd", "crowd"]

AT_ONCE = 50
REST_SECONDS = 15.0
"""So long nothing happens before what is left is read; nothing is done to make it less."""

LIMIT_SECONDS = 60.0
WARM_UP = 5


@dataclass(frozen=True, slots=True)
class Crowd:
    """What a crowd leaves behind."""

    visitors: int
    before: Memory
    peak_mib: float
    after: Memory
    cpu_each: float
    seconds: float
    own_cpu: float
    lost: int


def crowd(app: Program, visitors: int, expected: bytes) -> Crowd:
    """Let so many come, ask for what a page asks for, make one picture each, and leave."""
    page = Page.of(app)
    asyncio.run(_come_and_go(page, WARM_UP, expected))  # what is needed but once isn't theirs
    time.sleep(REST_SECONDS)
    before, cpu = usage.memory(app.pid), usage.cpu_seconds(app.pid)
    usage.forget_peak(app.pid)
    began, own_began = time.perf_counter(), time.process_time()
    lost = asyncio.run(_come_and_go(page, visitors, expected))
    seconds, own = time.perf_counter() - began, time.process_time() - own_began
    cpu_each, peak = (usage.cpu_seconds(app.pid) - cpu) / visitors, usage.peak_mib(app.pid)
    time.sleep(REST_SECONDS)
    return Crowd(
        visitors, before, peak, usage.memory(app.pid), cpu_each, seconds, own / seconds, lost
    )


async def _come_and_go(page: Page, visitors: int, expected: bytes) -> int:
    """Return how many were lost."""
    return say_lost(
        "of the crowd",
        await few_at_once(AT_ONCE, (_visit(page, expected) for _ in range(visitors))),
    )


async def _visit(page: Page, expected: bytes) -> BaseException | None:
    """Do as a browser does; return what went wrong, if anything did."""
    visitor, face = Visitor(page.port), page.generate
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            await visitor.come()
            await _ask(visitor, page.loads)
            for each in page.after(page.loads):
                await _ask(visitor, [each])
            await generate(face, visitor, "", expected, Told())
            for each in page.after([face.shown or face.asked("")]):
                await _ask(visitor, [each])
    except (OSError, EOFError, AssertionError, TimeoutError) as error:
        return error
    finally:
        visitor.leave()
    return None


async def _ask(visitor: Visitor, listeners: Sequence[Listener]) -> None:
    """Ask for all of these, and see the answers."""
    for each in listeners:
        await visitor.ask(each.fn_index, each.data)
    done = 0
    async for chunk in visitor.follow():
        done += chunk.count(b'"process_completed"')
        assert b'"success":false' not in chunk, chunk
    assert done == len(listeners), f"{done} of {len(listeners)} answers came"
