"""So many visitors at once before one face: when each sees what, and what that costs the process behind it."""

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

from bench import usage
from bench.faces import Face
from bench.visit import Told, generate
from bench.visitor import Visitor

__all__ = ["LIMIT_SECONDS", "Ask", "Sample", "few_at_once", "sample", "say_lost"]

T = TypeVar("T")

LIMIT_SECONDS = 120.0
"""Who has no final picture after this is lost."""

COMING_AT_ONCE = 10
"""So many get the page at the same time, before anything is measured."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What came of it. Times in seconds from asking, medians of the visitors; `None` is what can't be said."""

    preview: float | None
    message: float | None
    final: float | None
    slowest: float | None
    frames: float
    lost: float
    cpu_each: float | None
    peak_mib_each: float | None
    own_cpu: float
    """Of one core, what this process took."""

    @classmethod
    def median(cls, of: "list[Sample]") -> "Sample":
        """Return the median of each figure, and the most that were lost."""
        figures = {
            each.name: _median(getattr(one, each.name) for one in of) for each in fields(cls)
        }
        return cls(**figures | {"lost": max(one.lost for one in of)})  # type: ignore[arg-type]


def _median(values: Iterable[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return statistics.median(there) if there else None


@dataclass(frozen=True, slots=True)
class Ask:
    """How they ask.

    Attributes:
        at_once: so many.
        pace: how the prompts end; tells the lean Space how long a run takes.
        spread_seconds: they begin evenly over this time; 0: in the same moment.
        expected: the final picture's bytes.

    """

    at_once: int
    pace: str
    spread_seconds: float
    expected: bytes


def sample(face: Face, pid: int | None, ask: Ask) -> Sample:
    """Let visitors come, ask, and leave; `pid` is the process that serves them."""
    return asyncio.run(_sample(face, pid, ask))


async def _sample(face: Face, pid: int | None, ask: Ask) -> Sample:
    visitors = await few_at_once(
        COMING_AT_ONCE, [Visitor(face.port).come() for _ in range(ask.at_once)]
    )
    before = _before(pid)
    began, own_began = time.perf_counter(), time.process_time()
    gap = ask.spread_seconds / ask.at_once
    told = await asyncio.gather(
        *(_limited(face, one, ask, number * gap) for number, one in enumerate(visitors))
    )
    own_cpu = (time.process_time() - own_began) / (time.perf_counter() - began)
    frames, finals = (
        sum(one.frames for one in told),
        [one.after(one.final_at) for one in told if one.final_at],
    )
    cpu, mib = (
        (None, None)
        if pid is None
        else (usage.cpu_seconds(pid) - before[0], usage.peak_mib(pid) - before[1])
    )
    return Sample(
        preview=_median(one.after(one.preview_at) for one in told),
        message=_median(one.after(one.message_at) for one in told),
        final=_median(finals),
        slowest=max((final for final in finals if final), default=None),
        frames=frames / ask.at_once,
        lost=say_lost(f"visitors of {face.name}", [one.failure for one in told]),
        cpu_each=None if cpu is None else cpu / ask.at_once,
        peak_mib_each=None if mib is None else mib / ask.at_once,
        own_cpu=own_cpu,
    )


def _before(pid: int | None) -> tuple[float, float]:
    """CPU seconds and MiB until now; from now on there is another peak."""
    if pid is None:
        return 0.0, 0.0
    usage.forget_peak(pid)
    return usage.cpu_seconds(pid), usage.memory(pid).rss


async def few_at_once(most: int, work: "Iterable[Awaitable[T]]") -> list[T]:
    """Do all of it, so much at the same time."""
    room = asyncio.Semaphore(most)

    async def one(each: Awaitable[T]) -> T:
        async with room:
            return await each

    return await asyncio.gather(*map(one, work))


async def _limited(face: Face, visitor: Visitor, ask: Ask, wait_seconds: float) -> Told:
    told = Told()
    try:
        await asyncio.sleep(wait_seconds)
        async with asyncio.timeout(LIMIT_SECONDS):
            await generate(face, visitor, ask.pace, ask.expected, told)
    except (OSError, EOFError, AssertionError, TimeoutError) as error:
        told.failure, told.final_at = error, None
    finally:
        visitor.leave()
    return told


def say_lost(who: str, failures: Sequence[BaseException | None]) -> int:
    """Say how many were lost, and why the first was, if any were; return how many."""
    lost = [failure for failure in failures if failure is not None]
    if lost:
        print(f"{len(lost)} {who} were lost; the first: {lost[0]!r}"[:500], file=sys.stderr)
    return len(lost)
