"""The fields of the form, and the request that they describe.

The values come from a browser and may be anything: Gradio's own checks know only the limits that
the page was built with, not those of the Space that was connected since.
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
    """The values of the fields as the browser sent them, of whatever type."""

    prompt: Any
    negative_prompt: Any
    size: Any
    width: Any
    height: Any
    guidance_scale: Any
    num_inference_steps: Any
    seed: Any
    randomize_seed: Any

    def as_list(self) -> list[Any]:
        """Return the values in the order of `FIELD_NAMES`, as Gradio's outputs."""
        return [getattr(self, name) for name in FIELD_NAMES]


FIELD_NAMES: Final = tuple(field.name for field in fields(FormValues))
"""Names of the fields, in the order in which the page sends them."""


def parse_request(
    values: FormValues, limits: Limits
) -> tuple[GenerationRequest | None, tuple[FieldError, ...]]:
    """Return the request and no errors, or `None` and an error for each invalid field."""
    errors: list[FieldError] = []
    width, height = _parse_size(values, limits, errors)
    # Gradio sends a field that was cleared as `None`.
    is_random = values.randomize_seed is True or values.seed is None
    seed = 0 if is_random else _parse_integer("seed", values.seed, errors)
    request = GenerationRequest(
        prompt=_parse_text(values.prompt),
        negative_prompt=_parse_text(values.negative_prompt),
        width=width,
        height=height,
        guidance_scale=_parse_number("guidance_scale", values.guidance_scale, errors),
        num_inference_steps=_parse_integer(
            "num_inference_steps", values.num_inference_steps, errors
        ),
        seed=seed,
        randomize_seed=is_random,
    )
    # A field that couldn't be parsed holds a placeholder: it isn't validated once more.
    invalid_fields = {error.field for error in errors}
    errors += [error for error in validate(request, limits) if error.field not in invalid_fields]
    return (None if errors else request), tuple(errors)


def error_messages(field_errors: tuple[FieldError, ...], values: FormValues) -> dict[str, str]:
    """Return one message per field; sides of a preset count as errors of the size field."""
    messages: dict[str, str] = {}
    for error in field_errors:
        is_preset_side = error.field in {"width", "height"} and values.size != CUSTOM_SIZE
        messages.setdefault("size" if is_preset_side else error.field, error.message)
    return messages


def unavailable_ratios(limits: Limits) -> list[str]:
    """Return the presets that a Space with these limits can't make."""
    return [ratio for ratio in ASPECT_RATIOS if _size_or_none(ratio, limits) is None]


def updated_defaults(values: FormValues, limits: Limits) -> dict[str, float]:
    """Return the Space's defaults for the fields that still hold the page's own."""
    defaults = {}
    for name in ("width", "height", "guidance_scale", "num_inference_steps"):
        initial = getattr(PUBLIC_LIMITS, name).default
        value_range = getattr(limits, name)
        if value_range is not None and getattr(values, name) == initial != value_range.default:
            defaults[name] = value_range.default
    return defaults


def _parse_size(values: FormValues, limits: Limits, errors: list[FieldError]) -> tuple[int, int]:
    if values.size == CUSTOM_SIZE:
        width = _parse_integer("width", values.width, errors)
        return width, _parse_integer("height", values.height, errors)
    try:
        size = size_for(values.size if isinstance(values.size, str) else "", limits)
    except ValueError as error:  # includes SizeUnavailableError
        errors.append(FieldError("size", str(error)))
        return int(limits.width.default), int(limits.height.default)
    return size.width, size.height


def _parse_text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


def _parse_number(field: str, value: object, errors: list[FieldError]) -> float:
    error = number_error(field, value)
    if error is None:
        assert isinstance(value, int | float)
        return value
    errors.append(error)
    return 0


def _parse_integer(field: str, value: object, errors: list[FieldError]) -> int:
    return int(_parse_number(field, value, errors))


def values_from_request(request: GenerationRequest, limits: Limits) -> FormValues:
    """Return the values of the fields that describe this request."""
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
    """Return the preset that has this size at a Space with these limits, or `CUSTOM_SIZE`."""
    size = Size(width, height)
    presets = (ratio for ratio in ASPECT_RATIOS if _size_or_none(ratio, limits) == size)
    return next(presets, CUSTOM_SIZE)


def _size_or_none(ratio: str, limits: Limits) -> Size | None:
    try:
        return size_for(ratio, limits)
    except SizeUnavailableError:
        return None
