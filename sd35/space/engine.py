"""Interface of an engine, which makes the images in a Space that we run.

`sd35.space.painter.DemoPainter` is one; `sd35.space.server` serves any.
"""

from collections.abc import Generator
from typing import Protocol

from PIL import Image

from sd35.core.request import GenerationRequest

__all__ = ["Engine", "EngineStep"]


class EngineStep(Protocol):
    """Finished inference step of a run."""

    # Read-only, so that frozen dataclasses fit.
    @property
    def number(self) -> int:
        """Number of the step, from 1."""
        ...

    @property
    def total(self) -> int:
        """Number of steps in the run."""
        ...

    def preview(self, longest_side: int) -> Image.Image:
        """Return the current estimate of the image, RGB, with sides of at most `longest_side`."""
        ...


class Engine(Protocol):
    """Maker of images.

    Attributes:
        title: title of the Space's page, and the software that image files name.
        description: sentence below the title, as Markdown.
    """

    title: str
    description: str

    def generate(self, request: GenerationRequest) -> Generator[EngineStep, None, Image.Image]:
        """Yield each finished step, and return the RGB image in the requested size.

        `request.seed` counts even with `randomize_seed`: the server draws random seeds. Closing the
        generator ends the run.
        """
        ...
