"""One run at a Space, from joining its queue to the last event, or to the cancel."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import replace
from types import TracebackType
from typing import Final, Self

import anyio
import anyio.to_thread

from sd35.client.cancel import cancel_run
from sd35.client.connection import Connection
from sd35.client.follow import follow, read_stream
from sd35.client.join import QueueJoin, RemoteRun, SendLog
from sd35.client.previews import PreviewFetcher, Previews
from sd35.client.retry import OutageWait, is_outage
from sd35.core.errors import (
    BusyError,
    ConnectionFailedError,
    IdentityExpiredError,
    InvalidRequestError,
    PictureError,
    SD35Error,
    SessionLostError,
    SpaceAsleepError,
    SpaceStoppedError,
    StreamError,
    UnreachableError,
)
from sd35.core.events import Event, Finished, Preview, Waiting
from sd35.core.picture import Picture, open_picture
from sd35.core.request import GenerationRequest
from sd35.core.stop_outcome import StopOutcome

__all__ = ["Generation"]

# If the listener is slower than this many events, the stream is no longer read: TCP then holds up
# the Space, whereas an unlimited queue would fill the memory.
EVENT_BUFFER_SIZE: Final = 256


class Generation:
    """One run at a Space: an asynchronous context manager, and an iterator over its events.

    A task reads the stream and hands each event to the listener. It belongs to the run and not to
    the listener, who may be cancelled at any point: leaving the block then still cancels the run at
    the Space, and hears how that went.

    Raises, while iterating, the `SD35Error` that ended the run. The last event is `Finished`.

    Attributes:
        stopped: the effect of leaving the block early; `None` for a run that ended by itself, and
            if nothing had been sent.
        finished: the last event of a successful run, even if the block was left before that event
            was read.
    """

    def __init__(
        self,
        connection: Connection,
        request: GenerationRequest,
        previews: Previews,
        max_wait_seconds: float | None = None,
        send_log: SendLog | None = None,
    ) -> None:
        outage_seconds = connection.timeouts.outage
        self._connection = connection
        self._request = request
        self._max_wait_seconds = outage_seconds if max_wait_seconds is None else max_wait_seconds
        self._send_log = send_log or SendLog()
        self._join = self._new_join()
        self._run: RemoteRun | None = None
        self._read_task: asyncio.Task[None] | None = None
        self._events: asyncio.Queue[Event | Exception] = asyncio.Queue(EVENT_BUFFER_SIZE)
        self._previews = PreviewFetcher(
            previews, connection.fetch_preview, self._emit_preview, connection.timeouts.fetch
        )
        self._last_preview: Preview | None = None
        self._is_closed = False
        self._is_exhausted = False
        self._end_error: SpaceStoppedError | None = None
        self.stopped: StopOutcome | None = None
        self.finished: Finished | None = None

    async def __aenter__(self) -> Self:
        self._read_task = asyncio.ensure_future(self._read())
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        close_task = asyncio.ensure_future(self._close())
        pending_cancellation: asyncio.CancelledError | None = None
        # The scope shields from anyio's cancellation. asyncio's own, such as `task.cancel()`, is
        # caught and raised again at the end: otherwise the run would continue at the Space.
        with anyio.CancelScope(shield=True):
            while not close_task.done():
                try:
                    await asyncio.wait([close_task])
                except asyncio.CancelledError as error:
                    pending_cancellation = error
        close_task.result()
        if pending_cancellation is not None:
            raise pending_cancellation

    async def __aiter__(self) -> AsyncIterator[Event]:
        assert self._read_task is not None, "enter the block first"
        while not self._is_exhausted:
            event = await self._events.get()
            self._is_exhausted = isinstance(event, Exception | Finished)
            if isinstance(event, Exception):
                raise event
            if isinstance(event, Preview):
                self._previews.acknowledge()
            yield event

    @property
    def seed(self) -> int | None:
        """The seed that the Space reported, or else the requested one, as far as it is known."""
        if self.finished is not None and self.finished.has_unknown_seed:
            return None
        if self.finished is not None and self.finished.seed is not None:
            return self.finished.seed
        has_fixed_seed = not self._request.randomize_seed
        is_sent = self._join.contract.has_parameter("seed")
        return self._request.seed if has_fixed_seed and is_sent else None

    @property
    def is_unsent(self) -> bool:
        """Return whether the Space certainly hasn't run the request, and won't."""
        is_unaccepted = self._run is None and self.stopped is None
        return is_unaccepted or self.stopped is StopOutcome.REMOVED

    @property
    def can_be_cancelled(self) -> bool:
        """Return whether leaving the block still ends the run at the Space."""
        # Gradio can't interrupt a plain function: it uses up its quota whatever the client does.
        run = self._run
        return run is None or run.contract.is_generator or not run.parser.has_started

    def end(self, error: SpaceStoppedError) -> None:
        """End the run with this error: its Space has ended, and with it what could be cancelled.

        A request that the Space hadn't started waits for its return.
        """
        if self._is_closed or self._read_task is None or self._run is None:
            return  # a request that is being sent learns it by itself
        if not self._run.parser.has_ended:
            self._run.parser.has_ended = True
            self._end_error = error
            self._read_task.cancel()

    async def fetch(self) -> Picture:
        """Return the finished image, with its seed and its request.

        Raises:
            PictureError: it isn't an image, or is gone.
        """
        assert self.finished is not None, "there is no image before Finished"
        preview = self._last_preview
        picture = None
        # The last preview of a generator is the finished image, which needn't be fetched twice.
        if preview is not None and preview.picture == self.finished.picture:
            picture = preview.fetched
        if picture is None:
            picture = await self._fetch_finished(self.finished)
        if preview is not None and picture is preview.fetched:
            # It was only checked for being shown.
            picture = await anyio.to_thread.run_sync(open_picture, picture.data)
        return replace(picture, seed=self.seed, request=self._request)

    async def _fetch_finished(self, finished: Finished) -> Picture:
        try:
            return await self._connection.fetch(finished.picture)
        except PictureError:
            shown_picture = None if self._last_preview is None else self._last_preview.fetched
            is_preview = self._run is not None and self._run.parser.is_result_preview
            if shown_picture is None or not is_preview:
                raise
            return shown_picture

    async def _emit(self, event: Event | Exception) -> None:
        if not self._is_closed:
            await self._events.put(event)

    async def _emit_preview(self, preview: Preview) -> None:
        self._last_preview = preview
        await self._emit(preview)

    def _emit_waiting(self, event: Waiting) -> None:
        if not self._is_closed and not self._events.full():
            self._events.put_nowait(event)

    def _new_join(self) -> QueueJoin:
        return QueueJoin(self._connection, self._request, self._emit_waiting, self._send_log)

    async def _read(self) -> None:
        """Join the queue and follow the run; again as long as it certainly wasn't started."""
        retry_signal = self._connection.retry_signal
        outage_wait = OutageWait(self._max_wait_seconds, self._emit_waiting, retry_signal)
        has_rerun = False
        try:
            while True:
                try:
                    await self._attempt()
                    break
                except SD35Error as error:
                    is_refusal = self._is_refusal(error)
                    is_rerun = not has_rerun and self._is_safe_to_rerun(error)
                    if self._is_closed or not (is_refusal or is_rerun):
                        raise
                    await self._prepare_rerun(error, outage_wait if is_refusal else None)
                    has_rerun = has_rerun or not is_refusal
        except Exception as error:  # noqa: BLE001  # raised again where the events are read
            await self._emit(error)
        finally:
            self._previews.cancel()

    async def _attempt(self) -> None:
        try:
            self._run = await self._join.join()
            await self._follow(self._run)
        except (ConnectionFailedError, StreamError, InvalidRequestError, IdentityExpiredError):
            # The Space may have restarted with another contract.
            self._connection.contract_cache.invalidate()
            raise

    async def _follow(self, run: RemoteRun) -> None:
        try:
            async with aclosing(follow(run, self._emit_waiting)) as events:
                async for event in events:
                    await self._handle(event)
        except asyncio.CancelledError:
            if self._is_closed or self._end_error is None:
                raise
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()  # it goes on: a request that wasn't started is sent again
            error, self._end_error = self._end_error, None
            raise error from None

    async def _prepare_rerun(self, error: SD35Error, outage_wait: OutageWait | None) -> None:
        """Forget a run that wasn't started; with `outage_wait`, wait for the Space."""
        self._run = None
        self._join = self._new_join()
        await self._send_log.after_refusal()
        if outage_wait is None:
            self._emit_waiting(Waiting(error.happened, 0.0))
        else:
            await outage_wait.pause(error)

    def _is_refusal(self, error: SD35Error) -> bool:
        """Return whether the Space can't take the request now, and certainly hasn't run it."""
        if self._run is None:
            return is_outage(error)
        parser = self._run.parser
        # No GPU was free, or the queue was full; or the Space was stopped while the run was queued.
        is_unstarted_stop = isinstance(error, SpaceStoppedError) and not parser.has_started
        return parser.has_ended and (isinstance(error, BusyError) or is_unstarted_stop)

    def _is_safe_to_rerun(self, error: SD35Error) -> bool:
        """Return whether the request may be sent once more at once."""
        if self._run is None:
            return False
        parser = self._run.parser
        match error:
            case SessionLostError():
                return not parser.has_messages
            case SpaceAsleepError():
                return parser.event_id is None  # a gateway answered the join and the stream
            case _:
                return isinstance(error, IdentityExpiredError)

    async def _handle(self, event: Event) -> None:
        if isinstance(event, Finished):
            self.finished = event
            # A preview that is still being fetched would only delay the image.
            self._previews.cancel()
        if isinstance(event, Preview):
            await self._previews.submit(event.picture)
        else:
            await self._emit(event)

    async def _close(self) -> None:
        """End the run, here and at the Space, within the limits of a join and a cancel."""
        self._is_closed = True
        self._previews.cancel()
        while not self._events.empty():  # the reader may be waiting for room
            self._events.get_nowait()
        assert self._read_task is not None
        if self._run is None:
            await self._abandon_join(self._read_task)
        if self._run is not None and not self._run.parser.has_ended:
            self.stopped = await cancel_run(self._run, self._read_task)
        self._read_task.cancel()
        await asyncio.wait([self._read_task])

    async def _abandon_join(self, read_task: asyncio.Task[None]) -> None:
        """Stop joining; if the request was accepted all the same, read its stream, to cancel it."""
        read_task.cancel()
        await asyncio.wait([read_task])
        try:
            run = await self._join.finish()
        except UnreachableError as error:
            if error.was_sent:
                self.stopped = StopOutcome.UNCONFIRMED
        except SD35Error:
            pass  # it wasn't accepted
        else:
            if run is not None:
                self._run = run
                self._read_task = asyncio.ensure_future(self._read_last_messages(run))

    async def _read_last_messages(self, run: RemoteRun) -> None:
        events = read_stream(run, self._connection.timeouts.no_news, self._emit_waiting)
        with suppress(Exception):  # nobody would see it; `run.parser` has the outcome
            async with aclosing(events):
                async for event in events:
                    await self._handle(event)
