"""Estimates of the seconds that runs take on a GPU that is shared: counted first, then measured."""

from collections.abc import Sequence
from typing import Final

from sd35.core.request import GenerationRequest
from sd35.core.run_time import run_work, step_work
from sd35.space.models import GB, Weights

__all__ = ["GpuTimeEstimator"]

# Careful guesses for half of an RTX PRO 6000, which is what ZeroGPU lends.
TFLOP_PER_SECOND: Final = 60.0
WEIGHT_BYTES_PER_SECOND: Final = 2.8 * GB  # from the disk to the GPU
FIXED_SECONDS: Final = 1.5  # to encode the prompt, load kernels and decode the image

# To ask for more than is needed costs a visitor's quota; to ask for less, the image.
MARGIN: Final = 1.25
MIN_SPARE_SECONDS: Final = 4.0  # the disk may be slower than before
ABORT_FACTOR: Final = 1.5
MAX_MARGIN: Final = 5.0

# The slowest of the last runs counts; older ones may be of another kind of GPU.
REMEMBERED_RUNS: Final = 8


class GpuTimeEstimator:
    """Estimator of the seconds of a run on a GPU that doesn't hold the weights yet.

    Args:
        weights: of the model.
    """

    def __init__(self, weights: Weights) -> None:
        # Counted for 1024 × 1024 with guidance: 62.2 TFLOP for Large, 22.5 for Medium.
        step_tflop = 5.4 + 3.48 * weights.transformer / GB
        weight_bytes = weights.transformer + weights.t5 + weights.rest
        self._step_seconds = _Quantity(step_tflop / TFLOP_PER_SECOND)
        self._other_seconds = _Quantity(weight_bytes / WEIGHT_BYTES_PER_SECOND + FIXED_SECONDS)
        self._margin = MARGIN

    def estimate(self, request: GenerationRequest) -> float:
        """Return the seconds from the arrival of the GPU to the image."""
        return self._other_seconds.value + run_work(request) * self._step_seconds.value

    def reservation(self, request: GenerationRequest) -> float:
        """Return the seconds to ask for: more than the estimate."""
        seconds = self.estimate(request)
        return max(seconds * self._margin, seconds + MIN_SPARE_SECONDS)

    def learn(
        self, request: GenerationRequest, step_times: Sequence[float], end_time: float | None
    ) -> None:
        """Take the times of a run into account.

        Args:
            request: of the run.
            step_times: when each step ended, in seconds from the arrival of the GPU.
            end_time: when the image was there, if the weights had to be moved for it, else `None`.
        """
        if len(step_times) < 2:
            return
        # The first step isn't counted: it includes all that comes before it.
        seconds = (step_times[-1] - step_times[0]) / (len(step_times) - 1)
        self._step_seconds.measure(seconds / step_work(request))
        if end_time is not None:
            self._other_seconds.measure(end_time - len(step_times) * seconds)
            self._margin = MARGIN

    def note_abort(self) -> None:
        """Ask for more, after a run that may have been ended because it took too long."""
        self._margin = min(self._margin * ABORT_FACTOR, MAX_MARGIN)


class _Quantity:
    """A quantity that is guessed until it is measured. Threads may share it."""

    def __init__(self, guess: float) -> None:
        self._guess = guess
        self._measurements: tuple[float, ...] = ()

    @property
    def value(self) -> float:
        return max(self._measurements, default=self._guess)

    def measure(self, value: float) -> None:
        # A new tuple, as others may be reading the old one.
        self._measurements = (*self._measurements, value)[-REMEMBERED_RUNS:]
