"""The load of the app: visitors at once, a crowd that comes and goes, and nobody at all.

The app, the lean Space and the simple page are processes of their own; those who visit are one
more. Those who are compared take turns.
"""

import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from bench import pictures, usage
from bench.app_tables import AimReport, IdleResults, RunTiming, Table
from bench.crowd import measure_crowd
from bench.faces import BenchTarget, Listener, PageClient
from bench.idle import ENDLESS_RUN_SUFFIX, idle_with_page, measure_event_seconds, measure_idle
from bench.limits import raise_file_limit
from bench.load import LoadOptions, LoadSample, measure_load
from bench.processes import ServerProcess, lean_space, start_server
from bench.visitor import HOST

__all__ = ["CONCURRENCY_LEVELS", "CROWD_SIZE", "RUN_SECONDS", "RunTiming", "measure"]

CONCURRENCY_LEVELS = (1, 10, 50, 200)
CROWD_SIZE = 1000
RUN_SECONDS = 2.0
IDLE_SECONDS = 15.0
PREVIEW_QUALITY = 70
"""Of JPEG; that makes previews of 45 KB."""

MAX_CONCURRENT_SIMPLE = 10
"""The simple page makes one picture at a time."""

SETTLE_SECONDS = 5.0
"""After a table, so long nothing happens before what is left in memory is read."""

LIMIT_OPTIONS = ("visitor-hourly", "all-hourly", "visitor-waiting", "all-waiting", "at-once")
APP_FLAGS = ("--known-hosts", HOST, *(part for cap in LIMIT_OPTIONS for part in (f"--{cap}", "0")))


@dataclass(frozen=True, slots=True)
class _Contestant:
    target: BenchTarget
    program: ServerProcess | None
    max_concurrent: int = 1000
    is_ours: bool = False


def measure(
    rounds: int, concurrency_levels: Sequence[int], times: RunTiming, crowd_size: int
) -> None:
    """Print the tables, and whether the aims hold."""
    raise_file_limit()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every block ends
    aims, expected = AimReport(), pictures.final()
    with lean_space(PREVIEW_QUALITY) as (address, _):
        with _studio(address) as studio:
            aims.idle(_idle(studio))
        with ExitStack() as stack:
            contestants = _contestants(stack, address)
            for concurrency in concurrency_levels:
                ask = LoadOptions(
                    concurrency, f", in {times.run_seconds:g} s", times.spread_seconds, expected
                )
                aims.table(
                    _table(contestants, ask, times, rounds),
                    [contestant.target.name for contestant in contestants if contestant.is_ours],
                )
        if crowd_size:
            with _studio(address) as studio:
                aims.crowd(measure_crowd(studio, crowd_size, expected))
    aims.show()


@contextmanager
def _studio(address: str) -> Iterator[ServerProcess]:
    with start_server(
        "the app", "app.py", "--space", address, "--port", "{port}", *APP_FLAGS
    ) as running:
        yield running


def _contestants(stack: ExitStack, address: str) -> list[_Contestant]:
    studio = stack.enter_context(_studio(address))
    simple = stack.enter_context(
        start_server("the simple page", "-m", "bench.simple_page", address, "{port}")
    )
    simple.suspend()
    page = PageClient.of(studio)
    return [
        _Contestant(BenchTarget.direct(urlsplit(address).port or 80), None),
        _Contestant(page.generate, studio, is_ours=True),
        _Contestant(page.infer, studio, is_ours=True),
        _Contestant(BenchTarget.simple(simple), simple, MAX_CONCURRENT_SIMPLE),
    ]


def _table(
    contestants: list[_Contestant], ask: LoadOptions, times: RunTiming, rounds: int
) -> Table:
    """Let them take turns; a first turn of each is to warm up."""
    chosen = [
        contestant for contestant in contestants if ask.concurrency <= contestant.max_concurrent
    ]
    studio = next(
        contestant.program for contestant in chosen if contestant.is_ours and contestant.program
    )
    results: dict[str, list[LoadSample]] = {contestant.target.name: [] for contestant in chosen}
    sudden: dict[str, list[LoadSample]] = {
        contestant.target.name: [] for contestant in chosen if contestant.is_ours
    }
    for contestant in chosen:
        _run_turn(contestant, replace(ask, concurrency=1, spread_seconds=0))
    memory_before = usage.read_memory(studio.pid)
    for turn in range(rounds):
        start = turn % len(chosen)
        for contestant in (*chosen[start:], *chosen[:start]):
            results[contestant.target.name].append(_run_turn(contestant, ask))
            if contestant.is_ours:
                sudden[contestant.target.name].append(
                    _run_turn(contestant, replace(ask, prompt_suffix=""))
                )
    time.sleep(SETTLE_SECONDS)
    return Table(
        ask.concurrency, times, results, sudden, memory_before, usage.read_memory(studio.pid)
    )


def _run_turn(contestant: _Contestant, ask: LoadOptions) -> LoadSample:
    if contestant.program is None:
        return measure_load(contestant.target, None, ask)
    contestant.program.resume()
    try:
        return measure_load(contestant.target, contestant.program.pid, ask)
    finally:
        if not contestant.is_ours:
            contestant.program.suspend()


def _idle(studio: ServerProcess) -> IdleResults:
    """The app before anybody has come, and with one page; and an empty Gradio app beside it."""
    alone = measure_idle(studio, IDLE_SECONDS)
    page = PageClient.of(studio)
    event = measure_event_seconds(studio, page.follow_ups(page.load_listeners)[-1])
    submit_listener = page.submit_listener(f"a lighthouse at dusk{ENDLESS_RUN_SUFFIX}")
    with_page = idle_with_page(studio, submit_listener, page.watch, IDLE_SECONDS)
    with start_server("an empty Gradio app", "-m", "bench.empty_page", "{port}") as empty:
        return IdleResults(
            alone,
            with_page,
            measure_idle(empty, IDLE_SECONDS),
            event,
            measure_event_seconds(empty, Listener(0, ["1:1"])),
        )
