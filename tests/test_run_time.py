"""Durations of runs, expected from former runs and from the steps of the one that goes on."""

import math
import random
from collections.abc import Sequence
from itertools import accumulate, pairwise
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd35.core.events import Progress
from sd35.core.request import GenerationRequest
from sd35.core.run_time import (
    Pace,
    RunSample,
    RunTimes,
    finish_times,
    remaining_run_seconds,
    run_work,
)

SECONDS = st.floats(0.01, 5000)
ANY_NUMBER = st.floats(allow_nan=True, allow_infinity=True)


def make_request(side: int = 1024, steps: int = 40, guidance: float = 4.5) -> GenerationRequest:
    return GenerationRequest(
        "a", width=side, height=side, guidance_scale=guidance, num_inference_steps=steps
    )


def make_times(*runs: tuple[float, float]) -> RunTimes:
    """Return the times of runs, given as work and seconds, the newest first."""
    return RunTimes(RunSample(work, seconds) for work, seconds in runs)


def pace_after(times: Sequence[float], total: int) -> Pace:
    """Return the pace of a run that started at 0, with its steps at these times."""
    pace = Pace(0.0)
    for step, moment in enumerate(times, 1):
        pace = pace.advance(Progress(step, total), moment)
    return pace


def test_work_grows_with_steps_size_and_guidance() -> None:
    """The unit is a step at one megapixel with guidance; attention is worse than linear."""
    assert run_work(make_request()) == pytest.approx(40)
    assert run_work(make_request(guidance=1)) == pytest.approx(20)
    assert run_work(make_request(steps=10)) == pytest.approx(10)
    assert 2 < run_work(make_request(1448)) / run_work(make_request(1024)) < 4


def test_known_work_takes_the_median_of_such_runs() -> None:
    """One cold start or hang changes nothing; runs of other work don't count then."""
    times = make_times((40, 20), (40, 21), (40, 300), (4, 90), (40, 22), (40, 19))
    assert times.run_seconds(40) == 21
    assert RunTimes().run_seconds(40) is None


def test_unknown_work_is_scaled() -> None:
    """From one kind of run in proportion to the work; from two kinds with a fixed time."""
    assert make_times((40, 20)).run_seconds(20) == pytest.approx(10)
    times = make_times((40, 25), (40, 25), (10, 10), (40, 400))
    assert times.run_seconds(20) == pytest.approx(15)


def test_average_of_the_space_counts_as_one_run() -> None:
    """It is all there is at first, and loses weight with each run of one's own."""
    assert RunTimes().run_seconds(40, 30.0) == 30
    assert make_times((40, 20)).run_seconds(40, 30.0) == 25
    assert make_times(*[(40, 20)] * 9).run_seconds(40, 30.0) == 21
    assert make_times(*[(40, 20)] * 9).run_seconds(20, 30.0) == 12


@given(
    st.lists(st.builds(RunSample, ANY_NUMBER, ANY_NUMBER), max_size=30),
    st.floats(0.01, 1e4),
)
def test_expected_time_is_none_or_a_time(samples: list[RunSample], work: float) -> None:
    """Whatever a damaged library holds, no expected time is negative, infinite or no number."""
    seconds = RunTimes(samples).run_seconds(work)
    assert seconds is None or 0 <= seconds < math.inf


def test_first_step_is_no_measure_of_the_others() -> None:
    """The time before the first step, such as a wait for a GPU, isn't part of the pace."""
    pace = pace_after([30, 31, 32, 33], 40)
    assert pace.remaining_seconds(33) == pytest.approx(36)
    assert pace.remaining_seconds(33.5) == pytest.approx(35.5)
    assert pace.remaining_seconds(35) == pytest.approx(35), "step 5 isn't there yet"
    assert pace_after([30], 40).remaining_seconds(30) is None


def test_stalled_run_has_no_remaining_time() -> None:
    """A run without a step for long says nothing about its end."""
    assert pace_after([1, 2, 3], 9).remaining_seconds(60) is None
    assert remaining_run_seconds(Pace(0.0), 100, 20.0, 100.0) is None


def test_time_after_the_last_step_counts() -> None:
    """Decoding and downloading take as long as after the last steps of former runs."""
    tails = RunTimes([RunSample(4, 9, tail_seconds=2), RunSample(4, 9, tail_seconds=3)])
    assert tails.tail_seconds == 2.5
    pace = pace_after([1, 2, 3, 4], 4)
    assert remaining_run_seconds(pace, 4, None, 4, 2.5) == 2.5
    assert remaining_run_seconds(pace, 8, None, 8, 2.5) == 0


def error_at(moment: float, steps: Sequence[float], seconds: float, times: RunTimes) -> float:
    """Return the error of the time left of a run of 40 steps, as a part of its duration."""
    now = moment * seconds
    pace = pace_after([step for step in steps if step <= now], 40)
    expected_seconds = times.run_seconds(40)
    remaining = remaining_run_seconds(pace, now, expected_seconds, now, times.tail_seconds or 0.0)
    assert remaining is not None
    return abs(remaining - (seconds - now)) / seconds


