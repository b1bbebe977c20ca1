"""Clients compared at a fake Space: time, CPU and memory of concurrent generations.

The Space is a process of its own, and so is each client, every time. They take turns, so that other
load on the machine affects all of them alike. Figures are medians of the rounds; ratios are to the
baseline that downloads as many previews.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

from bench.processes import ROOT, start_fake_space
from bench.tables import NO_VALUE, print_table
from bench.worker import WorkerResult

__all__ = ["CONCURRENCY_LEVELS", "measure"]

CONCURRENCY_LEVELS = (1, 10, 50, 200)
LIMIT_SECONDS = 60  # per sample; a generation without its image by then is lost
PROCESS_LIMIT_SECONDS = 300


@dataclass(frozen=True, slots=True)
class _Client:
    name: str
    import_path: str
    baseline: str
    max_concurrent: int = 1000


_ONE_PREVIEW = "baseline, one preview"
_EVERY_PREVIEW = "baseline, every preview"
_GRADIO_MAX = 50  # more would take gradio_client minutes
_CLIENTS = (
    _Client(_ONE_PREVIEW, "bench.baseline:first_preview_only", _ONE_PREVIEW),
    _Client(_EVERY_PREVIEW, "bench.baseline:every_preview", _EVERY_PREVIEW),
    _Client("raw protocol, one preview", "bench.raw_client:first_preview_only", _ONE_PREVIEW),
    _Client("raw protocol, every preview", "bench.raw_client:every_preview", _EVERY_PREVIEW),
    _Client("ours, newest previews", "bench.our_client:newest_preview_only", _ONE_PREVIEW),
    _Client("ours, every preview", "bench.our_client:every_preview", _EVERY_PREVIEW),
    _Client(
        "gradio_client, iterator", "bench.other_clients:gradio_iterator", _ONE_PREVIEW, _GRADIO_MAX
    ),
    _Client(
        "gradio_client, async, no downloads",
        "bench.other_clients:gradio_async",
        _ONE_PREVIEW,
        _GRADIO_MAX,
    ),
    _Client("aiohttp on `/call`", "bench.other_clients:aiohttp_call_api", _ONE_PREVIEW),
)
_COLUMNS = (
    ("event", "first event, ms", 1000),
    ("preview", "first preview, ms", 1000),
    ("final", "final image, ms", 1000),
    ("last", "last final image, ms", 1000),
    ("cpu", "CPU, ms", 1000),
    ("peak_mib", "peak memory, MiB", 1),
)


def measure(rounds: int, concurrency_levels: Sequence[int], only: Sequence[str]) -> None:
    """Print a table for each number of concurrent generations."""
    clients = [
        client for client in _CLIENTS if not only or any(text in client.name for text in only)
    ]
    with start_fake_space() as (address, digest):
        for concurrency in concurrency_levels:
            samples: dict[str, list[WorkerResult]] = {client.name: [] for client in clients}
            for turn in range(rounds):
                start = turn % len(clients)
                for client in (*clients[start:], *clients[:start]):
                    if concurrency <= client.max_concurrent:
                        result = _run_worker(client, address, digest, concurrency)
                        samples[client.name].append(result)
            results = {name: WorkerResult.median(all_) for name, all_ in samples.items() if all_}
            _print_results(concurrency, clients, results)


def _run_worker(client: _Client, address: str, digest: str, concurrency: int) -> WorkerResult:
    arguments = [client.import_path, address, digest, str(concurrency), str(LIMIT_SECONDS)]
    with tempfile.TemporaryDirectory() as folder:
        overrides = {"TMPDIR": folder, "NO_PROXY": "127.0.0.1", "GRADIO_ANALYTICS_ENABLED": "False"}
        completed = subprocess.run(  # noqa: S603  # our own command
            [sys.executable, "-m", "bench.worker", *arguments],
            cwd=ROOT,
            env=os.environ | overrides,
            timeout=PROCESS_LIMIT_SECONDS,
            capture_output=True,
            check=False,
        )
    label = f"{client.name}, {concurrency} at once"
    error_text = completed.stderr.decode(errors="replace").strip()
    if completed.returncode != 0:
        raise RuntimeError(f"{label}: {error_text}")
    result = WorkerResult(**json.loads(completed.stdout))
    if result.lost_count:
        last_line = error_text.rpartition("\n")[2]
        print(f"{label}: {result.lost_count} lost; {last_line}", file=sys.stderr)
    return result


def _print_results(
    concurrency: int, clients: Sequence[_Client], results: dict[str, WorkerResult]
) -> None:
    titles = [f"{concurrency} at once", *(title for _, title, _ in _COLUMNS), "missing or wrong"]
    rows = []
    for client in clients:
        result = results.get(client.name)
        baseline = results.get(client.baseline)
        cells = [_cell(result, baseline, name, scale) for name, _, scale in _COLUMNS]
        lost_text = NO_VALUE if result is None else str(result.lost_count)
        rows.append([client.name, *cells, lost_text])
    print_table(titles, rows)


def _cell(
    result: WorkerResult | None, baseline: WorkerResult | None, name: str, scale: float
) -> str:
    """Return a figure and its ratio to the baseline's."""
    figure: float | None = getattr(result, name, None)
    if figure is None:
        return NO_VALUE
    scaled = figure * scale
    text = f"{scaled:.1f}" if scaled < 100 else f"{scaled:.0f}"
    base: float | None = getattr(baseline, name, None)
    return f"{text} ({figure / base:.2f}×)" if base and baseline is not result else text
