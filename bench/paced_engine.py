"""An engine without a model: its steps take a fixed time, and nothing of the CPU."""

import threading
import time
from collections.abc import Generator
from dataclasses import dataclass

from PIL import Image

from bench import pictures
from sd35.core.request import GenerationRequest
from sd35.space.engine import Step
from sd35.space.engine_options import EngineOptions
from sd35.space.painter import DemoPainter

__all__ = ["PacedEngine", "PacedOptions"]

PREVIEW_QUALITY = 55  # of JPEG: previews of 35 KB


class PacedEngine(DemoPainter):
    """Engine whose steps have a preview each, all the same.

    Args:
        step_seconds: duration of a step.
        concurrency: number of runs at the same time.
    """

    def __init__(self, step_seconds: float, concurrency: int) -> None:
        super().__init__(step_seconds)
        self.concurrency = concurrency
        self._devices = threading.Semaphore(concurrency)
        self._preview = pictures.preview(0, PREVIEW_QUALITY)

    def generate(self, request: GenerationRequest) -> Generator[Step | Image.Image, None, None]:
        """Yield each step at its time, and last a black image."""
        total = request.num_inference_steps
        with self._devices:
            started_at = time.monotonic()
            for number in range(1, total + 1):
                time.sleep(max(0.0, started_at + number * self._step_seconds - time.monotonic()))
                yield Step(number, total, self._preview)
        yield Image.new("RGB", (request.width, request.height))


@dataclass(frozen=True, slots=True)
class PacedOptions(EngineOptions):
    """Options of a paced engine.

    Attributes:
        concurrency: number of runs at the same time.
    """

    concurrency: int = 1

    def create_engine(self) -> PacedEngine:
        """Return the engine."""
        assert self.step_seconds is not None
        return PacedEngine(self.step_seconds, self.concurrency)
