"""`grid`: images of one prompt that differ in one or two settings, and their labelled sheet."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final

import typer
from typer import BadParameter, Option

from sd35.cli import generate_options, options, prompt_options
from sd35.cli.batch import LIMITS_HINT
from sd35.cli.environment import read_settings
from sd35.cli.events import CliEvent, Hint, PicturePlanned, SheetSaved
from sd35.cli.generate_options import build_request_options
from sd35.cli.generation import ImageSequence, SavedImage, event_output, prompt_hints
from sd35.cli.history import BatchTimes, planned_seconds, read_space_times
from sd35.cli.lazy import Command, make_app
from sd35.cli.library_session import Requires, open_library
from sd35.cli.output import check_folder
from sd35.cli.reporter import DEMO_NOTICE, open_reporter
from sd35.cli.target import SpaceTarget, open_space, resolve_target
from sd35.client import Timeouts
from sd35.core.atomic_files import write_errors, write_exclusive
from sd35.core.errors import InvalidRequestError, SD35Error
from sd35.core.limits import PUBLIC_LIMITS, Limits, Range
from sd35.core.origin import PlannedRequest, as_set
from sd35.core.request import RequestOptions
from sd35.core.seed import MAX_SEED
from sd35.core.text import format_estimate, one_line
from sd35.library.layout import WILDCARDS_DIR
from sd35.library.library import Library
from sd35.library.sheet import SheetCell, SheetMember, SheetPicture, build_sheet
from sd35.library.sheet_html import render_page
from sd35.library.sheet_image import render_sheet
from sd35.metadata.model import new_id
from sd35.prompts.axes import AxisKind
from sd35.prompts.grids import (
    AxisInput,
    Grid,
    GridSource,
    parse_axis_input,
    parse_grid,
    plan_grid,
)
from sd35.prompts.styles import Style
from sd35.prompts.wildcards import SHIPPED_WILDCARDS, WildcardFolders

__all__ = ["app"]

PAGE_NAME: Final = "grid.html"
IMAGE_NAME: Final = "grid.png"

# Of a Space that isn't known yet: of a dry run.
ANY_LIMITS: Final = replace(
    PUBLIC_LIMITS,
    width=replace(PUBLIC_LIMITS.width, minimum=16, maximum=8192, step=16),
    height=replace(PUBLIC_LIMITS.height, minimum=16, maximum=8192, step=16),
    seed=Range(0, MAX_SEED, 1, 0),
    guidance_scale=replace(PUBLIC_LIMITS.guidance_scale or Range(0, 0, 0, 0), maximum=1000),
    num_inference_steps=replace(
        PUBLIC_LIMITS.num_inference_steps or Range(0, 0, 0, 0), maximum=10_000
    ),
)


def _parse_axis(text: str) -> AxisInput:
    try:
        return parse_axis_input(text)
    except InvalidRequestError as error:
        raise BadParameter(error.happened) from error


Columns = Annotated[
    AxisInput,
    Option(
        "--columns",
        "-x",
        metavar="KIND=VALUES",
        show_default=False,
        parser=_parse_axis,
        help="Columns, such as steps=20,30,40 or seed=1-4. Kinds: prompt, style, seed, steps, "
        "guidance, size.",
    ),
]
Rows = Annotated[
    AxisInput | None,
    Option("--rows", "-y", metavar="KIND=VALUES", parser=_parse_axis, help="Rows, if any."),
]
IntoLibrary = Annotated[
    bool,
    Option("--to-library", help="Save the images in your library; only the sheets go to --out."),
]

app = make_app()


@app.command(cls=Command)
def grid(  # noqa: PLR0913  # one for each option
    prompt: generate_options.Prompt = None,
    *,
    columns: Columns,
    rows: Rows = None,
    negative: generate_options.Negative = "",
    aspect: generate_options.Aspect = None,
    width: generate_options.Width = None,
    height: generate_options.Height = None,
    steps: generate_options.Steps = None,
    guidance: generate_options.Guidance = None,
    seed: generate_options.Seed = None,
    style: prompt_options.StyleNames = None,
    no_template: prompt_options.NoTemplate = False,
    wildcards: prompt_options.WildcardFolder = None,
    dry_run: prompt_options.DryRun = False,
    out: generate_options.OutputFolder = Path(),
    to_library: IntoLibrary = False,
    keep_going: generate_options.KeepGoing = False,
    space: generate_options.Space = None,
    token: options.Token = None,
    token_file: options.TokenFile = None,
    space_login: options.SpaceLogin = None,
    space_login_file: options.SpaceLoginFile = None,
    proxy: options.Proxy = None,
    proxy_file: options.ProxyFile = None,
    device: options.DeviceName = None,
    precision: options.PrecisionName = None,
    offload: options.OffloadName = None,
    no_t5: options.NoT5 = False,
    revision: options.Revision = None,
    quiet: generate_options.Quiet = False,
    as_json: generate_options.JsonEvents = False,
) -> None:
    """Generate a labelled grid of images.

    They differ in one or two settings: the columns, and the rows. The seed is the same in all
    images, unless it is on an axis. The first value of a prompt part is searched in the prompt, and
    the others replace it: --columns prompt=red,blue,green.
    """
    with event_output(is_quiet=quiet, is_json=as_json) as emit:
        request = build_request_options(negative, aspect, width, height, guidance, steps, seed)
        if not (prompt or "").strip():
            raise InvalidRequestError("Enter a prompt.", "")
        order = _GridOrder(
            replace(request, prompt=prompt or ""),
            tuple(axis for axis in (columns, rows) if axis is not None),
            prompt_options.find_styles(style or ()),
            wildcards,
            no_template,
            out,
            keep_going,
            to_library,
        )
        if dry_run:
            raise typer.Exit(_show_plan(order, space, emit))
        target = resolve_target(
            space,
            token=token,
            token_file=token_file,
            space_login=space_login,
            space_login_file=space_login_file,
            proxy=proxy,
            proxy_file=proxy_file,
            device=device,
            precision=precision,
            offload=offload,
            no_t5=no_t5 or None,
            revision=revision,
        )
        raise typer.Exit(asyncio.run(_generate_grid(order, target, emit)))


@dataclass(frozen=True, slots=True)
class _GridOrder:
    """A grid as it was asked for, before its Space is known."""

    options: RequestOptions
    axes: tuple[AxisInput, ...]
    styles: tuple[Style, ...]
    wildcard_folder: Path | None
    is_literal: bool
    folder: Path
    keep_going: bool
    to_library: bool

    def plan(self, limits: Limits) -> tuple[Grid, list[PlannedRequest]]:
        """Return the grid, and its cells as requests to a Space with these limits.

        Raises:
            InvalidRequestError: an axis or an option isn't valid, or not at this Space.
        """
        grid = parse_grid(self.axes, prompt_options.load_all_styles(), limits)
        wildcards = WildcardFolders(SHIPPED_WILDCARDS, self._wildcard_folder())
        try:
            request = self.options.resolve(limits)
        except InvalidRequestError as error:
            raise InvalidRequestError(error.happened, LIMITS_HINT) from error
        source = GridSource(request, self.styles, wildcards, self.is_literal)
        return grid, as_set(plan_grid(grid, source, limits), new_id())

    def _wildcard_folder(self) -> Path:
        folder = self.wildcard_folder
        if folder is None:
            return read_settings().library_folder / WILDCARDS_DIR
        if not folder.is_dir():
            raise InvalidRequestError(
                f"Folder not found: {one_line(folder)}.", "Choose another --wildcards."
            )
        return folder


def _grid_hints(grid: Grid, seconds: float | None = None) -> Iterator[Hint]:
    estimate = "" if seconds is None else f" {format_estimate(seconds).capitalize()}."
    yield Hint(f"{grid.summary}.{estimate}")
    for title, axis in zip(("Columns", "Rows"), grid.axes, strict=False):
        labels = " | ".join(one_line(value.label) for value in axis.values)
        yield Hint(f"{title}, {axis.kind.label}: {labels}")


def _show_plan(order: _GridOrder, target: str | None, emit: Callable[[CliEvent], None]) -> int:
    """Report what would be made, at a Space with any limits; return the exit code."""
    grid, images = order.plan(ANY_LIMITS)
    requests = [image.request for image in images]
    has_steps = any(axis.kind is AxisKind.STEPS for axis in grid.axes)
    steps = requests[0].num_inference_steps if has_steps else order.options.num_inference_steps
    options = replace(order.options, num_inference_steps=steps)
    seconds = planned_seconds(target, options, len(requests), requests)
    for hint in (*_grid_hints(grid, seconds), *prompt_hints(images)):
        emit(hint)
    for index, image in enumerate(images, 1):
        origin = (*image.origin.axes, *image.origin.prompt_sources)
        emit(PicturePlanned(index, len(images), image.request, origin))
    return 0


async def _generate_grid(
    order: _GridOrder, target: SpaceTarget, emit: Callable[[CliEvent], None]
) -> int:
    """Generate and save cells and sheets; return the exit code of the first failure, or 0."""
    check_folder(order.folder)
    with _output_library(is_needed=order.to_library) as library:
        async with open_space(target, Timeouts(), emit) as (space, shutdown):
            grid, images = order.plan(space.contract.limits)
            times = BatchTimes([image.request for image in images], await read_space_times(space))
            demo_hints = [Hint(DEMO_NOTICE, is_warning=True)] if space.contract.is_demo else []
            for hint in (*demo_hints, *_grid_hints(grid, times.seconds()), *prompt_hints(images)):
                emit(hint)
            sequence = ImageSequence(
                space_name=target.space,
                space=space,
                folder=order.folder,
                times=times,
                emit=emit,
                shutdown=shutdown,
                keep_going=order.keep_going,
                library=library,
            )
            try:
                return await sequence.run(images)
            finally:
                _write_sheets(order.folder, images, sequence.outcomes, emit)


@contextmanager
def _output_library(*, is_needed: bool) -> Iterator[Library | None]:
    if not is_needed:
        yield None
        return
    with (
        closing(open_reporter(is_quiet=True)) as reporter,
        open_library(None, reporter, Requires.NOTHING) as library,
    ):
        library.check_writable()
        yield library


def _write_sheets(
    folder: Path,
    images: list[PlannedRequest],
    outcomes: dict[int, SavedImage | SD35Error],
    emit: Callable[[CliEvent], None],
) -> None:
    """Write the sheet of what there is, as a page and as an image."""
    if not any(isinstance(outcome, SavedImage) for outcome in outcomes.values()):
        return
    members = [
        SheetMember(_cell(outcomes.get(index)), index, image.origin.axes)
        for index, image in enumerate(images)
    ]
    sheet = build_sheet(members, len(members))
    sheet_files = {PAGE_NAME: render_page(sheet).encode(), IMAGE_NAME: render_sheet(sheet)}
    for name, data in sheet_files.items():
        with write_errors(name):
            emit(SheetSaved(write_exclusive(folder, name, data)))


def _cell(outcome: SavedImage | SD35Error | None) -> SheetCell:
    match outcome:
        case SavedImage(path=path, picture=picture, metadata=metadata):
            return SheetCell(
                picture=SheetPicture(
                    path.name, metadata, picture.width, picture.height, path.read_bytes
                )
            )
        case SD35Error():
            return SheetCell(note="Failed", detail=str(outcome))
        case _:
            return SheetCell(note="No image")
