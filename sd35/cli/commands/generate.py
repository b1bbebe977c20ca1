"""`generate`: pictures, one after another over one connection, each saved as it came, with its settings added."""

import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from typing import Any, Final

from sd35.cli.batch import Order
from sd35.cli.events import (
    Begun,
    Connected,
    Connecting,
    Failed,
    Fetching,
    News,
    Remark,
    Saved,
    Stopped,
    Stopping,
)
from sd35.cli.exit_codes import DONE, exit_code
from sd35.cli.output import JsonLines, Paths
from sd35.cli.output_files import Album, check_folder, write_picture
from sd35.cli.reporter import open_screen
from sd35.cli.runner import Stop, run
from sd35.cli.target import Choice
from sd35.client import Previews, SpaceClient, Timeouts
from sd35.core.atomic_files import file_name
from sd35.core.errors import SD35Error
from sd35.core.events import Started
from sd35.core.picture import Picture
from sd35.core.request import GenerationRequest
from sd35.library.provenance import record_of, recorded
from sd35.metadata.model import new_id

__all__ = ["Show", "make_pictures", "run_and_tell"]

Show = Callable[[News], None]

GUIDANCE_OFF: Final = 1.0
"""At this scale and below, the model isn't guided, and doesn't see the negative prompt."""


def run_and_tell(
    begin: Callable[[Show], Coroutine[Any, Any, int]], *, is_quiet: bool, is_json: bool
) -> int:
    """Run the work that `begin` returns, tell of it on both streams, and return what it ends with."""
    results = JsonLines() if is_json else Paths()
    with closing(open_screen(is_quiet=is_quiet, is_json=is_json)) as screen:

        def show(news: News) -> None:
            screen.show(news)
            results.show(news)

        return run(lambda: begin(show), lambda error: show(Failed(error)))


async def make_pictures(order: Order, choice: Choice, show: Show) -> int:
    """Make the pictures that were ordered, and return what the program ends with.

    Raises:
        SD35Error: none could be made; the kind says why.

    """
    stop = Stop(lambda: show(Stopping()))
    with stop.listening():
        check_folder(order.folder)
        async with AsyncExitStack() as stack:
            show(Connecting(choice.space))
            with stop.breakable():
                space = await stack.enter_async_context(choice.connected(Timeouts(), show))
            if stop.asked:
                show(Stopped(None))
                return stop.exit_code
            show(Connected(choice.space, space.contract.is_demo))
            if order.has_previews and not space.contract.is_generator:
                show(Remark("This Space sends no previews: the picture comes at the end."))
            return await _make_all(order, _Maker(choice.space, space, order, show, stop))


async def _make_all(order: Order, maker: "_Maker") -> int:
    code = DONE
    requests = order.requests(maker.space.contract.limits)
    if requests[0].negative_prompt and requests[0].guidance_scale <= GUIDANCE_OFF:
        maker.show(Remark("The negative prompt has no effect: guidance is off."))
    for number, request in enumerate(requests, 1):
        maker.show(Begun(number, len(requests), request))
        try:
            stopped = await maker.make(request)
        except SD35Error as error:
            maker.show(Failed(error, request))
            code = code or exit_code(error)
            stopped = Stopped(None)
            if not order.goes_on:
                break
        if maker.stop.asked:
            maker.show(stopped)
            return maker.stop.exit_code
    return code


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes one picture after another at one Space, which goes by this name."""

    name: str
    space: SpaceClient
    order: Order
    show: Show
    stop: Stop

    async def make(self, request: GenerationRequest) -> Stopped:
        """Make one picture and save it; return what stopping did, if the program was asked to stop.

        Raises:
            SD35Error: there is no picture; the kind says why.

        """
        began = time.monotonic()
        previews = Previews.ALL if self.order.has_previews else Previews.NONE
        generation = self.space.generate(request, previews=previews)
        album = Album(
            self.order.folder, lambda preview: self._file_name(request, preview), self.show
        )
        with self.stop.breakable():
            async with generation:
                async for event in generation:
                    began = time.monotonic() if isinstance(event, Started) else began
                    album.take(event)
        album.close()
        if generation.finished is None:
            return Stopped(generation.stopped)
        # From here on nothing interrupts it: the picture has cost its quota.
        self.show(Fetching())
        picture = await generation.fetch()
        took = time.monotonic() - began
        picture = recorded(picture, record_of(request, picture, self.space, took, new_id()))
        path = write_picture(self.order.folder, self._file_name(request, picture), picture)
        self.show(
            Saved(path, picture, request.prompt, took, self.name, self.space.contract.is_demo)
        )
        return Stopped(None, has_saved=True)

    def _file_name(self, request: GenerationRequest, picture: Picture) -> str:
        seed = request.seed if picture.request is None else picture.seed
        return file_name(self.space.model, request.prompt, seed, picture)
