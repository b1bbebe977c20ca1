"""What can be asked for: a request, the limits a Space sets, and the sizes of aspect ratios. No I/O."""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from sd35.core.errors import InvalidRequestError
from sd35.core.limits import PIPELINE_MULTIPLE, PUBLIC_LIMITS, Limits, Range, plain
from sd35.core.sizes import (
    parse_ratio,
    size_for,
)

__all__ = ["GenerationRequest", "Problem", "Wish", "draw_seed", "problems"]


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
class Wish:
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
            round(
                _default(
                    self.num_inference_steps,
                    limits.num_inference_steps,
                    PUBLIC_LIMITS.num_inference_steps,
                )
            ),
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
            yield Problem(
                field, "It holds bytes that are no text: type it again, or save its file as UTF-8."
            )
        if len(text) > MAX_PROMPT_CHARACTERS:
            yield Problem(
                field,
                f"Too long: {len(text):,} characters, and {MAX_PROMPT_CHARACTERS:,} is the most.",
            )


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
                field,
                f"The {field} must be a multiple of {PIPELINE_MULTIPLE}: try {near} instead of {side}.",
            )


def _nearest_multiple(side: int, span: Range) -> int:
    near = _multiple(side)
    highest = math.floor(span.maximum / PIPELINE_MULTIPLE) * PIPELINE_MULTIPLE
    lowest = math.ceil(span.minimum / PIPELINE_MULTIPLE) * PIPELINE_MULTIPLE
    return max(lowest, min(near, highest))


def _number_problems(request: GenerationRequest, limits: Limits) -> Iterator[Problem]:
    for field, name, value, span in (
        ("guidance_scale", "guidance scale", request.guidance_scale, limits.guidance_scale),
        (
            "num_inference_steps",
            "number of steps",
            request.num_inference_steps,
            limits.num_inference_steps,
        ),
        ("seed", "seed", request.seed, None if request.randomize_seed else limits.seed),
    ):
        if span is not None and not span.holds(value):
            yield Problem(field, f"The {name} must be {span} on this Space, not {plain(value)}.")
