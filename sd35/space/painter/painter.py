"""The demo painter as an engine of a Space."""

import time
from collections.abc import Generator

from PIL import Image

from sd35.core.limits import PIPELINE_MULTIPLE, PUBLIC_LIMITS
from sd35.core.model_info import UNKNOWN_MODEL
from sd35.core.request import GenerationRequest
from sd35.space.engine import EngineState, Ready, Step
from sd35.space.painter.flow import paint
from sd35.space.previews import LONGEST_SIDE, encode_preview, has_preview

__all__ = ["DemoPainter"]

_MIN_STEP_SECONDS = 0.04  # without it, there would be no progress to watch


class DemoPainter:
    """Engine that draws the words it knows, offline and in a moment.

    Args:
        step_seconds: least duration of a step.
    """

    title = "SD 3.5 demo painter (not Stable Diffusion)"
    description = "Draws the words it knows, offline. For trying things out, and for tests."
    warning = ""
    model_info = UNKNOWN_MODEL  # there is no model
    limits = PUBLIC_LIMITS
    size_multiple = PIPELINE_MULTIPLE  # as at the public Space, whose sliders have larger steps
    concurrency = 1

    def __init__(self, step_seconds: float = _MIN_STEP_SECONDS) -> None:
        self._step_seconds = step_seconds

    @property
    def state(self) -> EngineState:
        """The painter has nothing to load."""
        return Ready()

    def start(self) -> None:
        """Return at once."""

    def close(self) -> None:
        """Return at once: there is no device to free."""

    def generate(self, request: GenerationRequest) -> Generator[Step | Image.Image, None, None]:
        """Yield each step, and last the image; see `Engine.generate`."""
        steps = paint(request)
        started_at = time.monotonic()
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                image: Image.Image = end.value
                yield image
                return
            time.sleep(max(0.0, started_at + step.number * self._step_seconds - time.monotonic()))
            preview = None
            if has_preview(step.number, step.total):
                preview = encode_preview(step.preview(LONGEST_SIDE))
            yield Step(step.number, step.total, preview)
