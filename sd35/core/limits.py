"""The ranges that a Space accepts for each parameter."""

import math
from dataclasses import dataclass

from sd35.core.seed import MAX_SEED

__all__ = ["PIPELINE_MULTIPLE", "PUBLIC_LIMITS", "Limits", "Range", "format_number"]


# diffusers' StableDiffusion3Pipeline refuses other sides: the VAE shrinks an image 8 times, and the
# transformer's patches are 2 × 2 latents.
PIPELINE_MULTIPLE = 16


@dataclass(frozen=True, slots=True)
class Range:
    """The values of one numeric parameter."""

    minimum: float
    maximum: float
    step: float
    default: float

    def contains(self, value: float) -> bool:
        """Return whether the value is between the bounds."""
        # Gradio's server doesn't enforce the step of a slider either.
        return self.minimum <= value <= self.maximum

    @property
    def whole_numbers(self) -> str:
        """The bounds with separators, exact to the last digit."""
        # The format of a float would round those of a seed.
        return f"{int(self.minimum):,} to {int(self.maximum):,}"

    def __str__(self) -> str:
        return f"{format_number(self.minimum)} to {format_number(self.maximum)}"


def format_number(number: float) -> str:
    """Return the number without an exponent or needless digits."""
    if isinstance(number, int):
        if abs(number) <= MAX_SEED:
            return str(number)
        # An image's metadata may hold any number, and str() refuses more than 4,300 digits.
        return f"{'-' if number < 0 else ''}10^{math.log10(abs(number)):.0f}"
    return f"{number:.0f}" if math.isfinite(number) and number == int(number) else f"{number:g}"


@dataclass(frozen=True, slots=True)
class Limits:
    """The ranges of one Space; `None` for a parameter that it doesn't have.

    Attributes:
        max_pixels: the number of pixels that an image may have; 0 if only its sides are limited.
        size_multiple: what both sides must be multiples of, in pixels.
    """

    width: Range
    height: Range
    seed: Range | None
    guidance_scale: Range | None
    num_inference_steps: Range | None
    negative_prompt: bool = True
    max_pixels: int = 0
    size_multiple: int = PIPELINE_MULTIPLE

    def allows_area(self, width: int, height: int) -> bool:
        """Return whether an image of this size has few enough pixels."""
        return not self.max_pixels or width * height <= self.max_pixels

    def is_on_grid(self, *sides: int) -> bool:
        """Return whether the sides are multiples of what they must be."""
        return not any(side % self.size_multiple for side in sides)

    def nearest_multiple(self, side: float) -> int:
        """Return the side nearest to this one that an image may have, whatever the range."""
        return max(1, round(side / self.size_multiple)) * self.size_multiple


# The limits of `stabilityai/stable-diffusion-3.5-large`, shown until a Space is connected.
PUBLIC_LIMITS = Limits(
    width=Range(512, 1024, 32, 1024),
    height=Range(512, 1024, 32, 1024),
    seed=Range(0, 2_147_483_647, 1, 0),
    guidance_scale=Range(0, 7.5, 0.1, 4.5),
    num_inference_steps=Range(1, 50, 1, 40),
)
