"""The form's fields ↔ a request. Pure.

What a browser sends is checked here by hand: Gradio's own checks know only the limits that the page
    was built with,
not those of the Space that was found since.
"""

from dataclasses import dataclass, fields
from typing import Any, Final

from sd35.core.limits import PUBLIC_LIMITS, Limits
from sd35.core.request import GenerationRequest, Problem, problems
from sd35.core.sizes import ASPECT_RATIOS, Size, SizeUnavailableError, size_for

__all__ = [
    "CUSTOM_SIZE",
    "FIELDS",
    "FormValues",
    "messages",
    "preset_of",
    "read_request",
    "unavailable_ratios",
    "updated_defaults",
    "values_of",
]

CUSTOM_SIZE: Final = "custom"

LARGEST = 1e15
"""Beyond any field's range; what is larger, infinite or no number at all is taken for no number."""


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


FIELDS: Final = tuple(field.name for field in fields(FormValues))
"""The names of the fields, in the order in which the page sends them."""


def read_request(
    values: FormValues, limits: Limits
) -> tuple[GenerationRequest | None, tuple[Problem, ...]]:
    """Return the request that the form asks for, or `None` and what is wrong, each at its field."""
    found: list[Problem] = []
    width, height = _size(values, limits, found)
    request = GenerationRequest(
        prompt=_text(values.prompt),
        negative_prompt=_text(values.negative_prompt),
        width=width,
        height=height,
        guidance_scale=_number("guidance_scale", "guidance scale", values.guidance_scale, found),
        num_inference_steps=_whole(
            "num_inference_steps", "number of steps", values.num_inference_steps, found
        ),
        seed=0 if values.randomize_seed is True else _whole("seed", "seed", values.seed, found),
        randomize_seed=values.randomize_seed is True,
    )
    known = {problem.field for problem in found}
    found += [problem for problem in problems(request, limits) if problem.field not in known]
    return (None if found else request), tuple(found)


def messages(found: tuple[Problem, ...], values: FormValues) -> dict[str, str]:
    """Say at which field each problem is shown: a preset's size is the size field's affair."""
    shown: dict[str, str] = {}
    for problem in found:
        is_side = problem.field in {"width", "height"}
        shown.setdefault(
            "size" if is_side and values.size != CUSTOM_SIZE else problem.field, problem.message
        )
    return shown


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
    changed = {}
    for name in ("width", "height", "guidance_scale", "num_inference_steps"):
        built_with, live = getattr(PUBLIC_LIMITS, name), getattr(limits, name)
        if live is not None and getattr(values, name) == built_with.default != live.default:
            changed[name] = live.default
    return changed


def _size(values: FormValues, limits: Limits, found: list[Problem]) -> tuple[int, int]:
    if values.size == CUSTOM_SIZE:
        return _whole("width", "width", values.width, found), _whole(
            "height", "height", values.height, found
        )
    try:
        size = size_for(values.size if isinstance(values.size, str) else "", limits)
    except ValueError as error:  # SizeUnavailableError too
        found.append(Problem("size", str(error)))
    else:
        return size.width, size.height
    return int(limits.width.default), int(limits.height.default)


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


def _number(field: str, name: str, value: object, found: list[Problem]) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST:
        return value
    found.append(Problem(field, f"Give a {name}: a number."))
    return 0


def _whole(field: str, name: str, value: object, found: list[Problem]) -> int:
    number = _number(field, name, value, found)
    if number != int(number):
        found.append(Problem(field, f"The {name} is a whole number, not {number:g}."))
    return int(number)


def values_of(request: GenerationRequest, limits: Limits) -> FormValues:
    """Return what the fields held when this was asked for; a preset where the size is one, else a custom size."""
    return FormValues(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        size=preset_of(request.width, request.height, limits),
        width=request.width,
        height=request.height,
        guidance_scale=request.guidance_scale,
        num_inference_steps=request.num_inference_steps,
        seed=request.seed,
        randomize_seed=request.randomize_seed,
    )


def preset_of(width: int, height: int, limits: Limits) -> str:
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
