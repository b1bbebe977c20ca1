"""Plans of visits: who comes when, and asks for which runs.

`bench.queue_simulation` simulates a plan, `bench.live_traffic` plays it to a running Space.
"""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

__all__ = ["HOUR", "PlannedRun", "Traffic", "Visit", "plan_visits"]

HOUR: Final = 3600.0


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """One run that a user asks for.

    Attributes:
        pause_seconds: between the result before it, or the visit's begin, and the request.
        work: time on the GPU, as a multiple of the usual run's.
        stop_at: part of the run after which the user stops it; 1: never.
        patience_seconds: of the wait in the queue, after which the user leaves.
    """

    pause_seconds: float = 0.0
    work: float = 1.0
    stop_at: float = 1.0
    patience_seconds: float = math.inf


@dataclass(frozen=True, slots=True)
class Visit:
    """The runs of one user, one after another, and the second in which the first can begin."""

    begins_at: float
    runs: tuple[PlannedRun, ...]


@dataclass(frozen=True, slots=True)
class Traffic:
    """Users of a Space. Visits begin at random (Poisson).

    Attributes:
        users_per_hour: visits that begin in an hour, on average.
        burst_factor: as a multiple of the other minutes', visits that begin while a burst lasts.
        burst_seconds: at the beginning of every hour.
        images_per_user: mean of a geometric distribution, at least 1.
        pause_seconds: mean of the exponentially distributed pauses between a user's runs.
        work_variation: standard deviation of the runs' time by its mean; 0: all are equal; 1:
            exponentially distributed.
        stop_share: part of the runs that are stopped, at a random step.
        patience_seconds: mean of the exponentially distributed patience in the queue.
    """

    users_per_hour: float = 100.0
    burst_factor: float = 5.0
    burst_seconds: float = 300.0
    images_per_user: float = 8.0
    pause_seconds: float = 30.0
    work_variation: float = 0.3
    stop_share: float = 0.1
    patience_seconds: float = 300.0


def plan_visits(traffic: Traffic, count: int, seed: int) -> list[Visit]:
    """Return so many visits; the same for the same seed.

    A visit's runs depend on the seed and its number alone, and all visits come sooner if there are
    more users an hour: what differs between two simulations isn't chance.
    """
    arrivals = random.Random(f"{seed} arrivals")  # noqa: S311  # no secret
    visits = []
    expected_count = 0.0  # of visits until now
    for number in range(count):
        expected_count += arrivals.expovariate(1)
        stream = random.Random(f"{seed} {number}")  # noqa: S311  # no secret
        runs = tuple(_plan_runs(traffic, stream))
        visits.append(Visit(_time_of_arrival(traffic, expected_count), runs))
    return visits


def _time_of_arrival(traffic: Traffic, expected_count: float) -> float:
    """Return the time at which so many visits have begun on average."""
    hours, rest = divmod(expected_count, traffic.users_per_hour)
    calm_seconds = HOUR - traffic.burst_seconds
    weighted_seconds = calm_seconds + traffic.burst_seconds * traffic.burst_factor
    calm_rate = traffic.users_per_hour / weighted_seconds
    burst_rate = calm_rate * traffic.burst_factor
    burst_count = burst_rate * traffic.burst_seconds
    if rest < burst_count:
        seconds = rest / burst_rate
    else:
        seconds = traffic.burst_seconds + (rest - burst_count) / calm_rate
    return hours * HOUR + seconds


def _plan_runs(traffic: Traffic, stream: random.Random) -> Iterator[PlannedRun]:
    pause_seconds = 0.0
    while True:
        yield PlannedRun(
            pause_seconds,
            work=_gamma(stream, traffic.work_variation),
            stop_at=stream.random() if stream.random() < traffic.stop_share else 1.0,
            patience_seconds=stream.expovariate(1) * traffic.patience_seconds,
        )
        if stream.random() < 1 / traffic.images_per_user:
            return
        pause_seconds = stream.expovariate(1) * traffic.pause_seconds


def _gamma(stream: random.Random, variation: float) -> float:
    """Return a positive random number with mean 1 and this standard deviation."""
    if not variation:
        return 1.0
    shape = variation**-2
    return stream.gammavariate(shape, 1 / shape)
