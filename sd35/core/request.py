"""Requests for an image: what a caller asks for, and its check against the limits of a Space.

Programs, the command line and the API all use `RequestOptions.resolve(limits)`, which fills in the
Space's defaults and checks every field. A client checks a request again when it sends it, because
the Space may have restarted with other limits in the meantime.
"""

import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from sd35.core.errors import FieldError, InvalidRequestError
from sd35.core.limits import PUBLIC_LIMITS, Limits, Range, format_number
from sd35.core.seed import RANDOM_SEED, parse_whole_number
from sd35.core.sizes import parse_ratio, size_for

__all__ = [
    "GenerationRequest",
    "RequestOptions",
    "check_request",
    "is_random_seed",
    "random_seed",
]

# T5, the longest of the three text encoders, reads 256 tokens. More is cut off there anyway, and
# this much is no burden to a server yet.
MAX_PROMPT_CHARACTERS: Final = 10_000

# JSON may hold infinite numbers, and int() of one raises.
MAX_MAGNITUDE: Final = 2**63

_FIELD_LABELS: Final = {
    "width": "width",
    "height": "height",
    "guidance_scale": "guidance scale",
    "num_inference_steps": "number of steps",
    "seed": "seed",
}


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """Everything that the model needs to make one image. Sizes in pixels.

    The negative prompt has no effect at a `guidance_scale` of 1 or below, where the pipeline skips
    classifier-free guidance. With `randomize_seed`, `seed` is ignored and a random one is drawn.
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
    """A request before its Space is known: `None` means the Space's default. Sizes in pixels.

    `width` and `height` take precedence over `aspect_ratio` (such as `16:9`); one of them together
    with a ratio determines the other. Without a `seed`, or with -1, a random one is drawn. A seed
    may be given as text, as JavaScript's numbers round one of more than 53 bits.
    """

    prompt: str
    negative_prompt: str = ""
    aspect_ratio: str | None = None
    width: int | None = None
    height: int | None = None
    guidance_scale: float | None = None
    num_inference_steps: int | None = None
    seed: int | str | None = None

    def resolve(self, limits: Limits) -> GenerationRequest:
        """Return the complete request to a Space with these limits.

        Values are checked whatever their types, so that they may come from JSON.

        Raises:
            InvalidRequestError: with a `FieldError` for each field that is wrong.
        """
        errors = list(self._type_errors())
        replacements: dict[str, Any] = dict.fromkeys(error.field for error in errors)
        options = replace(self, **replacements)
        try:
            width, height = _resolve_size(options, limits)
        except ValueError as error:
            errors.append(FieldError("aspect_ratio", str(error)))
            width = round(limits.width.default)
            height = round(limits.height.default)
        request = GenerationRequest(
            _text(self.prompt),
            _text(self.negative_prompt),
            width,
            height,
            _default_if_none(options.guidance_scale, limits, "guidance_scale"),
            round(_default_if_none(options.num_inference_steps, limits, "num_inference_steps")),
            seed=_seed_or_random(options.seed, limits),
            # Even for a random seed: drawn here, it is known before the run, and can be repeated.
            randomize_seed=False,
        )
        # Of these, only the substitute was checked, whose errors would confuse.
        invalid_fields = {error.field for error in errors}
        errors += [e for e in _field_errors(request, limits) if e.field not in invalid_fields]
        _raise_field_errors(errors)
        return request

    def _type_errors(self) -> Iterator[FieldError]:
        for field in _FIELD_LABELS:
            value = getattr(self, field)
            message = None if value is None else _number_error(field, value)
            if message is not None:
                yield FieldError(field, message)


def _number_error(field: str, value: object) -> str | None:
    """Return why a value isn't the kind of number that the field needs; `None` if it is."""
    label = _FIELD_LABELS[field]
    if field == "seed" and (is_random_seed(value) or parse_whole_number(value) is not None):
        return None
    if field == "seed" and isinstance(value, str):
        return "The seed must be a whole number."
    # To Python, True is the number 1; and NaN isn't less than anything.
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not abs(value) < MAX_MAGNITUDE
    ):
        article = "the" if field == "num_inference_steps" else "a"
        return f"Enter {article} {label}."
    if field == "seed" or (field != "guidance_scale" and value != int(value)):
        return f"The {label} must be a whole number."
    return None


def _resolve_size(options: RequestOptions, limits: Limits) -> tuple[int, int]:
    width = options.width
    height = options.height
    ratio = None if options.aspect_ratio is None else str(options.aspect_ratio)
    if ratio is None or (width is not None and height is not None):
        return (
            round(limits.width.default) if width is None else int(width),
            round(limits.height.default) if height is None else int(height),
        )
    if width is not None:
        return int(width), limits.nearest_multiple(width / parse_ratio(ratio))
    if height is not None:
        return limits.nearest_multiple(height * parse_ratio(ratio)), int(height)
    size = size_for(ratio, limits)
    return size.width, size.height


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


