"""The bytes of previews, fetched beside the stream of a run."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from enum import Enum

from sd35.core.awake import AwakeTimeout
from sd35.core.errors import SD35Error
from sd35.core.events import Preview, RemotePicture
from sd35.core.picture import Picture

__all__ = ["PreviewFetcher", "Previews"]

log = logging.getLogger(__name__)


class Previews(Enum):
    """The previews whose bytes are fetched during a run."""

    NONE = "none"  # none: each `Preview` has only an address
    # The newest one, as soon as the previous one was read; others aren't requested.
    NEWEST = "newest"
    ALL = "all"  # every one, in order, before the event that follows it


class PreviewFetcher:
    """Fetcher of the previews of a run, one at a time, which emits each with its bytes.

    With `ALL`, it gives up if one takes longer than `timeout_seconds`.
    """

    def __init__(
        self,
        mode: Previews,
        fetch: Callable[[RemotePicture], Awaitable[Picture]],
        emit: Callable[[Preview], Awaitable[None]],
        timeout_seconds: float,
    ) -> None:
        self._mode = mode
        self._fetch = fetch
        self._emit = emit
        self._timeout_seconds = timeout_seconds
        self._next_picture: RemotePicture | None = None
        self._fetch_task: asyncio.Task[None] | None = None
        self._is_unread = False
        self._is_cancelled = False

    async def submit(self, picture: RemotePicture) -> None:
        """Fetch this preview; with `NEWEST`, in place of one that wasn't requested yet."""
        if self._mode is Previews.NONE:
            await self._emit(Preview(picture))
            return
        self._next_picture = picture
        self._fetch_next()
        if self._mode is Previews.ALL and self._fetch_task is not None:
            # The stream isn't read meanwhile: previews never pile up here.
            try:
                async with AwakeTimeout(self._timeout_seconds):
                    await asyncio.wait([self._fetch_task])
            except TimeoutError:
                self.cancel()

    def acknowledge(self) -> None:
        """Mark the last preview as read, so that the next one is fetched."""
        self._is_unread = False
        self._fetch_next()

    def cancel(self) -> None:
        """Stop fetching previews."""
        self._is_cancelled = True
        if self._fetch_task is not None:
            self._fetch_task.cancel()

    def _fetch_next(self) -> None:
        is_waiting = self._is_unread and self._mode is Previews.NEWEST
        is_busy = self._fetch_task is not None or is_waiting or self._is_cancelled
        if self._next_picture is not None and not is_busy:
            picture = self._next_picture
            self._next_picture = None
            self._fetch_task = asyncio.ensure_future(self._fetch_and_emit(picture))

    async def _fetch_and_emit(self, picture: RemotePicture) -> None:
        try:
            preview = Preview(picture, await self._fetch(picture))
            self._is_unread = True
            await self._emit(preview)
        except SD35Error as error:  # the final image may still arrive
            log.info("skipped a preview: %s", error.happened)
        except Exception:  # the edge of a task: nobody awaits its result
            log.exception("skipped a preview because of an unexpected error")
        finally:
            self._fetch_task = None
            self._fetch_next()
