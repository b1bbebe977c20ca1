"""The axes of a grid that a page asks for, and what the page shows of the grid before the press."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import orjson

from sd35.core.errors import FieldError, InvalidRequestError
from sd35.core.limits import Limits
from sd35.prompts.axes import MAX_TEXT_CHARACTERS, Axis, AxisKind
from sd35.prompts.grids import AXIS_FIELDS, AxisInput, GridSource, parse_grid, plan_grid
from sd35.prompts.plan import BatchOptions, parse_batch_options, split_prompts
from sd35.prompts.resolution import WildcardSource
from sd35.prompts.styles import StyleBook
from sd35.ui.create.form import FormPlan, FormValues, request_options

__all__ = ["dump_grid_plan", "parse_axis_inputs", "plan_grid_form"]

MAX_LABELS: Final = 12  # of an axis, in the preview
MAX_LABEL_CHARACTERS: Final = 80


def parse_axis_inputs(payload: object) -> tuple[AxisInput, ...]:
    """Return the one or two axes in the JSON of a page; none if it is anything else."""
    items = payload if isinstance(payload, list) and len(payload) <= len(AXIS_FIELDS) else []
    axes = [_parse_axis_input(item) for item in items]
    return tuple(axis for axis in axes if axis is not None) if all(axes) else ()


def _parse_axis_input(item: object) -> AxisInput | None:
    values = item if isinstance(item, dict) else {}
    kind = values.get("kind")
    text = values.get("text")
    if not isinstance(kind, str) or kind not in set(AxisKind) or not isinstance(text, str):
        return None
    return AxisInput(AxisKind(kind), text[: MAX_TEXT_CHARACTERS + 1])


def plan_grid_form(
    values: FormValues,
    inputs: Sequence[AxisInput],
    limits: Limits,
    style_book: StyleBook,
    wildcards: WildcardSource,
) -> FormPlan:
    """Return the images of a grid over the settings of a form."""
    batch = parse_batch_options(values.batch_options)
    try:
        grid = parse_grid(inputs, style_book, limits)
        options = request_options(values)
        _check_single_prompt(options.prompt, batch)
        source = GridSource(
            options.resolve(limits),
            style_book.find(batch.styles),
            wildcards,
            is_literal=batch.is_literal,
        )
        images = tuple(plan_grid(grid, source, limits))
    except InvalidRequestError as error:
        errors = error.field_errors or (FieldError("prompt", str(error)),)
        return FormPlan(error=error, field_errors=errors)
    return FormPlan(images, prompt_count=len(images), grid=grid)


def _check_single_prompt(prompt: str, batch: BatchOptions) -> None:
    if batch.one_per_line and len(split_prompts(prompt)) > 1:
        message = "A grid is of one prompt: turn off “One prompt per line”."
        raise InvalidRequestError(message, "", field_errors=(FieldError("prompt", message),))


def dump_grid_plan(
    plan: FormPlan,
    *,
    estimate: str,
    warning: str,
    style_names: Iterable[str],
    request_id: int,
) -> str:
    """Return what a grid would be, as JSON for grid.js.

    `estimate` is how long it takes, and `warning` why it can't be started now.
    """
    axes = () if plan.grid is None else plan.grid.axes
    summary = "" if plan.grid is None else plan.grid.summary
    error = next(iter(plan.field_errors), None)
    payload = {
        "request_id": request_id,
        "image_count": len(plan.images),
        "summary": ", ".join(filter(None, (summary, estimate))),
        "warning": warning,
        "axes": [_axis_json(axis) for axis in axes],
        "error": error and {"field": error.field, "message": error.message},
        "styles": list(style_names),
    }
    return orjson.dumps(payload).decode()


def _axis_json(axis: Axis) -> dict[str, Any]:
    labels = [value.label[:MAX_LABEL_CHARACTERS] for value in axis.values[:MAX_LABELS]]
    return {"name": axis.kind.label, "count": len(axis.values), "labels": labels}
