"""Joining the queue of a Space, without losing track of an accepted request."""

import asyncio
import secrets
import time
from dataclasses import dataclass
from typing import Final

import anyio

from sd35.client.connection import Connection
from sd35.client.contract import Contract, Json
from sd35.client.protocol import RunParser
from sd35.client.retry import OnWait, with_retry
from sd35.core.errors import (
    ProtocolError,
    QueueFullError,
    RateLimitedError,
    SD35Error,
    SpaceAsleepError,
    SpaceNotFoundError,
    UnreachableError,
)
from sd35.core.events import Waiting
from sd35.core.request import GenerationRequest, check_request

__all__ = ["QueueJoin", "RemoteRun"]

# Between two requests to a Space that answers, but isn't ready yet.
RETRY_DELAY_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class RemoteRun:
    """A request that a Space has accepted, or may have accepted.

    Attributes:
        session_hash: the name of its event stream, chosen by the client.
        parser: the state of the run, as far as its messages tell.
    """

    connection: Connection
    contract: Contract
    session_hash: str
    parser: RunParser


class QueueJoin:
    """One attempt to enter the queue."""

    def __init__(self, connection: Connection, request: GenerationRequest, on_wait: OnWait) -> None:
        self.contract = connection.contract
        self._connection = connection
        self._request = request
        self._on_wait = on_wait
        self._session_hash = ""
        self._post_task: asyncio.Task[Json] | None = None

    async def join(self) -> RemoteRun:
        """Enter the queue, waiting for a Space that is waking up or whose queue is full."""
        started_at = time.monotonic()
        timeouts = self._connection.timeouts
        is_contract_rechecked = False
        while True:
            self.contract = await self._connection.contract_cache.refresh(self._on_wait)
            # Checked here again: the Space may have restarted with other limits.
            check_request(self._request, self.contract.limits)
            try:
                response = await with_retry(self._post, _is_retryable, timeouts, self._on_wait)
                return self._make_run(_parse_event_id(response))
            except SpaceAsleepError as error:
                if error.was_sent:
                    return self._make_run(None)  # a gateway answered in place of the Space
                delay = max(RETRY_DELAY_SECONDS, error.retry_after_seconds or 0.0)
                waited_seconds = time.monotonic() - started_at
                if waited_seconds + delay > timeouts.waking:
                    raise
                self._on_wait(Waiting(error.happened, waited_seconds, timeouts.waking))
                await anyio.sleep(delay)
            except UnreachableError as error:
                if not error.was_sent:
                    raise
                return self._make_run(None)  # the stream will tell whether it was accepted
            except (ProtocolError, SpaceNotFoundError):
                # The Space may have restarted as another version, with another endpoint.
                if is_contract_rechecked:
                    raise
                is_contract_rechecked = True
            self._connection.contract_cache.invalidate()

    async def finish(self) -> RemoteRun | None:
        """Return the run that a cancelled `join` has left at the Space, if any.

        Raises:
            UnreachableError: with `was_sent`, the Space may have accepted it.
        """
        if self._post_task is None:
            return None
        return self._make_run(_parse_event_id(await self._post_task))

    async def _post(self) -> Json:
        # A new name each time: if an earlier request was accepted and its answer lost, its messages
        # would come on the same stream, and be taken for those of this run.
        self._session_hash = secrets.token_hex(8)
        body = {
            "data": self.contract.build_inputs(self._request),
            "fn_index": self.contract.fn_index,
            "session_hash": self._session_hash,
        }
        # Shielded: if the caller is cancelled now, the answer still has to be read. It has the id
        # without which the run can't be cancelled and would use up somebody's quota.
        self._post_task = asyncio.ensure_future(self._connection.join(body))
        return await asyncio.shield(self._post_task)

    def _make_run(self, event_id: str | None) -> RemoteRun:
        parser = RunParser(self.contract, event_id)
        return RemoteRun(self._connection, self.contract, self._session_hash, parser)


def _parse_event_id(response: object) -> str:
    event_id = response.get("event_id") if isinstance(response, dict) else None
    if not isinstance(event_id, str):
        raise ProtocolError("The Space didn't return a job ID.")
    return event_id


def _is_retryable(error: SD35Error) -> bool:
    """Return whether the Space certainly didn't accept the request, and may do so soon."""
    is_rejection = isinstance(error, QueueFullError | RateLimitedError)
    return is_rejection or (isinstance(error, UnreachableError) and not error.was_sent)