@pytest.mark.parametrize(("former_count", "limit"), [(0, 0.1), (4, 0.05)])
def test_estimates_of_uneven_runs_are_close(former_count: int, limit: float) -> None:
    """Of 100 runs at a Space whose speed varies, half of the errors are smaller than the limit."""
    generator = random.Random(5)  # noqa: S311  # the same runs each time
    errors = []
    for _ in range(100):
        runs = []
        for _ in range(5):
            step_seconds = 0.5 * generator.lognormvariate(0, 0.1)
            intervals = [step_seconds * generator.lognormvariate(0, 0.2) for _ in range(39)]
            steps = list(accumulate(intervals, initial=generator.uniform(1, 4)))
            runs.append((steps, steps[-1] + generator.uniform(1, 3)))
        former_runs = runs[1 : former_count + 1]
        times = RunTimes(RunSample(40, end, None, end - steps[-1]) for steps, end in former_runs)
        errors.append([error_at(moment, *runs[0], times) for moment in (0.25, 0.5, 0.75)])
    assert all(median(column) < limit for column in zip(*errors, strict=True))


def test_second_stage_starts_a_pace_of_its_own() -> None:
    """A bar with another total, or one that starts again, isn't mixed with the former."""
    pace = pace_after([1, 2, 3, 4], 4)
    for step, moment in ((0, 4.5), (1, 9), (2, 14)):
        pace = pace.advance(Progress(step, 8), moment)
    assert pace.remaining_seconds(14) == pytest.approx(30)


@given(
    st.lists(st.floats(0.001, 60), min_size=1, max_size=50),
    st.none() | SECONDS,
    st.floats(0, 100),
)
def test_remaining_time_is_never_negative(
    intervals: list[float], expected: float | None, later: float
) -> None:
    """Whatever the steps and the former runs say, no time is left at the end, and never less."""
    moments = [sum(intervals[: index + 1]) for index in range(len(intervals))]
    for count in range(len(moments) + 1):
        pace = pace_after(moments[:count], len(moments))
        now = pace.position_at + later
        seconds = remaining_run_seconds(pace, now, expected, now)
        assert seconds is None or 0 <= seconds < math.inf


@given(st.floats(0.05, 5), st.integers(3, 50), st.floats(0.5, 2))
def test_remaining_time_of_an_even_run_falls(seconds: float, steps: int, surprise: float) -> None:
    """With even steps, the time left never jumps up, unless a shorter run was expected."""
    expected = steps * seconds * surprise
    estimates = []
    for count in range(2, steps + 1):
        pace = pace_after([index * seconds for index in range(1, count + 1)], steps)
        for moment in (0.0, 0.5, 0.99):
            now = pace.position_at + moment * seconds
            remaining = remaining_run_seconds(pace, now, expected, now)
            assert remaining is not None
            truth = max(0.0, (steps - count - moment) * seconds)
            low, high = sorted((1.0, surprise))
            assert low * truth - seconds <= remaining <= high * truth + seconds
            estimates.append(remaining)
    if surprise >= 1:
        assert all(later <= earlier + 1e-6 for earlier, later in pairwise(estimates))


def test_fraction_counts_like_steps() -> None:
    """A Space that tells a part instead of steps has a pace, too."""
    pace = Pace(0.0)
    for moment, fraction in ((5, 0.1), (6, 0.2), (7, 0.3)):
        pace = pace.advance(Progress(fraction=fraction), moment)
    assert pace.remaining_seconds(7) == pytest.approx(7)


def test_queue_is_finished_in_its_order() -> None:
    """Each pending job starts when a slot is free, in all and for its visitor."""
    assert finish_times([("a", 5)], [("a", 10), ("b", 10)], 1, None) == [15, 25]
    assert finish_times([("a", 5)], [("a", 10), ("b", 10)], 2, 1) == [15, 15]
    assert finish_times([], [("a", 10)] * 3, None, None) == [10, 10, 10]
    assert finish_times([("a", math.inf)], [("b", 1)], 1, 1) == [math.inf]


@given(
    st.lists(st.tuples(st.sampled_from("abc"), SECONDS), max_size=4),
    st.lists(st.tuples(st.sampled_from("abc"), SECONDS), max_size=12),
    st.none() | st.integers(4, 6),
    st.none() | st.integers(1, 2),
)
def test_no_job_is_finished_before_its_own_time(
    running: list[tuple[str, float]],
    pending: list[tuple[str, float]],
    max_concurrent: int | None,
    max_per_visitor: int | None,
) -> None:
    """A pending job takes its own time at least, and all of them no more than one by one."""
    times = finish_times(running, pending, max_concurrent, max_per_visitor)
    assert all(time >= seconds for time, (_, seconds) in zip(times, pending, strict=True))
    longest = max((seconds for _, seconds in running), default=0.0)
    assert max(times, default=0.0) <= longest + sum(seconds for _, seconds in pending) + 1e-6
