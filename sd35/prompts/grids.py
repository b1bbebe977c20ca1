"""Grids: images that differ in one or two settings, each image in its column and its row.

Prompt parts are those of AUTOMATIC1111's Prompt S/R: the first value of the axis is searched in the
prompt and the negative prompt, and each cell has its own value in that place.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sd35.core.errors import FieldError, InvalidRequestError
from sd35.core.limits import Limits
from sd35.core.origin import PlannedRequest, RequestOrigin
from sd35.core.request import GenerationRequest, check_request, random_seed
from sd35.core.sizes import size_for
from sd35.core.text import one_line, pluralize
from sd35.prompts.axes import Axis, AxisKind, AxisValue, parse_axis
from sd35.prompts.parser import has_template_syntax
from sd35.prompts.resolution import WildcardSource
from sd35.prompts.resolved import resolve_prompt
from sd35.prompts.styles import Style, StyleBook
from sd35.prompts.templates import Template
from sd35.prompts.wildcards import NO_WILDCARDS

__all__ = [
    "AXIS_FIELDS",
    "MAX_CELLS",
    "AxisInput",
    "Grid",
    "GridSource",
    "parse_axis_input",
    "parse_grid",
    "plan_grid",
]

MAX_CELLS: Final = 400
MAX_EVALUATED_CHARACTERS: Final = 150_000  # of all different prompts: a template takes time

AXIS_FIELDS: Final = ("columns", "rows")  # of `FieldError`

_KINDS_BY_FIELD: Final = {
    "prompt": AxisKind.PROMPT,
    "negative_prompt": AxisKind.PROMPT,
    "seed": AxisKind.SEED,
    "num_inference_steps": AxisKind.STEPS,
    "guidance_scale": AxisKind.GUIDANCE,
    "width": AxisKind.SIZE,
    "height": AxisKind.SIZE,
}


@dataclass(frozen=True, slots=True)
class AxisInput:
    """An axis as it was entered."""

    kind: AxisKind
    text: str


def parse_axis_input(text: str) -> AxisInput:
    """Return the axis in a text such as `steps=20,30,40`.

    Raises:
        InvalidRequestError: it has no kind of an axis.
    """
    kind, separator, values = text.partition("=")
    try:
        return AxisInput(AxisKind(kind.strip().lower()), values if separator else "")
    except ValueError:
        kinds = ", ".join(AxisKind)
        raise InvalidRequestError(f"Enter KIND=VALUES, where KIND is one of {kinds}.", "") from None


@dataclass(frozen=True, slots=True)
class Grid:
    """A grid of one or two axes: the columns, then the rows."""

    axes: tuple[Axis, ...]

    @property
    def cell_count(self) -> int:
        """Number of images."""
        return self.column_count * self.row_count

    @property
    def column_count(self) -> int:
        """Number of values of the first axis."""
        return len(self.axes[0].values)

    @property
    def row_count(self) -> int:
        """Number of values of the second axis; 1 without one."""
        return len(self.axes[1].values) if len(self.axes) > 1 else 1

    @property
    def summary(self) -> str:
        """The size of the grid, such as `6 × 4 = 24 images`."""
        images = pluralize(self.cell_count, "image")
        return (
            f"{self.column_count} × {self.row_count} = {images}" if len(self.axes) > 1 else images
        )

    def cells(self) -> Iterator[tuple[AxisValue, ...]]:
        """Yield the values of each cell, row by row."""
        if len(self.axes) == 1:
            yield from ((column,) for column in self.axes[0].values)
            return
        for row in self.axes[1].values:
            yield from ((column, row) for column in self.axes[0].values)


@dataclass(frozen=True, slots=True)
class GridSource:
    """Settings that all cells have, unless they are on an axis; the prompts are as entered.

    A template makes one prompt, by the seed, for the whole grid: only the axes make a difference.
    Styles on an axis replace these.
    """

    request: GenerationRequest
    styles: tuple[Style, ...] = ()
    wildcards: WildcardSource = NO_WILDCARDS
    is_literal: bool = False


def parse_grid(inputs: Sequence[AxisInput], style_book: StyleBook, limits: Limits) -> Grid:
    """Return the grid of one or two axes; random seeds are drawn here, within the limits.

    Raises:
        InvalidRequestError: an axis isn't valid, then with its `FieldError`, or both are of one
            kind, or there are too many cells.
    """
    axes = []
    for field, axis_input in zip(AXIS_FIELDS, inputs, strict=False):
        try:
            axis = parse_axis(
                axis_input.kind, axis_input.text, style_book, lambda: random_seed(limits)
            )
        except InvalidRequestError as error:
            raise _with_field(error, field) from error
        axes.append(axis)
    grid = Grid(tuple(axes))
    kinds = [axis.kind for axis in axes]
    if len(set(kinds)) < len(kinds) and kinds[0] is not AxisKind.PROMPT:
        raise _grid_error(f"Both axes are “{kinds[0].label}”.", "Choose another kind for one.")
    if grid.cell_count > MAX_CELLS:
        message = f"{grid.summary}: a grid has up to {MAX_CELLS}."
        raise _grid_error(message, "Use fewer values.")
    return grid


def plan_grid(grid: Grid, source: GridSource, limits: Limits) -> list[PlannedRequest]:
    """Return the cells of a grid, row by row, as requests to a Space with these limits.

    Raises:
        InvalidRequestError: the Space wouldn't accept a cell, or a prompt part isn't in the prompt.
    """
    request = source.request
    if request.randomize_seed:
        request = replace(request, seed=random_seed(limits), randomize_seed=False)
    planner = _Planner(grid, replace(source, request=request), limits)
    return [planner.cell(values) for values in grid.cells()]


def _grid_error(message: str, remedy: str = "") -> InvalidRequestError:
    return InvalidRequestError(message, remedy, field_errors=(FieldError(AXIS_FIELDS[0], message),))


def _with_field(error: InvalidRequestError, field: str) -> InvalidRequestError:
    errors = (FieldError(field, str(error)),)
    return InvalidRequestError(error.happened, error.remedy, field_errors=errors)


class _Planner:
    """Maker of the cells of one grid."""

    def __init__(self, grid: Grid, source: GridSource, limits: Limits) -> None:
        self._grid = grid
        self._source = source
        self._limits = limits
        self._substitute = _substitution(grid, source.request)
        self._prompts: dict[str, tuple[str, bool]] = {}
        self._character_count = 0

    def cell(self, values: Sequence[AxisValue]) -> PlannedRequest:
        """Return the cell of these values, one of each axis."""
        request = self._source.request
        styles = self._source.styles
        for axis, value in zip(self._grid.axes, values, strict=True):
            if axis.kind is AxisKind.STYLE:
                styles = value.styles
            request = self._apply(request, axis.kind, value)
        request, prompt_sources = self._with_prompts(request, styles, values)
        try:
            check_request(request, self._limits)
        except InvalidRequestError as error:
            raise self._cell_error(error, values) from error
        names = (axis.kind.label for axis in self._grid.axes)
        labels = (value.label for value in values)
        axes = tuple(zip(names, labels, strict=True))
        return PlannedRequest(request, RequestOrigin(prompt_sources, axes))

    def _apply(
        self, request: GenerationRequest, kind: AxisKind, value: AxisValue
    ) -> GenerationRequest:
        match kind:
            case AxisKind.SEED:
                return replace(request, seed=int(value.number))
            case AxisKind.STEPS:
                return replace(request, num_inference_steps=int(value.number))
            case AxisKind.GUIDANCE:
                return replace(request, guidance_scale=float(value.number))
            case AxisKind.SIZE:
                return self._with_size(request, value)
            case _:
                return request

    def _with_size(self, request: GenerationRequest, value: AxisValue) -> GenerationRequest:
        try:
            size = value.size or size_for(value.text, self._limits)
        except ValueError as error:
            field = AXIS_FIELDS[[axis.kind for axis in self._grid.axes].index(AxisKind.SIZE)]
            raise _with_field(InvalidRequestError(f"Size {error}", ""), field) from error
        return replace(request, width=size.width, height=size.height)

    def _with_prompts(
        self, request: GenerationRequest, styles: tuple[Style, ...], values: Sequence[AxisValue]
    ) -> tuple[GenerationRequest, tuple[tuple[str, str], ...]]:
        parts = [
            value.text
            for axis, value in zip(self._grid.axes, values, strict=True)
            if axis.kind is AxisKind.PROMPT
        ]
        text = self._substitute(request.prompt, parts)
        negative_prompt = self._substitute(request.negative_prompt, parts)
        if text not in self._prompts:
            self._prompts[text] = self._evaluate(text)
        prompt, is_template = self._prompts[text]
        resolved = resolve_prompt(prompt, negative_prompt, styles, text if is_template else "")
        # A style is no reason to refuse a Space; the user's own negative prompt is.
        negative = resolved.negative_prompt if self._limits.negative_prompt else negative_prompt
        styled_request = replace(request, prompt=resolved.prompt, negative_prompt=negative)
        return styled_request, resolved.origin

    def _evaluate(self, text: str) -> tuple[str, bool]:
        """Return the prompt of a text, and whether the text is a template."""
        if self._source.is_literal:
            return text, False
        self._character_count += len(text)
        if self._character_count > MAX_EVALUATED_CHARACTERS:
            message = "The prompt is too long for so many values."
            raise InvalidRequestError(message, "Use a shorter prompt, or fewer values.")
        if not has_template_syntax(text):
            return text, False
        return Template(text, self._source.wildcards).sample(self._source.request.seed), True

    def _cell_error(
        self, error: InvalidRequestError, values: Sequence[AxisValue]
    ) -> InvalidRequestError:
        """Return the error with the axis and the value that it is about, if it is about one."""
        fields = {_KINDS_BY_FIELD.get(field_error.field) for field_error in error.field_errors}
        for field, axis, value in zip(AXIS_FIELDS, self._grid.axes, values, strict=False):
            if axis.kind in fields:
                label = one_line(value.label)[:60]
                message = f"{axis.kind.label} {label}: {error.happened}"
                return _with_field(InvalidRequestError(message, error.remedy), field)
        return error


def _substitution(grid: Grid, request: GenerationRequest) -> Callable[[str, Sequence[str]], str]:
    """Return a function that puts the values of prompt parts into a prompt.

    Both axes may be prompt parts: they are replaced at once, so that the value of one is never
    searched for the other.
    """
    axes = [axis for axis in grid.axes if axis.kind is AxisKind.PROMPT]
    searches = [axis.values[0].text for axis in axes]
    if not searches:
        return lambda text, _: text
    if not all(searches):
        raise _part_error(grid, "", "the first value is searched, so it can't be empty.")
    if len(set(searches)) < len(searches):
        raise _part_error(grid, searches[0], "both axes replace the same words.")
    # The longer one first: it may contain the other.
    ordered = sorted(searches, key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, ordered)))
    matches = set(pattern.findall(f"{request.prompt}\n{request.negative_prompt}"))
    for search in searches:
        if search not in matches:
            message = "the prompt doesn't contain these words, which the other values replace."
            raise _part_error(grid, search, message)

    def substitute(text: str, parts: Sequence[str]) -> str:
        replacements = dict(zip(searches, parts, strict=True))
        return pattern.sub(lambda match: replacements[match[0]], text)

    return substitute


def _part_error(grid: Grid, search: str, message: str) -> InvalidRequestError:
    searches = [axis.values[0].text for axis in grid.axes if axis.kind is AxisKind.PROMPT]
    fields = [
        field
        for field, axis in zip(AXIS_FIELDS, grid.axes, strict=False)
        if axis.kind is AxisKind.PROMPT
    ]
    subject = f"Prompt part “{one_line(search)[:60]}”" if search else "Prompt part"
    error = InvalidRequestError(f"{subject}: {message}", "")
    return _with_field(error, fields[searches.index(search)] if search in searches else fields[0])
