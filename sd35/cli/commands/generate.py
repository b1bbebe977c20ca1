"""`generate`: pictures, one after another over one connection, each saved as it came, with its settings added."""

import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from typing import Any, Final

from sd35.cli.batch import Batch
from sd35.cli.events import (
    CliEvent,
    ConnectionEstablished,
    ConnectionStarted,
    DownloadStarted,
    Hint,
    OperationFailed,
    PictureSaved,
    PictureStarted,
    ShutdownReport,
    ShutdownRequested,
)
from sd35.cli.exit_codes import EXIT_OK, exit_code
from sd35.cli.output import JsonLinesOutput, PathOutput
from sd35.cli.output_files import PreviewWriter, check_folder, write_picture
from sd35.cli.reporter import open_reporter
from sd35.cli.runner import Shutdown, run_async
from sd35.cli.target import SpaceTarget
from sd35.client import Previews, SpaceClient, Timeouts
from sd35.core.atomic_files import file_name
from sd35.core.errors import SD35Error
from sd35.core.events import Started
from sd35.core.picture import Picture
from sd35.core.request import GenerationRequest
from sd35.library.provenance import build_metadata, embed_or_original
from sd35.metadata.model import new_id

__all__ = ["EventHandler", "generate_batch", "run_with_output"]

EventHandler = Callable[[CliEvent], None]

MAX_UNGUIDED_SCALE: Final = 1.0
"""At this scale and below, the model isn't guided, and doesn't see the negative prompt."""


def run_with_output(
    operation: Callable[[EventHandler], Coroutine[Any, Any, int]], *, is_quiet: bool, is_json: bool
) -> int:
    """Run the work that `begin` returns, tell of it on both streams, and return what it ends with."""
    output = JsonLinesOutput() if is_json else PathOutput()
    with closing(open_reporter(is_quiet=is_quiet, is_json=is_json)) as reporter:

        def emit(event: CliEvent) -> None:
            reporter.show(event)
            output.show(event)

        return run_async(lambda: operation(emit), lambda error: emit(OperationFailed(error)))


async def generate_batch(batch: Batch, target: SpaceTarget, emit: EventHandler) -> int:
    """Make the pictures that were ordered, and return what the program ends with.

    Raises:
        SD35Error: none could be made; the kind says why.

    """
    shutdown = Shutdown(lambda: emit(ShutdownRequested()))
    with shutdown.installed():
        check_folder(batch.folder)
        async with AsyncExitStack() as stack:
            emit(ConnectionStarted(target.space))
            with shutdown.cancellable():
                space = await stack.enter_async_context(target.connect(Timeouts(), emit))
            if shutdown.is_requested:
                emit(ShutdownReport(None))
                return shutdown.exit_code
            emit(ConnectionEstablished(target.space, space.contract.is_demo))
            if batch.has_previews and not space.contract.is_generator:
                emit(Hint("This Space sends no previews: the picture comes at the end."))
            return await _generate_all(
                batch, _PictureGenerator(target.space, space, batch, emit, shutdown)
            )


async def _generate_all(batch: Batch, generator: "_PictureGenerator") -> int:
    code = EXIT_OK
    requests = batch.requests(generator.space.contract.limits)
    if requests[0].negative_prompt and requests[0].guidance_scale <= MAX_UNGUIDED_SCALE:
        generator.emit(Hint("The negative prompt has no effect: guidance is off."))
    for index, request in enumerate(requests, 1):
        generator.emit(PictureStarted(index, len(requests), request))
        try:
            shutdown_report = await generator.generate(request)
        except SD35Error as error:
            generator.emit(OperationFailed(error, request))
            code = code or exit_code(error)
            shutdown_report = ShutdownReport(None)
            if not batch.keep_going:
                break
        if generator.shutdown.is_requested:
            generator.emit(shutdown_report)
            return generator.shutdown.exit_code
    return code


@dataclass(frozen=True, slots=True)
class _PictureGenerator:
    """Makes one picture after another at one Space, which goes by this name."""

    space_name: str
    space: SpaceClient
    batch: Batch
    emit: EventHandler
    shutdown: Shutdown

    async def generate(self, request: GenerationRequest) -> ShutdownReport:
        """Make one picture and save it; return what stopping did, if the program was asked to stop.

        Raises:
            SD35Error: there is no picture; the kind says why.

        """
        started_at = time.monotonic()
        previews = Previews.ALL if self.batch.has_previews else Previews.NONE
        generation = self.space.generate(request, previews=previews)
        preview_writer = PreviewWriter(
            self.batch.folder, lambda preview: self._file_name(request, preview), self.emit
        )
        with self.shutdown.cancellable():
            async with generation:
                async for event in generation:
                    started_at = time.monotonic() if isinstance(event, Started) else started_at
                    preview_writer.handle_event(event)
        preview_writer.close()
        if generation.finished is None:
            return ShutdownReport(generation.stopped)
        # From here on nothing interrupts it: the picture has cost its quota.
        self.emit(DownloadStarted())
        picture = await generation.fetch()
        elapsed_seconds = time.monotonic() - started_at
        contract = self.space.contract
        metadata = build_metadata(
            request,
            picture,
            id_=new_id(),
            model=self.space.model,
            space=self.space.name,
            is_demo=contract.is_demo,
            gradio_version=contract.version,
            parameters={parameter.name for parameter in contract.parameters},
            elapsed_seconds=elapsed_seconds,
        )
        picture = embed_or_original(picture, metadata)
        path = write_picture(self.batch.folder, self._file_name(request, picture), picture)
        self.emit(
            PictureSaved(
                path,
                picture,
                request.prompt,
                elapsed_seconds,
                self.space_name,
                self.space.contract.is_demo,
            )
        )
        return ShutdownReport(None, has_saved_picture=True)

    def _file_name(self, request: GenerationRequest, picture: Picture) -> str:
        seed = request.seed if picture.request is None else picture.seed
        return file_name(self.space.model, request.prompt, seed, picture)
