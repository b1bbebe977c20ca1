"""The images that a program asks for, planned by the same code as those of the page."""

from functools import partial
from typing import Any, Final

from sd35.core.errors import InvalidRequestError
from sd35.core.limits import Limits
from sd35.core.origin import MAX_SET_SIZE, PlannedRequest
from sd35.core.request import RequestOptions
from sd35.core.seed import parse_whole_number
from sd35.core.visitor import LOCAL_VISITOR, Visitor
from sd35.library.layout import STYLES_FILE, WILDCARDS_DIR
from sd35.library.library import Library
from sd35.prompts.catalog import PromptCatalog
from sd35.prompts.grids import GridSource, parse_axis_input, parse_grid, plan_grid
from sd35.prompts.parser import MAX_TEMPLATE_CHARACTERS
from sd35.prompts.plan import BatchOptions, SeedPolicy, plan_requests, split_prompts
from sd35.prompts.resolution import WildcardSource
from sd35.prompts.styles import StyleBook, join_negatives
from sd35.server.fair_worker import FairWorker

__all__ = ["RequestPlanner"]

MAX_TEXT_CHARACTERS: Final = 20_000  # of the styles or an axis


class RequestPlanner:
    """Planner of the images of programs.

    Programs of others than the owner get the shipped wildcards and styles alone.
    """

    def __init__(self, library: Library) -> None:
        folder = library.folder
        self._catalog = PromptCatalog(folder / WILDCARDS_DIR, folder / STYLES_FILE)
        self._worker = FairWorker()

    async def plan(
        self, visitor: Visitor, limits: Limits, arguments: dict[str, Any]
    ) -> list[PlannedRequest]:
        """Return the images that a call asks for.

        The arguments are those of `RequestOptions`, and further ones of `ApiEndpoints.generate` and
        `generate_set`. Their values may be anything in JSON.

        Raises:
            InvalidRequestError: a value isn't valid, or there are too many images.
        """
        plan = partial(self._plan, visitor, limits, dict(arguments))
        return await self._worker.run(plan, visitor.rate_limit_key)

    def _plan(
        self, visitor: Visitor, limits: Limits, arguments: dict[str, Any]
    ) -> list[PlannedRequest]:
        is_owner = visitor is LOCAL_VISITOR
        style_book = self._catalog.style_book(is_owner=is_owner)
        wildcards = self._catalog.wildcards(is_owner=is_owner)
        batch = _pop_batch_options(arguments)
        axes = [_pop_text(arguments, name) for name in ("columns", "rows")]
        preset_name = _pop_text(arguments, "negative_preset")
        negative_prompt = _text(arguments.pop("negative_prompt", ""))
        if preset_name:
            preset = style_book.find_preset(preset_name)
            negative_prompt = join_negatives(negative_prompt, preset.negative_prompt)
        options = RequestOptions(
            prompt=_text(arguments.pop("prompt", "")), negative_prompt=negative_prompt, **arguments
        )
        if any(axes):
            return _plan_grid(options, axes, batch, limits, style_book, wildcards)
        return plan_requests(options, batch, style_book, wildcards).requests(limits)


def _plan_grid(
    options: RequestOptions,
    axes: list[str],
    batch: BatchOptions,
    limits: Limits,
    style_book: StyleBook,
    wildcards: WildcardSource,
) -> list[PlannedRequest]:
    if not axes[0]:
        raise InvalidRequestError("A grid needs columns.", "Enter columns, such as steps=20,30.")
    if batch.count > 1:
        raise InvalidRequestError("A grid has one image per cell.", "Leave the count out.")
    if batch.one_per_line and len(split_prompts(options.prompt)) > 1:
        raise InvalidRequestError("A grid is of one prompt.", "Leave one_per_line out.")
    grid = parse_grid([parse_axis_input(axis) for axis in axes if axis], style_book, limits)
    source = GridSource(
        options.resolve(limits), style_book.find(batch.styles), wildcards, batch.is_literal
    )
    return plan_grid(grid, source, limits)


def _pop_batch_options(arguments: dict[str, Any]) -> BatchOptions:
    count = parse_whole_number(arguments.pop("count", 1))
    if count is None or not 1 <= count <= MAX_SET_SIZE:
        raise InvalidRequestError(f"The count must be from 1 to {MAX_SET_SIZE:,}.", "")
    seeds = arguments.pop("seeds", "") or SeedPolicy.INCREMENT
    if seeds not in {SeedPolicy.INCREMENT, SeedPolicy.FIXED}:
        raise InvalidRequestError("seeds must be increment or fixed.", "")
    names = (name.strip() for name in _pop_text(arguments, "styles").split(","))
    return BatchOptions(
        count=count,
        one_per_line=arguments.pop("one_per_line", False) is True,
        seeds=SeedPolicy(seeds),
        combinations=arguments.pop("combinations", False) is True,
        is_literal=arguments.pop("template", False) is not True,
        styles=tuple(filter(None, names)),
    )


def _pop_text(arguments: dict[str, Any], name: str) -> str:
    value = arguments.pop(name, None)
    # An agent that sends a list of styles would get an image without them.
    if not isinstance(value, str | None):
        raise InvalidRequestError(f"{name} must be a text, with commas between several values.", "")
    return _text(value)


def _text(value: object) -> str:
    limit = max(MAX_TEXT_CHARACTERS, MAX_TEMPLATE_CHARACTERS + 1)
    return value[:limit] if isinstance(value, str) else ""
