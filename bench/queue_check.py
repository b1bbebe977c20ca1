"""The simulation of a queue beside the real queue of a Space, with the same visits."""

import asyncio
import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Final

from bench.live_traffic import play_visits, round_to_steps
from bench.processes import start_server
from bench.queue_simulation import Fate, Outcome, Replicas, simulate
from bench.tables import format_number, print_table
from bench.traffic import HOUR, PlannedRun, Traffic, Visit, plan_visits

__all__ = ["measure"]

COUNTS: Final = (1, 2, 4)
STEP_SECONDS: Final = 0.1
LOAD: Final = 0.8
IMAGES_PER_USER: Final = 3.0
CALIBRATION_RUNS: Final = 3


def measure(seconds: float, *, has_ray: bool) -> None:
    """Print the waits in both, for some numbers of replicas; each takes about so many seconds."""
    flags = ("ray",) if has_ray else ()
    titles = ("the real queue", "simulated", "with the real run times")
    print_table(
        [
            *("replicas", "requests"),
            *(f"mean wait, s: {title}" for title in titles),
            *(f"95% wait at most, s: {title}" for title in titles),
            *(f"stopped and abandoned: {title}" for title in titles[:2]),
        ],
        (_row(count, seconds, flags) for count in COUNTS),
    )


def _row(count: int, seconds: float, flags: Sequence[str]) -> list[str]:
    arguments = ("-m", "bench.paced_space", "{port}", str(count), str(STEP_SECONDS), *flags)
    with start_server("the Space", *arguments) as space:
        address = f"http://127.0.0.1:{space.port}/"
        run_seconds = _measure_run_seconds(address)
        visits = _plan(count, run_seconds, seconds)
        outcomes_by_visit = asyncio.run(play_visits(address, visits))
    real_outcomes = list(chain.from_iterable(outcomes_by_visit))
    replicas = Replicas.fixed(count)
    simulated_outcomes = simulate(visits, run_seconds, replicas).outcomes
    replayed_visits = map(_with_real_times, visits, outcomes_by_visit)
    replayed_outcomes = simulate(list(replayed_visits), 1.0, replicas).outcomes
    columns = (real_outcomes, simulated_outcomes, replayed_outcomes)
    return [
        *(str(count), str(len(real_outcomes))),
        *(format_number(_mean_wait(outcomes), 2) for outcomes in columns),
        *(format_number(_long_wait(outcomes), 2) for outcomes in columns),
        *(_count_ends(outcomes) for outcomes in columns[:2]),
    ]


def _measure_run_seconds(address: str) -> float:
    """Return the seconds of a usual run while nothing else runs."""
    visit = Visit(0.0, (PlannedRun(),) * CALIBRATION_RUNS)
    (outcomes,) = asyncio.run(play_visits(address, [visit]))
    return statistics.median(outcome.run_seconds for outcome in outcomes)


def _plan(count: int, run_seconds: float, seconds: float) -> list[Visit]:
    """Return visits that begin within about so many seconds."""
    visits_per_second = LOAD * count / (run_seconds * IMAGES_PER_USER)
    traffic = Traffic(
        users_per_hour=HOUR * visits_per_second,
        burst_factor=1,
        images_per_user=IMAGES_PER_USER,
        pause_seconds=2 * run_seconds,
        patience_seconds=10 * run_seconds,
    )
    return round_to_steps(plan_visits(traffic, math.ceil(visits_per_second * seconds), seed=1))


def _with_real_times(visit: Visit, outcomes: Sequence[Outcome]) -> Visit:
    """Return a visit whose runs take as many seconds as they really did."""
    runs = [
        replace(run, work=outcome.run_seconds, stop_at=1.0) if outcome.is_served else run
        for run, outcome in zip(visit.runs, outcomes, strict=False)
    ]
    return replace(visit, runs=tuple(runs))


def _mean_wait(outcomes: Sequence[Outcome]) -> float:
    return statistics.fmean(outcome.wait_seconds for outcome in outcomes)


def _long_wait(outcomes: Sequence[Outcome]) -> float:
    return statistics.quantiles((outcome.wait_seconds for outcome in outcomes), n=20)[-1]


def _count_ends(outcomes: Sequence[Outcome]) -> str:
    fates = [outcome.fate for outcome in outcomes]
    return f"{fates.count(Fate.STOPPED)}, {fates.count(Fate.ABANDONED)}"
