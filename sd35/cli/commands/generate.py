"""`generate`: images of one or more prompts, one after another over one connection."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import typer

from sd35.cli import generate_options, options, prompt_options
from sd35.cli.batch import MAX_IMAGES, Batch
from sd35.cli.events import CliEvent, Hint, PicturePlanned
from sd35.cli.generate_options import build_request_options
from sd35.cli.generation import ImageSequence, event_output, prompt_hints
from sd35.cli.history import BatchTimes, planned_seconds, read_space_times
from sd35.cli.lazy import Command, make_app
from sd35.cli.output import check_folder
from sd35.cli.reporter import DEMO_NOTICE
from sd35.cli.target import SpaceTarget, open_space, resolve_target
from sd35.client import SpaceClient, Timeouts
from sd35.core.limits import PUBLIC_LIMITS, Range
from sd35.core.origin import MAX_SET_SIZE, as_set
from sd35.core.request import GenerationRequest
from sd35.core.seed import MAX_SEED, parse_seed
from sd35.core.text import format_estimate
from sd35.metadata.model import new_id
from sd35.prompts.plan import Plan

__all__ = ["app"]

# At this scale and below, diffusers' pipeline skips classifier-free guidance, and with it the
# negative prompt.
UNGUIDED_SCALE: Final = 1.0

app = make_app()


@app.command(cls=Command)
def generate(  # noqa: PLR0913  # one for each option
    prompt: generate_options.Prompt = None,
    *,
    negative: generate_options.Negative = "",
    aspect: generate_options.Aspect = None,
    width: generate_options.Width = None,
    height: generate_options.Height = None,
    steps: generate_options.Steps = None,
    guidance: generate_options.Guidance = None,
    seed: generate_options.Seed = None,
    count: generate_options.Count = 1,
    out: generate_options.OutputFolder = Path(),
    prompts: generate_options.PromptsFile = None,
    seeds: prompt_options.SeedOrder = None,
    style: prompt_options.StyleNames = None,
    styles: prompt_options.ListStyles = False,
    template: prompt_options.IsTemplate = False,
    no_template: prompt_options.NoTemplate = False,
    combinations: prompt_options.Combinations = None,
    wildcards: prompt_options.WildcardFolder = None,
    dry_run: prompt_options.DryRun = False,
    previews: generate_options.SavePreviews = False,
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
    """Generate images and save them.

    Each file contains its settings. Paths go to stdout, one per line; everything else to stderr.
    """
    with event_output(is_quiet=quiet, is_json=as_json) as emit:
        if styles:
            raise typer.Exit(prompt_options.list_styles(is_json=as_json))
        request = build_request_options(negative, aspect, width, height, guidance, steps, seed)
        sources = prompt_options.read_sources(
            prompt, prompts, wildcards, is_template=template, is_literal=no_template
        )
        named_styles = prompt_options.find_styles(style or ())
        plan = Plan(
            sources,
            request,
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
    for hint in (*_summary_hints(batch, seconds), *prompt_hints(images)):
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
        if len(images) <= MAX_SET_SIZE:
            images = as_set(images, new_id())
        times = BatchTimes([image.request for image in images], await read_space_times(space))
        for hint in (
            *_hints(batch, space, images[0].request),
            *prompt_hints(images),
            *_summary_hints(batch, times.seconds()),
        ):
            emit(hint)
        sequence = ImageSequence(
            space_name=target.space,
            space=space,
            folder=batch.folder,
            times=times,
            emit=emit,
            shutdown=shutdown,
            saves_previews=batch.saves_previews,
            keep_going=batch.keep_going,
        )
        return await sequence.run(images)


def _summary_hints(batch: Batch, seconds: float | None = None) -> Iterator[Hint]:
    if batch.summary:
        estimate = "" if seconds is None else f" {format_estimate(seconds).capitalize()}."
        yield Hint(f"{batch.summary}{estimate}")


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
