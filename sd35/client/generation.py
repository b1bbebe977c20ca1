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
from sd35.client.contract import Contract
from sd35.client.previews import PreviewFetcher, Previews
from sd35.client.protocol import Conversation
from sd35.client.retry import retrying
from sd35.client.sse import EventStreamDecoder
from sd35.core.errors import (
    ConnectionFailedError,
    IdentityExpiredError,
    InvalidRequestError,
    ProtocolError,
    QueueFullError,
    RateLimitedError,
    RunLostError,
    SD35Error,
    SilentSpaceError,
    SpaceAsleepError,
    SpaceNotFoundError,
    SpaceStoppedError,
    StreamCutError,
    StreamError,
    UnreachableError,
)
from sd35.core.events import Event, Finished, Preview, RemotePicture, Waiting
from sd35.core.picture import Picture
from sd35.core.request import GenerationRequest, problems

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
    def sentence(self) -> str:
        """What that means, for the person who has stopped it."""
        return _SENTENCES[self]


_SENTENCES = {
    StopOutcome.REMOVED: "It was removed from the queue before it began.",
    StopOutcome.ENDED: "The Space ended the run.",
    StopOutcome.MAY_FINISH: "No longer waited for. This Space can't end a run that has begun: its GPU may finish it, "
    "and it counts against your quota.",
    StopOutcome.UNCONFIRMED: "No longer waited for. The Space didn't confirm that it stopped; it may finish the run.",
}


log = logging.getLogger(__name__)

MAX_UNREAD: Final = 256
"""Events that wait for a slow listener; then the Space's stream does."""

PAUSE_SECONDS: Final = 2.0
"""Between two requests to a Space that answers, but doesn't take this one yet."""


LAST_NEWS_SECONDS: Final = 0.2
"""How long what a Space has said already may take to be here."""

MAX_LAST_CHUNKS: Final = 4
"""As much as a stream is read on for after its last word."""

