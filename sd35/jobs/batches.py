"""Batches of work for a thread: what arrives while one is processed is the next one."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import anyio
import anyio.to_thread

from sd35.jobs.tasks import create_isolated_task

__all__ = ["BatchProcessor"]

T = TypeVar("T")
R = TypeVar("R")


class BatchProcessor(Generic[T, R]):
    """Processor of items in a thread, in the order of their submission, in one event loop.

    `process` returns a result or an error for each item of a batch.
    """

    def __init__(self, process: Callable[[Sequence[T]], Sequence[R | Exception]]) -> None:
        self._process = process
        # A thread of its own: others may all be waiting for a slow disk.
        self._limiter = anyio.CapacityLimiter(1)
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._task: asyncio.Task[None] | None = None

    async def submit(self, item: T) -> R:
        """Return the result of an item, or raise its error; it is processed in any case."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._task is None:
            self._task = create_isolated_task(self._run())
        return await future

    async def drain(self, timeout_seconds: float) -> None:
        """Wait until what was submitted is processed."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=timeout_seconds)

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch = self._waiting
                self._waiting = []
                await self._run_batch(batch)
        finally:
            self._task = None

    async def _run_batch(self, batch: list[tuple[T, "asyncio.Future[R]"]]) -> None:
        results: Sequence[R | Exception]
        try:
            results = await anyio.to_thread.run_sync(
                self._process, [item for item, _ in batch], limiter=self._limiter
            )
        except Exception as error:  # noqa: BLE001  # raised again where the results are awaited
            results = [error] * len(batch)
        for (_, future), result in zip(batch, results, strict=True):
            if future.done():  # its caller was cancelled
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
