"""Concurrent visitors of one endpoint: when they see what, and what that costs its process."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

from bench import usage
from bench.endpoints import BenchTarget
from bench.metrics import median_or_none
from bench.page_session import PageTimings, request_picture
from bench.visitor import Visitor

__all__ = ["LoadOptions", "LoadSample", "gather_limited", "measure_load", "report_lost"]

T = TypeVar("T")

LIMIT_SECONDS = 120.0  # a visitor without the final image by then is lost
MAX_CONCURRENT_CONNECTS = 10  # while the page is loaded, before the measurement


@dataclass(frozen=True, slots=True)
class LoadSample:
    """Result of one measurement; `None` where nothing was measured.

    Attributes:
        preview, message, final: seconds from the request, medians of the visitors.
        slowest: seconds until the last visitor had the final image.
        previews: number per visitor.
        cpu_each: CPU seconds of the measured process per visitor.
        peak_mib_each: growth of its memory to the peak, per visitor.
        own_cpu: CPU of the visitors' process, as a part of one core.
    """

    preview: float | None
    message: float | None
    final: float | None
    slowest: float | None
    previews: float
    lost_count: float
    cpu_each: float | None
    peak_mib_each: float | None
    own_cpu: float

    @classmethod
    def median(cls, samples: "list[LoadSample]") -> "LoadSample":
        """Return the median of each figure, and the largest number of lost visitors."""
        figures = {
            figure.name: median_or_none(getattr(sample, figure.name) for sample in samples)
            for figure in fields(cls)
        }
        lost_count = max(sample.lost_count for sample in samples)
        return cls(**figures | {"lost_count": lost_count})  # type: ignore[arg-type]  # none is None


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """Options of a measurement.

    Attributes:
        prompt_suffix: end of each prompt; it tells the fake Space how long a run takes.
        spread_seconds: time over which the visitors begin, evenly.
        expected: bytes of the final image.
    """

    concurrency: int
    prompt_suffix: str
    spread_seconds: float
    expected: bytes


def measure_load(target: BenchTarget, pid: int | None, options: LoadOptions) -> LoadSample:
    """Let visitors come, request an image each, and leave; `pid` is the measured process."""
    return asyncio.run(_measure_load(target, pid, options))


async def _measure_load(target: BenchTarget, pid: int | None, options: LoadOptions) -> LoadSample:
    count = options.concurrency
    visitors = await gather_limited(
        MAX_CONCURRENT_CONNECTS, [Visitor(target.port).load_page() for _ in range(count)]
    )
    cpu_before = 0.0
    mib_before = 0.0
    if pid is not None:
        usage.reset_peak(pid)
        cpu_before = usage.cpu_seconds(pid)
        mib_before = usage.read_memory(pid).rss
    started_at = time.perf_counter()
    own_cpu_before = time.process_time()
    gap = options.spread_seconds / count
    results = await asyncio.gather(
        *(_visit(target, visitor, options, index * gap) for index, visitor in enumerate(visitors))
    )
    own_cpu = (time.process_time() - own_cpu_before) / (time.perf_counter() - started_at)
    finals = [result.seconds_until(result.final_at) for result in results]
    return LoadSample(
        preview=median_or_none(result.seconds_until(result.preview_at) for result in results),
        message=median_or_none(result.seconds_until(result.message_at) for result in results),
        final=median_or_none(finals),
        slowest=max((final for final in finals if final is not None), default=None),
        previews=sum(result.previews for result in results) / count,
        lost_count=report_lost(f"visitors of {target.name}", [r.failure for r in results]),
        cpu_each=None if pid is None else (usage.cpu_seconds(pid) - cpu_before) / count,
        peak_mib_each=None if pid is None else (usage.peak_mib(pid) - mib_before) / count,
        own_cpu=own_cpu,
    )


async def gather_limited(max_concurrent: int, awaitables: "Iterable[Awaitable[T]]") -> list[T]:
    """Gather the results of all awaitables, so many at the same time."""
    semaphore = asyncio.Semaphore(max_concurrent)

    async def run_limited(awaitable: Awaitable[T]) -> T:
        async with semaphore:
            return await awaitable

    return await asyncio.gather(*map(run_limited, awaitables))


async def _visit(
    target: BenchTarget, visitor: Visitor, options: LoadOptions, delay_seconds: float
) -> PageTimings:
    timings = PageTimings()
    try:
        await asyncio.sleep(delay_seconds)
        async with asyncio.timeout(LIMIT_SECONDS):
            await request_picture(target, visitor, options.prompt_suffix, options.expected, timings)
    except (OSError, EOFError, AssertionError, TimeoutError) as error:
        timings.failure = error
        timings.final_at = None
    finally:
        visitor.close()
    return timings


def report_lost(subject: str, failures: Sequence[BaseException | None]) -> int:
    """Print how many visitors were lost, and why the first one was; return the number."""
    actual_failures = [failure for failure in failures if failure is not None]
    if actual_failures:
        message = f"{len(actual_failures)} {subject} were lost; the first: {actual_failures[0]!r}"
        print(message[:500], file=sys.stderr)
    return len(actual_failures)
