"""So many visitors at once before one face: when each sees what, and what that costs the process behind it."""

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

from bench import usage
from bench.faces import BenchTarget
from bench.visit import VisitTimings, request_picture
from bench.visitor import Visitor

__all__ = [
    "LIMIT_SECONDS",
    "LoadOptions",
    "LoadSample",
    "gather_limited",
    "measure_load",
    "report_lost",
]

T = TypeVar("T")

LIMIT_SECONDS = 120.0
"""Who has no final picture after this is lost."""

MAX_CONCURRENT_CONNECTS = 10
"""So many get the page at the same time, before anything is measured."""


@dataclass(frozen=True, slots=True)
class LoadSample:
    """What came of it. Times in seconds from asking, medians of the visitors; `None` is what can't be said."""

    preview: float | None
    message: float | None
    final: float | None
    slowest: float | None
    frames: float
    lost_count: float
    cpu_each: float | None
    peak_mib_each: float | None
    own_cpu: float
    """Of one core, what this process took."""

    @classmethod
    def median(cls, samples: "list[LoadSample]") -> "LoadSample":
        """Return the median of each figure, and the most that were lost."""
        figures = {
            figure.name: _median(getattr(sample, figure.name) for sample in samples)
            for figure in fields(cls)
        }
        return cls(**figures | {"lost_count": max(sample.lost_count for sample in samples)})  # type: ignore[arg-type]


def _median(values: Iterable[float | None]) -> float | None:
    known_values = [value for value in values if value is not None]
    return statistics.median(known_values) if known_values else None


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How they ask.

    Attributes:
        at_once: so many.
        pace: how the prompts end; tells the lean Space how long a run takes.
        spread_seconds: they begin evenly over this time; 0: in the same moment.
        expected: the final picture's bytes.

    """

    concurrency: int
    prompt_suffix: str
    spread_seconds: float
    expected: bytes


def measure_load(face: BenchTarget, pid: int | None, ask: LoadOptions) -> LoadSample:
    """Let visitors come, ask, and leave; `pid` is the process that serves them."""
    return asyncio.run(_measure_load(face, pid, ask))


async def _measure_load(face: BenchTarget, pid: int | None, ask: LoadOptions) -> LoadSample:
    visitors = await gather_limited(
        MAX_CONCURRENT_CONNECTS, [Visitor(face.port).load_page() for _ in range(ask.concurrency)]
    )
    baseline = _reset_baseline(pid)
    started_at, own_started_at = time.perf_counter(), time.process_time()
    gap = ask.spread_seconds / ask.concurrency
    results = await asyncio.gather(
        *(_run_visit(face, visitor, ask, index * gap) for index, visitor in enumerate(visitors))
    )
    own_cpu = (time.process_time() - own_started_at) / (time.perf_counter() - started_at)
    frames, finals = (
        sum(visitor.frames for visitor in results),
        [visitor.seconds_until(visitor.final_at) for visitor in results if visitor.final_at],
    )
    cpu, mib = (
        (None, None)
        if pid is None
        else (usage.cpu_seconds(pid) - baseline[0], usage.peak_mib(pid) - baseline[1])
    )
    return LoadSample(
        preview=_median(visitor.seconds_until(visitor.preview_at) for visitor in results),
        message=_median(visitor.seconds_until(visitor.message_at) for visitor in results),
        final=_median(finals),
        slowest=max((final for final in finals if final), default=None),
        frames=frames / ask.concurrency,
        lost_count=report_lost(
            f"visitors of {face.name}", [visitor.failure for visitor in results]
        ),
        cpu_each=None if cpu is None else cpu / ask.concurrency,
        peak_mib_each=None if mib is None else mib / ask.concurrency,
        own_cpu=own_cpu,
    )


def _reset_baseline(pid: int | None) -> tuple[float, float]:
    """CPU seconds and MiB until now; from now on there is another peak."""
    if pid is None:
        return 0.0, 0.0
    usage.reset_peak(pid)
    return usage.cpu_seconds(pid), usage.read_memory(pid).rss


async def gather_limited(max_concurrent: int, awaitables: "Iterable[Awaitable[T]]") -> list[T]:
    """Do all of it, so much at the same time."""
    semaphore = asyncio.Semaphore(max_concurrent)

    async def run_limited(awaitable: Awaitable[T]) -> T:
        async with semaphore:
            return await awaitable

    return await asyncio.gather(*map(run_limited, awaitables))


async def _run_visit(
    face: BenchTarget, visitor: Visitor, ask: LoadOptions, wait_seconds: float
) -> VisitTimings:
    timings = VisitTimings()
    try:
        await asyncio.sleep(wait_seconds)
        async with asyncio.timeout(LIMIT_SECONDS):
            await request_picture(face, visitor, ask.prompt_suffix, ask.expected, timings)
    except (OSError, EOFError, AssertionError, TimeoutError) as error:
        timings.failure, timings.final_at = error, None
    finally:
        visitor.close()
    return timings


def report_lost(subject: str, failures: Sequence[BaseException | None]) -> int:
    """Say how many were lost, and why the first was, if any were; return how many."""
    actual_failures = [failure for failure in failures if failure is not None]
    if actual_failures:
        print(
            f"{len(actual_failures)} {subject} were lost; the first: {actual_failures[0]!r}"[:500],
            file=sys.stderr,
        )
    return len(actual_failures)
