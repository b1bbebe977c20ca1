"""One visitor asks for a picture, and sees it appear."""

import asyncio
import itertools
import re
import time
from dataclasses import dataclass

from bench.faces import Face
from bench.visitor import Visitor

__all__ = ["Told", "generate"]

_numbers = itertools.count(1)

JOB = re.compile(rb'"data": ?\[ ?"", ?"([\w-]{22})"')
"""What a page is told that has asked for a picture: nothing that stands against it, and the job's id."""

PNG_HEAD = 33
"""Bytes of a PNG before its chunks of image data, or of words."""


@dataclass(slots=True)
class Told:
    """When a visitor asked and what they saw then, by `time.perf_counter()`; `None` is what hasn't come."""

    asked_at: float = 0.0
    preview_at: float | None = None
    message_at: float | None = None
    final_at: float | None = None
    frames: int = 0
    failure: BaseException | None = None

    def after(self, moment: float | None) -> float | None:
        """Seconds from asking to this moment."""
        return None if moment is None else moment - self.asked_at

    def frame(self) -> None:
        """Another preview is there."""
        self.frames += 1
        if self.preview_at is None:
            self.preview_at = time.perf_counter()


async def generate(face: Face, visitor: Visitor, pace: str, expected: bytes, told: Told) -> None:
    """Ask, follow the stream to its end, and fetch the final picture as soon as it is known.

    Raises:
        OSError, EOFError, AssertionError: the picture didn't come, or not as the Space made it.

    """
    asked = face.asked(f"a lighthouse at dusk, number {next(_numbers)}{pace}")
    told.asked_at = time.perf_counter()
    await visitor.ask(asked.fn_index, asked.data)
    if face.shown is not None:
        said = b"".join([chunk async for chunk in visitor.follow()])
        job = JOB.search(said)
        assert job is not None, said
        await visitor.ask(face.shown.fn_index, [job[1].decode()])
    fetching = _Fetching(visitor, told)
    try:
        async for chunk in visitor.follow():
            if told.message_at is None and (found := face.final.search(chunk)):
                told.message_at = time.perf_counter()
                fetching.take(found[1], is_final=True)
            elif told.message_at is None and (shown := face.preview.search(chunk)):
                if shown.re.groups:
                    fetching.take(shown[1], is_final=False)
                else:
                    told.frame()
        picture = await fetching.final_picture()
        assert picture.endswith(expected[PNG_HEAD:]) or not face.is_untouched, (
            "another picture than the Space's"
        )
    finally:
        fetching.cancel()


class _Fetching:
    """Fetches what is newest, one after another, beside the stream."""

    def __init__(self, visitor: Visitor, told: Told) -> None:
        self._visitor = visitor
        self._told = told
        self._newest: tuple[bytes, bool] | None = None
        self._task: asyncio.Task[None] | None = None
        self._final: bytes | None = None

    def take(self, path: bytes, *, is_final: bool) -> None:
        self._newest = path, is_final
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._fetch())

    async def _fetch(self) -> None:
        while self._newest is not None:
            (path, is_final), self._newest = self._newest, None
            picture = await self._visitor.fetch(path)
            if is_final:
                self._told.final_at = time.perf_counter()
                self._final = picture
            else:
                self._told.frame()

    async def final_picture(self) -> bytes:
        assert self._task is not None, "the stream ended without a picture"
        await self._task
        assert self._final is not None, "the stream ended without the final picture"
        return self._final

    def cancel(self) -> None:
        if self._task is not None and not self._task.cancel() and not self._task.cancelled():
            self._task.exception()  # or asyncio says that nobody asked for it