PROBES: Final = 3
PROBE_SECONDS: Final = 0.3
PROBE_PAUSE_SECONDS: Final = 0.05
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
        self._conversation: Conversation | None = None
        self._joining: asyncio.Task[Any] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._inbox: asyncio.Queue[Event | Exception] = asyncio.Queue(MAX_UNREAD)
        self._previews = (
            None if previews is Previews.NONE else PreviewFetcher(previews, fetch, self._give)
        )
        self._shown: Preview | None = None
        self._is_left = False
        self._is_told = False
        self.stopped: StopOutcome | None = None
        self.finished: Finished | None = None

    async def __aenter__(self) -> Self:
        self._reading = asyncio.ensure_future(self._read(self._run))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        leaving, cancelled = asyncio.ensure_future(self._leave()), None
        with anyio.CancelScope(shield=True):
            while not leaving.done():
                try:
                    await asyncio.wait([leaving])  # which isn't cancelled with who waits for it
                except asyncio.CancelledError as again:
                    cancelled = again
        leaving.result()
        if cancelled is not None:
            raise cancelled

    async def __aiter__(self) -> AsyncIterator[Event]:
        assert self._reading is not None, "enter the block first"
        while not self._is_told:
            news = await self._inbox.get()
            self._is_told = isinstance(news, Exception | Finished)
            if isinstance(news, Exception):
                raise news
            if isinstance(news, Preview) and self._previews is not None:
                self._previews.read()
            yield news

    @property
    def seed(self) -> int | None:
        """The seed that the Space says it used, or else the one that it was asked for, if it was."""
        if self.finished is not None and self.finished.seed is not None:
            return self.finished.seed
        was_asked = self._contract.takes("seed") and not self._request.randomize_seed
        return self._request.seed if was_asked else None

    async def fetch(self) -> Picture:
        """Return the finished picture, with its seed and its request.

        Raises:
            PictureError: it isn't one, or is gone.
            SD35Error: the Space didn't hand it out.

        """
        assert self.finished is not None, "there is no picture before Finished"
        shown = self._shown  # the last preview of a generator is the finished picture
        if (
            shown is not None
            and shown.picture == self.finished.picture
            and shown.fetched is not None
        ):
            picture = shown.fetched
        else:
            picture = await self._fetch(self.finished.picture)
        return replace(picture, seed=self.seed, request=self._request)

    async def _give(self, news: Event | Exception) -> None:
        """Hand over to the one who listens, if anybody still does."""
        if isinstance(news, Preview):
            self._shown = news
        if not self._is_left:
            await self._inbox.put(news)

    def _tell(self, waiting: Waiting) -> None:
        if not self._is_left and not self._inbox.full():
            self._inbox.put_nowait(waiting)

    async def _read(self, work: Callable[[], Awaitable[None]]) -> None:
        """Work to the end in a task of its own: whoever listens may leave at any point of it."""
        try:
            await work()
        except Exception as error:  # noqa: BLE001  # handed over to the one who listens
            await self._give(error)
        finally:
            if self._previews is not None:
                self._previews.cancel()

    def _passed_on_at_once(self, event: Event) -> bool:
        """Whether that could be done without a wait, as with most events: most of a run's cost here is in these."""
        if self._inbox.full() or isinstance(event, Preview | Finished):
            return False
        if not self._is_left:
            self._inbox.put_nowait(event)
        return True

    async def _pass_on(self, event: Event) -> None:
        if isinstance(event, Finished):
            self.finished = event
        if self._previews is not None and not self._is_left:
            if isinstance(event, Preview):
                await self._previews.take(event.picture)
                return
            if isinstance(event, Finished):
                await self._previews.finish(self._connection.timeouts.fetch)
        await self._give(event)

    async def _run(self) -> None:
        """Join and follow; once more, at most, where it is certain that nothing was run."""
        try:
            await self._once()
        except (RunLostError, IdentityExpiredError, SpaceAsleepError) as error:
            if self._is_left or not self._was_in_vain(error):
                raise
            self._tell(Waiting(error.happened, 0.0))
            self._conversation = self._joining = None
            await self._once()

    def _was_in_vain(self, error: SD35Error) -> bool:
        """Whether it is certain that nothing was run."""
        match error, self._conversation:
            case (_, None):
                return False  # it wasn't even taken in, and joining has its own patience
            case (RunLostError(), conversation):
                return not conversation.heard
            case (SpaceStoppedError(), conversation):
                return not conversation.started
            case (SpaceAsleepError(), conversation):
                return (
                    conversation.event_id is None
                )  # a gateway answered in its place, and nobody takes the stream
            case _:
                return True

    async def _once(self) -> None:
        try:
            self._conversation = await self._join()
            await self._follow(self._conversation)
        except (ConnectionFailedError, StreamError, InvalidRequestError, IdentityExpiredError):
            self._connection.doubt()  # it may have restarted as something else
            raise

    async def _join(self) -> Conversation:
        """Be taken into the Space's queue, with the patience that one needs that is waking up."""
        began, timeouts, is_checked = time.monotonic(), self._connection.timeouts, False
        while True:
            contract = self._contract = await self._connection.current_contract(self._tell)
            _refuse_invalid(self._request, contract)
            try:
                answer = await retrying(self._ask, _join_passes, timeouts, self._tell)
            except SpaceAsleepError as error:
                if error.was_sent:
                    return Conversation(contract, None)  # a gateway answered in its place
                pause = max(PAUSE_SECONDS, error.retry_after_seconds or 0.0)
                if time.monotonic() - began + pause > timeouts.waking:
                    raise
                self._tell(Waiting(error.happened, time.monotonic() - began, timeouts.waking))
                await anyio.sleep(pause)
            except UnreachableError as error:
                if not error.was_sent:
                    raise
                return Conversation(contract, None)  # the stream tells whether it was taken in
            except (ProtocolError, SpaceNotFoundError):
                if is_checked:
                    raise
                is_checked = True
            else:
                return Conversation(contract, _event_id(answer))
            self._connection.doubt()

    async def _ask(self) -> Any:  # noqa: ANN401  # any JSON
        """Ask once. The answer is heard even if this is cancelled, so that no run stays there for nobody."""
        self._session_hash = secrets.token_hex(8)
        body = {
            "data": self._contract.data(self._request),
            "fn_index": self._contract.fn_index,
            "session_hash": self._session_hash,
        }
        self._joining = asyncio.ensure_future(self._connection.join(body))
        return await asyncio.shield(self._joining)

    async def _follow(self, conversation: Conversation) -> None:
        """Pass on what the stream says; where it breaks off, take it up once more: the Space may not have noticed."""
        limits = self._connection.timeouts
        try:
            await self._stream(conversation, limits.no_news)
        except (StreamCutError, UnreachableError) as cut:
            if isinstance(cut, RunLostError) or self._is_left:
                raise
            self._tell(Waiting(cut.happened, 0.0))
            conversation.missed_some()
            try:
                await self._stream(conversation, min(limits.no_news, limits.silence))
            except (StreamCutError, SilentSpaceError, UnreachableError) as error:
                raise (cut if conversation.heard else error) from error

    async def _stream(self, conversation: Conversation, no_news_seconds: float) -> None:
        decoder, limits = EventStreamDecoder(), self._connection.timeouts
        async with AsyncExitStack() as stack:
            opened = partial(self._connection.open_stream, self._session_hash, stack)
            chunks = await retrying(opened, _stream_passes, limits, self._tell)
            began = news_at = time.monotonic()
            async for chunk in chunks:
                for payload in decoder.feed(chunk):
                    for event in conversation.feed(payload):
                        if not self._passed_on_at_once(event):
                            await self._pass_on(event)
                        news_at = time.monotonic()  # only now: a slow listener isn't a silent Space
                    if conversation.ended:
                        await _drain(chunks)
                        return
                now = time.monotonic()
                if now - news_at > no_news_seconds or now - began > limits.run:
                    raise SilentSpaceError(
                        f"{self._connection.name} has had no news of this run for too long."
                    )
        raise StreamCutError("The Space closed the stream before it said how the run ended.")

    async def _leave(self) -> None:
        """End what is under way, here and there, within the limits of a join and of a cancel."""
        self._is_left = True
        while not self._inbox.empty():  # so that the reader isn't held up
            self._inbox.get_nowait()
        assert self._reading is not None
        if self._conversation is None:
            await self._stop_joining()
        conversation = self._conversation
        if conversation is not None and not conversation.ended:
            self.stopped = await self._cancel(conversation, self._reading)
        self._reading.cancel()
        await asyncio.wait([self._reading])

    async def _stop_joining(self) -> None:
        """Stop asking; what was asked for already, and is taken in, is followed to its cancel."""
        assert self._reading is not None
        self._reading.cancel()
        await asyncio.wait([self._reading])
        if self._joining is None:
            return
        try:
            conversation = Conversation(self._contract, _event_id(await self._joining))
        except UnreachableError as error:
            if error.was_sent:
                self.stopped = StopOutcome.UNCONFIRMED
        except SD35Error:
            pass  # it wasn't taken in
        else:
            self._conversation = conversation
            last_words = partial(self._stream, conversation, self._connection.timeouts.no_news)
            self._reading = asyncio.ensure_future(self._read(last_words))

    async def _cancel(self, conversation: Conversation, reading: asyncio.Task[None]) -> StopOutcome:
        """Cancel the run at the Space; never raises its errors."""
        body = {
            "session_hash": self._session_hash,
            "fn_index": self._contract.fn_index,
            "event_id": conversation.event_id,
        }
        if not (conversation.started or self._contract.cancel_removes_queued):
            return await self._hang_up(conversation, reading)
        try:
            await self._connection.cancel(body)
        except SpaceNotFoundError:  # Gradio before 4.30 knows no cancel
            return await self._hang_up(conversation, reading)
        except SD35Error as error:
            log.warning("%s didn't confirm a cancel: %s", self._connection.name, error.happened)
            return StopOutcome.UNCONFIRMED
        if not conversation.started:
            # It may have begun a moment ago: the stream's last words tell.
            await asyncio.wait([reading], timeout=self._connection.timeouts.cancel)
            if not (conversation.started or conversation.ended):
                return StopOutcome.UNCONFIRMED
        return self._outcome(conversation)

    def _outcome(self, conversation: Conversation) -> StopOutcome:
        if not conversation.started:
            return StopOutcome.REMOVED
        return StopOutcome.ENDED if self._contract.is_generator else StopOutcome.MAY_FINISH

    async def _hang_up(
        self, conversation: Conversation, reading: asyncio.Task[None]
    ) -> StopOutcome:
        """Close the stream: then Gradio takes what is queued for it out of the queue, and ends what is a generator.

        It doesn't confirm that; but often it forgets the stream as well, and says so if it is asked
        for it again.
        """
        await asyncio.wait(
            [reading], timeout=LAST_NEWS_SECONDS
        )  # that it has begun may be on its way
        reading.cancel()
        await asyncio.wait([reading])
        for _ in range(PROBES):
            await anyio.sleep(PROBE_PAUSE_SECONDS)
            with anyio.move_on_after(
                PROBE_SECONDS
            ):  # who asks too early is taken for a second listener
                if await self._is_forgotten():
                    return self._outcome(conversation)
        return StopOutcome.UNCONFIRMED

    async def _is_forgotten(self) -> bool:
        """Open the stream and close it again: whether the Space doesn't know it any more."""
        try:
            async with AsyncExitStack() as stack:
                chunks = await self._connection.open_stream(self._session_hash, stack)
                return b'"session_not_found":true' in (await anext(aiter(chunks))).replace(
                    b" ", b""
                )
        except (SD35Error, StopAsyncIteration):
            return False


def _refuse_invalid(request: GenerationRequest, contract: Contract) -> None:
    found = problems(request, contract.limits)
    if found:
        raise InvalidRequestError(" ".join(problem.message for problem in found))


def _event_id(answer: object) -> str:
    event_id = answer.get("event_id") if isinstance(answer, dict) else None
    if not isinstance(event_id, str):
        raise ProtocolError("The Space took the request, but gave it no number.")
    return event_id


async def _drain(chunks: AsyncIterator[bytes]) -> None:
    """Read what is left of a stream that has said all, so that its connection serves again for the picture."""
    with anyio.move_on_after(LAST_NEWS_SECONDS), suppress(SD35Error):
        for _ in range(MAX_LAST_CHUNKS):
            await anext(chunks, b"")


def _join_passes(error: SD35Error) -> bool:
    """Whether it is certain that the Space hasn't taken the request in, and may do so soon."""
    refused = isinstance(error, QueueFullError | RateLimitedError)
    return refused or (isinstance(error, UnreachableError) and not error.was_sent)


def _stream_passes(error: SD35Error) -> bool:
    return isinstance(error, UnreachableError | SpaceAsleepError | RateLimitedError)
