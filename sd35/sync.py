"""Pictures without `async`: one call, or an iterator of events.

Each runs an event loop of its own in a thread, so both work in scripts, notebooks and threads.
"""

import asyncio
import atexit
import threading
import weakref
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from dataclasses import replace
from typing import Any, TypedDict, TypeVar, Unpack

from sd35.client import Previews, SpaceClient, Timeouts
from sd35.core.events import Event, Finished
from sd35.core.picture import Picture
from sd35.core.request import RequestOptions
from sd35.core.space_ref import PUBLIC_SPACE

__all__ = ["Options", "generate", "stream"]

T = TypeVar("T")


class Options(TypedDict, total=False):
    """What can be asked for beside the prompt; what isn't given is the Space's own default. Sizes in pixels."""

    negative_prompt: str
    aspect_ratio: str | None
    """Such as `16:9`; the size is the largest that the Space makes of it."""
    width: int | None
    height: int | None
    guidance_scale: float | None
    num_inference_steps: int | None
    seed: int | None
    """If none is given, one is drawn."""


def generate(
    prompt: str,
    *,
    space: str = PUBLIC_SPACE,
    token: str | None = None,
    proxy: str | None = None,
    timeouts: Timeouts | None = None,
    **options: Unpack[Options],
) -> Picture:
    """Return a picture of this prompt: `sd35.generate("a cat", seed=7).image.show()`.

    Args:
        prompt: what is to be seen.
        space: `owner/name` at Hugging Face, or the address of a Gradio app.
        token: a token for that Space.
        proxy: `http://host:port`, for every request; if not given, what the environment says.
        timeouts: the limit of each wait.
        options: see `Options`.

    Raises:
        SD35Error: there is no picture; the kind says why.

    """
    events = stream(
        prompt,
        space=space,
        token=token,
        proxy=proxy,
        timeouts=timeouts,
        previews=Previews.NONE,
        **options,
    )
    *_, last = events
    assert isinstance(last, Finished)
    assert last.fetched is not None
    return last.fetched


def stream(
    prompt: str,
    *,
    space: str = PUBLIC_SPACE,
    token: str | None = None,
    proxy: str | None = None,
    timeouts: Timeouts | None = None,
    previews: Previews = Previews.NEWEST,
    **options: Unpack[Options],
) -> Iterator[Event]:
    """Yield what happens on the way to a picture; the last is `Finished`, and its `fetched` is the picture.

    Leaving the loop early cancels the run at the Space. The arguments are those of `generate`, and
        `previews`: which of
    them come with their bytes.

    Raises:
        SD35Error: there is no picture; the kind says why.

    """
    request_options = RequestOptions(prompt=prompt, **options)
    connection = SpaceClient.connect(space, token=token, proxy=proxy, timeouts=timeouts)
    events = _iterate_events(connection, request_options, previews)
    _open_streams.add(events)
    return events


_open_streams: weakref.WeakSet[Generator[Event, None, None]] = weakref.WeakSet()


@atexit.register
def _close_open_streams() -> None:
    """End at the Space what a program leaves behind that ends in the middle of a run."""
    for events in tuple(_open_streams):
        events.close()


def _iterate_events(
    connection: AbstractAsyncContextManager[SpaceClient],
    request_options: RequestOptions,
    previews: Previews,
) -> Generator[Event, None, None]:
    """Yield the events of a run that goes on in the loop of another thread."""
    with _event_loop_thread() as run_coroutine:
        session = _StreamSession(connection, request_options, previews)
        try:
            run_coroutine(session.open())
            while (event := run_coroutine(session.next_event())) is not None:
                yield event
        finally:
            run_coroutine(session.close())


@contextmanager
def _event_loop_thread() -> Iterator[Callable[[Coroutine[Any, Any, T]], T]]:
    """An event loop in a thread, and how to have it do something.

    The thread doesn't keep the program from ending, as a pool's would.
    """
    loop = asyncio.new_event_loop()

    def run_loop() -> None:
        loop.run_forever()
        loop.run_until_complete(_cancel_pending_tasks())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

    thread = threading.Thread(target=run_loop, name="sd35", daemon=True)
    thread.start()
    try:
        yield lambda coroutine: asyncio.run_coroutine_threadsafe(coroutine, loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


async def _cancel_pending_tasks() -> None:
    """End what is left in the loop, such as a wait for the next event that Ctrl-C has broken off."""
    pending_tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in pending_tasks:
        task.cancel()
    await asyncio.gather(*pending_tasks, return_exceptions=True)


class _StreamSession:
    """A connection and a run, held open from one call to the next."""

    def __init__(
        self,
        connection: AbstractAsyncContextManager[SpaceClient],
        request_options: RequestOptions,
        previews: Previews,
    ) -> None:
        self._connection = connection
        self._request_options = request_options
        self._previews = previews
        self._exit_stack = AsyncExitStack()

    async def open(self) -> None:
        """Connect, and ask for the picture."""
        client = await self._exit_stack.enter_async_context(self._connection)
        request = self._request_options.resolve(client.contract.limits)
        self._generation = await self._exit_stack.enter_async_context(
            client.generate(request, previews=self._previews)
        )
        self._events = aiter(self._generation)

    async def next_event(self) -> Event | None:
        """Return the next event, the last with the picture's bytes; then `None`."""
        event = await anext(self._events, None)
        return (
            replace(event, fetched=await self._generation.fetch())
            if isinstance(event, Finished)
            else event
        )

    async def close(self) -> None:
        """Let go of both; a run that isn't over is cancelled."""
        await self._exit_stack.aclose()
