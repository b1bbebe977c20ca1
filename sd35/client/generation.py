"""One run at a Space, from joining its queue to the last event, or to the cancel."""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator
from enum import Enum
from types import TracebackType
from typing import Any, Self

import anyio

from sd35.client.connection import Connection
from sd35.client.contract import Contract
from sd35.client.protocol import Conversation
from sd35.client.sse import EventStreamDecoder
from sd35.errors import ProtocolError, SD35Error, SilentSpaceError, StreamCutError
from sd35.events import Event, Finished
from sd35.request import GenerationRequest

__all__ = ["Generation", "StopOutcome"]

log = logging.getLogger(__name__)


MAX_UNREAD = 256
"""Events that wait for a slow listener; then the Space's stream does."""


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


class Generation:
    """One run at a Space: an asynchronous context manager, and an asynchronous iterator over its events.

    Raises, on entering and while iterating, the `SD35Error` that says what happened. The last event is `Finished`.

    Attributes:
        stopped: what leaving the block early did at the Space; `None` for a run that came to its end.
        finished: the last event of a run that came to a good end, even if the block was left before it was read.

    """

    def __init__(self, connection: Connection, contract: Contract, request: GenerationRequest) -> None:
        self._connection = connection
        self._contract = contract
        self._session_hash = secrets.token_hex(8)
        self._data = contract.data(request)
        self._conversation: Conversation | None = None
        self._reading: asyncio.Task[None] | None = None
        self._inbox: asyncio.Queue[Event | Exception] = asyncio.Queue(MAX_UNREAD)
        self._is_left = False
        self.stopped: StopOutcome | None = None
        self.finished: Finished | None = None

    async def __aenter__(self) -> Self:
        joining = asyncio.ensure_future(self._join())
        try:
            with anyio.CancelScope(shield=True):
                conversation = self._conversation = await asyncio.shield(joining)
            self._reading = asyncio.ensure_future(self._read(conversation))
            await anyio.lowlevel.checkpoint_if_cancelled()
        except asyncio.CancelledError:
            # Left while the Space was being asked: hear its answer, so that no run stays there for nobody.
            with anyio.CancelScope(shield=True), contextlib.suppress(SD35Error):
                await self._leave(await joining)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._conversation is not None
        with anyio.CancelScope(shield=True):
            await self._leave(self._conversation)

    async def __aiter__(self) -> AsyncIterator[Event]:
        assert self._reading is not None, "enter the block first"
        while True:
            news = await self._inbox.get()
            if isinstance(news, Exception):
                raise news
            yield news
            if isinstance(news, Finished):
                return

    async def _read(self, conversation: Conversation) -> None:
        """Read the stream to its end in a task of its own: whoever listens may leave at any point of it."""
        try:
            async for event in self._events(conversation):
                if isinstance(event, Finished):
                    self.finished = event
                if not self._is_left:
                    await self._inbox.put(event)
        except Exception as error:  # noqa: BLE001  # handed over to the one who listens
            if not self._is_left:
                await self._inbox.put(error)

    async def _join(self) -> Conversation:
        body = {"data": self._data, "fn_index": self._contract.fn_index, "session_hash": self._session_hash}
        answer = await self._connection.post("queue/join", body, self._connection.timeouts.join)
        event_id = answer.get("event_id") if isinstance(answer, dict) else None
        if not isinstance(event_id, str):
            raise ProtocolError("The Space took the request, but gave it no number.")
        return Conversation(self._contract, event_id)

    async def _events(self, conversation: Conversation) -> AsyncGenerator[Event, None]:
        decoder = EventStreamDecoder()
        news_at = time.monotonic()
        chunks = self._connection.stream("queue/data", session_hash=self._session_hash)
        async with contextlib.aclosing(chunks):
            async for chunk in chunks:
                for payload in decoder.feed(chunk):
                    for event in conversation.feed(payload):
                        news_at = time.monotonic()
                        yield event
                    if conversation.ended:
                        return
                if time.monotonic() - news_at > self._connection.timeouts.no_news:
                    raise SilentSpaceError(f"{self._connection.name} has had no news of this run for too long.")
        raise StreamCutError("The Space closed the stream before it said how the run ended.")

    async def _leave(self, conversation: Conversation) -> None:
        """End what is under way, here and there; takes no longer than the limit of a cancel, twice."""
        self._is_left = True
        while not self._inbox.empty():  # so that the reader isn't held up
            self._inbox.get_nowait()
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._read(conversation))
        if not conversation.ended:
            self.stopped = await self._cancel(conversation, self._reading)
        self._reading.cancel()
        await asyncio.wait([self._reading])

    async def _cancel(self, conversation: Conversation, reading: asyncio.Task[None]) -> StopOutcome:
        """Cancel the run at the Space; never raises its errors."""
        body: dict[str, Any] = {
            "session_hash": self._session_hash,
            "fn_index": self._contract.fn_index,
            "event_id": conversation.event_id,
        }
        limit = self._connection.timeouts.cancel
        try:
            await self._connection.post("cancel", body, limit)
        except SD35Error as error:
            log.warning("%s didn't confirm a cancel: %s", self._connection.name, error)
            return StopOutcome.UNCONFIRMED
        if not conversation.started:
            # It may have begun a moment ago: the stream's last words tell.
            await asyncio.wait([reading], timeout=limit)
            if not (conversation.started or conversation.ended):
                return StopOutcome.UNCONFIRMED
        if not conversation.started:
            return StopOutcome.REMOVED
        return StopOutcome.ENDED if self._contract.is_generator else StopOutcome.MAY_FINISH
