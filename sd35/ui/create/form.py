"""The form's fields ↔ a request. Pure.

What a browser sends is checked here by hand: Gradio's own checks know only the limits that the page
    was built with,
not those of the Space that was found since.
"""

from dataclasses import dataclass, fields
from typing import Any, Final

from sd35.core.errors import FieldError
from sd35.core.limits import PUBLIC_LIMITS, Limits
from sd35.core.request import GenerationRequest, number_error, validate
from sd35.core.sizes import ASPECT_RATIOS, Size, SizeUnavailableError, size_for

__all__ = [
    "CUSTOM_SIZE",
    "FIELD_NAMES",
    "FormValues",
    "error_messages",
    "parse_request",
    "preset_for_size",
    "unavailable_ratios",
    "updated_defaults",
    "values_from_request",
]

CUSTOM_SIZE: Final = "custom"


@dataclass(frozen=True, slots=True)
class FormValues:
    """What the fields hold, as the browser sent it: nothing is known of the types."""

    prompt: Any
    negative_prompt: Any
    size: Any
    width: Any
    height: Any
    guidance_scale: Any
    num_inference_steps: Any
    seed: Any
    randomize_seed: Any


FIELD_NAMES: Final = tuple(field.name for field in fields(FormValues))
"""The names of the fields, in the order in which the page sends them."""


def parse_request(
    values: FormValues, limits: Limits
) -> tuple[GenerationRequest | None, tuple[FieldError, ...]]:
    """Return the request that the form asks for, or `None` and what is wrong, each at its field."""
    field_errors: list[FieldError] = []
    width, height = _parse_size(values, limits, field_errors)
    request = GenerationRequest(
        prompt=_parse_text(values.prompt),
        negative_prompt=_parse_text(values.negative_prompt),
        width=width,
        height=height,
        guidance_scale=_parse_number("guidance_scale", values.guidance_scale, field_errors),
        num_inference_steps=_parse_integer(
            "num_inference_steps", values.num_inference_steps, field_errors
        ),
        seed=0
        if values.randomize_seed is True
        else _parse_integer("seed", values.seed, field_errors),
        randomize_seed=values.randomize_seed is True,
    )
    invalid_fields = {problem.field for problem in field_errors}
    field_errors += [
        problem for problem in validate(request, limits) if problem.field not in invalid_fields
    ]
    return (None if field_errors else request), tuple(field_errors)


def error_messages(field_errors: tuple[FieldError, ...], values: FormValues) -> dict[str, str]:
    """Say at which field each problem is shown: a preset's size is the size field's affair."""
    messages_by_field: dict[str, str] = {}
    for field_error in field_errors:
        is_dimension = field_error.field in {"width", "height"}
        messages_by_field.setdefault(
            "size" if is_dimension and values.size != CUSTOM_SIZE else field_error.field,
            field_error.message,
        )
    return messages_by_field


def unavailable_ratios(limits: Limits) -> dict[str, str]:
    """The presets that a Space with these limits can't meet, with the reason."""
    reasons = {}
    for ratio in ASPECT_RATIOS:
        try:
            size_for(ratio, limits)
        except SizeUnavailableError as error:
            reasons[ratio] = str(error)
    return reasons


def updated_defaults(values: FormValues, limits: Limits) -> dict[str, float]:
    """The fields that still hold what the page was built with, and the Space's own default for each."""
    changed_defaults = {}
    for name in ("width", "height", "guidance_scale", "num_inference_steps"):
        initial_range, current_range = getattr(PUBLIC_LIMITS, name), getattr(limits, name)
        if (
            current_range is not None
            and getattr(values, name) == initial_range.default != current_range.default
        ):
            changed_defaults[name] = current_range.default
    return changed_defaults


def _parse_size(
    values: FormValues, limits: Limits, field_errors: list[FieldError]
) -> tuple[int, int]:
    if values.size == CUSTOM_SIZE:
        return _parse_integer("width", values.width, field_errors), _parse_integer(
            "height", values.height, field_errors
        )
    try:
        size = size_for(values.size if isinstance(values.size, str) else "", limits)
    except ValueError as error:  # SizeUnavailableError too
        field_errors.append(FieldError("size", str(error)))
    else:
        return size.width, size.height
    return int(limits.width.default), int(limits.height.default)


def _parse_text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


def _parse_number(field: str, value: Any, field_errors: list[FieldError]) -> float:  # noqa: ANN401  # unknown
    error = number_error(field, value)
    if error is not None:
        field_errors.append(error)
        return 0
    number: float = value
    return number


def _parse_integer(field: str, value: Any, field_errors: list[FieldError]) -> int:  # noqa: ANN401  # unknown
    return int(_parse_number(field, value, field_errors))


def values_from_request(request: GenerationRequest, limits: Limits) -> FormValues:
    """Return what the fields held when this was asked for; a preset where the size is one, else a custom size."""
    return FormValues(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        size=preset_for_size(request.width, request.height, limits),
        width=request.width,
        height=request.height,
        guidance_scale=request.guidance_scale,
        num_inference_steps=request.num_inference_steps,
        seed=request.seed,
        randomize_seed=request.randomize_seed,
    )


def preset_for_size(width: int, height: int, limits: Limits) -> str:
    """Return the preset that has this size at a Space with these limits, or else that for custom sizes."""
    return next(
        (ratio for ratio in ASPECT_RATIOS if _has_size(ratio, Size(width, height), limits)),
        CUSTOM_SIZE,
    )


def _has_size(ratio: str, size: Size, limits: Limits) -> bool:
    try:
        return size_for(ratio, limits) == size
    except SizeUnavailableError:
        return False
