"""What can be asked for: a request, the limits a Space sets, and the sizes of aspect ratios. No I/O."""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from sd35.core.errors import InvalidRequestError
from sd35.core.limits import PIPELINE_MULTIPLE, PUBLIC_LIMITS, Limits, Range, format_number
from sd35.core.sizes import (
    parse_ratio,
    size_for,
)

__all__ = ["FieldError", "GenerationRequest", "RequestOptions", "random_seed", "validate"]


MAX_PROMPT_CHARACTERS = 10_000
"""Far beyond what the text encoders read (T5: 256 tokens), and short of being a nuisance to a server."""


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One picture that is asked for. Sizes in pixels.

    The negative prompt has no effect where guidance is off (`guidance_scale` ≤ 1): that is the
    model's nature. With `randomize_seed`, `seed` doesn't count: a new one is drawn for each
    picture.
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
class RequestOptions:
    """What is asked for before the Space is known: `None` stands for the Space's own default; sizes in pixels.

    Of the size, `width` and `height` count before `aspect_ratio` (such as `16:9`). Without a
    `seed`, one is drawn.
    """

    prompt: str
    negative_prompt: str = ""
    aspect_ratio: str | None = None
    width: int | None = None
    height: int | None = None
    guidance_scale: float | None = None
    num_inference_steps: int | None = None
    seed: int | None = None

    def resolve(self, limits: Limits) -> GenerationRequest:
        """Return the request to a Space with these limits.

        Raises:
            InvalidRequestError: the aspect ratio isn't one, or lies outside the limits.

        """
        try:
            width, height = self._resolve_size(limits)
        except ValueError as error:
            raise InvalidRequestError(str(error)) from error
        return GenerationRequest(
            self.prompt,
            self.negative_prompt,
            width,
            height,
            _value_or_default(
                self.guidance_scale, limits.guidance_scale, PUBLIC_LIMITS.guidance_scale
            ),
            round(
                _value_or_default(
                    self.num_inference_steps,
                    limits.num_inference_steps,
                    PUBLIC_LIMITS.num_inference_steps,
                )
            ),
            seed=random_seed(limits) if self.seed is None else self.seed,
            randomize_seed=False,
        )

    def _resolve_size(self, limits: Limits) -> tuple[int, int]:
        if self.width is not None and self.height is not None:
            return self.width, self.height
        if self.aspect_ratio is None:
            return (
                round(limits.width.default) if self.width is None else self.width,
                round(limits.height.default) if self.height is None else self.height,
            )
        if self.width is not None:
            return self.width, _round_to_multiple(self.width / parse_ratio(self.aspect_ratio))
        if self.height is not None:
            return _round_to_multiple(self.height * parse_ratio(self.aspect_ratio)), self.height
        size = size_for(self.aspect_ratio, limits)
        return size.width, size.height


def _value_or_default(
    value: float | None, value_range: Range | None, public_range: Range | None
) -> float:
    assert public_range is not None
    return (value_range or public_range).default if value is None else value


def _round_to_multiple(side: float) -> int:
    return max(1, round(side / PIPELINE_MULTIPLE)) * PIPELINE_MULTIPLE


def random_seed(limits: Limits) -> int:
    """Return a random seed that a Space with these limits accepts."""
    value_range = limits.seed or PUBLIC_LIMITS.seed
    assert value_range is not None
    return random.SystemRandom().randint(
        math.ceil(value_range.minimum), math.floor(value_range.maximum)
    )


@dataclass(frozen=True, slots=True)
class FieldError:
    """Why a request can't be sent: the field of `GenerationRequest` it is about, and a sentence for the person."""

    field: str
    message: str


def validate(request: GenerationRequest, limits: Limits) -> tuple[FieldError, ...]:
    """Return everything that stands against sending this request to a Space with these limits."""
    return (
        *_prompt_errors(request, limits),
        *_size_errors(request, limits),
        *_number_errors(request, limits),
    )


def _prompt_errors(request: GenerationRequest, limits: Limits) -> Iterator[FieldError]:
    if not request.prompt.strip():
        yield FieldError("prompt", "Describe the picture first: the prompt is empty.")
    if request.negative_prompt.strip() and not limits.negative_prompt:
        yield FieldError("negative_prompt", "This Space takes no negative prompt: leave it empty.")
    for field, text in (("prompt", request.prompt), ("negative_prompt", request.negative_prompt)):
        if any("\ud800" <= char <= "\udfff" for char in text):
            yield FieldError(
                field, "It holds bytes that are no text: type it again, or save its file as UTF-8."
            )
        if len(text) > MAX_PROMPT_CHARACTERS:
            yield FieldError(
                field,
                f"Too long: {len(text):,} characters, and {MAX_PROMPT_CHARACTERS:,} is the most.",
            )


def _size_errors(request: GenerationRequest, limits: Limits) -> Iterator[FieldError]:
    for field, side, value_range in (
        ("width", request.width, limits.width),
        ("height", request.height, limits.height),
    ):
        if not value_range.contains(side):
            yield FieldError(
                field, f"The {field} must be {value_range} pixels on this Space, not {side}."
            )
        elif side % PIPELINE_MULTIPLE:
            nearest = _nearest_multiple(side, value_range)
            yield FieldError(
                field,
                f"The {field} must be a multiple of {PIPELINE_MULTIPLE}: try {nearest} instead of {side}.",
            )


def _nearest_multiple(side: int, value_range: Range) -> int:
    nearest = _round_to_multiple(side)
    highest = math.floor(value_range.maximum / PIPELINE_MULTIPLE) * PIPELINE_MULTIPLE
    lowest = math.ceil(value_range.minimum / PIPELINE_MULTIPLE) * PIPELINE_MULTIPLE
    return max(lowest, min(nearest, highest))


def _number_errors(request: GenerationRequest, limits: Limits) -> Iterator[FieldError]:
    for field, label, value, value_range in (
        ("guidance_scale", "guidance scale", request.guidance_scale, limits.guidance_scale),
        (
            "num_inference_steps",
            "number of steps",
            request.num_inference_steps,
            limits.num_inference_steps,
        ),
        ("seed", "seed", request.seed, None if request.randomize_seed else limits.seed),
    ):
        if value_range is not None and not value_range.contains(value):
            yield FieldError(
                field,
                f"The {label} must be {value_range} on this Space, not {format_number(value)}.",
            )
