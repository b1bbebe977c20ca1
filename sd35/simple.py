"""Pictures without `async`: one call, or an iterator of events.

Each runs an event loop of its own in a thread, so both work in scripts, notebooks and threads.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TypedDict, Unpack

from anyio.from_thread import start_blocking_portal

from sd35.client import Previews, SpaceClient, Timeouts
from sd35.events import Event, Finished
from sd35.picture import Picture
from sd35.request import GenerationRequest, Wish
from sd35.source import PUBLIC_SPACE

__all__ = ["Options", "generate", "stream"]


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
    events = stream(prompt, space=space, token=token, proxy=proxy, timeouts=timeouts, previews=Previews.NONE, **options)
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

    Leaving the loop early cancels the run at the Space. The arguments are those of `generate`, and `previews`: which of
    them come with their bytes.

    Raises:
        SD35Error: there is no picture; the kind says why.

    """
    wish = Wish(prompt=prompt, **options)
    connecting = SpaceClient.connect(space, token=token, proxy=proxy, timeouts=timeouts)
    with start_blocking_portal("asyncio") as portal, portal.wrap_async_context_manager(connecting) as client:
        request = wish.on(client.contract.limits)
        with portal.wrap_async_context_manager(_following(client, request, previews)) as events:
            while (event := portal.call(anext, events, None)) is not None:
                yield event


@asynccontextmanager
async def _following(
    client: SpaceClient, request: GenerationRequest, previews: Previews
) -> AsyncIterator[AsyncIterator[Event]]:
    async with client.generate(request, previews=previews) as generation:

        async def events() -> AsyncIterator[Event]:
            async for event in generation:
                yield replace(event, fetched=await generation.fetch()) if isinstance(event, Finished) else event

        yield events()
