"""Interface of an engine, which makes the images in a Space that we run.

`sd35.space.painter.DemoPainter` is one, `sd35.space.diffusion.DiffusersEngine` another;
`sd35.space.server` serves any, and knows neither.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol

from PIL import Image

from sd35.core.limits import Limits
from sd35.core.model_info import ModelInfo
from sd35.core.request import GenerationRequest

__all__ = ["Broken", "Engine", "EngineError", "EngineState", "Loading", "Ready", "Step"]


class EngineError(Exception):
    """A foreseen failure of an engine, such as too little memory.

    Attributes:
        happened: what happened, as a sentence.
        remedy: what to do about it, as a sentence; may be empty.
    """

    def __init__(self, happened: str, remedy: str = "") -> None:
        super().__init__(f"{happened} {remedy}".strip())
        self.happened = happened
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Step:
    """Finished inference step of a run.

    Attributes:
        number: from 1.
        total: number of steps in the run.
        preview: JPEG of the current estimate of the image; `None` on most steps.
    """

    number: int
    total: int
    preview: bytes | None = None


@dataclass(frozen=True, slots=True)
class Loading:
    """The engine can't make images yet: `fraction`, from 0 to 1, is unknown for some waits."""

    text: str
    fraction: float | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """The engine can make images."""


@dataclass(frozen=True, slots=True)
class Broken:
    """The engine can't make images until it is started again; see `EngineError`."""

    error: EngineError


EngineState = Loading | Ready | Broken


class Engine(Protocol):
    """Maker of images.

    Attributes:
        title: title of the Space's page, and the software that image files name.
        description: text below the title, as Markdown.
        model_info: the model, for `/config`; complete when the constructor returns.
        limits: the ranges that the server enforces.
        size_multiple: what both sides must be multiples of, in pixels.
        concurrency: number of runs at the same time.
    """

    title: str
    description: str
    model_info: ModelInfo
    limits: Limits
    size_multiple: int
    concurrency: int

    @property
    def state(self) -> EngineState:
        """The state now."""
        ...

    def start(self) -> None:
        """Begin to load the model, in the background."""
        ...

    def generate(self, request: GenerationRequest) -> Generator[Step | Image.Image, None, None]:
        """Yield each finished step, and last the RGB image in the requested size.

        `request.seed` counts even with `randomize_seed`: the server draws random seeds. Closing the
        generator ends the run before its next step, and returns once the device is free.

        Raises:
            EngineError: the run failed; the engine's state says whether others may succeed.
        """
        ...

    def close(self) -> None:
        """Free the device. A run that is under way ends before its next step."""
        ...
