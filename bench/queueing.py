"""Replicas that so many users an hour need, and users that one GPU serves: by simulation."""

import bisect
import math
import statistics
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bench.queue_simulation import Fate, Replicas, SimulationResult, simulate
from bench.tables import NO_VALUE, format_number, print_table
from bench.traffic import HOUR, Traffic, plan_visits

__all__ = ["USERS_PER_HOUR", "measure"]

USERS_PER_HOUR: Final = (10, 100, 1000)
WAIT_LIMITS: Final = (60.0, 10.0)
IN_TIME: Final = 0.95  # part of the requests that are to begin within the limit
MAX_CAPACITY_RATIO: Final = 50.0
MIN_VISITS: Final = 2000
MIN_HOURS: Final = 4
PRECISION: Final = 1.05  # of the number of users that one GPU serves
RUN_TIMES: Final = Path(__file__).parent / "run_times.toml"


@dataclass(frozen=True, slots=True)
class RunTime:
    """Seconds of the usual run of a model on a GPU; see `run_times.toml`."""

    model: str
    gpu: str
    seconds: float
    start_seconds: float
    source: str

    @property
    def name(self) -> str:
        """The model and the GPU."""
        return f"{self.model}, {self.gpu}"


def measure(
    rounds: int, users_per_hour: Sequence[int], traffic: Traffic, only: Sequence[str]
) -> None:
    """Print the tables for each model and GPU, or those whose name contains one of the texts."""
    run_times = [
        run_time
        for run_time in _read_run_times()
        if not only or any(text in run_time.name for text in only)
    ]
    print_table(
        ["", "a run, s", "from", *(f"users an hour, {_limit(s)}" for s in WAIT_LIMITS)],
        (_capacity_row(run_time, traffic, rounds) for run_time in run_times),
    )
    print_table(
        [
            *("", "users an hour", "images an hour", f"{IN_TIME:.0%} of the waits", "replicas"),
            *("mean wait, s", f"{IN_TIME:.0%} wait at most, s", "busy", "lost"),
            *("GPU hours per hour", "GPU hours per 1,000 images"),
        ],
        (
            row
            for run_time in run_times
            for users in users_per_hour
            for row in _replica_rows(
                run_time, replace(traffic, users_per_hour=float(users)), rounds
            )
        ),
    )


def _limit(seconds: float) -> str:
    return f"within {seconds:g} s"


def _read_run_times() -> list[RunTime]:
    table = tomllib.loads(RUN_TIMES.read_text(encoding="utf-8"))
    return [
        RunTime(
            run["model"],
            run["gpu"],
            run["gpu_seconds"] + table["encode_seconds"],
            run["start_seconds"],
            run["source"],
        )
        for run in table["run"]
    ]


@dataclass(frozen=True, slots=True)
class _Figures:
    """Figures of simulations that differ by their seed.

    Attributes:
        mean_wait: of those who were served, in seconds.
        long_wait: within which 95 % of the requests begin; infinite if too many are lost.
        busy: part of the replicas' time in which they run.
        lost: part of the requests whose users left the queue, or that were refused.
        replicas: mean number.
        images: finished, per second.
    """

    mean_wait: float
    long_wait: float
    busy: float
    lost: float
    replicas: float
    images: float

    @classmethod
    def of(cls, results: Sequence[SimulationResult]) -> "_Figures":
        """Return the figures of all rounds together."""
        outcomes = [outcome for result in results for outcome in result.outcomes]
        served = [outcome.wait_seconds for outcome in outcomes if outcome.is_served]
        waits = sorted(item.wait_seconds if item.is_served else math.inf for item in outcomes)
        replica_seconds = sum(result.replica_seconds for result in results)
        seconds = sum(result.seconds for result in results)
        return cls(
            statistics.fmean(served),
            waits[math.ceil(IN_TIME * len(waits)) - 1],
            sum(result.busy_seconds for result in results) / replica_seconds,
            1 - len(served) / len(outcomes),
            replica_seconds / seconds,
            sum(outcome.fate is Fate.FINISHED for outcome in outcomes) / seconds,
        )


def _simulate_rounds(
    traffic: Traffic, run_seconds: float, replicas: Replicas, rounds: int
) -> _Figures:
    count = max(MIN_VISITS, math.ceil(MIN_HOURS * traffic.users_per_hour))
    return _Figures.of(
        [
            simulate(plan_visits(traffic, count, seed), run_seconds, replicas)
            for seed in range(rounds)
        ]
    )


def _capacity_row(run_time: RunTime, traffic: Traffic, rounds: int) -> list[str]:
    capacities = (_find_capacity(run_time, traffic, rounds, limit) for limit in WAIT_LIMITS)
    return [
        run_time.name,
        format_number(run_time.seconds, 1),
        run_time.source,
        *(format_number(users, 0) for users in capacities),
    ]


def _find_capacity(run_time: RunTime, traffic: Traffic, rounds: int, limit_seconds: float) -> float:
    """Return the users an hour with whom one replica keeps the limit."""
    too_many = HOUR / (run_time.seconds * traffic.images_per_user)  # the GPU would never rest
    enough = too_many / MAX_CAPACITY_RATIO
    while too_many > enough * PRECISION:
        users = math.sqrt(enough * too_many)
        plan = replace(traffic, users_per_hour=users)
        figures = _simulate_rounds(plan, run_time.seconds, Replicas.fixed(1), rounds)
        if figures.long_wait <= limit_seconds:
            enough = users
        else:
            too_many = users
    return enough


def _replica_rows(run_time: RunTime, traffic: Traffic, rounds: int) -> Iterator[list[str]]:
    """Yield a row for each limit, and one for a number of replicas that follows the demand."""

    def try_replicas(replicas: Replicas) -> _Figures:
        return _simulate_rounds(traffic, run_time.seconds, replicas, rounds)

    count = 1
    for limit in WAIT_LIMITS:
        count = _find_count(count, limit, try_replicas)
        figures = try_replicas(Replicas.fixed(count))
        yield _row(run_time, traffic, _limit(limit), str(count), figures)
    if count > 1:
        figures = try_replicas(Replicas(1, 2 * count, start_seconds=run_time.start_seconds))
        yield _row(run_time, traffic, NO_VALUE, f"1 to {2 * count}", figures)


def _find_count(
    minimum: int, limit_seconds: float, try_replicas: Callable[[Replicas], _Figures]
) -> int:
    """Return the smallest number of replicas, from a minimum, that keeps the limit."""

    def is_enough(count: int) -> bool:
        return try_replicas(Replicas.fixed(count)).long_wait <= limit_seconds

    too_few = minimum - 1
    enough = minimum
    while not is_enough(enough):
        too_few = enough
        enough *= 2
    counts = range(too_few + 1, enough)
    return counts[0] + bisect.bisect_left(counts, x=True, key=is_enough) if counts else enough


def _row(
    run_time: RunTime, traffic: Traffic, limit_text: str, replicas_text: str, figures: _Figures
) -> list[str]:
    images_per_hour = HOUR * figures.images
    return [
        run_time.name,
        format_number(traffic.users_per_hour, 0),
        format_number(images_per_hour, 0),
        limit_text,
        replicas_text,
        format_number(figures.mean_wait, 1),
        format_number(figures.long_wait, 1),
        f"{figures.busy:.0%}",
        f"{figures.lost:.1%}",
        format_number(figures.replicas, 1),
        format_number(1000 * figures.replicas / images_per_hour, 2),
    ]
