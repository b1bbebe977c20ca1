"""The ranges that a Space accepts for each parameter. No I/O."""

import math
from dataclasses import dataclass

__all__ = ["PIPELINE_MULTIPLE", "PUBLIC_LIMITS", "Limits", "Range", "format_number"]


PIPELINE_MULTIPLE = 16
"""Stable Diffusion 3's pipeline refuses a side that is not a multiple of this (8 × VAE, 2 × patch)."""


@dataclass(frozen=True, slots=True)
class Range:
    """The values of one numeric parameter: `minimum` … `maximum` in steps of `step`."""

    minimum: float
    maximum: float
    step: float
    default: float

    def contains(self, value: float) -> bool:
        """Whether the value lies within the range; the step isn't enforced by Spaces either."""
        return self.minimum <= value <= self.maximum

    def __str__(self) -> str:
        return f"{format_number(self.minimum)} to {format_number(self.maximum)}"


def format_number(number: float) -> str:
    """Return the number as a person would write it: no exponent, no needless digits."""
    if isinstance(number, int):
        return (
            str(number)
            if abs(number) < 10**15
            else f"{'-' if number < 0 else ''}10^{len(str(abs(number))) - 1}"
        )
    return f"{number:.0f}" if math.isfinite(number) and number == int(number) else f"{number:g}"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a Space accepts. `None` stands for a parameter that it doesn't have."""

    width: Range
    height: Range
    seed: Range | None
    guidance_scale: Range | None
    num_inference_steps: Range | None
    negative_prompt: bool = True


PUBLIC_LIMITS = Limits(
    width=Range(512, 1024, 32, 1024),
    height=Range(512, 1024, 32, 1024),
    seed=Range(0, 2_147_483_647, 1, 0),
    guidance_scale=Range(0, 7.5, 0.1, 4.5),
    num_inference_steps=Range(1, 50, 1, 40),
)
"""The limits of `stabilityai/stable-diffusion-3.5-large`: shown until a Space has said its own."""
