"""Clients side by side against a lean Space: how long, how much CPU and memory a generation takes in each.

The Space is a process of its own, and so is each contestant, every time. They take turns, so that
what else the machine does meets all of them alike; figures are medians over the rounds, ratios are
to the floor that fetches as much.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

from bench.processes import ROOT, lean_space
from bench.trial import TrialResult

__all__ = ["CONCURRENCY_LEVELS", "measure"]

CONCURRENCY_LEVELS = (1, 10, 50, 200)
LIMIT_SECONDS = 60
"""A sample that takes longer is given up, and what hasn't come by then is lost."""
PROCESS_LIMIT_SECONDS = 300


@dataclass(frozen=True, slots=True)
class _Contestant:
    name: str
    import_path: str
    floor: str
    max_concurrent: int = 1000


_FLOOR_FIRST_PREVIEW, _FLOOR_EVERY_PREVIEW = "floor, skipping", "floor, every preview"
_CONTESTANTS = (
    _Contestant(_FLOOR_FIRST_PREVIEW, "bench.floor:skipping", _FLOOR_FIRST_PREVIEW),
    _Contestant(_FLOOR_EVERY_PREVIEW, "bench.floor:every_preview", _FLOOR_EVERY_PREVIEW),
    _Contestant("bare protocol, skipping", "bench.bare:skipping", _FLOOR_FIRST_PREVIEW),
    _Contestant("bare protocol, every preview", "bench.bare:every_preview", _FLOOR_EVERY_PREVIEW),
    _Contestant("ours, skipping", "bench.ours:skipping", _FLOOR_FIRST_PREVIEW),
    _Contestant("ours, every preview", "bench.ours:every_preview", _FLOOR_EVERY_PREVIEW),
    _Contestant(
        "gradio_client, iterator", "bench.others:gradio_iterator", _FLOOR_FIRST_PREVIEW, 50
    ),
    _Contestant(
        "gradio_client, async, no downloads", "bench.others:gradio_async", _FLOOR_FIRST_PREVIEW, 50
    ),
    _Contestant("simple way, as g4f's", "bench.others:simple_way", _FLOOR_FIRST_PREVIEW),
)
_COLUMNS = (
    ("event", "first event, ms", 1000),
    ("preview", "first preview, ms", 1000),
    ("final", "final bytes, ms", 1000),
    ("last", "the last one's, ms", 1000),
    ("cpu", "CPU, ms", 1000),
    ("peak_mib", "peak memory, MiB", 1),
)


def measure(rounds: int, concurrency_levels: Sequence[int], only: Sequence[str]) -> None:
    """Print a table for each number of generations at once."""
    chosen = [
        contestant
        for contestant in _CONTESTANTS
        if not only or any(word in contestant.name for word in only)
    ]
    with lean_space() as (address, digest):
        for concurrency in concurrency_levels:
            results: dict[str, list[TrialResult]] = {contestant.name: [] for contestant in chosen}
            for turn in range(rounds):
                start = turn % len(chosen)
                for contestant in (*chosen[start:], *chosen[:start]):
                    if concurrency <= contestant.max_concurrent:
                        results[contestant.name].append(
                            _run_trial(contestant, address, digest, concurrency)
                        )
            _print_table(
                concurrency,
                chosen,
                {name: TrialResult.median(samples) for name, samples in results.items() if samples},
            )


def _run_trial(contestant: _Contestant, address: str, digest: str, concurrency: int) -> TrialResult:
    command = [
        sys.executable,
        "-m",
        "bench.trial",
        contestant.import_path,
        address,
        digest,
        str(concurrency),
        str(LIMIT_SECONDS),
    ]
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {
            "TMPDIR": folder,
            "NO_PROXY": "127.0.0.1",
            "GRADIO_ANALYTICS_ENABLED": "False",
        }
        completed = subprocess.run(  # noqa: S603
            command,
            cwd=ROOT,
            env=environment,
            timeout=PROCESS_LIMIT_SECONDS,
            capture_output=True,
            check=False,
        )
    if completed.returncode != 0:
        raise RuntimeError(
            f"{contestant.name}, {concurrency} at once: {completed.stderr.decode(errors='replace')}"
        )
    measured = TrialResult(**json.loads(completed.stdout))
    if measured.lost_count:
        error_text = completed.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        print(
            f"{contestant.name}, {concurrency} at once: {measured.lost_count} lost; {error_text}",
            file=sys.stderr,
        )
    return measured


def _print_table(
    concurrency: int, chosen: Sequence[_Contestant], results: dict[str, TrialResult]
) -> None:
    titles = [f"{concurrency} at once", *(title for _, title, _ in _COLUMNS), "missing or wrong"]
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    for contestant in chosen:
        result, floor = results.get(contestant.name), results.get(contestant.floor)
        cells = [_cell(result, floor, name, scale) for name, _, scale in _COLUMNS]
        lost_text = "–" if result is None else str(result.lost_count)
        print(f"| {contestant.name} | {' | '.join(cells)} | {lost_text} |", flush=True)
    print(flush=True)


def _cell(result: TrialResult | None, floor: TrialResult | None, name: str, scale: float) -> str:
    """A figure, and its ratio to the floor's."""
    figure: float | None = getattr(result, name, None)
    if figure is None:
        return "–"
    base: float | None = getattr(floor, name, None)
    ratio = f" ({figure / base:.2f}×)" if base and floor is not result else ""
    return f"{figure * scale:{'.1f' if figure * scale < 100 else '.0f'}}{ratio}"
