"""The app under load: concurrent visitors, visitors who come and go, and nobody at all.

The app, the fake Space and the simple page are processes of their own; the visitors are another
one. The endpoints that are compared take turns.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from bench import pictures, usage
from bench.app_report import IdleResults, LoadResults, Report, RunTiming
from bench.churn import measure_churn
from bench.endpoints import BenchTarget, Listener, PageClient
from bench.idle import ENDLESS_RUN_SUFFIX, idle_with_page, measure_event_seconds, measure_idle
from bench.load import LoadOptions, LoadSample, measure_load
from bench.processes import (
    ServerProcess,
    raise_file_limit,
    start_app,
    start_fake_space,
    start_server,
)

__all__ = ["CHURN_VISITORS", "CONCURRENCY_LEVELS", "RUN_SECONDS", "RunTiming", "measure"]

CONCURRENCY_LEVELS = (1, 10, 50, 200)
CHURN_VISITORS = 1000
RUN_SECONDS = 2.0
IDLE_SECONDS = 15.0
PREVIEW_QUALITY = 70  # of JPEG: previews of 45 KB
MAX_CONCURRENT_SIMPLE = 10  # the simple page generates one image at a time
SETTLE_SECONDS = 5.0  # before the memory that remains is read


@dataclass(frozen=True, slots=True)
class _Contestant:
    target: BenchTarget
    program: ServerProcess | None
    max_concurrent: int = 1000
    is_ours: bool = False

    @property
    def name(self) -> str:
        return self.target.name


def measure(
    rounds: int, concurrency_levels: Sequence[int], timing: RunTiming, churn_visitors: int
) -> None:
    """Print the tables, and which targets are met."""
    raise_file_limit()
    report = Report()
    expected = pictures.final()
    with start_fake_space(PREVIEW_QUALITY) as (address, _):
        with start_app(address) as app:
            report.add_idle(asyncio.run(_measure_idle(app)))
        with ExitStack() as stack:
            contestants = _start_contestants(stack, address)
            our_names = [contestant.name for contestant in contestants if contestant.is_ours]
            for concurrency in concurrency_levels:
                suffix = f", in {timing.run_seconds:g} s"
                options = LoadOptions(concurrency, suffix, timing.spread_seconds, expected)
                results = _measure_contestants(contestants, options, timing, rounds)
                report.add_load(results, our_names)
        if churn_visitors:
            with start_app(address) as app:
                report.add_churn(measure_churn(app, churn_visitors, expected))
    report.print_targets()


def _start_contestants(stack: ExitStack, address: str) -> list[_Contestant]:
    app = stack.enter_context(start_app(address))
    simple_page = start_server("the simple page", "-m", "bench.simple_page", address, "{port}")
    simple = stack.enter_context(simple_page)
    simple.suspend()
    page = PageClient.of(app)
    return [
        _Contestant(BenchTarget.of_space(urlsplit(address).port or 80), None),
        _Contestant(page.generate, app, is_ours=True),
        _Contestant(page.infer, app, is_ours=True),
        _Contestant(BenchTarget.of_simple_page(simple), simple, MAX_CONCURRENT_SIMPLE),
    ]


def _measure_contestants(
    contestants: list[_Contestant], options: LoadOptions, timing: RunTiming, rounds: int
) -> LoadResults:
    """Let the contestants take turns, after one run of each as a warm-up."""
    chosen = [item for item in contestants if options.concurrency <= item.max_concurrent]
    app = next(item.program for item in chosen if item.is_ours and item.program)
    samples: dict[str, list[LoadSample]] = {item.name: [] for item in chosen}
    instant_samples: dict[str, list[LoadSample]] = {
        item.name: [] for item in chosen if item.is_ours
    }
    for contestant in chosen:
        _run_turn(contestant, replace(options, concurrency=1, spread_seconds=0))
    memory_before = usage.read_memory(app.pid)
    for turn in range(rounds):
        start = turn % len(chosen)
        for contestant in (*chosen[start:], *chosen[:start]):
            samples[contestant.name].append(_run_turn(contestant, options))
            if contestant.is_ours:
                sample = _run_turn(contestant, replace(options, prompt_suffix=""))
                instant_samples[contestant.name].append(sample)
    time.sleep(SETTLE_SECONDS)
    memory_after = usage.read_memory(app.pid)
    return LoadResults(
        options.concurrency, timing, samples, instant_samples, memory_before, memory_after
    )


def _run_turn(contestant: _Contestant, options: LoadOptions) -> LoadSample:
    if contestant.program is None:
        return measure_load(contestant.target, None, options)
    contestant.program.resume()
    try:
        return measure_load(contestant.target, contestant.program.pid, options)
    finally:
        if not contestant.is_ours:
            contestant.program.suspend()


async def _measure_idle(app: ServerProcess) -> IdleResults:
    """Measure the app before its first visitor and with one page, and an empty Gradio app."""
    alone = await measure_idle(app, IDLE_SECONDS)
    page = PageClient.of(app)
    event = await measure_event_seconds(app, page.load_listeners[-1])
    submit_listener = page.submit_listener(f"a lighthouse at dusk{ENDLESS_RUN_SUFFIX}")
    with_page = await idle_with_page(app, submit_listener, page.watch, IDLE_SECONDS)
    with start_server("an empty Gradio app", "-m", "bench.empty_page", "{port}") as empty:
        return IdleResults(
            alone,
            with_page,
            await measure_idle(empty, IDLE_SECONDS),
            event,
            await measure_event_seconds(empty, Listener(0, ["1:1"])),
        )