def _default_if_none(value: float | None, limits: Limits, field: str) -> float:
    if value is not None:
        return value
    value_range: Range = getattr(limits, field) or getattr(PUBLIC_LIMITS, field)
    return value_range.default


def is_random_seed(seed: object) -> bool:
    """Return whether a seed stands for a random one: none at all, an empty text, or -1."""
    is_empty = seed is None or (isinstance(seed, str) and not seed.strip())
    return is_empty or parse_whole_number(seed) == RANDOM_SEED


def _seed_or_random(seed: object, limits: Limits) -> int:
    number = None if is_random_seed(seed) else parse_whole_number(seed)
    return random_seed(limits) if number is None else number


def random_seed(limits: Limits) -> int:
    """Return a random seed that a Space with these limits accepts."""
    value_range = limits.seed or PUBLIC_LIMITS.seed
    assert value_range is not None
    # From the system, not the shared generator: many processes started at once, or a caller's
    # random.seed(), would otherwise repeat the same seeds.
    return random.SystemRandom().randint(
        math.ceil(value_range.minimum), math.floor(value_range.maximum)
    )


def check_request(request: GenerationRequest, limits: Limits) -> None:
    """Check a request against the limits of a Space.

    Raises:
        InvalidRequestError: with a `FieldError` for each field that the Space wouldn't accept.
    """
    _raise_field_errors(_field_errors(request, limits))


def _raise_field_errors(errors: Iterable[FieldError]) -> None:
    field_errors = tuple(errors)
    if field_errors:
        messages = " ".join(error.message for error in field_errors)
        raise InvalidRequestError(messages, field_errors=field_errors)


def _field_errors(request: GenerationRequest, limits: Limits) -> Iterator[FieldError]:
    yield from _prompt_errors(request, limits)
    yield from _size_errors(request, limits)
    yield from _number_errors(request, limits)


def _prompt_errors(request: GenerationRequest, limits: Limits) -> Iterator[FieldError]:
    if not request.prompt.strip():
        yield FieldError("prompt", "Enter a prompt.")
    if request.negative_prompt.strip() and not limits.negative_prompt:
        yield FieldError("negative_prompt", "This Space doesn't support negative prompts.")
    for field, label, text in (
        ("prompt", "prompt", request.prompt),
        ("negative_prompt", "negative prompt", request.negative_prompt),
    ):
        # Python reads bytes of a command line or a file that aren't UTF-8 as lone surrogates,
        # which can't be encoded again: they would fail as a UnicodeEncodeError when sent.
        if any("\ud800" <= char <= "\udfff" for char in text):
            yield FieldError(field, f"The {label} contains invalid characters.")
        if len(text) > MAX_PROMPT_CHARACTERS:
            yield FieldError(
                field,
                f"{label.capitalize()} too long: "
                f"{len(text):,} of {MAX_PROMPT_CHARACTERS:,} characters.",
            )


def _size_errors(request: GenerationRequest, limits: Limits) -> Iterator[FieldError]:
    for field, side, side_range in (
        ("width", request.width, limits.width),
        ("height", request.height, limits.height),
    ):
        if not side_range.contains(side):
            yield FieldError(field, f"{_range_text(field, side_range)} px.")
        elif not limits.is_on_grid(side):
            yield FieldError(
                field,
                f"{field.capitalize()} must be a multiple of {limits.size_multiple}, "
                f"such as {_nearest_side(side, side_range, limits)}.",
            )
    if not limits.allows_area(request.width, request.height):
        yield FieldError(
            "width",
            f"{request.width} × {request.height} is too large: "
            f"this Space makes up to {limits.max_pixels / 1e6:.1f} megapixels.",
        )


def _nearest_side(side: int, side_range: Range, limits: Limits) -> int:
    multiple = limits.size_multiple
    highest = math.floor(side_range.maximum / multiple) * multiple
    lowest = math.ceil(side_range.minimum / multiple) * multiple
    return max(lowest, min(limits.nearest_multiple(side), highest))


def _number_errors(request: GenerationRequest, limits: Limits) -> Iterator[FieldError]:
    for field, value_range in (
        ("guidance_scale", limits.guidance_scale),
        ("num_inference_steps", limits.num_inference_steps),
    ):
        if value_range is not None and not value_range.contains(getattr(request, field)):
            yield FieldError(field, f"{_range_text(field, value_range)}.")
    seed_range = None if request.randomize_seed else limits.seed
    if seed_range is not None and not seed_range.contains(request.seed):
        yield FieldError(
            "seed",
            f"Enter a seed from {seed_range.whole_numbers}, or leave it empty for a random one.",
        )


def _range_text(field: str, value_range: Range) -> str:
    lowest = format_number(value_range.minimum)
    highest = format_number(value_range.maximum)
    return f"{_FIELD_LABELS[field].capitalize()} must be between {lowest} and {highest}"
