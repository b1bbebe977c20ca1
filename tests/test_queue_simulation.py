"""The simulation of a queue: results that are known from theory, or by hand."""

import math
import statistics
from itertools import pairwise

import pytest

from bench.queue_simulation import Fate, Outcome, Replicas, simulate
from bench.traffic import HOUR, PlannedRun, Traffic, Visit, plan_visits

ENDLESS = math.inf
VISITS = 9000
BATCHES = 20


def steady_traffic(load: float, work_variation: float) -> Traffic:
    """Return users who ask for one run each, and take so much of one replica's time."""
    return Traffic(
        users_per_hour=HOUR * load,
        burst_factor=1,
        images_per_user=1,
        work_variation=work_variation,
        stop_share=0,
        patience_seconds=math.inf,
    )


def erlang_c(count: int, load: float) -> float:
    """Return the part of the requests that wait for one of so many replicas (Erlang C)."""
    at_once = sum(load**k / math.factorial(k) for k in range(count))
    delayed = load**count / math.factorial(count) * count / (count - load)
    return delayed / (at_once + delayed)


@pytest.mark.parametrize(
    ("count", "load", "work_variation", "expected_wait"),
    [
        pytest.param(1, 0.5, 1.0, 1.0, id="M/M/1"),
        pytest.param(1, 0.5, 0.0, 1.0 / 2, id="M/D/1"),
        pytest.param(1, 0.5, 0.5, (1 + 0.5**2) / 2, id="M/G/1"),
        pytest.param(4, 2.8, 1.0, erlang_c(4, 2.8) / (4 - 2.8), id="M/M/4"),
    ],
)
def test_mean_wait_is_that_of_theory(
    count: int, load: float, work_variation: float, expected_wait: float
) -> None:
    """The mean wait is the known one, within two standard errors, which are small."""
    visits = plan_visits(steady_traffic(load, work_variation), VISITS, 1)
    result = simulate(visits, 1.0, Replicas.fixed(count), ENDLESS)
    waits = [outcome.wait_seconds for outcome in result.outcomes]
    size = VISITS // BATCHES
    means = [statistics.fmean(waits[k : k + size]) for k in range(0, VISITS, size)]
    standard_error = statistics.stdev(means) / math.sqrt(BATCHES)
    assert standard_error < expected_wait / 7
    assert statistics.fmean(waits) == pytest.approx(expected_wait, abs=2 * standard_error)
    assert result.busy_seconds / result.replica_seconds == pytest.approx(load / count, rel=0.05)


def test_refused_part_is_that_of_theory() -> None:
    """With two replicas and a queue of two, requests are refused as in an M/M/2/4 system."""
    visits = plan_visits(steady_traffic(1.6, 1.0), VISITS, 1)
    result = simulate(visits, 1.0, Replicas.fixed(2), queue_limit=2)
    weights = [1.0, 1.6, *(2 * (1.6 / 2) ** k for k in (2, 3, 4))]
    refused = sum(outcome.fate is Fate.REFUSED for outcome in result.outcomes)
    assert refused / VISITS == pytest.approx(weights[-1] / sum(weights), rel=0.1)


@pytest.mark.parametrize("work_variation", [0.0, 1.0])
def test_with_more_replicas_nobody_waits_longer(work_variation: float) -> None:
    """The same requests wait at most as long with one replica more, each of them."""
    visits = plan_visits(steady_traffic(0.9, work_variation), 1000, 3)
    waits = [
        {
            outcome.asked_at: outcome.wait_seconds
            for outcome in simulate(visits, 1.0, Replicas.fixed(count), ENDLESS).outcomes
        }
        for count in (1, 2, 3)
    ]
    for fewer, more in pairwise(waits):
        assert all(more[moment] <= fewer[moment] + 1e-9 for moment in fewer)


