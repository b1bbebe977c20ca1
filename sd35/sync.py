"""The blocking API: one call for an image, or an iterator over its events.

Each call has an event loop in a thread of its own, so that it works in scripts, notebooks, whose
main thread already has a running loop, and threads.
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
    """The `RequestOptions` other than the prompt, all of them optional. Sizes in pixels."""

    negative_prompt: str
    aspect_ratio: str | None  # such as `16:9`, at the largest size that the Space has
    width: int | None
    height: int | None
    guidance_scale: float | None
    num_inference_steps: int | None
    seed: int | None  # by default a random one


def generate(
    prompt: str,
    *,
    space: str = PUBLIC_SPACE,
    token: str | None = None,
    login: tuple[str, str] | None = None,
    proxy: str | None = None,
    timeouts: Timeouts | None = None,
    **options: Unpack[Options],
) -> Picture:
    """Return an image of a prompt: `sd35.generate("a cat", seed=7).image.show()`.

    Args:
        prompt: what the image shows.
        space: `owner/name` on Hugging Face, or the address of a Gradio app.
        token: a token for the Space.
        login: the username and the password for an app that asks for them.
        proxy: `http://host:port`, for every request; by default that of the environment.
        timeouts: the limit of each wait.
        options: see `Options`.

    Raises:
        SD35Error: there is no image.
    """
    events = stream(
        prompt,
        space=space,
        token=token,
        login=login,
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
    login: tuple[str, str] | None = None,
    proxy: str | None = None,
    timeouts: Timeouts | None = None,
    previews: Previews = Previews.NEWEST,
    **options: Unpack[Options],
) -> Iterator[Event]:
    """Yield the events on the way to an image; `fetched` of the last, `Finished`, is the image.

    Leaving the loop early cancels the run at the Space. Takes the arguments of `generate`, and the
    previews that come with their bytes.

    Raises:
        SD35Error: there is no image.
    """
    request_options = RequestOptions(prompt=prompt, **options)
    connection = SpaceClient.connect(
        space, token=token, login=login, proxy=proxy, timeouts=timeouts
    )
    events = _iterate_events(connection, request_options, previews)
    _open_streams.add(events)
    return events


# Weak: Python closes a generator that is garbage-collected.
_open_streams: weakref.WeakSet[Generator[Event, None, None]] = weakref.WeakSet()


@atexit.register
def _close_open_streams() -> None:
    """Cancel the runs of a program that ends without having left its loops."""
    for events in tuple(_open_streams):
        events.close()


def _iterate_events(
    connection: AbstractAsyncContextManager[SpaceClient],
    request_options: RequestOptions,
    previews: Previews,
) -> Generator[Event, None, None]:
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
    """Run an event loop in a thread; yield a function that runs a coroutine in it."""
    loop = asyncio.new_event_loop()

    def run_loop() -> None:
        loop.run_forever()
        loop.run_until_complete(_cancel_pending_tasks())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

    # A daemon: Python waits for other threads, also those of a pool, before it calls the functions
    # of atexit, of which ours ends this one.
    thread = threading.Thread(target=run_loop, name="sd35", daemon=True)
    thread.start()
    try:
        yield lambda coroutine: asyncio.run_coroutine_threadsafe(coroutine, loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


async def _cancel_pending_tasks() -> None:
    # Ctrl+C ends the wait in the main thread, but not the coroutine that it was waiting for.
    pending_tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in pending_tasks:
        task.cancel()
    await asyncio.gather(*pending_tasks, return_exceptions=True)


# Not an async generator: after Ctrl+C, its last step would still be running in the loop, and Python
# refuses to close a generator that is running.
class _StreamSession:
    """A connection and its run, kept open between two calls."""

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
        """Connect, and request the image."""
        client = await self._exit_stack.enter_async_context(self._connection)
        request = self._request_options.resolve(client.contract.limits)
        self._generation = await self._exit_stack.enter_async_context(
            client.generate(request, previews=self._previews)
        )
        self._events = aiter(self._generation)

    async def next_event(self) -> Event | None:
        """Return the next event, and `None` after the last."""
        event = await anext(self._events, None)
        if isinstance(event, Finished):
            return replace(event, fetched=await self._generation.fetch())
        return event

    async def close(self) -> None:
        """Close both; a run that hasn't ended is cancelled."""
        await self._exit_stack.aclose()
