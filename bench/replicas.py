"""Replicas by Ray Serve, compared with the same engine in the Space's own process.

The engine has steps of a fixed time, each with a preview of 35 KB, and needs no GPU.
"""

import asyncio
import os
import signal
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle, pairwise
from typing import Final, TypeVar

from bench import usage
from bench.process_tree import command_line, descendants, has_ended, tree_cpu_seconds, tree_mib
from bench.processes import ServerProcess, start_server
from bench.tables import NO_VALUE, format_ms, format_number, print_table
from sd35.client import SpaceClient
from sd35.core.events import Finished, Progress, Started
from sd35.core.request import GenerationRequest

__all__ = ["REPLICA_COUNTS", "measure"]

T = TypeVar("T")

REPLICA_COUNTS: Final = (2, 3, 4)
STEPS: Final = 50
STEP_SECONDS: Final = 0.1
SHORT_RUNS: Final = 10
WAVES: Final = 2
STOP_STEP: Final = 3
FAST_STEP_SECONDS: Final = 0.03
KILL_STEP: Final = 40
SLOW_STEP_SECONDS: Final = 0.5
IDLE_SECONDS: Final = 10.0
LIMIT_SECONDS: Final = 120.0
RETURN_SECONDS: Final = 3.0  # for a replica whose process has started to become ready
POLL_SECONDS: Final = 0.05
REQUEST: Final = GenerationRequest("a lighthouse", "", 512, 512, 4.5, STEPS, 7)


@dataclass(slots=True)
class _RunTimes:
    """Moments of a run; `steps`, with their numbers, begin again after a loss."""

    asked_at: float = field(default_factory=time.perf_counter)
    started_at: float = 0.0
    steps: list[tuple[int, float]] = field(default_factory=list)
    finished_at: float = 0.0

    @property
    def seconds(self) -> float:
        """Duration from the request on: the message of the start may come late."""
        return self.finished_at - self.asked_at


def measure(rounds: int, counts: Sequence[int]) -> None:
    """Print what Ray adds, how replicas scale, and how they recover."""
    print_table(["", "in the Space's process", "by Ray, one replica", ""], _cost_rows(rounds))
    print_table(
        ["replicas", "images a minute", "those of one", "ratio to as many times one's"],
        (_scaling_row(count, rounds) for count in counts),
    )
    print_table(["", "median", "worst"], _recovery_rows(rounds))


def _start_space(
    stack: ExitStack, replicas: str, step_seconds: float, *flags: str
) -> ServerProcess:
    arguments = ("-m", "bench.paced_space", "{port}", replicas, str(step_seconds), *flags)
    return stack.enter_context(start_server(f"the Space {' '.join(flags)}", *arguments))


def _cost_rows(rounds: int) -> Iterator[list[str]]:
    """Yield the costs of Ray, measured in turn."""
    with ExitStack() as stack:
        starts = []
        spaces = []
        for flags in ((), ("ray",)):
            began_at = time.perf_counter()
            spaces.append(_start_space(stack, "1", STEP_SECONDS, *flags))
            starts.append(time.perf_counter() - began_at)
        yield ["start, s", *(format_number(seconds, 1) for seconds in starts), NO_VALUE]
        memory = [tree_mib(space.pid) for space in spaces]
        yield ["memory of all processes, MiB", *(format_number(mib, 0) for mib in memory), NO_VALUE]
        idle = [_idle_cpu(space) for space in spaces]
        yield ["CPU while nothing runs, of a core", *(f"{cpu:.0%}" for cpu in idle), NO_VALUE]
        own, ray = _medians(spaces, rounds, _run_seconds)
        name = f"a run of {STEPS} steps of {STEP_SECONDS:g} s, s"
        yield [name, format_number(own, 3), format_number(ray, 3), f"{ray / own - 1:+.2%}"]
        own, ray = _medians(spaces, rounds, _stop_seconds)
        yield [
            "from Stop until the first step of the next run, ms",
            format_ms(own),
            format_ms(ray),
            NO_VALUE,
        ]
    with ExitStack() as stack:
        spaces = [_start_space(stack, "1", 0.0, *flags) for flags in ((), ("ray",))]
        own, ray = _medians(spaces, rounds, partial(_run_seconds, count=SHORT_RUNS))
        added = f"{1000 * (ray - own) / STEPS:+.2f} ms per step"
        name = f"a run of {STEPS} steps without a pace, the shortest of {SHORT_RUNS}, s"
        yield [name, format_number(own, 3), format_number(ray, 3), added]
    yield _end_row()


def _medians(
    spaces: Sequence[ServerProcess],
    rounds: int,
    *measurements: Callable[[SpaceClient], Awaitable[float]],
) -> list[float]:
    """Return the median for each Space, of measurements in turn, after one of each as a warm-up.

    Args:
        spaces: to be measured.
        rounds: number of measurements of each.
        measurements: of each Space, or one for all.
    """
    pairs = list(zip(spaces, cycle(measurements), strict=False))
    turns = [
        [_visit(space, measurement) for space, measurement in pairs] for _ in range(rounds + 1)
    ]
    return [statistics.median(column) for column in zip(*turns[1:], strict=True)]


def _visit(program: ServerProcess, measure_once: Callable[[SpaceClient], Awaitable[T]]) -> T:
    async def visit() -> T:
        address = f"http://127.0.0.1:{program.port}/"
        async with SpaceClient.connect(address) as space, asyncio.timeout(LIMIT_SECONDS):
            return await measure_once(space)

    return asyncio.run(visit())


