"""Joining the queue of a Space, without losing track of an accepted request."""

import asyncio
import secrets
from dataclasses import dataclass

from sd35.client.connection import Connection
from sd35.client.contract import Contract, Json
from sd35.client.protocol import RunParser
from sd35.client.retry import OnWait
from sd35.core.errors import (
    ProtocolError,
    SpaceAsleepError,
    SpaceNotFoundError,
    UnreachableError,
)
from sd35.core.request import GenerationRequest, check_request

__all__ = ["QueueJoin", "RemoteRun", "SendLog"]


class SendLog:
    """Log of when a request is sent, for a caller that records it; this one records nothing.

    An SD35Error of its methods ends the run.
    """

    async def before_send(self) -> None:
        """Record that the request is about to be sent."""

    async def after_refusal(self) -> None:
        """Record that the Space certainly hasn't accepted the request, which will be sent again."""


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

    def __init__(
        self,
        connection: Connection,
        request: GenerationRequest,
        on_wait: OnWait,
        send_log: SendLog,
    ) -> None:
        self.contract = connection.contract
        self._connection = connection
        self._request = request
        self._on_wait = on_wait
        self._send_log = send_log
        self._session_hash = ""
        self._post_task: asyncio.Task[Json] | None = None

    async def join(self) -> RemoteRun:
        """Enter the queue. An error means that the Space certainly didn't accept the request."""
        is_contract_rechecked = False
        while True:
            self.contract = await self._connection.contract_cache.refresh(self._on_wait)
            # Checked here again: the Space may have restarted with other limits.
            check_request(self._request, self.contract.limits)
            try:
                await self._send_log.before_send()
                return self._make_run(_parse_event_id(await self._post()))
            except (UnreachableError, SpaceAsleepError) as error:
                if not error.was_sent:
                    raise
                # A gateway answered in place of the Space, or the answer was lost: the stream will
                # tell whether the request was accepted.
                return self._make_run(None)
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
