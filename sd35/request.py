"""What can be asked for: a request, the limits a Space sets, and the sizes of aspect ratios. No I/O."""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from sd35.errors import InvalidRequestError

__all__ = [
    "ASPECT_RATIOS",
    "PIPELINE_MULTIPLE",
    "PUBLIC_LIMITS",
    "GenerationRequest",
    "Limits",
    "Problem",
    "Range",
    "Size",
    "SizeUnavailableError",
    "Wish",
    "draw_seed",
    "nearest_size",
    "parse_ratio",
    "plain",
    "problems",
    "size_for",
]

ASPECT_RATIOS: tuple[str, ...] = (
    *("1:1", "5:4", "4:3", "3:2", "16:9", "2:1", "21:9"),
    *("4:5", "3:4", "2:3", "9:16", "1:2", "9:21"),
)
"""The presets: the square, the landscape forms, and their portrait forms."""

PIPELINE_MULTIPLE = 16
"""Stable Diffusion 3's pipeline refuses a side that is not a multiple of this (8 × VAE, 2 × patch)."""

RATIO_TOLERANCE = 0.03
"""A size whose ratio is further off than this (as a part of it) doesn't pass for the preset."""

RATIO_WEIGHT = 10.0
"""How many parts of the area one part of the ratio is worth: 960×768 before 1024×832 for 5:4."""

MAX_PROMPT_CHARACTERS = 10_000
"""Far beyond what the text encoders read (T5: 256 tokens), and short of being a nuisance to a server."""


@dataclass(frozen=True, slots=True)
class Range:
    """The values of one numeric parameter: `minimum` … `maximum` in steps of `step`."""

    minimum: float
    maximum: float
    step: float
    default: float

    def holds(self, value: float) -> bool:
        """Whether the value lies within the range; the step isn't enforced by Spaces either."""
        return self.minimum <= value <= self.maximum

    def __str__(self) -> str:
        return f"{plain(self.minimum)} to {plain(self.maximum)}"


def plain(number: float) -> str:
    """Return the number as a person would write it: no exponent, no needless digits."""
    if isinstance(number, int):
        return str(number) if abs(number) < 10**15 else f"{'-' if number < 0 else ''}10^{len(str(abs(number))) - 1}"
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


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One picture that is asked for. Sizes in pixels.

    The negative prompt has no effect where guidance is off (`guidance_scale` ≤ 1): that is the model's nature.
    With `randomize_seed`, `seed` doesn't count: a new one is drawn for each picture.
    """

    prompt: str
    negative_prompt: str = ""
    width: int = 1024
    height: int = 1024
    guidance_scale: float = 4.5
    num_inference_steps: int = 40
    seed: int = 0
    randomize_seed: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked for before the Space is known: `None` stands for the Space's own default; sizes in pixels.

    Of the size, `width` and `height` count before `aspect_ratio` (such as `16:9`). Without a `seed`, one is drawn.
    """

    prompt: str
    negative_prompt: str = ""
    aspect_ratio: str | None = None
    width: int | None = None
    height: int | None = None
    guidance_scale: float | None = None
    num_inference_steps: int | None = None
    seed: int | None = None

    def on(self, limits: Limits) -> GenerationRequest:
        """Return the request to a Space with these limits.

        Raises:
            InvalidRequestError: the aspect ratio isn't one, or lies outside the limits.

        """
        try:
            width, height = self._size(limits)
        except ValueError as error:
            raise InvalidRequestError(str(error)) from error
        return GenerationRequest(
            self.prompt,
            self.negative_prompt,
            width,
            height,
            _default(self.guidance_scale, limits.guidance_scale, PUBLIC_LIMITS.guidance_scale),
            round(_default(self.num_inference_steps, limits.num_inference_steps, PUBLIC_LIMITS.num_inference_steps)),
            seed=draw_seed(limits) if self.seed is None else self.seed,
            randomize_seed=False,
        )

    def _size(self, limits: Limits) -> tuple[int, int]:
        if self.width is not None and self.height is not None:
            return self.width, self.height
        if self.aspect_ratio is None:
            return (
                round(limits.width.default) if self.width is None else self.width,
                round(limits.height.default) if self.height is None else self.height,
            )
        if self.width is not None:
            return self.width, _multiple(self.width / parse_ratio(self.aspect_ratio))
        if self.height is not None:
            return _multiple(self.height * parse_ratio(self.aspect_ratio)), self.height
        size = size_for(self.aspect_ratio, limits)
        return size.width, size.height


def _default(value: float | None, span: Range | None, public: Range | None) -> float:
    assert public is not None
    return (span or public).default if value is None else value


def _multiple(side: float) -> int:
    return max(1, round(side / PIPELINE_MULTIPLE)) * PIPELINE_MULTIPLE


def draw_seed(limits: Limits) -> int:
    """Return a random seed that a Space with these limits accepts."""
    span = limits.seed or PUBLIC_LIMITS.seed
    assert span is not None
    return random.SystemRandom().randint(math.ceil(span.minimum), math.floor(span.maximum))


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a request can't be sent: the field of `GenerationRequest` it is about, and a sentence for the person."""

    field: str
    message: str


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a picture in pixels."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width} × {self.height}"


class SizeUnavailableError(ValueError):
    """A Space's limits leave no size of this aspect ratio; the text says which limit it is."""


