"""Estimates of the seconds of a run on a GPU that is shared."""

from dataclasses import replace

import pytest

from sd35.core.request import GenerationRequest
from sd35.space.gpu_time import MARGIN, MAX_MARGIN, MIN_SPARE_SECONDS, GpuTimeEstimator
from sd35.space.models import MODELS

LARGE = MODELS["large"].weights
REQUEST = GenerationRequest("a cat", num_inference_steps=40)
TURBO_REQUEST = replace(REQUEST, guidance_scale=0, num_inference_steps=4)


@pytest.mark.parametrize(
    ("key", "request_", "seconds"),
    [("large-turbo", TURBO_REQUEST, 13.4), ("large", REQUEST, 52.8), ("medium", REQUEST, 22.3)],
)
def test_first_estimates_are_counted(key: str, request_: GenerationRequest, seconds: float) -> None:
    """Before the first run, weights and steps are counted, with the model's defaults."""
    estimator = GpuTimeEstimator(MODELS[key].weights)
    assert estimator.estimate(request_) == pytest.approx(seconds, abs=0.1)
    assert estimator.reservation(request_) == pytest.approx(
        max(seconds * MARGIN, seconds + MIN_SPARE_SECONDS), abs=0.2
    )


@pytest.mark.parametrize(("side", "tflop"), [(512, 16.0), (768, 33.5), (1024, 62.2), (1440, 143.0)])
def test_steps_grow_with_the_size_as_counted(side: int, tflop: float) -> None:
    """A step of another size takes as much longer as it has more operations."""
    estimator = GpuTimeEstimator(LARGE)
    one_step, two_steps = (
        estimator.estimate(replace(REQUEST, width=side, height=side, num_inference_steps=count))
        for count in (1, 2)
    )
    assert (two_steps - one_step) * 60 == pytest.approx(tflop, rel=0.02)


def test_measured_times_replace_the_counted_ones() -> None:
    """Steps are measured in each run, the rest in those that moved the weights; slowest counts."""
    estimator = GpuTimeEstimator(LARGE)
    estimator.learn(REQUEST, [8.0, 8.5, 9.0, 9.5], 10.0)  # 8 s, and half a second a step
    assert estimator.estimate(replace(REQUEST, num_inference_steps=10)) == pytest.approx(13)
    estimator.learn(REQUEST, [1.0, 1.6, 2.2], None)
    assert estimator.estimate(replace(REQUEST, num_inference_steps=10)) == pytest.approx(14)
    without_guidance = replace(REQUEST, num_inference_steps=10, guidance_scale=1)
    assert estimator.estimate(without_guidance) == pytest.approx(11)
    estimator.learn(REQUEST, [99.0], 100.0)
    assert estimator.estimate(without_guidance) == pytest.approx(11), "one step tells nothing"


def test_slow_runs_are_forgotten_after_others() -> None:
    """An outlier doesn't cost every later visitor's quota."""
    estimator = GpuTimeEstimator(LARGE)
    estimator.learn(REQUEST, [10.0, 20.0], 40.0)
    for _ in range(8):
        estimator.learn(REQUEST, [5.0, 5.5], 6.0)
    assert estimator.estimate(replace(REQUEST, num_inference_steps=2)) == pytest.approx(6)


def test_aborted_runs_ask_for_more_until_one_succeeds() -> None:
    """After each run that was ended, more is asked for, up to a limit, but no more is expected."""
    estimator = GpuTimeEstimator(LARGE)
    seconds = estimator.estimate(REQUEST)
    estimator.note_abort()
    assert estimator.reservation(REQUEST) > seconds * MARGIN
    for _ in range(99):
        estimator.note_abort()
    assert estimator.reservation(REQUEST) == pytest.approx(seconds * MAX_MARGIN)
    assert estimator.estimate(REQUEST) == seconds
    estimator.learn(REQUEST, [8.0, 9.0], 10.0)
    assert estimator.reservation(REQUEST) == pytest.approx(estimator.estimate(REQUEST) * MARGIN)
