"""Cancelling a run at its Space, and finding out what that did."""

import asyncio
import logging
from contextlib import AsyncExitStack, suppress
from typing import Final

import anyio

from sd35.client.join import RemoteRun
from sd35.core.awake import AwakeTimeout
from sd35.core.errors import SD35Error, SpaceNotFoundError
from sd35.core.stop_outcome import StopOutcome

__all__ = ["cancel_run"]

log = logging.getLogger(__name__)

# Messages that the Space has sent already take at most this long to arrive here.
DRAIN_SECONDS: Final = 0.2

# A Space reports an unknown session at once, but removes one only a moment after its stream was
# closed.
MAX_PROBES: Final = 3
PROBE_TIMEOUT_SECONDS: Final = 0.3
PROBE_INTERVAL_SECONDS: Final = 0.05


async def cancel_run(run: RemoteRun, read_task: asyncio.Task[None]) -> StopOutcome:
    """Cancel a run that hasn't ended, within the limit of a cancel; never raise an SD35Error.

    `read_task` keeps reading the stream meanwhile: its last messages tell whether the run had
    started.
    """
    parser = run.parser
    contract = run.contract
    connection = run.connection
    if not (parser.has_started or contract.can_cancel_queued):
        return await _disconnect(run, read_task)
    # Gradio answers with success whatever it finds: the stream's messages tell what happened.
    body = {
        "session_hash": run.session_hash,
        "fn_index": contract.fn_index,
        "event_id": parser.event_id,
    }
    try:
        await connection.cancel(body)
    except SpaceNotFoundError:  # Gradio has /cancel since 4.30
        return await _disconnect(run, read_task)
    except SD35Error as error:
        log.warning("%s didn't confirm a cancel: %s", connection.name, error.happened)
        return StopOutcome.UNCONFIRMED
    if not parser.has_started:
        # Gradio answers the same for a queued and for a running job, and it may have started a
        # moment ago.
        with suppress(TimeoutError):
            async with AwakeTimeout(connection.timeouts.cancel):
                await asyncio.wait([read_task])
        if not (parser.has_started or parser.has_ended):
            return StopOutcome.UNCONFIRMED
    return _outcome(run)


def _outcome(run: RemoteRun) -> StopOutcome:
    if not run.parser.has_started:
        return StopOutcome.REMOVED
    return StopOutcome.ENDED if run.contract.is_generator else StopOutcome.MAY_FINISH


async def _disconnect(run: RemoteRun, read_task: asyncio.Task[None]) -> StopOutcome:
    """Close the stream, which makes Gradio remove its queued jobs and end its running generators.

    Gradio doesn't confirm that. But it often removes the session as well, and reports it as unknown
    when its stream is requested again.
    """
    await asyncio.wait([read_task], timeout=DRAIN_SECONDS)
    read_task.cancel()
    await asyncio.wait([read_task])
    for _ in range(MAX_PROBES):
        await anyio.sleep(PROBE_INTERVAL_SECONDS)
        # A request before Gradio has noticed the end of the first stream just stays open.
        with anyio.move_on_after(PROBE_TIMEOUT_SECONDS):
            if await _is_session_gone(run):
                return _outcome(run)
    return StopOutcome.UNCONFIRMED


async def _is_session_gone(run: RemoteRun) -> bool:
    try:
        async with AsyncExitStack() as stack:
            chunks = await run.connection.open_stream(run.session_hash, stack)
            first_chunk = await anext(aiter(chunks))
            # Versions of Gradio differ in the spaces of their JSON.
            return b'"session_not_found":true' in first_chunk.replace(b" ", b"")
    except (SD35Error, StopAsyncIteration):
        return False