def problems(request: GenerationRequest, limits: Limits) -> tuple[Problem, ...]:
    """Return everything that stands against sending this request to a Space with these limits."""
    return (
        *_prompt_problems(request, limits),
        *_size_problems(request, limits),
        *_number_problems(request, limits),
    )


def _prompt_problems(request: GenerationRequest, limits: Limits) -> Iterator[Problem]:
    if not request.prompt.strip():
        yield Problem("prompt", "Describe the picture first: the prompt is empty.")
    if request.negative_prompt.strip() and not limits.negative_prompt:
        yield Problem("negative_prompt", "This Space takes no negative prompt: leave it empty.")
    for field, text in (("prompt", request.prompt), ("negative_prompt", request.negative_prompt)):
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            yield Problem(field, "It holds bytes that are no text: type it again, or save its file as UTF-8.")
        if len(text) > MAX_PROMPT_CHARACTERS:
            yield Problem(field, f"Too long: {len(text):,} characters, and {MAX_PROMPT_CHARACTERS:,} is the most.")


def _size_problems(request: GenerationRequest, limits: Limits) -> Iterator[Problem]:
    for field, side, span in (
        ("width", request.width, limits.width),
        ("height", request.height, limits.height),
    ):
        if not span.holds(side):
            yield Problem(field, f"The {field} must be {span} pixels on this Space, not {side}.")
        elif side % PIPELINE_MULTIPLE:
            near = _nearest_multiple(side, span)
            yield Problem(
                field, f"The {field} must be a multiple of {PIPELINE_MULTIPLE}: try {near} instead of {side}."
            )


def _nearest_multiple(side: int, span: Range) -> int:
    near = _multiple(side)
    highest = math.floor(span.maximum / PIPELINE_MULTIPLE) * PIPELINE_MULTIPLE
    lowest = math.ceil(span.minimum / PIPELINE_MULTIPLE) * PIPELINE_MULTIPLE
    return max(lowest, min(near, highest))


def _number_problems(request: GenerationRequest, limits: Limits) -> Iterator[Problem]:
    for field, name, value, span in (
        ("guidance_scale", "guidance scale", request.guidance_scale, limits.guidance_scale),
        ("num_inference_steps", "number of steps", request.num_inference_steps, limits.num_inference_steps),
        ("seed", "seed", request.seed, None if request.randomize_seed else limits.seed),
    ):
        if span is not None and not span.holds(value):
            yield Problem(field, f"The {name} must be {span} on this Space, not {plain(value)}.")


@lru_cache(maxsize=256)
def size_for(ratio: str, limits: Limits) -> Size:
    """Return the size in which a Space with these limits makes a picture of this aspect ratio.

    Both sides are multiples of 16 and on the Space's own grid; among those, the largest, and an exact ratio
    before a somewhat larger size that is a little off.

    Raises:
        ValueError: `ratio` isn't two positive numbers with a colon between.
        SizeUnavailableError: no size of this ratio lies within the limits.

    """
    wanted = parse_ratio(ratio)
    best = max(_sizes(limits), key=lambda size: _worth(size, wanted), default=None)
    if best is None or _ratio_error(best, wanted) > RATIO_TOLERANCE:
        raise SizeUnavailableError(_why_unavailable(ratio, wanted, limits))
    return best


def nearest_size(ratio: str, limits: Limits) -> Size:
    """Return the size of a Space with these limits that comes nearest to this aspect ratio, however far off it is.

    Raises:
        ValueError: `ratio` isn't two positive numbers with a colon between.
        SizeUnavailableError: the limits leave no size at all.

    """
    try:
        return size_for(ratio, limits)
    except SizeUnavailableError:
        wanted = parse_ratio(ratio)
        sizes = tuple(_sizes(limits))
        if not sizes:
            raise
        return min(sizes, key=lambda size: (_ratio_error(size, wanted), -size.width * size.height))


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
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"An aspect ratio is two positive numbers such as 16:9, not {ratio[:20]!r}.")
    return value


def _sizes(limits: Limits) -> Iterator[Size]:
    heights = tuple(_sides(limits.height))
    return (Size(width, height) for width in _sides(limits.width) for height in heights)


def _sides(span: Range) -> Iterator[int]:
    """The sides that are on the slider's grid, which starts at its minimum, and multiples of 16."""
    step = max(1, round(span.step))
    return (
        side
        for side in range(max(0, math.ceil(span.minimum)), math.floor(span.maximum) + 1, step)
        if side and not side % PIPELINE_MULTIPLE
    )


def _ratio_error(size: Size, wanted: float) -> float:
    return abs(size.width / size.height / wanted - 1)


def _worth(size: Size, wanted: float) -> tuple[bool, float]:
    error = _ratio_error(size, wanted)
    return error <= RATIO_TOLERANCE, size.width * size.height * (1 - RATIO_WEIGHT * error)


def _why_unavailable(ratio: str, wanted: float, limits: Limits) -> str:
    name, short, span = (
        ("height", limits.width.maximum / wanted, limits.height)
        if wanted >= 1
        else ("width", limits.height.maximum * wanted, limits.width)
    )
    if short < span.minimum:
        return f"{ratio} would need a {name} of {short:.0f} pixels, and this Space's smallest is {span.minimum:g}."
    return f"None of this Space's sizes is {ratio} or close to it."
