"""The fields of the form, and the images that they describe.

The values come from a browser and may be anything: Gradio's own checks know only the limits that
the page was built with, not those of the Space that was connected since.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from sd35.core.errors import FieldError, InvalidRequestError, PromptError
from sd35.core.limits import PUBLIC_LIMITS, Limits
from sd35.core.origin import PlannedRequest
from sd35.core.request import RequestOptions, is_random_seed
from sd35.core.sizes import ASPECT_RATIOS, Size, SizeUnavailableError, size_for
from sd35.core.text import one_line
from sd35.prompts.grids import Grid
from sd35.prompts.plan import parse_batch_options, plan_requests
from sd35.prompts.resolution import WildcardSource
from sd35.prompts.styles import NO_STYLES, StyleBook
from sd35.prompts.wildcards import NO_WILDCARDS

__all__ = [
    "CUSTOM_SIZE",
    "FIELD_NAMES",
    "SLIDER_FIELDS",
    "FormPlan",
    "FormValues",
    "error_messages",
    "is_random_form",
    "plan_form",
    "preset_for_size",
    "request_options",
    "unavailable_ratios",
    "updated_defaults",
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
    batch_options: Any

    def as_list(self) -> list[Any]:
        """Return the values in the order of `FIELD_NAMES`, as Gradio's outputs."""
        return [getattr(self, name) for name in FIELD_NAMES]


FIELD_NAMES: Final = tuple(field.name for field in fields(FormValues))
"""Names of the fields, in the order in which the page sends them."""

SLIDER_FIELDS: Final = ("width", "height", "guidance_scale", "num_inference_steps")
"""Names of the fields whose range depends on the Space."""


@dataclass(frozen=True, slots=True)
class FormPlan:
    """The images that a press makes, or what is wrong with the form.

    Attributes:
        prompt_count: number of prompts, of which there are equally many images.
        template_count: number of combinations of all templates, 0 without a template.
        error: what is wrong, for the fields in `field_errors`.
        grid: the grid that the images are the cells of.
    """

    images: tuple[PlannedRequest, ...] = ()
    prompt_count: int = 0
    template_count: int = 0
    error: InvalidRequestError | None = None
    field_errors: tuple[FieldError, ...] = ()
    grid: Grid | None = None


def plan_form(
    values: FormValues,
    limits: Limits,
    style_book: StyleBook = NO_STYLES,
    wildcards: WildcardSource = NO_WILDCARDS,
    draw: int | None = None,
) -> FormPlan:
    """Return what a press would make; with the same `draw`, it has the same random seeds."""
    batch = parse_batch_options(values.batch_options)
    try:
        plan = plan_requests(request_options(values), batch, style_book, wildcards)
        images = plan.requests(limits, draw)
    except InvalidRequestError as error:
        return FormPlan(error=error, field_errors=_field_errors(error))
    counts = [source.template.count for source in plan.sources if source.template]
    return FormPlan(tuple(images), plan.prompt_count, sum(counts))


def request_options(values: FormValues) -> RequestOptions:
    """Return the request that a form describes, unchecked."""
    is_custom = values.size == CUSTOM_SIZE
    names = SLIDER_FIELDS if is_custom else ("guidance_scale", "num_inference_steps")
    numbers: dict[str, Any] = {name: getattr(values, name) for name in names}
    negative_prompt = values.negative_prompt
    return RequestOptions(
        prompt=values.prompt if isinstance(values.prompt, str) else "",
        negative_prompt=negative_prompt if isinstance(negative_prompt, str) else "",
        aspect_ratio=None if is_custom else values.size or "",
        # Gradio sends a field that was cleared as `None`, which means the Space's default, or for
        # the seed a random one.
        seed=None if is_random_form(values) else values.seed,
        **numbers,
    )


def is_random_form(values: FormValues) -> bool:
    """Return whether each image gets a random seed."""
    return values.randomize_seed is True or is_random_seed(values.seed)


def _field_errors(error: InvalidRequestError) -> tuple[FieldError, ...]:
    """Return an error for each invalid field; of several prompts, that of the prompt names one."""
    if not error.field_errors:
        return (FieldError("prompt", str(error)),)
    prefix = f"“{one_line(error.prompt)[:40]}”: " if isinstance(error, PromptError) else ""
    return tuple(
        replace(field_error, message=f"{prefix}{field_error.message}")
        if field_error.field == "prompt"
        else field_error
        for field_error in error.field_errors
    )


def error_messages(field_errors: tuple[FieldError, ...], values: FormValues) -> dict[str, str]:
    """Return one message per field of the form; a preset's sides belong to the size field."""
    messages: dict[str, str] = {}
    for error in field_errors:
        is_size = error.field in {"aspect_ratio", "width", "height"}
        is_at_size = is_size and values.size != CUSTOM_SIZE
        messages.setdefault("size" if is_at_size else error.field, error.message)
    return messages


def unavailable_ratios(limits: Limits) -> list[str]:
    """Return the presets that a Space with these limits can't make."""
    return [ratio for ratio in ASPECT_RATIOS if _size_or_none(ratio, limits) is None]


def updated_defaults(
    values: FormValues, limits: Limits, former_defaults: Mapping[str, float]
) -> dict[str, float]:
    """Return the Space's defaults for the fields that hold the page's own or the former Space's.

    They also replace what doesn't fit.
    """
    defaults = {}
    for name in SLIDER_FIELDS:
        value = getattr(values, name)
        value_range = getattr(limits, name)
        if value_range is None or value == value_range.default:
            continue
        initial = getattr(PUBLIC_LIMITS, name).default
        is_unchanged = value in {initial, former_defaults.get(name)}
        is_number = isinstance(value, int | float)
        if is_unchanged or (is_number and not value_range.minimum <= value <= value_range.maximum):
            defaults[name] = value_range.default
    return defaults


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
