"""`SpaceClient`, as a program would use it."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bench.metrics import Generate, GenerationRecorder
from sd35 import GenerationRequest, Preview
from sd35.client import Previews, SpaceClient
from sd35.core.events import RemotePicture

__all__ = ["every_preview", "newest_preview_only"]

REQUEST = GenerationRequest("a lighthouse at dusk")


@asynccontextmanager
async def newest_preview_only(address: str) -> AsyncIterator[Generate]:
    """Fetch the newest preview beside the stream, as often as possible."""
    async with SpaceClient.connect(address) as space:
        yield lambda recorder: _with_newest_preview(space, recorder)


@asynccontextmanager
async def every_preview(address: str) -> AsyncIterator[Generate]:
    """Fetch every preview, one after another."""
    async with SpaceClient.connect(address) as space:
        yield lambda recorder: _with_every_preview(space, recorder)


async def _with_newest_preview(space: SpaceClient, recorder: GenerationRecorder) -> None:
    # `Previews.NEWEST` would fetch none: the run takes no time, so it is over before the first one.
    pending_previews: deque[RemotePicture] = deque(maxlen=1)
    fetch_task: asyncio.Task[None] | None = None
    async with space.generate(REQUEST) as generation:
        async for event in generation:
            recorder.event()
            if isinstance(event, Preview):
                pending_previews.append(event.picture)
                if fetch_task is None or fetch_task.done():
                    fetch_task = asyncio.ensure_future(
                        _fetch_previews(space, pending_previews, recorder)
                    )
    recorder.final((await generation.fetch()).data)
    assert fetch_task is not None
    await fetch_task


async def _fetch_previews(
    space: SpaceClient, pending_previews: deque[RemotePicture], recorder: GenerationRecorder
) -> None:
    while pending_previews:
        await space.fetch(pending_previews.popleft())
        recorder.preview()


async def _with_every_preview(space: SpaceClient, recorder: GenerationRecorder) -> None:
    async with space.generate(REQUEST, previews=Previews.ALL) as generation:
        async for event in generation:
            recorder.event()
            if isinstance(event, Preview) and event.fetched is not None:
                recorder.preview()
    recorder.final((await generation.fetch()).data)
