"""Following the event stream of a run to its end, across one interruption."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, suppress
from functools import partial
from typing import Final

import anyio

from sd35.client.join import RemoteRun
from sd35.client.retry import OnWait, with_retry
from sd35.client.sse import EventStreamDecoder
from sd35.core.awake import awake_time
from sd35.core.errors import (
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
        started_at = last_event_at = awake_time()
        async for chunk in chunks:
            for payload in decoder.feed(chunk):
                for event in parser.feed(payload):
                    yield event
                    # After the listener took the event: a slow listener isn't a silent Space.
                    last_event_at = awake_time()
                if parser.has_ended:
                    await _drain(chunks)
                    return
            # Heartbeats are chunks, too: they end aiohttp's wait for bytes, but are no progress.
            now = awake_time()
            if now - last_event_at > idle_seconds or now - started_at > timeouts.run:
                raise StreamTimeoutError(f"No updates from {run.connection.name} for too long.")
    raise StreamInterruptedError("The Space closed the stream before the job ended.")


async def _drain(chunks: AsyncIterator[bytes]) -> None:
    with anyio.move_on_after(DRAIN_SECONDS), suppress(SD35Error):
        for _ in range(MAX_DRAIN_CHUNKS):
            await anext(chunks, b"")
