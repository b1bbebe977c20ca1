"""`generate`: images of one or more prompts, one after another over one connection."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer
from typer import Argument, Option

from sd35.cli import options
from sd35.cli.batch import Batch, read_prompts
from sd35.cli.events import (
    CliEvent,
    Hint,
    OperationFailed,
    PictureSaved,
    PictureStarted,
    TaskProgress,
)
from sd35.cli.exit_codes import exit_code
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
from sd35.core.picture import Picture
from sd35.core.request import GenerationRequest, RequestOptions
from sd35.jobs.provenance import build_metadata
from sd35.metadata.embedding import embed_or_original
from sd35.metadata.model import new_id

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
        help="Seed. With --count, it increases by 1 per image. Random if omitted or -1.",
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
        request_options = RequestOptions(
            prompt="",
            negative_prompt=negative,
            aspect_ratio=aspect,
            width=width,
            height=height,
            guidance_scale=guidance,
            num_inference_steps=steps,
            seed=seed,
        )
        texts = read_prompts(prompt, prompts)
        batch = Batch(texts, request_options, count, out, previews, keep_going)
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


async def _generate_batch(
    batch: Batch, target: SpaceTarget, emit: Callable[[CliEvent], None]
) -> int:
    """Generate and save the images of a batch; return the exit code of the first failure, or 0."""
    # First, as connecting may take minutes, for a Space that has to wake up.
    check_folder(batch.folder)
    async with open_space(target, Timeouts(), emit) as (space, shutdown):
        requests = batch.requests(space.contract.limits)
        for hint in _hints(batch, space, requests[0]):
            emit(hint)
        generator = _PictureGenerator(target.space, space, batch, emit, shutdown)
        code = 0
        for index, request in enumerate(requests, 1):
            emit(PictureStarted(index, len(requests), request))
            try:
                await generator.generate(request)
            except SD35Error as error:
                # Here instead of at the caller: only here is it known whose seed to print.
                emit(OperationFailed(error, request))
                shutdown.exit_if_requested()
                code = code or exit_code(error)
                if not batch.keep_going:
                    break
    return code


def _hints(batch: Batch, space: SpaceClient, request: GenerationRequest) -> list[Hint]:
    hints = []
    if space.contract.is_demo:
        hints.append(Hint(DEMO_NOTICE, is_warning=True))
    if batch.saves_previews and not space.contract.is_generator:
        hints.append(Hint("This Space has no live previews."))
    if request.negative_prompt and request.guidance_scale <= UNGUIDED_SCALE:
        hints.append(Hint("The negative prompt is ignored: the guidance scale is 1 or below."))
    return hints


@dataclass(frozen=True, slots=True)
class _PictureGenerator:
    """Generator of the images of a batch at one Space."""

    space_name: str
    space: SpaceClient
    batch: Batch
    emit: Callable[[CliEvent], None]
    shutdown: Shutdown

    async def generate(self, request: GenerationRequest) -> None:
        """Generate one image and save it; exit afterwards if the program was asked to stop."""
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
        self._save(request, picture, time.monotonic() - started_at)
        self.shutdown.exit_if_requested(has_saved_picture=True)

    def _save(self, request: GenerationRequest, picture: Picture, elapsed_seconds: float) -> None:
        metadata = build_metadata(
            request, picture, self.space, picture_id=new_id(), elapsed_seconds=elapsed_seconds
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
