"""Durations of runs: what former runs of a Space tell, and the pace of a run that goes on.

Times are seconds. The unit of work is a step at 1024 × 1024 pixels with guidance.
"""

import heapq
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import median
from typing import Final, Self

from sd35.core.events import Progress, Queued, Started
from sd35.core.request import GenerationRequest

__all__ = [
    "MAX_SAMPLES",
    "Pace",
    "RunClock",
    "RunSample",
    "RunTimes",
    "finish_times",
    "remaining_queue_seconds",
    "remaining_run_seconds",
    "run_work",
    "step_work",
]

MAX_SAMPLES: Final = 24  # the newest: older ones may be of another GPU
MAX_SIMILAR: Final = 9
MIN_WORK_DIFFERENCE: Final = 0.05  # of two runs whose times tell how time depends on work
MAX_RUN_SECONDS: Final = 86_400.0

# A run without a step for so long, or for so many steps' time, has no pace any more.
STALL_SECONDS: Final = 10.0
STALL_STEPS: Final = 4

NEWEST_STEP_WEIGHT: Final = 0.2
PRIOR_STEPS: Final = 3.0  # as many steps weigh as much as what was expected before the run

# A run that takes longer than that has no end that could be expected.
OVERRUN_FACTOR: Final = 1.25
OVERRUN_SECONDS: Final = 5.0


def step_work(request: GenerationRequest) -> float:
    """Return the work of one step of a run."""
    # The negative prompt takes a second pass.
    passes = 2 if request.guidance_scale > 1 else 1
    return passes / 2 * _pass_tflop(request.width * request.height) / _pass_tflop(1024 * 1024)


def _pass_tflop(pixels: int) -> float:
    # Of Large, fitted to counts for 512² to 1440²: layers are linear in tokens, attention square.
    tokens = pixels / 256 + 333
    return 0.0054 * tokens + 3.64e-7 * tokens**2


def run_work(request: GenerationRequest) -> float:
    """Return the work of all steps of a run."""
    return request.num_inference_steps * step_work(request)


@dataclass(frozen=True, slots=True)
class RunSample:
    """A completed run.

    Attributes:
        wait_seconds: its wait in the Space's queue before, if that is known.
        tail_seconds: the time from its last step to the image, if that is known.
    """

    work: float
    seconds: float
    wait_seconds: float | None = None
    tail_seconds: float | None = None

    @property
    def is_plausible(self) -> bool:
        """Return whether the values can be those of a run."""
        return 0 < self.work < math.inf and 0 < self.seconds < MAX_RUN_SECONDS


class RunTimes:
    """Durations of the newest runs of one Space.

    A run of known work takes the median of such runs. Another one takes a fixed time, and a time
    for each unit of work; both are medians (Theil–Sen), so that a cold start changes little.

    Attributes:
        samples: the runs, the newest first.
        wait_seconds: the usual wait in the Space's queue; `None` if it isn't known.
        tail_seconds: the usual time from the last step to the image; `None` if it isn't known.
    """

    def __init__(self, samples: Iterable[RunSample] = ()) -> None:
        """Take samples, the newest first."""
        plausible = [sample for sample in samples if sample.is_plausible]
        self.samples = tuple(plausible[:MAX_SAMPLES])
        self._fixed_seconds, self._seconds_per_work = _fit(self.samples)
        self.wait_seconds = _newest_median(sample.wait_seconds for sample in self.samples)
        self.tail_seconds = _newest_median(sample.tail_seconds for sample in self.samples)

    def __len__(self) -> int:
        return len(self.samples)

    def with_sample(self, sample: RunSample) -> Self:
        """Return the times with a newer run."""
        return type(self)((sample, *self.samples))

    def run_seconds(self, work: float, space_average: float | None = None) -> float | None:
        """Return the expected duration of a run; `None` if nothing is known.

        `space_average` is that of the Space's last runs, whatever their work: it counts as one run.
        """
        similar = [sample.seconds for sample in self.samples if _is_similar(sample.work, work)]
        similar = similar[:MAX_SIMILAR]
        if similar:
            seconds = median(similar)
        elif self.samples:
            seconds = self._fixed_seconds + self._seconds_per_work * work
        else:
            return space_average
        if space_average is None:
            return seconds
        count = len(similar or self.samples[:MAX_SIMILAR])
        return (count * seconds + space_average) / (count + 1)