def test_visits_are_the_same_for_the_same_seed() -> None:
    """A seed decides about the visits; more users an hour only come sooner."""
    visits = plan_visits(Traffic(100), 50, 7)
    assert visits == plan_visits(Traffic(100), 50, 7)
    assert visits != plan_visits(Traffic(100), 50, 8)
    busier = plan_visits(Traffic(200), 50, 7)
    assert [visit.runs for visit in busier] == [visit.runs for visit in visits]
    assert all(b.begins_at < v.begins_at for b, v in zip(busier, visits, strict=True))


def test_traffic_has_the_means_that_it_promises() -> None:
    """Visits, images, pauses, work and stops have the requested means, and bursts their part."""
    traffic = Traffic(1000, burst_factor=5, burst_seconds=300)
    visits = plan_visits(traffic, 5000, 1)
    assert visits[-1].begins_at == pytest.approx(5 * HOUR, rel=0.05)
    in_bursts = sum(visit.begins_at % HOUR < 300 for visit in visits) / len(visits)
    assert in_bursts == pytest.approx(1500 / 4800, rel=0.05)
    runs = [run for visit in visits for run in visit.runs]
    assert len(runs) / len(visits) == pytest.approx(traffic.images_per_user, rel=0.05)
    assert statistics.fmean(run.work for run in runs) == pytest.approx(1, rel=0.02)
    assert statistics.stdev(run.work for run in runs) == pytest.approx(0.3, rel=0.03)
    assert sum(run.stop_at < 1 for run in runs) / len(runs) == pytest.approx(0.1, rel=0.05)


def test_queue_limit_counts_those_who_wait() -> None:
    """With one replica and a queue of two, the fourth request is refused, and its user leaves."""
    visits = [Visit(float(second), (PlannedRun(), PlannedRun())) for second in range(4)]
    result = simulate(visits, 10.0, Replicas.fixed(1), queue_limit=2)
    assert Outcome(Fate.REFUSED, 3.0, 0.0) in result.outcomes
    assert len(result.outcomes) == 3 * 2 + 1


def test_stops_and_leaves_free_their_turns() -> None:
    """A run that is stopped half way takes half the time; who has left the queue takes none."""
    visits = [
        Visit(0.0, (PlannedRun(stop_at=0.5), PlannedRun(pause_seconds=20.0))),
        Visit(1.0, (PlannedRun(patience_seconds=3.0), PlannedRun())),
        Visit(2.0, (PlannedRun(),)),
    ]
    result = simulate(visits, 10.0, Replicas.fixed(1))
    assert sorted(result.outcomes, key=lambda outcome: outcome.asked_at) == [
        Outcome(Fate.STOPPED, 0.0, 0.0, 5.0),
        Outcome(Fate.ABANDONED, 1.0, 3.0),
        Outcome(Fate.FINISHED, 2.0, 3.0, 10.0),
        Outcome(Fate.FINISHED, 25.0, 0.0, 10.0),
    ]
    assert (result.busy_seconds, result.replica_seconds) == (25.0, 35.0)


def test_replicas_follow_the_demand_after_their_delays() -> None:
    """Replicas are added after a delay and a start, removed after another, and paid meanwhile."""
    replicas = Replicas(
        1, 3, upscale_delay_seconds=2.0, downscale_delay_seconds=5.0, start_seconds=4.0
    )
    visits = [Visit(0.0, (PlannedRun(),)) for _ in range(5)] + [Visit(40.0, (PlannedRun(),))]
    result = simulate(visits, 10.0, replicas)
    # Two are added at 2 s, and begin at 6 s. From 16 s on fewer are needed, from 20 s on one.
    assert [outcome.wait_seconds for outcome in result.outcomes] == [0.0, 6.0, 6.0, 10.0, 16.0, 0.0]
    assert result.seconds == 50.0
    assert result.replica_seconds == 2 + 3 * (21 - 2) + (50 - 21)


def test_short_demand_adds_no_replica() -> None:
    """Demand that ends before the delay is over changes nothing."""
    replicas = Replicas(1, 2, upscale_delay_seconds=20.0)
    result = simulate([Visit(0.0, (PlannedRun(),))] * 2, 10.0, replicas)
    assert result.replica_seconds == result.seconds == 20.0
