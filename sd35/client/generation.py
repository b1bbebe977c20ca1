"""One run at a Space, from joining its queue to the last event, or to the cancel."""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from enum import Enum
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

import anyio

from sd35.client.connection import Connection
from sd35.client.previews import PreviewFetcher, Previews
from sd35.client.protocol import RunParser
from sd35.client.retry import with_retry
from sd35.client.sse import EventStreamDecoder
from sd35.core.errors import (
    ConnectionFailedError,
    IdentityExpiredError,
    InvalidRequestError,
    ProtocolError,
    QueueFullError,
    RateLimitedError,
    SD35Error,
    SessionLostError,
    SpaceAsleepError,
    SpaceNotFoundError,
    SpaceStoppedError,
    StreamError,
    StreamInterruptedError,
    StreamTimeoutError,
    UnreachableError,
)
from sd35.core.events import Event, Finished, Preview, RemotePicture, Waiting
from sd35.core.picture import Picture
from sd35.core.request import GenerationRequest, check_request

__all__ = ["Generation", "StopOutcome"]


class StopOutcome(Enum):
    """What leaving a run before its end did at the Space."""

    REMOVED = "removed"
    """It was still waiting in the queue, and is no longer."""
    ENDED = "ended"
    """It was running in a generator, which the Space ended."""
    MAY_FINISH = "may finish"
    """It was running in a plain function, which Gradio can't end: the Space may finish it for nobody."""
    UNCONFIRMED = "unconfirmed"
    """The Space didn't confirm the cancel in time."""

    @property
    def message(self) -> str:
        """What that means, for the person who has stopped it."""
        return _MESSAGES[self]


_MESSAGES = {
    StopOutcome.REMOVED: "It was removed from the queue before it began.",
    StopOutcome.ENDED: "The Space ended the run.",
    StopOutcome.MAY_FINISH: "No longer waited for. This Space can't end a run that has begun: its GPU may finish it, "
    "and it counts against your quota.",
    StopOutcome.UNCONFIRMED: "No longer waited for. The Space didn't confirm that it stopped; it may finish the run.",
}


log = logging.getLogger(__name__)

EVENT_BUFFER_SIZE: Final = 256
"""Events that wait for a slow listener; then the Space's stream does."""

RETRY_DELAY_SECONDS: Final = 2.0
"""Between two requests to a Space that answers, but doesn't take this one yet."""


DRAIN_SECONDS: Final = 0.2
"""How long what a Space has said already may take to be here."""

MAX_DRAIN_CHUNKS: Final = 4
"""As much as a stream is read on for after its last word."""

MAX_PROBES: Final = 3
PROBE_TIMEOUT_SECONDS: Final = 0.3
PROBE_INTERVAL_SECONDS: Final = 0.05
"""How often, and for how long, a Space is asked whether it has forgotten a stream; it says so at once if it has."""