def _is_similar(work: float, other_work: float) -> bool:
    return abs(work - other_work) <= MIN_WORK_DIFFERENCE * max(work, other_work)


def _newest_median(values: Iterable[float | None]) -> float | None:
    known_values = [value for value in values if value is not None]
    return median(known_values[:MAX_SIMILAR]) if known_values else None


def _fit(samples: Sequence[RunSample]) -> tuple[float, float]:
    """Return the fixed seconds of a run, and those for each unit of work."""
    if not samples:
        return 0.0, 0.0
    slopes = [
        (first.seconds - second.seconds) / (first.work - second.work)
        for first, second in combinations(samples, 2)
        if not _is_similar(first.work, second.work)
    ]
    proportional = median(sample.seconds / sample.work for sample in samples)
    slope = min(median(slopes), proportional) if slopes else proportional
    slope = max(0.0, slope)
    fixed = median(sample.seconds - slope * sample.work for sample in samples)
    return max(0.0, fixed), slope


@dataclass(frozen=True, slots=True)
class Pace:
    """Progress of a run in time. `position` is the step, or the fraction of a run without steps.

    Attributes:
        position_at: when the position was reached, or the run started.
        total: the last position.
        interval_count: the number of intervals that `seconds_per_position` is an average of.
    """

    position_at: float
    position: float = 0.0
    total: float = 0.0
    seconds_per_position: float = 0.0
    interval_count: int = 0

    @property
    def is_at_end(self) -> bool:
        """Return whether the last position was reached."""
        return 0 < self.total <= self.position

    def advance(self, progress: Progress, now: float) -> "Pace":
        """Return the pace after a progress event."""
        position, total = _position_and_total(progress)
        if not total or position == self.position:
            return self
        # Another bar, such as that of a second stage.
        if total != self.total or position < self.position:
            return Pace(now, position, total)
        advanced = replace(self, position_at=now, position=position)
        if self.position == 0:
            return advanced  # the first step also takes what comes before it
        seconds = (now - self.position_at) / (position - self.position)
        count = self.interval_count + 1
        weight = max(NEWEST_STEP_WEIGHT, 1 / count)
        average = self.seconds_per_position + weight * (seconds - self.seconds_per_position)
        return replace(advanced, seconds_per_position=average, interval_count=count)

    def remaining_seconds(
        self, now: float, expected_seconds: float | None = None, tail_seconds: float = 0.0
    ) -> float | None:
        """Return the time to the image; `None` without a pace, or if the run stalls.

        Args:
            now: the current time.
            expected_seconds: the duration of the run as expected before its start.
            tail_seconds: the time from the last position to the image.
        """
        if not self.interval_count:
            return None
        since_position = max(0.0, now - self.position_at)
        if since_position > STALL_SECONDS + STALL_STEPS * self.seconds_per_position:
            return None
        seconds = self.seconds_per_position
        if expected_seconds is not None:
            # A share of it, as a run may have waited for its GPU after its start.
            weight = self.interval_count / (self.interval_count + PRIOR_STEPS)
            expected_steps = max(0.0, expected_seconds - tail_seconds)
            seconds = weight * seconds + (1 - weight) * expected_steps / self.total
        if self.is_at_end:
            return max(0.0, tail_seconds - since_position)
        ahead = (self.total - self.position) * seconds
        # Until the next step is there, no more than its own time has passed.
        return max(0.0, ahead - min(since_position, seconds)) + tail_seconds


def _position_and_total(progress: Progress) -> tuple[float, float]:
    if progress.step is not None and progress.total:
        return float(min(progress.step, progress.total)), float(progress.total)
    return (0.0, 0.0) if progress.fraction is None else (min(1.0, progress.fraction), 1.0)


def remaining_run_seconds(
    pace: Pace,
    elapsed_seconds: float,
    expected_seconds: float | None,
    now: float,
    tail_seconds: float = 0.0,
) -> float | None:
    """Return the remaining time of a run, never negative; `None` if nothing is known.

    Args:
        pace: of its steps.
        elapsed_seconds: since its start.
        expected_seconds: its duration as expected before its start, if there was a reason to.
        now: the time that the pace is compared with.
        tail_seconds: the time from the last step to the image.
    """
    by_pace = pace.remaining_seconds(now, expected_seconds, tail_seconds)
    if by_pace is not None or expected_seconds is None or pace.interval_count:
        return by_pace
    is_late = elapsed_seconds > OVERRUN_FACTOR * expected_seconds + OVERRUN_SECONDS
    return None if is_late else max(0.0, expected_seconds - elapsed_seconds)


