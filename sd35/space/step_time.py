"""Time of an inference step, from the speed of a device."""

from typing import Final

from sd35.core.limits import Limits
from sd35.core.text import format_duration
from sd35.space.models import Weights

__all__ = ["describe_step_time", "step_flop"]

_TEXT_TOKENS: Final = 333  # 77 of CLIP, 256 of T5
_TOKEN_SIDE: Final = 16  # pixels

# Counted at 1024 × 1024 without guidance: 31.1 TFLOP for Large, 11.2 for Medium. Each token meets
# two thirds of the weights, with a multiplication and an addition; attention is the rest.
_FLOP_PER_WEIGHT: Final = 0.9


def step_flop(weights: Weights, limits: Limits) -> float:
    """Return the floating-point operations of a step with the model's default values."""
    pixels = limits.width.default * limits.height.default
    token_count = pixels / _TOKEN_SIDE**2 + _TEXT_TOKENS
    has_guidance = limits.guidance_scale is None or limits.guidance_scale.default > 1
    weight_count = weights.transformer / 2
    return _FLOP_PER_WEIGHT * weight_count * token_count * (2 if has_guidance else 1)


def describe_step_time(device_name: str, seconds: float, limits: Limits) -> str:
    """Return how long a step takes, and how many make an image; empty if that is no time at all."""
    if seconds < 1:
        return ""
    unit = 1 if seconds < 10 else 10 if seconds < 60 else 60
    duration = format_duration(max(1, round(seconds / unit)) * unit)
    steps = limits.num_inference_steps
    count = "" if steps is None else f", and an image {steps.default:.0f} steps"
    return f"On this {device_name}, a step takes about {duration}{count}."
