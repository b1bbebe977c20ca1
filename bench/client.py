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
from bench.trial import Measured

__all__ = ["AT_ONCE", "measure"]

AT_ONCE = (1, 10, 50, 200)
LIMIT_SECONDS = 60
"""A sample that takes longer is given up, and what hasn't come by then is lost."""
PROCESS_LIMIT_SECONDS = 300


@dataclass(frozen=True, slots=True)
class _Contestant:
    name: str
    place: str
    floor: str
    most_at_once: int = 1000


_SKIPPING, _EVERY = "floor, skipping", "floor, every preview"
_CONTESTANTS = (
    _Contestant(_SKIPPING, "bench.floor:skipping", _SKIPPING),
    _Contestant(_EVERY, "bench.floor:every_preview", _EVERY),
    _Contestant("bare protocol, skipping", "bench.bare:skipping", _SKIPPING),
    _Contestant("bare protocol, every preview", "bench.bare:every_preview", _EVERY),
    _Contestant("ours, skipping", "bench.ours:skipping", _SKIPPING),
    _Contestant("ours, every preview", "bench.ours:every_preview", _EVERY),
    _Contestant("gradio_client, iterator", "bench.others:gradio_iterator", _SKIPPING, 50),
    _Contestant("gradio_client, async, no downloads", "bench.others:gradio_async", _SKIPPING, 50),
    _Contestant("simple way, as g4f's", "bench.others:simple_way", _SKIPPING),
)
_COLUMNS = (
    ("event", "first event, ms", 1000),
    ("preview", "first preview, ms", 1000),
    ("final", "final bytes, ms", 1000),
    ("last", "the last one's, ms", 1000),
    ("cpu", "CPU, ms", 1000),
    ("peak_mib", "peak memory, MiB", 1),
)


def measure(rounds: int, at: Sequence[int], only: Sequence[str]) -> None:
    """Print a table for each number of generations at once."""
    chosen = [one for one in _CONTESTANTS if not only or any(word in one.name for word in only)]
    with lean_space() as (address, digest):
        for at_once in at:
            results: dict[str, list[Measured]] = {one.name: [] for one in chosen}
            for turn in range(rounds):
                start = turn % len(chosen)
                for one in (*chosen[start:], *chosen[:start]):
                    if at_once <= one.most_at_once:
                        results[one.name].append(_trial(one, address, digest, at_once))
            _print_table(
                at_once, chosen, {name: Measured.median(of) for name, of in results.items() if of}
            )


def _trial(one: _Contestant, address: str, digest: str, at_once: int) -> Measured:
    command = [
        sys.executable,
        "-m",
        "bench.trial",
        one.place,
        address,
        digest,
        str(at_once),
        str(LIMIT_SECONDS),
    ]
    with tempfile.TemporaryDirectory() as folder:
        surroundings = os.environ | {
            "TMPDIR": folder,
            "NO_PROXY": "127.0.0.1",
            "GRADIO_ANALYTICS_ENABLED": "False",
        }
        done = subprocess.run(  # noqa: S603
            command,
            cwd=ROOT,
            env=surroundings,
            timeout=PROCESS_LIMIT_SECONDS,
            capture_output=True,
            check=False,
        )
    if done.returncode != 0:
        raise RuntimeError(f"{one.name}, {at_once} at once: {done.stderr.decode(errors='replace')}")
    measured = Measured(**json.loads(done.stdout))
    if measured.lost:
        words = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        print(f"{one.name}, {at_once} at once: {measured.lost} lost; {words}", file=sys.stderr)
    return measured


def _print_table(at_once: int, chosen: Sequence[_Contestant], results: dict[str, Measured]) -> None:
    titles = [f"{at_once} at once", *(title for _, title, _ in _COLUMNS), "missing or wrong"]
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    for one in chosen:
        result, floor = results.get(one.name), results.get(one.floor)
        cells = [_cell(result, floor, name, scale) for name, _, scale in _COLUMNS]
        lost = "–" if result is None else str(result.lost)
        print(f"| {one.name} | {' | '.join(cells)} | {lost} |", flush=True)
    print(flush=True)


def _cell(result: Measured | None, floor: Measured | None, name: str, scale: float) -> str:
    """A figure, and its ratio to the floor's."""
    figure: float | None = getattr(result, name, None)
    if figure is None:
        return "–"
    base: float | None = getattr(floor, name, None)
    ratio = f" ({figure / base:.2f}×)" if base and floor is not result else ""
    return f"{figure * scale:{'.1f' if figure * scale < 100 else '.0f'}}{ratio}"
