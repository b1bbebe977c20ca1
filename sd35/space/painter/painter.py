"""The demo painter as an engine of a Space."""

import time
from collections.abc import Generator

from PIL import Image

from sd35.core.request import GenerationRequest
from sd35.space.painter.flow import Step, paint

__all__ = ["DemoPainter"]

_MIN_STEP_SECONDS = 0.04  # without it, there would be no progress to watch


class DemoPainter:
    """Engine that draws the words it knows, offline and in a moment."""

    title = "SD 3.5 demo painter (not Stable Diffusion)"
    description = "Draws the words it knows, offline. For trying things out, and for tests."

    def generate(self, request: GenerationRequest) -> Generator[Step, None, Image.Image]:
        """Yield each step, and return the image; see `Engine.generate`."""
        steps = paint(request)
        started_at = time.monotonic()
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                image: Image.Image = end.value
                return image
            time.sleep(max(0.0, started_at + step.number * _MIN_STEP_SECONDS - time.monotonic()))
            yield step
