"""One contestant, so many generations at once, in a process of its own: `python -m bench.trial`, started by `client`.

It warms up, measures, and prints what it measured as JSON.
"""

import asyncio
import gc
import hashlib
import importlib
import json
import os
import re
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.limits import raise_file_limit
from bench.seen import Connect, Generate, GenerationRecorder

__all__ = ["FIGURES", "TrialResult"]

MIN_GENERATIONS = 20
MIN_SECONDS = 2.0
"""Few generations at once are over so soon that they are measured again and again, until either is reached."""


@dataclass(frozen=True, slots=True)
class TrialResult:
    """What came of some generations at once. Times in seconds since the first join; `None` is what never came."""

    event: float | None
    preview: float | None
    final: float | None
    last: float | None
    cpu: float | None
    peak_mib: float | None
    lost_count: int
    """How many final pictures are missing or wrong."""

    @classmethod
    def median(cls, samples: Sequence["TrialResult"]) -> "TrialResult":
        """Return the median of each figure, and the most that were lost."""
        figures = {name: median([getattr(sample, name) for sample in samples]) for name in FIGURES}
        return cls(**figures, lost_count=max(sample.lost_count for sample in samples))


FIGURES = ("event", "preview", "final", "last", "cpu", "peak_mib")


def median(values: Sequence[float | None]) -> float | None:
    """Return the median of what is there."""
    known_values = [value for value in values if value is not None]
    return statistics.median(known_values) if known_values else None


def _main(
    import_path: str, address: str, digest: str, concurrency: int, limit_seconds: float
) -> None:
    raise_file_limit()
    module, _, function = import_path.partition(":")
    connect: Connect = getattr(
        importlib.import_module(module), function
    )  # only this one: imports take memory
    measured = asyncio.run(_measure(connect, address, digest, concurrency, limit_seconds))
    print(json.dumps(asdict(measured)), flush=True)
    os._exit(0)  # some clients leave threads behind that never end


async def _measure(
    connect: Connect, address: str, digest: str, concurrency: int, limit_seconds: float
) -> TrialResult:
    async with connect(address) as generate:
        await _run_sample(generate, digest, 1, limit_seconds)
        started_at, samples = time.perf_counter(), list[TrialResult]()
        while not samples or (
            samples[-1].lost_count == 0
            and len(samples) * concurrency < MIN_GENERATIONS
            and time.perf_counter() - started_at < MIN_SECONDS
        ):
            samples.append(await _run_sample(generate, digest, concurrency, limit_seconds))
        return TrialResult.median(samples)


async def _run_sample(
    generate: Generate, digest: str, concurrency: int, limit_seconds: float
) -> TrialResult:
    recorders = [GenerationRecorder() for _ in range(concurrency)]
    gc.collect()
    started_at, cpu_started_at = time.perf_counter(), time.process_time()
    tasks = [asyncio.ensure_future(generate(recorder)) for recorder in recorders]
    _, pending_tasks = await asyncio.wait(tasks, timeout=limit_seconds)
    cpu, peak = time.process_time() - cpu_started_at, _peak_mib()
    for task in pending_tasks:
        task.cancel()
    failures = [
        recorder
        for recorder in await asyncio.gather(*tasks, return_exceptions=True)
        if recorder is not None
    ]
    if failures:
        print(repr(failures[0]), file=sys.stderr)
    finals = [
        recorder.final_at - started_at for recorder in recorders if recorder.final_at is not None
    ]
    correct_count = sum(
        recorder.picture is not None and hashlib.sha256(recorder.picture).hexdigest() == digest
        for recorder in recorders
    )
    return TrialResult(
        event=median(
            [recorder.event_at and recorder.event_at - started_at for recorder in recorders]
        ),
        preview=median(
            [recorder.preview_at and recorder.preview_at - started_at for recorder in recorders]
        ),
        final=median(finals),
        last=max(finals, default=None),
        cpu=cpu,
        peak_mib=peak,
        lost_count=concurrency - correct_count,
    )


def _peak_mib() -> float:
    """The most memory that this process has held (Linux; `getrusage` would count the parent's before it began)."""
    match = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert match is not None
    return int(match[1]) / 1024


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5]))
