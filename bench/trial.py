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
from bench.seen import Connect, Generate, Seen

__all__ = ["FIGURES", "Measured"]

ENOUGH_GENERATIONS = 20
ENOUGH_SECONDS = 2.0
"""Few generations at once are over so soon that they are measured again and again, until either is reached."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of some generations at once. Times in seconds since the first join; `None` is what never came."""

    event: float | None
    preview: float | None
    final: float | None
    last: float | None
    cpu: float | None
    peak_mib: float | None
    lost: int
    """How many final pictures are missing or wrong."""

    @classmethod
    def median(cls, of: Sequence["Measured"]) -> "Measured":
        """Return the median of each figure, and the most that were lost."""
        figures = {name: median([getattr(one, name) for one in of]) for name in FIGURES}
        return cls(**figures, lost=max(one.lost for one in of))


FIGURES = ("event", "preview", "final", "last", "cpu", "peak_mib")


def median(values: Sequence[float | None]) -> float | None:
    """Return the median of what is there."""
    there = [value for value in values if value is not None]
    return statistics.median(there) if there else None


def _main(place: str, address: str, digest: str, at_once: int, limit_seconds: float) -> None:
    raise_file_limit()
    module, _, function = place.partition(":")
    connect: Connect = getattr(
        importlib.import_module(module), function
    )  # only this one: imports take memory
    measured = asyncio.run(_measure(connect, address, digest, at_once, limit_seconds))
    print(json.dumps(asdict(measured)), flush=True)
    os._exit(0)  # some clients leave threads behind that never end


async def _measure(
    connect: Connect, address: str, digest: str, at_once: int, limit_seconds: float
) -> Measured:
    async with connect(address) as generate:
        await _sample(generate, digest, 1, limit_seconds)
        began, samples = time.perf_counter(), list[Measured]()
        while not samples or (
            samples[-1].lost == 0
            and len(samples) * at_once < ENOUGH_GENERATIONS
            and time.perf_counter() - began < ENOUGH_SECONDS
        ):
            samples.append(await _sample(generate, digest, at_once, limit_seconds))
        return Measured.median(samples)


async def _sample(generate: Generate, digest: str, at_once: int, limit_seconds: float) -> Measured:
    seen = [Seen() for _ in range(at_once)]
    gc.collect()
    began, cpu_began = time.perf_counter(), time.process_time()
    tasks = [asyncio.ensure_future(generate(one)) for one in seen]
    _, late = await asyncio.wait(tasks, timeout=limit_seconds)
    cpu, peak = time.process_time() - cpu_began, _peak_mib()
    for task in late:
        task.cancel()
    failures = [
        one for one in await asyncio.gather(*tasks, return_exceptions=True) if one is not None
    ]
    if failures:
        print(repr(failures[0]), file=sys.stderr)
    finals = [one.final_at - began for one in seen if one.final_at is not None]
    right = sum(
        one.picture is not None and hashlib.sha256(one.picture).hexdigest() == digest
        for one in seen
    )
    return Measured(
        event=median([one.event_at and one.event_at - began for one in seen]),
        preview=median([one.preview_at and one.preview_at - began for one in seen]),
        final=median(finals),
        last=max(finals, default=None),
        cpu=cpu,
        peak_mib=peak,
        lost=at_once - right,
    )


def _peak_mib() -> float:
    """The most memory that this process has held (Linux; `getrusage` would count the parent's before it began)."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1]) / 1024


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5]))
