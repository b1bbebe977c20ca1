"""Images at one Space, one after another: each is generated, saved and reported."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sd35.cli.events import (
    CliEvent,
    Hint,
    OperationFailed,
    PictureSaved,
    PictureStarted,
    TaskProgress,
)
from sd35.cli.exit_codes import exit_code
from sd35.cli.history import BatchTimes
from sd35.cli.output import JsonLinesOutput, PreviewWriter, write_path, write_result
from sd35.cli.reporter import open_reporter
from sd35.cli.runner import Shutdown, exit_on_errors
from sd35.client import Previews, SpaceClient
from sd35.core.errors import SD35Error
from sd35.core.events import Started
from sd35.core.file_names import file_name
from sd35.core.origin import PlannedRequest
from sd35.core.picture import Picture
from sd35.core.request import GenerationRequest
from sd35.core.text import one_line, pluralize
from sd35.jobs.provenance import build_metadata
from sd35.library.layout import LOCAL_OWNER_KEY
from sd35.library.library import Library
from sd35.metadata.embedding import embed_or_original
from sd35.metadata.model import GenerationMetadata, new_id
from sd35.prompts.tokens import estimate_tokens
from sd35.prompts.unsupported import SyntaxKind, find_unsupported

__all__ = ["ImageSequence", "SavedImage", "event_output", "prompt_hints"]


@contextmanager
def event_output(*, is_quiet: bool, is_json: bool) -> Iterator[Callable[[CliEvent], None]]:
    """Provide a function that reports events to people and programs; report errors like them."""
    write_output = JsonLinesOutput().write if is_json else write_path
    with closing(open_reporter(is_quiet=is_quiet, is_json=is_json)) as reporter:

        def emit(event: CliEvent) -> None:
            reporter.show(event)
            write_output(event)

        with exit_on_errors(lambda error: emit(OperationFailed(error))):
            yield emit


def prompt_hints(images: Sequence[PlannedRequest]) -> Iterator[Hint]:
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


@dataclass(frozen=True, slots=True)
class SavedImage:
    """An image of a sequence: its file, and what the file says of it."""

    path: Path
    picture: Picture
    metadata: GenerationMetadata


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSequence:
    """Images that are generated in order, and saved in one folder.

    Attributes:
        space_name: as it was asked for.
        library: where images are saved, instead of the folder.
        outcomes: by the index of an image, the image or why there is none.
    """

    space_name: str
    space: SpaceClient
    folder: Path
    times: BatchTimes
    emit: Callable[[CliEvent], None]
    shutdown: Shutdown
    saves_previews: bool = False
    keep_going: bool = False
    library: Library | None = None
    outcomes: dict[int, SavedImage | SD35Error] = field(default_factory=dict)

    async def run(self, images: Sequence[PlannedRequest]) -> int:
        """Generate and save the images; return the exit code of the first failure, or 0."""
        code = 0
        for index, image in enumerate(images):
            expected_seconds = self.times.seconds(index, index + 1), self.times.seconds(index + 1)
            self.emit(PictureStarted(index + 1, len(images), image.request, *expected_seconds))
            try:
                await self._generate(index, image)
            except SD35Error as error:
                self.outcomes[index] = error
                # Here instead of at the caller: only here is it known whose seed to print.
                self.emit(OperationFailed(error, image.request))
                self.shutdown.exit_if_requested()
                code = code or exit_code(error)
                if not self.keep_going:
                    break
        return code

    async def _generate(self, index: int, image: PlannedRequest) -> None:
        """Generate one image and save it; exit afterwards if the program was asked to stop."""
        request = image.request
        started_at = time.monotonic()
        previews = Previews.ALL if self.saves_previews else Previews.NONE
        generation = self.space.generate(request, previews=previews)
        preview_writer = PreviewWriter(
            self.folder, lambda preview: self._file_name(request, preview), self.emit
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
        self._save(index, image, picture, time.monotonic() - started_at)
        self.shutdown.exit_if_requested(has_saved_picture=True)

    def _save(
        self, index: int, image: PlannedRequest, picture: Picture, elapsed_seconds: float
    ) -> None:
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
        if self.library is None:
            picture = embed_or_original(picture, metadata)
            path = write_result(self.folder, self._file_name(request, picture), picture)
        else:
            entry = self.library.add(picture, metadata, LOCAL_OWNER_KEY)
            path = self.library.file_path(entry)
        self.outcomes[index] = SavedImage(path, picture, metadata)
        self.emit(
            PictureSaved(
                path, picture, request.prompt, elapsed_seconds, self.space_name, metadata.is_demo
            )
        )

    def _file_name(self, request: GenerationRequest, picture: Picture) -> str:
        # A finished image has the seed that the Space reports, if any; a preview the requested one.
        seed = request.seed if picture.request is None else picture.seed
        return file_name(self.space.model, request.prompt, seed, picture)