class Generation:
    """One run at a Space: an asynchronous context manager, and an asynchronous iterator over its events.

    Raises, while iterating, the `SD35Error` that says what happened. The last event is `Finished`.

    Attributes:
        stopped: what leaving the block early did at the Space; `None` for a run that came to its
            end, and where nothing had been sent.
        finished: the last event of a run that came to a good end, even if the block was left before
            it was read.

    """

    def __init__(
        self,
        connection: Connection,
        request: GenerationRequest,
        fetch: Callable[[RemotePicture], Awaitable[Picture]],
        previews: Previews = Previews.NONE,
    ) -> None:
        self._connection = connection
        self._request = request
        self._fetch = fetch
        self._session_hash = ""
        self._contract = connection.contract
        self._parser: RunParser | None = None
        self._join_task: asyncio.Task[Any] | None = None
        self._read_task: asyncio.Task[None] | None = None
        self._events: asyncio.Queue[Event | Exception] = asyncio.Queue(EVENT_BUFFER_SIZE)
        self._previews = (
            None if previews is Previews.NONE else PreviewFetcher(previews, fetch, self._emit)
        )
        self._last_preview: Preview | None = None
        self._is_closed = False
        self._is_exhausted = False
        self.stopped: StopOutcome | None = None
        self.finished: Finished | None = None

    async def __aenter__(self) -> Self:
        self._read_task = asyncio.ensure_future(self._forward_errors(self._run))
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        close_task, pending_cancellation = asyncio.ensure_future(self._close()), None
        with anyio.CancelScope(shield=True):
            while not close_task.done():
                try:
                    await asyncio.wait([close_task])  # which isn't cancelled with who waits for it
                except asyncio.CancelledError as cancelled_error:
                    pending_cancellation = cancelled_error
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
            if isinstance(event, Preview) and self._previews is not None:
                self._previews.acknowledge()
            yield event

    @property
    def seed(self) -> int | None:
        """The seed that the Space says it used, or else the one that it was asked for, if it was."""
        if self.finished is not None and self.finished.seed is not None:
            return self.finished.seed
        has_requested_seed = (
            self._contract.has_parameter("seed") and not self._request.randomize_seed
        )
        return self._request.seed if has_requested_seed else None

    async def fetch(self) -> Picture:
        """Return the finished picture, with its seed and its request.

        Raises:
            PictureError: it isn't one, or is gone.
            SD35Error: the Space didn't hand it out.

        """
        assert self.finished is not None, "there is no picture before Finished"
        preview = self._last_preview  # the last preview of a generator is the finished picture
        if (
            preview is not None
            and preview.picture == self.finished.picture
            and preview.fetched is not None
        ):
            picture = preview.fetched
        else:
            picture = await self._fetch(self.finished.picture)
        return replace(picture, seed=self.seed, request=self._request)

    async def _emit(self, event: Event | Exception) -> None:
        """Hand over to the one who listens, if anybody still does."""
        if isinstance(event, Preview):
            self._last_preview = event
        if not self._is_closed:
            await self._events.put(event)

    def _emit_waiting(self, event: Waiting) -> None:
        if not self._is_closed and not self._events.full():
            self._events.put_nowait(event)

    async def _forward_errors(self, operation: Callable[[], Awaitable[None]]) -> None:
        """Work to the end in a task of its own: whoever listens may leave at any point of it."""
        try:
            await operation()
        except Exception as error:  # noqa: BLE001  # handed over to the one who listens
            await self._emit(error)
        finally:
            if self._previews is not None:
                self._previews.cancel()

    def _try_emit(self, event: Event) -> bool:
        """Whether that could be done without a wait, as with most events: most of a run's cost here is in these."""
        if self._events.full() or isinstance(event, Preview | Finished):
            return False
        if not self._is_closed:
            self._events.put_nowait(event)
        return True

    async def _handle(self, event: Event) -> None:
        if isinstance(event, Finished):
            self.finished = event
        if self._previews is not None and not self._is_closed:
            if isinstance(event, Preview):
                await self._previews.submit(event.picture)
                return
            if isinstance(event, Finished):
                await self._previews.finish(self._connection.timeouts.fetch)
        await self._emit(event)

    async def _run(self) -> None:
        """Join and follow; once more, at most, where it is certain that nothing was run."""
        try:
            await self._attempt()
        except (SessionLostError, IdentityExpiredError, SpaceAsleepError) as error:
            if self._is_closed or not self._is_safe_to_rerun(error):
                raise
            self._emit_waiting(Waiting(error.happened, 0.0))
            self._parser = self._join_task = None
            await self._attempt()

    def _is_safe_to_rerun(self, error: SD35Error) -> bool:
        """Whether it is certain that nothing was run."""
        match error, self._parser:
            case (_, None):
                return False  # it wasn't even taken in, and joining has its own patience
            case (SessionLostError(), parser):
                return not parser.has_messages
            case (SpaceStoppedError(), parser):
                return not parser.has_started
            case (SpaceAsleepError(), parser):
                return (
                    parser.event_id is None
                )  # a gateway answered in its place, and nobody takes the stream
            case _:
                return True

    async def _attempt(self) -> None:
        try:
            self._parser = await self._join()
            await self._follow_stream(self._parser)
        except (ConnectionFailedError, StreamError, InvalidRequestError, IdentityExpiredError):
            self._connection.invalidate()  # it may have restarted as something else
            raise

    async def _join(self) -> RunParser:
        """Be taken into the Space's queue, with the patience that one needs that is waking up."""
        started_at, timeouts, is_contract_rechecked = (
            time.monotonic(),
            self._connection.timeouts,
            False,
        )
        while True:
            contract = self._contract = await self._connection.refresh_contract(self._emit_waiting)
            check_request(self._request, contract.limits)
            try:
                response = await with_retry(
                    self._send_join, _is_retryable_join_error, timeouts, self._emit_waiting
                )
            except SpaceAsleepError as error:
                if error.was_sent:
                    return RunParser(contract, None)  # a gateway answered in its place
                delay = max(RETRY_DELAY_SECONDS, error.retry_after_seconds or 0.0)
                if time.monotonic() - started_at + delay > timeouts.waking:
                    raise
                self._emit_waiting(
                    Waiting(error.happened, time.monotonic() - started_at, timeouts.waking)
                )
                await anyio.sleep(delay)
            except UnreachableError as error:
                if not error.was_sent:
                    raise
                return RunParser(contract, None)  # the stream tells whether it was taken in
            except (ProtocolError, SpaceNotFoundError):
                if is_contract_rechecked:
                    raise
                is_contract_rechecked = True
            else:
                return RunParser(contract, _parse_event_id(response))
            self._connection.invalidate()

    async def _send_join(self) -> Any:  # noqa: ANN401  # any JSON
        """Ask once. The answer is heard even if this is cancelled, so that no run stays there for nobody."""
        self._session_hash = secrets.token_hex(8)
        body = {
            "data": self._contract.build_inputs(self._request),
            "fn_index": self._contract.fn_index,
            "session_hash": self._session_hash,
        }
        self._join_task = asyncio.ensure_future(self._connection.join(body))
        return await asyncio.shield(self._join_task)

    async def _follow_stream(self, parser: RunParser) -> None:
        """Pass on what the stream says; where it breaks off, take it up once more: the Space may not have noticed."""
        timeouts = self._connection.timeouts
        try:
            await self._read_stream(parser, timeouts.no_news)
        except (StreamInterruptedError, UnreachableError) as stream_error:
            if isinstance(stream_error, SessionLostError) or self._is_closed:
                raise
            self._emit_waiting(Waiting(stream_error.happened, 0.0))
            parser.mark_gap()
            try:
                await self._read_stream(parser, min(timeouts.no_news, timeouts.silence))
            except (StreamInterruptedError, StreamTimeoutError, UnreachableError) as error:
                raise (stream_error if parser.has_messages else error) from error

    async def _read_stream(self, parser: RunParser, idle_seconds: float) -> None:
        decoder, timeouts = EventStreamDecoder(), self._connection.timeouts
        async with AsyncExitStack() as stack:
            open_stream = partial(self._connection.open_stream, self._session_hash, stack)
            chunks = await with_retry(
                open_stream, _is_retryable_stream_error, timeouts, self._emit_waiting
            )
            started_at = last_event_at = time.monotonic()
            async for chunk in chunks:
                for payload in decoder.feed(chunk):
                    for event in parser.feed(payload):
                        if not self._try_emit(event):
                            await self._handle(event)
                        last_event_at = (
                            time.monotonic()
                        )  # only now: a slow listener isn't a silent Space
                    if parser.has_ended:
                        await _drain(chunks)
                        return
                now = time.monotonic()
                if now - last_event_at > idle_seconds or now - started_at > timeouts.run:
                    raise StreamTimeoutError(
                        f"{self._connection.name} has had no news of this run for too long."
                    )
        raise StreamInterruptedError(
            "The Space closed the stream before it said how the run ended."
        )

    async def _close(self) -> None:
        """End what is under way, here and there, within the limits of a join and of a cancel."""
        self._is_closed = True
        while not self._events.empty():  # so that the reader isn't held up
            self._events.get_nowait()
        assert self._read_task is not None
        if self._parser is None:
            await self._cancel_join()
        parser = self._parser
        if parser is not None and not parser.has_ended:
            self.stopped = await self._cancel(parser, self._read_task)
        self._read_task.cancel()
        await asyncio.wait([self._read_task])

    async def _cancel_join(self) -> None:
        """Stop asking; what was asked for already, and is taken in, is followed to its cancel."""
        assert self._read_task is not None
        self._read_task.cancel()
        await asyncio.wait([self._read_task])
        if self._join_task is None:
            return
        try:
            parser = RunParser(self._contract, _parse_event_id(await self._join_task))
        except UnreachableError as error:
            if error.was_sent:
                self.stopped = StopOutcome.UNCONFIRMED
        except SD35Error:
            pass  # it wasn't taken in
        else:
            self._parser = parser
            drain_stream = partial(self._read_stream, parser, self._connection.timeouts.no_news)
            self._read_task = asyncio.ensure_future(self._forward_errors(drain_stream))

    async def _cancel(self, parser: RunParser, read_task: asyncio.Task[None]) -> StopOutcome:
        """Cancel the run at the Space; never raises its errors."""
        body = {
            "session_hash": self._session_hash,
            "fn_index": self._contract.fn_index,
            "event_id": parser.event_id,
        }
        if not (parser.has_started or self._contract.can_cancel_queued):
            return await self._disconnect(parser, read_task)
        try:
            await self._connection.cancel(body)
        except SpaceNotFoundError:  # Gradio before 4.30 knows no cancel
            return await self._disconnect(parser, read_task)
        except SD35Error as error:
            log.warning("%s didn't confirm a cancel: %s", self._connection.name, error.happened)
            return StopOutcome.UNCONFIRMED
        if not parser.has_started:
            # It may have begun a moment ago: the stream's last words tell.
            await asyncio.wait([read_task], timeout=self._connection.timeouts.cancel)
            if not (parser.has_started or parser.has_ended):
                return StopOutcome.UNCONFIRMED
        return self._stop_outcome(parser)

    def _stop_outcome(self, parser: RunParser) -> StopOutcome:
        if not parser.has_started:
            return StopOutcome.REMOVED
        return StopOutcome.ENDED if self._contract.is_generator else StopOutcome.MAY_FINISH

    async def _disconnect(self, parser: RunParser, read_task: asyncio.Task[None]) -> StopOutcome:
        """Close the stream: then Gradio takes what is queued for it out of the queue, and ends what is a generator.

        It doesn't confirm that; but often it forgets the stream as well, and says so if it is asked
        for it again.
        """
        await asyncio.wait(
            [read_task], timeout=DRAIN_SECONDS
        )  # that it has begun may be on its way
        read_task.cancel()
        await asyncio.wait([read_task])
        for _ in range(MAX_PROBES):
            await anyio.sleep(PROBE_INTERVAL_SECONDS)
            with anyio.move_on_after(
                PROBE_TIMEOUT_SECONDS
            ):  # who asks too early is taken for a second listener
                if await self._is_session_gone():
                    return self._stop_outcome(parser)
        return StopOutcome.UNCONFIRMED

    async def _is_session_gone(self) -> bool:
        """Open the stream and close it again: whether the Space doesn't know it any more."""
        try:
            async with AsyncExitStack() as stack:
                chunks = await self._connection.open_stream(self._session_hash, stack)
                return b'"session_not_found":true' in (await anext(aiter(chunks))).replace(
                    b" ", b""
                )
        except (SD35Error, StopAsyncIteration):
            return False


def _parse_event_id(response: object) -> str:
    event_id = response.get("event_id") if isinstance(response, dict) else None
    if not isinstance(event_id, str):
        raise ProtocolError("The Space took the request, but gave it no number.")
    return event_id


async def _drain(chunks: AsyncIterator[bytes]) -> None:
    """Read what is left of a stream that has said all, so that its connection serves again for the picture."""
    with anyio.move_on_after(DRAIN_SECONDS), suppress(SD35Error):
        for _ in range(MAX_DRAIN_CHUNKS):
            await anext(chunks, b"")


def _is_retryable_join_error(error: SD35Error) -> bool:
    """Whether it is certain that the Space hasn't taken the request in, and may do so soon."""
    is_rejection = isinstance(error, QueueFullError | RateLimitedError)
    return is_rejection or (isinstance(error, UnreachableError) and not error.was_sent)


def _is_retryable_stream_error(error: SD35Error) -> bool:
    return isinstance(error, UnreachableError | SpaceAsleepError | RateLimitedError)
