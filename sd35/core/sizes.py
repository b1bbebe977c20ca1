"""Image sizes that fit an aspect ratio and the limits of a Space."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from sd35.core.limits import Limits, Range

__all__ = [
    "ASPECT_RATIOS",
    "Size",
    "SizeUnavailableError",
    "nearest_size",
    "parse_ratio",
    "size_for",
]


# The presets: square, landscape, portrait.
ASPECT_RATIOS: tuple[str, ...] = (
    *("1:1", "5:4", "4:3", "3:2", "16:9", "2:1", "21:9"),
    *("4:5", "3:4", "2:3", "9:16", "1:2", "9:21"),
)

# A size whose ratio is off by more than this fraction isn't offered as the preset.
RATIO_TOLERANCE = 0.03

# For 5:4, this makes 960 × 768 (exact) preferable to 1024 × 832 (larger, 1.5 % off).
RATIO_WEIGHT = 10.0

MIN_RATIO = 1e-4


@dataclass(frozen=True, slots=True)
class Size:
    """The size of an image in pixels."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width} × {self.height}"


class SizeUnavailableError(ValueError):
    """No size of this aspect ratio lies within the limits of the Space."""


# The page shows the size of each ratio, for which every size within the limits is tried.
@lru_cache(maxsize=256)
def size_for(ratio: str, limits: Limits) -> Size:
    """Return the best size of this aspect ratio: large, and with little deviation from the ratio.

    Both sides are multiples of `limits.size_multiple` and on the grid of the Space's sliders.

    Raises:
        ValueError: `ratio` is invalid.
        SizeUnavailableError: no size of this ratio lies within the limits.
    """
    target_ratio = parse_ratio(ratio)
    preset_area = _preset_area(limits)
    best_size = max(
        _available_sizes(limits),
        key=lambda size: _score(size, target_ratio, preset_area),
        default=None,
    )
    if best_size is None or _ratio_error(best_size, target_ratio) > RATIO_TOLERANCE:
        raise SizeUnavailableError(_unavailable_reason(ratio, target_ratio, limits))
    return best_size


def nearest_size(ratio: str, limits: Limits) -> Size:
    """Return the size that comes closest to this aspect ratio, however far off it is.

    Raises:
        ValueError: `ratio` is invalid.
        SizeUnavailableError: there is no size at all within the limits.
    """
    try:
        return size_for(ratio, limits)
    except SizeUnavailableError:
        target_ratio = parse_ratio(ratio)
        sizes = tuple(_available_sizes(limits))
        if not sizes:
            raise
        return min(
            sizes, key=lambda size: (_ratio_error(size, target_ratio), -size.width * size.height)
        )


def parse_ratio(ratio: str) -> float:
    """Return width divided by height.

    Raises:
        ValueError: `ratio` isn't two positive numbers with a colon between.
    """
    try:
        width, height = (float(part) for part in ratio.split(":"))
        value = width / height
    except (ValueError, ZeroDivisionError):
        value = math.nan
    # Beyond these bounds, a side computed from the other could overflow; `nan` fails both.
    if not MIN_RATIO <= value <= 1 / MIN_RATIO:
        raise ValueError(
            f"An aspect ratio is two positive numbers, such as 16:9, not {str(ratio)[:20]!r}."
        )
    return value


def _preset_area(limits: Limits) -> float:
    """Return the area in pixels that a size should have; infinite if larger is better.

    A Space of ours also makes larger images than its model was trained for: only if they are asked
    for, as they take longer and subjects may repeat.
    """
    if not limits.max_pixels:
        return math.inf
    return limits.width.default * limits.height.default


def _available_sizes(limits: Limits) -> Iterator[Size]:
    heights = tuple(_side_lengths(limits.height, limits.size_multiple))
    return (
        Size(width, height)
        for width in _side_lengths(limits.width, limits.size_multiple)
        for height in heights
        if limits.allows_area(width, height)
    )


def _side_lengths(value_range: Range, multiple: int) -> Iterator[int]:
    """Return the multiples on the slider's grid, which starts at the slider's minimum."""
    step = max(1, round(value_range.step))
    return (
        side
        for side in range(
            max(0, math.ceil(value_range.minimum)), math.floor(value_range.maximum) + 1, step
        )
        if side and not side % multiple
    )


def _ratio_error(size: Size, target_ratio: float) -> float:
    return abs(size.width / size.height / target_ratio - 1)


def _score(size: Size, target_ratio: float, preset_area: float) -> tuple[bool, float]:
    ratio_error = _ratio_error(size, target_ratio)
    weight = 1 - RATIO_WEIGHT * ratio_error
    area = size.width * size.height
    area_score = area if area <= preset_area else preset_area**2 / area
    return ratio_error <= RATIO_TOLERANCE, area_score * weight


def _unavailable_reason(ratio: str, target_ratio: float, limits: Limits) -> str:
    if target_ratio >= 1:
        shorter_side = limits.width.maximum / target_ratio
        value_range = limits.height
    else:
        shorter_side = limits.height.maximum * target_ratio
        value_range = limits.width
    if shorter_side < value_range.minimum:
        return (
            f"{ratio} isn't available: "
            f"this Space needs at least {value_range.minimum:g} px per side."
        )
    return f"This Space can't make {ratio}."