async def _run(
    space: SpaceClient, times: _RunTimes, on_step: Callable[[int], bool] = lambda _: False
) -> _RunTimes:
    """Run a request; `on_step` gets the number of each step, and returns whether to stop."""
    async with space.generate(REQUEST) as generation:
        async for event in generation:
            match event:
                case Started():
                    times.started_at = time.perf_counter()
                case Progress(step=int(step)):
                    times.steps.append((step, time.perf_counter()))
                    if on_step(step):
                        break
                case Finished():
                    times.finished_at = time.perf_counter()
    return times


async def _run_seconds(space: SpaceClient, count: int = 1) -> float:
    """Return the duration of the shortest of some runs, one after the other."""
    return min([(await _run(space, _RunTimes())).seconds for _ in range(count)])


async def _stop_seconds(space: SpaceClient) -> float:
    """Return the seconds from a stop until the first step of a run that waits for the device."""
    is_running = asyncio.Event()
    stopped_at = 0.0

    def stop_later(step: int) -> bool:
        nonlocal stopped_at
        is_running.set()
        stopped_at = time.perf_counter()
        return step >= STOP_STEP

    first_run = asyncio.create_task(_run(space, _RunTimes(), stop_later))
    await is_running.wait()
    next_times = await _run(space, _RunTimes(), lambda _: True)
    await first_run
    return next_times.steps[0][1] - stopped_at


async def _images_seconds(space: SpaceClient, count: int) -> float:
    """Return the seconds in which so many images are made that are asked for at once."""
    runs = await asyncio.gather(*(_run(space, _RunTimes()) for _ in range(count)))
    return max(run.finished_at for run in runs) - min(run.started_at for run in runs)


def _scaling_row(count: int, rounds: int) -> list[str]:
    """Return how many images so many replicas make while one makes its own, in turn."""
    with ExitStack() as stack:
        spaces = [_start_space(stack, str(n), STEP_SECONDS, "ray") for n in (1, count)]
        waves = [partial(_images_seconds, count=WAVES * n) for n in (1, count)]
        one, many = _medians(spaces, rounds, *waves)
    return [
        str(count),
        format_number(WAVES * count / many * 60, 1),
        format_number(WAVES / one * 60, 1),
        f"{count * one / many:.2f}×",
    ]


def _idle_cpu(space: ServerProcess) -> float:
    cpu_before = tree_cpu_seconds(space.pid)
    time.sleep(IDLE_SECONDS)
    return (tree_cpu_seconds(space.pid) - cpu_before) / IDLE_SECONDS


def _end_row() -> list[str]:
    """Return how long the Space's end takes, and how many processes outlive it."""
    cells = []
    for flags in ((), ("ray",)):
        with ExitStack() as stack:
            space = _start_space(stack, "2", STEP_SECONDS, *flags)
            pids = descendants(space.pid)
            began_at = time.perf_counter()
        seconds = time.perf_counter() - began_at
        survivors = sum(not has_ended(pid) for pid in pids)
        cells.append(f"{seconds:.1f} ({survivors} of {len(pids)} remain)")
    return ["end, s (processes)", *cells, NO_VALUE]


def _recovery_rows(rounds: int) -> Iterator[list[str]]:
    with ExitStack() as stack:
        space = _start_space(stack, "2", FAST_STEP_SECONDS, "ray")
        results = [_visit(space, partial(_kill_replica, program=space)) for _ in range(rounds)]
    yield [
        "from the death of a replica until its run's next step, s",
        *(format_number(seconds, 2) for seconds in (statistics.median(results), max(results))),
    ]
    with ExitStack() as stack:
        space = _start_space(stack, "1-3", SLOW_STEP_SECONDS, "ray")
        seconds_to_steps = _visit(space, _scale_up)
    yield [
        "three requests at once, one replica of up to three: until the first step of each, s",
        ", ".join(format_number(seconds, 1) for seconds in seconds_to_steps),
        NO_VALUE,
    ]


async def _kill_replica(space: SpaceClient, program: ServerProcess) -> float:
    """Kill the replica of a run; return the seconds until the run's next step."""
    await asyncio.to_thread(_wait_for_replicas, program, 2)
    cpu_before = {pid: usage.cpu_seconds(pid) for pid in _replica_pids(program)}
    killed_at = 0.0

    def kill_once(step: int) -> bool:
        nonlocal killed_at
        if step >= KILL_STEP and not killed_at:
            # The one that has sent the steps has taken more of the CPU.
            pid = max(cpu_before, key=lambda pid: usage.cpu_seconds(pid) - cpu_before[pid])
            os.kill(pid, signal.SIGKILL)
            killed_at = time.perf_counter()
        return False

    times = await _run(space, _RunTimes(), kill_once)
    for (earlier_step, _), (step, moment) in pairwise(times.steps):
        if step < earlier_step:
            return moment - killed_at
    raise RuntimeError("another replica was killed than that of the run")


def _replica_pids(program: ServerProcess) -> list[int]:
    return [pid for pid in descendants(program.pid) if "ServeReplica" in command_line(pid)]


def _wait_for_replicas(program: ServerProcess, count: int) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while len(_replica_pids(program)) < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"there aren't {count} replicas")
        time.sleep(POLL_SECONDS)
    time.sleep(RETURN_SECONDS)


async def _scale_up(space: SpaceClient) -> list[float]:
    """Return the seconds until the first step of each of three runs, sorted."""
    began_at = time.perf_counter()
    runs = await asyncio.gather(*(_run(space, _RunTimes()) for _ in range(3)))
    return sorted(run.steps[0][1] - began_at for run in runs)
