"""One client's concurrent generations, in a process of its own: started by `bench.client`.

`python -m bench.worker MODULE:FUNCTION ADDRESS SHA256 CONCURRENCY LIMIT_SECONDS` warms up, measures
and prints the result as JSON.
"""

import asyncio
import gc
import hashlib
import importlib
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from bench.metrics import Connect, Generate, GenerationRecorder, median_or_none
from bench.usage import peak_mib

__all__ = ["FIGURES", "WorkerResult"]

# A few generations are over soon, so they are repeated until one of these is reached.
MIN_GENERATIONS = 20
MIN_SECONDS = 2.0

FIGURES = ("event", "preview", "final", "last", "cpu", "peak_mib")


@dataclass(frozen=True, slots=True)
class WorkerResult:
    """Result of concurrent generations; `None` for what never arrived.

    Attributes:
        event, preview, final: seconds since the start, medians of the generations.
        last: seconds until the last final image.
        cpu: CPU seconds of all generations.
        peak_mib: highest memory of the process.
        lost_count: number of final images that are missing or wrong.
    """

    event: float | None
    preview: float | None
    final: float | None
    last: float | None
    cpu: float | None
    peak_mib: float | None
    lost_count: int

    @classmethod
    def median(cls, samples: Sequence["WorkerResult"]) -> "WorkerResult":
        """Return the median of each figure, and the largest number of lost images."""
        figures = {
            name: median_or_none(getattr(sample, name) for sample in samples) for name in FIGURES
        }
        return cls(**figures, lost_count=max(sample.lost_count for sample in samples))


def _main(
    import_path: str, address: str, digest: str, concurrency: int, limit_seconds: float
) -> None:
    module, _, function = import_path.partition(":")
    # Only the client that is measured is imported, because imports take memory.
    connect: Connect = getattr(importlib.import_module(module), function)
    result = asyncio.run(_measure(connect, address, digest, concurrency, limit_seconds))
    print(json.dumps(asdict(result)), flush=True)
    os._exit(0)  # some clients leave threads behind that never end


async def _measure(
    connect: Connect, address: str, digest: str, concurrency: int, limit_seconds: float
) -> WorkerResult:
    async with connect(address) as generate:
        await _run_sample(generate, digest, 1, limit_seconds)
        started_at = time.perf_counter()
        samples = list[WorkerResult]()
        while not samples or (
            samples[-1].lost_count == 0
            and len(samples) * concurrency < MIN_GENERATIONS
            and time.perf_counter() - started_at < MIN_SECONDS
        ):
            samples.append(await _run_sample(generate, digest, concurrency, limit_seconds))
        return WorkerResult.median(samples)


async def _run_sample(
    generate: Generate, digest: str, concurrency: int, limit_seconds: float
) -> WorkerResult:
    recorders = [GenerationRecorder() for _ in range(concurrency)]
    gc.collect()
    started_at = time.perf_counter()
    cpu_started_at = time.process_time()
    tasks = [asyncio.ensure_future(generate(recorder)) for recorder in recorders]
    _, pending_tasks = await asyncio.wait(tasks, timeout=limit_seconds)
    cpu = time.process_time() - cpu_started_at
    peak = peak_mib()
    for task in pending_tasks:
        task.cancel()
    for error in await asyncio.gather(*tasks, return_exceptions=True):
        if error is not None:
            print(repr(error), file=sys.stderr)

    def seconds_until(moment: float | None) -> float | None:
        return None if moment is None else moment - started_at

    finals = [seconds_until(recorder.final_at) for recorder in recorders]
    return WorkerResult(
        event=median_or_none(seconds_until(recorder.event_at) for recorder in recorders),
        preview=median_or_none(seconds_until(recorder.preview_at) for recorder in recorders),
        final=median_or_none(finals),
        last=max((final for final in finals if final is not None), default=None),
        cpu=cpu,
        peak_mib=peak,
        lost_count=sum(not _is_correct(recorder, digest) for recorder in recorders),
    )


def _is_correct(recorder: GenerationRecorder, digest: str) -> bool:
    return recorder.picture is not None and hashlib.sha256(recorder.picture).hexdigest() == digest


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5]))
