"""One visitor asks for a picture, and sees it appear."""

import asyncio
import itertools
import re
import time
from dataclasses import dataclass

from bench.faces import BenchTarget
from bench.visitor import Visitor

__all__ = ["VisitTimings", "request_picture"]

_sequence = itertools.count(1)

JOB_ID_PATTERN = re.compile(rb'"data": ?\[ ?"", ?"([\w-]{22})"')
"""What a page is told that has asked for a picture: nothing that stands against it, and the job's id."""

PNG_HEADER_BYTES = 33
"""Bytes of a PNG before its chunks of image data, or of words."""


@dataclass(slots=True)
class VisitTimings:
    """When a visitor asked and what they saw then, by `time.perf_counter()`; `None` is what hasn't come."""

    asked_at: float = 0.0
    preview_at: float | None = None
    message_at: float | None = None
    final_at: float | None = None
    frames: int = 0
    failure: BaseException | None = None

    def seconds_until(self, moment: float | None) -> float | None:
        """Seconds from asking to this moment."""
        return None if moment is None else moment - self.asked_at

    def frame(self) -> None:
        """Another preview is there."""
        self.frames += 1
        if self.preview_at is None:
            self.preview_at = time.perf_counter()


async def request_picture(
    face: BenchTarget, visitor: Visitor, prompt_suffix: str, expected: bytes, timings: VisitTimings
) -> None:
    """Ask, follow the stream to its end, and fetch the final picture as soon as it is known.

    Raises:
        OSError, EOFError, AssertionError: the picture didn't come, or not as the Space made it.

    """
    listener = face.submit_listener(
        f"a lighthouse at dusk, number {next(_sequence)}{prompt_suffix}"
    )
    timings.asked_at = time.perf_counter()
    await visitor.join_queue(listener.fn_index, listener.data)
    if face.watch_listener is not None:
        response_text = b"".join([chunk async for chunk in visitor.follow()])
        job = JOB_ID_PATTERN.search(response_text)
        assert job is not None, response_text
        await visitor.join_queue(face.watch_listener.fn_index, [job[1].decode()])
    fetcher = _PictureFetcher(visitor, timings)
    try:
        async for chunk in visitor.follow():
            if timings.message_at is None and (final_match := face.final.search(chunk)):
                timings.message_at = time.perf_counter()
                fetcher.request_picture(final_match[1], is_final=True)
            elif timings.message_at is None and (preview_match := face.preview.search(chunk)):
                if preview_match.re.groups:
                    fetcher.request_picture(preview_match[1], is_final=False)
                else:
                    timings.frame()
        picture = await fetcher.final_picture()
        assert picture.endswith(expected[PNG_HEADER_BYTES:]) or not face.is_unmodified, (
            "another picture than the Space's"
        )
    finally:
        fetcher.cancel()


class _PictureFetcher:
    """Fetches what is newest, one after another, beside the stream."""

    def __init__(self, visitor: Visitor, timings: VisitTimings) -> None:
        self._visitor = visitor
        self._timings = timings
        self._newest: tuple[bytes, bool] | None = None
        self._task: asyncio.Task[None] | None = None
        self._final: bytes | None = None

    def request_picture(self, path: bytes, *, is_final: bool) -> None:
        self._newest = path, is_final
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._fetch())

    async def _fetch(self) -> None:
        while self._newest is not None:
            (path, is_final), self._newest = self._newest, None
            picture = await self._visitor.fetch(path)
            if is_final:
                self._timings.final_at = time.perf_counter()
                self._final = picture
            else:
                self._timings.frame()

    async def final_picture(self) -> bytes:
        assert self._task is not None, "the stream ended without a picture"
        await self._task
        assert self._final is not None, "the stream ended without the final picture"
        return self._final

    def cancel(self) -> None:
        if self._task is not None and not self._task.cancel() and not self._task.cancelled():
            self._task.exception()  # or asyncio says that nobody asked for it
