"""Following the event stream of a run to its end, across one interruption."""

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, suppress
from functools import partial
from typing import Final

import anyio
import anyio.lowlevel

from sd35.client.join import RemoteRun
from sd35.client.retry import OnWait, with_retry
from sd35.client.sse import EventStreamDecoder
from sd35.core.awake import awake_time
from sd35.core.errors import (
    ProtocolError,
    RateLimitedError,
    SD35Error,
    SessionLostError,
    SpaceAsleepError,
    StreamInterruptedError,
    StreamTimeoutError,
    UnreachableError,
)
from sd35.core.events import Event, Waiting

__all__ = ["follow", "read_stream"]

# A stream is read on for this long, and this many chunks, after its last message: a connection
# whose response was read to the end can be used again for the image.
DRAIN_SECONDS: Final = 0.2
MAX_DRAIN_CHUNKS: Final = 4

# Bytes that are decoded at once, and the time after which other tasks may run.
PART_BYTES: Final = 16 * 1024
MAX_BURST_SECONDS: Final = 0.005

# Between two events. In the longest wait for one, Gradio sends 60 heartbeats.
MAX_IDLE_MESSAGES: Final = 100_000
MAX_IGNORED_BYTES: Final = 1 << 20

MAX_MESSAGES: Final = 1_000_000  # of a run

_RETRYABLE_ERRORS: Final = (UnreachableError, SpaceAsleepError, RateLimitedError)


async def follow(run: RemoteRun, on_wait: OnWait) -> AsyncGenerator[Event, None]:
    """Yield the events of a run; reopen its stream once if it breaks or goes silent."""
    timeouts = run.connection.timeouts
    try:
        async with aclosing(read_stream(run, timeouts.no_news, on_wait)) as events:
            async for event in events:
                yield event
    except SessionLostError:
        raise  # a StreamInterruptedError, but Gradio has forgotten this stream for good
    except (StreamInterruptedError, StreamTimeoutError, UnreachableError) as error:
        first_error = error
    else:
        return
    # Gradio notices a closed connection only when it next writes to it, so that the run often goes
    # on. The messages in between are lost, though, and with them the base of later diffs.
    on_wait(Waiting(first_error.happened, 0.0))
    run.parser.mark_gap()
    idle_seconds = min(timeouts.no_news, timeouts.silence)
    try:
        async with aclosing(read_stream(run, idle_seconds, on_wait)) as events:
            async for event in events:
                yield event
    except (StreamInterruptedError, StreamTimeoutError, UnreachableError) as error:
        raise (first_error if run.parser.has_messages else error) from error


async def read_stream(
    run: RemoteRun, idle_seconds: float, on_wait: OnWait
) -> AsyncGenerator[Event, None]:
    """Yield the events of a run until its last message.

    Raises:
        StreamTimeoutError: nothing but heartbeats came for this long.
    """
    decoder = EventStreamDecoder()
    parser = run.parser
    timeouts = run.connection.timeouts
    async with AsyncExitStack() as stack:
        open_stream = partial(run.connection.open_stream, run.session_hash, stack)
        chunks = await with_retry(
            open_stream, lambda error: isinstance(error, _RETRYABLE_ERRORS), timeouts, on_wait
        )
        budget = _StreamBudget(run.connection.name, idle_seconds, timeouts.run)
        async for part in _split(chunks):
            for payload in decoder.feed(part):
                budget.count_message()
                for event in parser.feed(payload):
                    yield event
                    # After the listener took the event: a slow listener isn't a silent Space.
                    budget.count_event(decoder.ignored_bytes)
                if parser.has_ended:
                    await _drain(chunks)
                    return
                await budget.yield_to_others()
            budget.check(decoder.ignored_bytes)
            await budget.yield_to_others()
    raise StreamInterruptedError("The Space closed the stream before the job ended.")


async def _split(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        for start in range(0, len(chunk), PART_BYTES):
            yield chunk[start : start + PART_BYTES]


class _StreamBudget:
    """Limits of what a stream may hold, in all and between two events.

    Heartbeats, comments and empty lines arrive as bytes, too, but are no progress.
    """

    def __init__(self, name: str, idle_seconds: float, run_seconds: float) -> None:
        self._name = name
        self._idle_seconds = idle_seconds
        self._run_seconds = run_seconds
        self._started_at = awake_time()
        self._last_event_at = self._started_at
        self._resumed_at = time.monotonic()
        self._message_count = 0
        self._count_at_event = 0
        self._ignored_at_event = 0

    def count_message(self) -> None:
        self._message_count += 1

    def count_event(self, ignored_bytes: int) -> None:
        self._last_event_at = awake_time()
        self._count_at_event = self._message_count
        self._ignored_at_event = ignored_bytes

    def check(self, ignored_bytes: int) -> None:
        """Raise an error if a limit is exceeded."""
        now = awake_time()
        is_idle = now - self._last_event_at > self._idle_seconds
        if is_idle or now - self._started_at > self._run_seconds:
            raise StreamTimeoutError(f"No updates from {self._name} for too long.")
        if (
            self._message_count > MAX_MESSAGES
            or self._message_count - self._count_at_event > MAX_IDLE_MESSAGES
            or ignored_bytes - self._ignored_at_event > MAX_IGNORED_BYTES
        ):
            raise ProtocolError(f"{self._name} sent too many messages.")

    async def yield_to_others(self) -> None:
        """Let other tasks run if this one has held the event loop for a moment."""
        if time.monotonic() - self._resumed_at > MAX_BURST_SECONDS:
            await anyio.lowlevel.checkpoint()
            self._resumed_at = time.monotonic()


async def _drain(chunks: AsyncIterator[bytes]) -> None:
    with anyio.move_on_after(DRAIN_SECONDS), suppress(SD35Error):
        for _ in range(MAX_DRAIN_CHUNKS):
            await anext(chunks, b"")
