"""The bytes of previews, fetched beside a run's stream: every one, or only the newest."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from enum import Enum

import anyio

from sd35.core.errors import SD35Error
from sd35.core.events import Preview, RemotePicture
from sd35.core.picture import Picture

__all__ = ["PreviewFetcher", "Previews"]

log = logging.getLogger(__name__)

MAX_PENDING = 64
MAX_UNACKNOWLEDGED = 4
"""With every preview: so many wait to be fetched before the stream does, and so many lie here unread."""


class Previews(Enum):
    """Which previews' bytes are fetched during a run."""

    NONE = "none"
    """None: each `Preview` says where it is."""
    NEWEST = "newest"
    """The newest, each time the last one was read: what has been overtaken isn't even asked for."""
    ALL = "all"
    """Every one, in order, and before `Finished`."""


class PreviewFetcher:
    """Fetches a run's previews one after another, and gives them on.

    Args:
        which: `NEWEST` or `ALL`.
        fetch: returns a preview's bytes.
        give: takes the `Preview` with its bytes; `read` is to be called when somebody has read it.

    """

    def __init__(
        self,
        mode: Previews,
        fetch: Callable[[RemotePicture], Awaitable[Picture]],
        emit: Callable[[Preview], Awaitable[None]],
    ) -> None:
        self._is_fetching_all = mode is Previews.ALL
        self._fetch = fetch
        self._emit = emit
        self._pending: asyncio.Queue[RemotePicture] = asyncio.Queue(
            MAX_PENDING if self._is_fetching_all else 1
        )
        self._capacity = asyncio.Semaphore(MAX_UNACKNOWLEDGED if self._is_fetching_all else 1)
        self._worker_task: asyncio.Task[None] | None = None

    def acknowledge(self) -> None:
        """Say that a preview has been read: there is room for another."""
        self._capacity.release()

    async def submit(self, picture: RemotePicture) -> None:
        """Fetch this one in its turn; of the newest, in place of the one that waits."""
        if self._worker_task is None:
            self._worker_task = asyncio.ensure_future(self._run_worker())
        if self._pending.full() and not self._is_fetching_all:
            self._pending.get_nowait()
        await self._pending.put(picture)

    async def finish(self, limit_seconds: float) -> None:
        """Come to an end: every preview is given on, within the limit, or what is under way is dropped."""
        if self._is_fetching_all:
            with anyio.move_on_after(limit_seconds):
                await self._pending.join()
        self.cancel()

    def cancel(self) -> None:
        """Drop what is under way."""
        if self._worker_task is not None:
            self._worker_task.cancel()

    async def _run_worker(self) -> None:
        while True:
            await self._capacity.acquire()
            picture = await self._pending.get()
            try:
                await self._emit(Preview(picture, await self._fetch(picture)))
            except (
                SD35Error
            ) as error:  # a preview that can't be had is no reason to lose the picture
                log.info("a preview was passed over: %s", error.happened)
                self._capacity.release()
            except Exception:  # the edge of a task: nor is what wasn't foreseen
                log.exception("a preview was passed over in a way that wasn't foreseen")
                self._capacity.release()
            finally:
                self._pending.task_done()
