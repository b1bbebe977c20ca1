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
from bench.app_tables import Aims, Idles, Table, Times
from bench.crowd import crowd
from bench.faces import Face, Listener, Page
from bench.idle import NEVER, events, idle, idle_with_page
from bench.limits import raise_file_limit
from bench.load import Ask, Sample, sample
from bench.processes import Program, lean_space, program
from bench.visitor import HOST

__all__ = ["AT_ONCE", "CROWD", "RUN_SECONDS", "Times", "measure"]

AT_ONCE = (1, 10, 50, 200)
CROWD = 1000
RUN_SECONDS = 2.0
IDLE_SECONDS = 15.0
PREVIEW_QUALITY = 70
"""Of JPEG; that makes previews of 45 KB."""

MOST_OF_SIMPLE = 10
"""The simple page makes one picture at a time."""

REST_SECONDS = 5.0
"""After a table, so long nothing happens before what is left in memory is read."""

CAPS = ("visitor-hourly", "all-hourly", "visitor-waiting", "all-waiting", "at-once")
FLAGS = ("--known-hosts", HOST, *(part for cap in CAPS for part in (f"--{cap}", "0")))


@dataclass(frozen=True, slots=True)
class _Contestant:
    face: Face
    program: Program | None
    most_at_once: int = 1000
    is_ours: bool = False


def measure(rounds: int, at: Sequence[int], times: Times, crowd_size: int) -> None:
    """Print the tables, and whether the aims hold."""
    raise_file_limit()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every block ends
    aims, expected = Aims(), pictures.final()
    with lean_space(PREVIEW_QUALITY) as (address, _):
        with _studio(address) as studio:
            aims.idle(_idle(studio))
        with ExitStack() as stack:
            contestants = _contestants(stack, address)
            for at_once in at:
                ask = Ask(at_once, f", in {times.run_seconds:g} s", times.spread_seconds, expected)
                aims.table(
                    _table(contestants, ask, times, rounds),
                    [one.face.name for one in contestants if one.is_ours],
                )
        if crowd_size:
            with _studio(address) as studio:
                aims.crowd(crowd(studio, crowd_size, expected))
    aims.show()


@contextmanager
def _studio(address: str) -> Iterator[Program]:
    with program("the app", "app.py", "--space", address, "--port", "{port}", *FLAGS) as running:
        yield running


def _contestants(stack: ExitStack, address: str) -> list[_Contestant]:
    studio = stack.enter_context(_studio(address))
    simple = stack.enter_context(
        program("the simple page", "-m", "bench.simple_page", address, "{port}")
    )
    simple.rest()
    page = Page.of(studio)
    return [
        _Contestant(Face.direct(urlsplit(address).port or 80), None),
        _Contestant(page.generate, studio, is_ours=True),
        _Contestant(page.infer, studio, is_ours=True),
        _Contestant(Face.simple(simple), simple, MOST_OF_SIMPLE),
    ]


def _table(contestants: list[_Contestant], ask: Ask, times: Times, rounds: int) -> Table:
    """Let them take turns; a first turn of each is to warm up."""
    chosen = [one for one in contestants if ask.at_once <= one.most_at_once]
    studio = next(one.program for one in chosen if one.is_ours and one.program)
    results: dict[str, list[Sample]] = {one.face.name: [] for one in chosen}
    sudden: dict[str, list[Sample]] = {one.face.name: [] for one in chosen if one.is_ours}
    for one in chosen:
        _turn(one, replace(ask, at_once=1, spread_seconds=0))
    before = usage.memory(studio.pid)
    for turn in range(rounds):
        start = turn % len(chosen)
        for one in (*chosen[start:], *chosen[:start]):
            results[one.face.name].append(_turn(one, ask))
            if one.is_ours:
                sudden[one.face.name].append(_turn(one, replace(ask, pace="")))
    time.sleep(REST_SECONDS)
    return Table(ask.at_once, times, results, sudden, before, usage.memory(studio.pid))


def _turn(one: _Contestant, ask: Ask) -> Sample:
    if one.program is None:
        return sample(one.face, None, ask)
    one.program.wake()
    try:
        return sample(one.face, one.program.pid, ask)
    finally:
        if not one.is_ours:
            one.program.rest()


def _idle(studio: Program) -> Idles:
    """The app before anybody has come, and with one page; and an empty Gradio app beside it."""
    alone = idle(studio, IDLE_SECONDS)
    page = Page.of(studio)
    event = events(studio, page.after(page.loads)[-1])
    asked = page.generate_with(f"a lighthouse at dusk{NEVER}")
    with_page = idle_with_page(studio, asked, page.watch, IDLE_SECONDS)
    with program("an empty Gradio app", "-m", "bench.empty_page", "{port}") as empty:
        return Idles(
            alone, with_page, idle(empty, IDLE_SECONDS), event, events(empty, Listener(0, ["1:1"]))
        )
