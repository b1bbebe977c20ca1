"""`generate`: images of one or more prompts, one after another over one connection."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final

import typer
from typer import Argument, Option

from sd35.cli import options, prompt_options
from sd35.cli.batch import MAX_IMAGES, Batch
from sd35.cli.events import (
    CliEvent,
    Hint,
    OperationFailed,
    PicturePlanned,
    PictureSaved,
    PictureStarted,
    TaskProgress,
)
from sd35.cli.exit_codes import exit_code
from sd35.cli.history import BatchTimes, planned_seconds, read_space_times
from sd35.cli.lazy import Command, make_app
from sd35.cli.output import (
    JsonLinesOutput,
    PreviewWriter,
    check_folder,
    write_path,
    write_result,
)
from sd35.cli.reporter import DEMO_NOTICE, open_reporter
from sd35.cli.runner import Shutdown, exit_on_errors
from sd35.cli.target import SpaceTarget, open_space, resolve_target
from sd35.client import Previews, SpaceClient, Timeouts
from sd35.core.errors import SD35Error
from sd35.core.events import Started
from sd35.core.file_names import file_name
from sd35.core.limits import PUBLIC_LIMITS, Range
from sd35.core.origin import PlannedRequest
from sd35.core.picture import Picture
from sd35.core.request import GenerationRequest, RequestOptions
from sd35.core.seed import MAX_SEED, parse_seed
from sd35.core.text import format_estimate, one_line, pluralize
from sd35.jobs.provenance import build_metadata
from sd35.metadata.embedding import embed_or_original
from sd35.metadata.model import new_id
from sd35.prompts.plan import Plan
from sd35.prompts.tokens import estimate_tokens
from sd35.prompts.unsupported import SyntaxKind, find_unsupported

__all__ = ["app"]

# At this scale and below, diffusers' pipeline skips classifier-free guidance, and with it the
# negative prompt.
UNGUIDED_SCALE: Final = 1.0

Prompt = Annotated[str | None, Argument(metavar="PROMPT", show_default=False, help="Prompt.")]
Negative = Annotated[str, Option(metavar="TEXT", show_default=False, help="Negative prompt.")]
Aspect = Annotated[
    str | None,
    Option(
        metavar="RATIO",
        parser=options.aspect_ratio,
        help="Aspect ratio, such as 16:9, at the largest size available.",
    ),
]
Width = Annotated[
    int | None,
    Option(metavar="PIXELS", parser=options.whole_number(), help="Width, a multiple of 16."),
]
Height = Annotated[
    int | None,
    Option(metavar="PIXELS", parser=options.whole_number(), help="Height, a multiple of 16."),
]
Steps = Annotated[
    int | None,
    Option(metavar="N", parser=options.whole_number(), help="Number of inference steps."),
]
Guidance = Annotated[
    float | None, Option(metavar="SCALE", parser=options.decimal_number, help="Guidance scale.")
]
Seed = Annotated[
    int | None,
    Option(
        metavar="N",
        parser=options.seed_number,
        help="Seed of the first image. Random if omitted or -1.",
    ),
]
Count = Annotated[
    int, Option(metavar="N", parser=options.whole_number(1, 1000), help="Images per prompt.")
]
OutputFolder = Annotated[
    Path,
    Option(
        "--out",
        "-o",
        metavar="FOLDER",
        show_default=False,
        help="Output folder (default: current folder). Existing files are never overwritten.",
    ),
]
PromptsFile = Annotated[
    Path | None,
    Option(metavar="FILE", help="File with one prompt per line; # for comments; - for stdin."),
]
SavePreviews = Annotated[
    bool, Option("--previews", help="Also save the previews, as NAME-preview-01 and so on.")
]
KeepGoing = Annotated[bool, Option("--keep-going", help="Continue after errors.")]
Space = Annotated[
    str | None,
    Option(
        metavar="SPACE",
        help="Space: owner/name, URL, local or local:MODEL for a model on this machine, or demo "
        "for the built-in demo. Default: SD35_SPACE, or the public Space.",
    ),
]
Quiet = Annotated[bool, Option("--quiet", "-q", help="Only print errors.")]
JsonEvents = Annotated[bool, Option("--json", help="Print events as JSON, one per line.")]

app = make_app()


@app.command(cls=Command)
def generate(  # noqa: PLR0913  # one for each option
    prompt: Prompt = None,
    *,
    negative: Negative = "",
    aspect: Aspect = None,
    width: Width = None,
    height: Height = None,
    steps: Steps = None,
    guidance: Guidance = None,
    seed: Seed = None,
    count: Count = 1,
    out: OutputFolder = Path(),
    prompts: PromptsFile = None,
    seeds: prompt_options.SeedOrder = None,
    style: prompt_options.StyleNames = None,
    styles: prompt_options.ListStyles = False,
    template: prompt_options.IsTemplate = False,
    no_template: prompt_options.NoTemplate = False,
    combinations: prompt_options.Combinations = None,
    wildcards: prompt_options.WildcardFolder = None,
    dry_run: prompt_options.DryRun = False,
    previews: SavePreviews = False,
    keep_going: KeepGoing = False,
    space: Space = None,
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
    quiet: Quiet = False,
    as_json: JsonEvents = False,
) -> None:
    """Generate images and save them.

    Each file contains its settings. Paths go to stdout, one per line; everything else to stderr.
    """
    with _event_output(is_quiet=quiet, is_json=as_json) as emit:
        if styles:
            raise typer.Exit(prompt_options.list_styles(is_json=as_json))
        request_options = _request_options(negative, aspect, width, height, guidance, steps, seed)
        sources = prompt_options.read_sources(
            prompt, prompts, wildcards, is_template=template, is_literal=no_template
        )
        named_styles = prompt_options.find_styles(style or ())
        plan = Plan(
            sources,
            request_options,
            count,
            seeds,
            named_styles,
            combinations,
            restarts_seeds=True,
            max_images=MAX_IMAGES,
        )
        batch = Batch(plan, out, previews, keep_going)
        if dry_run:
            raise typer.Exit(_show_plan(batch, space, emit))
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
        raise typer.Exit(asyncio.run(_generate_batch(batch, target, emit)))


def _request_options(
    negative: str,
    aspect: str | None,
    width: int | None,
    height: int | None,
    guidance: float | None,
    steps: int | None,
    seed: int | None,
) -> RequestOptions:
    return RequestOptions(
        prompt="",
        negative_prompt=negative,
        aspect_ratio=aspect,
        width=width,
        height=height,
        guidance_scale=guidance,
        num_inference_steps=steps,
        seed=seed,
    )


@contextmanager
def _event_output(*, is_quiet: bool, is_json: bool) -> Iterator[Callable[[CliEvent], None]]:
    """Provide a function that reports events to people and programs; report errors like them."""
    write_output = JsonLinesOutput().write if is_json else write_path
    with closing(open_reporter(is_quiet=is_quiet, is_json=is_json)) as reporter:

        def emit(event: CliEvent) -> None:
            reporter.show(event)
            write_output(event)

        with exit_on_errors(lambda error: emit(OperationFailed(error))):
            yield emit


def _show_plan(batch: Batch, target: str | None, emit: Callable[[CliEvent], None]) -> int:
    """Report what would be made, at a Space with any limits; return the exit code."""
    seconds = planned_seconds(target, batch.plan.options, batch.plan.total)
    options = replace(
        batch.plan.options,
        aspect_ratio=None,
        width=None,
        height=None,
        guidance_scale=None,
        num_inference_steps=None,
    )
    limits = PUBLIC_LIMITS
    assert limits.seed is not None
    if (parse_seed(options.seed) or 0) > limits.seed.maximum:
        limits = replace(limits, seed=Range(0, MAX_SEED, 1, 0))
    batch = replace(batch, plan=replace(batch.plan, options=options))
    images = batch.requests(limits)
    for hint in (*_summary_hints(batch, seconds), *_prompt_hints(images)):
        emit(hint)
    for index, image in enumerate(images, 1):
        sources = image.origin.prompt_sources
        emit(PicturePlanned(index, len(images), image.request, sources))
    return 0


async def _generate_batch(
    batch: Batch, target: SpaceTarget, emit: Callable[[CliEvent], None]
) -> int:
    """Generate and save the images of a batch; return the exit code of the first failure, or 0."""
    # First, as connecting may take minutes, for a Space that has to wake up.
    check_folder(batch.folder)
    async with open_space(target, Timeouts(), emit) as (space, shutdown):
        images = batch.requests(space.contract.limits)
        times = BatchTimes([image.request for image in images], await read_space_times(space))
        for hint in (
            *_hints(batch, space, images[0].request),
            *_prompt_hints(images),
            *_summary_hints(batch, times.seconds()),
        ):
            emit(hint)
        generator = _PictureGenerator(target.space, space, batch, times, emit, shutdown)
        code = 0
        for index, image in enumerate(images, 1):
            expected_seconds = times.seconds(index - 1, index), times.seconds(index)
            emit(PictureStarted(index, len(images), image.request, *expected_seconds))
            try:
                await generator.generate(image)
            except SD35Error as error:
                # Here instead of at the caller: only here is it known whose seed to print.
                emit(OperationFailed(error, image.request))
                shutdown.exit_if_requested()
                code = code or exit_code(error)
                if not batch.keep_going:
                    break
    return code


def _summary_hints(batch: Batch, seconds: float | None = None) -> Iterator[Hint]:
    if batch.summary:
        estimate = "" if seconds is None else f" {format_estimate(seconds).capitalize()}."
        yield Hint(f"{batch.summary}{estimate}")


def _prompt_hints(images: list[PlannedRequest]) -> Iterator[Hint]:
    """Yield what the model doesn't understand or doesn't read of the prompts, once for each."""
    syntaxes: dict[SyntaxKind, str] = {}
    unread_count = 0
    for image in images:
        for syntax in find_unsupported(image.request.prompt):
            syntaxes.setdefault(syntax.kind, syntax.text)
        unread_count += estimate_tokens(image.request.prompt).t5.end is not None
    for kind, text in syntaxes.items():
        yield Hint(f"“{one_line(text)[:40]}” is {kind.value}.")
    if unread_count:
        texts = pluralize(unread_count, "prompt")
        yield Hint(f"The end of {texts} is likely beyond the 256 tokens that the model reads.")


def _hints(batch: Batch, space: SpaceClient, request: GenerationRequest) -> list[Hint]:
    hints = []
    if space.contract.is_demo:
        hints.append(Hint(DEMO_NOTICE, is_warning=True))
    if batch.saves_previews and not space.contract.is_generator:
        hints.append(Hint("This Space has no live previews."))
    # The user's own: a style's negative words are no reason for a hint.
    if batch.plan.options.negative_prompt and request.guidance_scale <= UNGUIDED_SCALE:
        hints.append(Hint("The negative prompt is ignored: the guidance scale is 1 or below."))
    return hints


@dataclass(frozen=True, slots=True)
class _PictureGenerator:
    """Generator of the images of a batch at one Space."""

    space_name: str
    space: SpaceClient
    batch: Batch
    times: BatchTimes
    emit: Callable[[CliEvent], None]
    shutdown: Shutdown

    async def generate(self, image: PlannedRequest) -> None:
        """Generate one image and save it; exit afterwards if the program was asked to stop."""
        request = image.request
        started_at = time.monotonic()
        previews = Previews.ALL if self.batch.saves_previews else Previews.NONE
        generation = self.space.generate(request, previews=previews)
        preview_writer = PreviewWriter(
            self.batch.folder, lambda preview: self._file_name(request, preview), self.emit
        )
        with self.shutdown.cancellable():
            async with generation:
                async for event in generation:
                    if isinstance(event, Started):
                        # The wait in the queue isn't part of how long the image took.
                        started_at = time.monotonic()
                    preview_writer.handle_event(event)
        preview_writer.close()
        if generation.finished is None:
            self.shutdown.exit_if_requested(generation.stopped)
            return
        # The image has cost its quota: from here on nothing interrupts the download.
        self.emit(TaskProgress("Downloading the image", is_brief=True))
        picture = await generation.fetch()
        self._save(image, picture, time.monotonic() - started_at)
        self.shutdown.exit_if_requested(has_saved_picture=True)

    def _save(self, image: PlannedRequest, picture: Picture, elapsed_seconds: float) -> None:
        request = image.request
        self.times.add(request, elapsed_seconds)
        metadata = build_metadata(
            request,
            picture,
            self.space,
            picture_id=new_id(),
            elapsed_seconds=elapsed_seconds,
            origin=image.origin,
        )
        picture = embed_or_original(picture, metadata)
        path = write_result(self.batch.folder, self._file_name(request, picture), picture)
        self.emit(
            PictureSaved(
                path, picture, request.prompt, elapsed_seconds, self.space_name, metadata.is_demo
            )
        )

    def _file_name(self, request: GenerationRequest, picture: Picture) -> str:
        # A finished image has the seed that the Space reports, if any; a preview the requested one.
        seed = request.seed if picture.request is None else picture.seed
        return file_name(self.space.model, request.prompt, seed, picture)
