"""One visitor requests an image and sees it appear."""

import asyncio
import itertools
import re
import time
from dataclasses import dataclass

from bench.endpoints import BenchTarget
from bench.visitor import Visitor

__all__ = ["PageTimings", "request_picture"]

_sequence = itertools.count(1)

# The answer to Generate contains the panel of the new job.
JOB_ID_PATTERN = re.compile(rb'data-job=\\"([\w-]{22})')

PNG_HEADER_BYTES = 33  # before the chunks that differ: the program adds metadata


@dataclass(slots=True)
class PageTimings:
    """Timestamps by `time.perf_counter()`, in seconds; `None` for what hasn't arrived.

    Attributes:
        message_at: when the message with the final image's address arrived.
        final_at: when the final image's bytes arrived.
        previews: number of previews that arrived.
    """

    requested_at: float = 0.0
    preview_at: float | None = None
    message_at: float | None = None
    final_at: float | None = None
    previews: int = 0
    failure: BaseException | None = None

    def seconds_until(self, moment: float | None) -> float | None:
        """Return the seconds from the request to this moment."""
        return None if moment is None else moment - self.requested_at

    def add_preview(self) -> None:
        """Record that a preview arrived."""
        self.previews += 1
        if self.preview_at is None:
            self.preview_at = time.perf_counter()


async def request_picture(
    target: BenchTarget,
    visitor: Visitor,
    prompt_suffix: str,
    expected: bytes,
    timings: PageTimings,
) -> None:
    """Request an image, follow the stream to its end, and download the image once it is known.

    Raises:
        OSError, EOFError, AssertionError: the image is missing, or isn't the Space's.
    """
    prompt = f"a lighthouse at dusk, number {next(_sequence)}{prompt_suffix}"
    listener = target.submit_listener(prompt)
    timings.requested_at = time.perf_counter()
    await visitor.join_queue(listener.fn_index, listener.data, listener.event_data)
    if target.watch_listener is not None:
        response_text = b"".join([chunk async for chunk in visitor.follow()])
        job = JOB_ID_PATTERN.search(response_text)
        assert job is not None, response_text
        await visitor.join_queue(target.watch_listener.fn_index, [job[1].decode()])
    fetcher = _PictureFetcher(visitor, timings)
    try:
        async for chunk in visitor.follow():
            if timings.message_at is None:
                _read_chunk(target, chunk, fetcher, timings)
        picture = await fetcher.final_picture()
        is_unchanged = picture.endswith(expected[PNG_HEADER_BYTES:])
        assert is_unchanged or not target.is_unmodified, "not the image of the Space"
    finally:
        fetcher.cancel()


def _read_chunk(
    target: BenchTarget, chunk: bytes, fetcher: "_PictureFetcher", timings: PageTimings
) -> None:
    if final_match := target.final.search(chunk):
        timings.message_at = time.perf_counter()
        fetcher.request(final_match[1], is_final=True)
    elif preview_match := target.preview.search(chunk):
        if preview_match.re.groups:
            fetcher.request(preview_match[1], is_final=False)
        else:
            timings.add_preview()


class _PictureFetcher:
    """Downloads the newest image beside the stream, one at a time."""

    def __init__(self, visitor: Visitor, timings: PageTimings) -> None:
        self._visitor = visitor
        self._timings = timings
        self._newest: tuple[bytes, bool] | None = None
        self._task: asyncio.Task[None] | None = None
        self._final: bytes | None = None

    def request(self, path: bytes, *, is_final: bool) -> None:
        self._newest = path, is_final
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._fetch())

    async def _fetch(self) -> None:
        while self._newest is not None:
            path, is_final = self._newest
            self._newest = None
            picture = await self._visitor.fetch(path)
            if is_final:
                self._timings.final_at = time.perf_counter()
                self._final = picture
            else:
                self._timings.add_preview()

    async def final_picture(self) -> bytes:
        assert self._task is not None, "the stream ended without an image"
        await self._task
        assert self._final is not None, "the stream ended without the final image"
        return self._final

    def cancel(self) -> None:
        if self._task is not None and not self._task.cancel() and not self._task.cancelled():
            self._task.exception()  # or asyncio logs that nobody has retrieved it