class RunClock:
    """Time left of one run, from its events.

    Args:
        expected_seconds: the usual duration of such a run; `None` if that isn't known.
        following_seconds: the expected time of what comes after the run.
        clock: the current time.
    """

    def __init__(
        self,
        expected_seconds: float | None = None,
        following_seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._expected_seconds = expected_seconds
        self._following_seconds = following_seconds
        self._clock = clock
        self._queued: tuple[float, Queued] | None = None
        self._pace: Pace | None = None
        self._started_at = 0.0

    def observe(self, event: object) -> None:
        """Take an event into account."""
        now = self._clock()
        match event:
            case Queued():
                self._queued = now, event
            case Started(eta_seconds=space_average):
                self._started_at = now
                self._pace = Pace(now)
                if self._expected_seconds is None:
                    self._expected_seconds = space_average
            case Progress() if self._pace is not None:
                self._pace = self._pace.advance(event, now)

    @property
    def remaining_seconds(self) -> float | None:
        """The time until the image is there; `None` if nothing is known."""
        now = self._clock()
        if self._pace is not None:
            elapsed_seconds = now - self._started_at
            return remaining_run_seconds(self._pace, elapsed_seconds, self._expected_seconds, now)
        if self._queued is None:
            return None
        queued_at, event = self._queued
        return remaining_queue_seconds(
            event.eta_seconds, now - queued_at, 0.0, self._expected_seconds, None
        )

    @property
    def total_seconds(self) -> float | None:
        """The time until what comes after the run is done, too; `None` if nothing follows."""
        remaining_seconds = self.remaining_seconds
        if remaining_seconds is None or not self._following_seconds:
            return None
        return remaining_seconds + self._following_seconds


def remaining_queue_seconds(
    eta_seconds: float | None,
    eta_age: float,
    waited_seconds: float,
    expected_run_seconds: float | None,
    expected_wait_seconds: float | None,
) -> float | None:
    """Return the remaining time of a request in the Space's queue; `None` if nothing is known.

    Args:
        eta_seconds: the Space's estimate, which, as Gradio's, includes the run.
        eta_age: since the estimate arrived.
        waited_seconds: in the queue so far.
        expected_run_seconds: the usual duration of such a run.
        expected_wait_seconds: the usual wait in the queue.
    """
    if eta_seconds is not None:
        return max(expected_run_seconds or 0.0, eta_seconds - eta_age)
    if expected_run_seconds is None:
        return None
    return expected_run_seconds + max(0.0, (expected_wait_seconds or 0.0) - waited_seconds)


def finish_times(
    running: Sequence[tuple[str, float]],
    pending: Sequence[tuple[str, float]],
    max_concurrent: int | None,
    max_concurrent_per_visitor: int | None,
) -> list[float]:
    """Return in how many seconds each pending job will be finished.

    Jobs are given as a visitor's key and seconds, infinite where they are unknown: the remaining
    ones of a running job, the whole run's of a pending one, in the order in which they get slots.
    """
    slots = _Slots(max_concurrent, [seconds for _, seconds in running])
    visitor_slots = {
        key: _Slots(
            max_concurrent_per_visitor,
            [seconds for running_key, seconds in running if running_key == key],
        )
        for key in {key for key, _ in pending}
    }
    times = []
    for key, seconds in pending:
        start = max(slots.take(), visitor_slots[key].take())
        times.append(start + seconds)
        slots.occupy(start + seconds)
        visitor_slots[key].occupy(start + seconds)
    return times


class _Slots:
    """Times at which slots become free."""

    def __init__(self, max_count: int | None, occupied: Iterable[float]) -> None:
        self._max_count = max_count
        self._times = list(occupied)
        heapq.heapify(self._times)

    def take(self) -> float:
        """Return when the next slot is free, which is occupied from then on."""
        if self._max_count is None or len(self._times) < self._max_count:
            return 0.0
        return heapq.heappop(self._times)

    def occupy(self, until: float) -> None:
        """Occupy the slot that was taken."""
        if self._max_count is not None:
            heapq.heappush(self._times, until)
