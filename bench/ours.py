"""Our own client, as a program would use it."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bench.seen import Generate, Seen
from sd35 import GenerationRequest, Preview
from sd35.client import Previews, SpaceClient
from sd35.core.events import RemotePicture

__all__ = ["every_preview", "skipping"]

REQUEST = GenerationRequest("a lighthouse at dusk")


@asynccontextmanager
async def skipping(address: str) -> AsyncIterator[Generate]:
    """Fetch previews beside the stream, and only the newest."""
    async with SpaceClient.connect(address) as space:
        yield lambda seen: _with_newest_preview(space, seen)


@asynccontextmanager
async def every_preview(address: str) -> AsyncIterator[Generate]:
    """Fetch every preview, one after another."""
    async with SpaceClient.connect(address) as space:
        yield lambda seen: _with_every_preview(space, seen)


async def _with_newest_preview(space: SpaceClient, seen: Seen) -> None:
    """Fetch the newest preview even if the run is over, as a run that takes no time is: `Previews.NEWEST` wouldn't."""
    waiting: deque[RemotePicture] = deque(maxlen=1)
    fetching: asyncio.Task[None] | None = None
    async with space.generate(REQUEST) as generation:
        async for event in generation:
            seen.event()
            if isinstance(event, Preview):
                waiting.append(event.picture)
                if fetching is None or fetching.done():
                    fetching = asyncio.ensure_future(_fetch_previews(space, waiting, seen))
    seen.final((await generation.fetch()).data)
    assert fetching is not None
    await fetching


async def _fetch_previews(space: SpaceClient, waiting: deque[RemotePicture], seen: Seen) -> None:
    while waiting:
        await space.fetch(waiting.popleft())
        seen.preview()


async def _with_every_preview(space: SpaceClient, seen: Seen) -> None:
    async with space.generate(REQUEST, previews=Previews.ALL) as generation:
        async for event in generation:
            seen.event()
            if isinstance(event, Preview) and event.fetched is not None:
                seen.preview()
    seen.final((await generation.fetch()).data)
