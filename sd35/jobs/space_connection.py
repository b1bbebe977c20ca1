"""The connection to the configured Space, which belongs to the event loop of the first call."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from typing import Final

from sd35.client import RetrySignal, SpaceClient, Timeouts
from sd35.client.own_page import OwnPage
from sd35.client.retry import OnWait
from sd35.core.errors import (
    AccessDeniedError,
    ConnectionFailedError,
    ProtocolError,
    RateLimitedError,
    SD35Error,
)
from sd35.core.events import Waiting
from sd35.core.limits import PUBLIC_LIMITS, Limits
from sd35.core.observable import Observable
from sd35.core.space_ref import DEMO, LOCAL, PUBLIC_SPACE, local_model
from sd35.jobs.tasks import create_isolated_task

__all__ = ["ConnectionState", "SpaceConfig", "SpaceConnector", "StartSpace"]

log = logging.getLogger(__name__)

# Limits of the waits for the public Space before `auto` falls back to the demo Space. They end when
# the Space is found: its runs have the same limits as at a Space that was named.
AUTO_TIMEOUTS = Timeouts(discovery=6.0, waking=0.0, attempts=1)

# How long a job waits for a Space that can't take it.
OUTAGE_SECONDS: Final = 86400.0

GET_POLL_SECONDS: Final = 60.0


StartSpace = Callable[[str, OnWait], Awaitable[str]]
"""Starts `demo` or `local:…`, unless it runs, and returns its URL once it can make images."""


@dataclass(frozen=True, slots=True)
class SpaceConfig:
    """Configuration of the Space: `target` is `auto`, `demo`, `local:…`, `owner/name` or a URL."""

    target: str = "auto"
    token: str | None = None
    proxy: str | None = None
    hub: str = "https://huggingface.co"
    login: tuple[str, str] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ConnectionState:
    """State of the connection. It is resolved once there is a Space or an error.

    Attributes:
        waiting_event: the state of a Space that is waking up.
        fallback_reason: why the demo Space is used instead of the public one.
    """

    target: str
    waiting_event: Waiting | None = None
    space: SpaceClient | None = None
    error: SD35Error | None = None
    fallback_reason: SD35Error | None = None

    @property
    def is_resolved(self) -> bool:
        """Return whether connecting has succeeded or failed."""
        return self.space is not None or self.error is not None

    @property
    def limits(self) -> Limits:
        """The limits of the Space; while they are unknown, those of the public Space."""
        return PUBLIC_LIMITS if self.space is None else self.space.contract.limits


class SpaceConnector:
    """Connector to the configured Space, or to the demo Space in its place.

    `auto` uses the demo Space only if the public Space wasn't found since the program started: jobs
    that were meant for the public Space wait for it.

    `start_space` starts the demo Space or a local one, and returns its URL. The connections to
    `spaces_in_use` stay open. `on_resolved` is called with a resolved state before `connection` is
    set. `own_page` is the page of these jobs, and no Space for them.
    """

    def __init__(
        self,
        config: SpaceConfig,
        start_space: StartSpace,
        timeouts: Timeouts | None = None,
        spaces_in_use: Callable[[], Collection[SpaceClient | None]] = tuple,
    ) -> None:
        self._config = config
        self._start_space = start_space
        self._timeouts = timeouts or Timeouts(outage=OUTAGE_SECONDS)
        self._spaces_in_use = spaces_in_use
        self._was_found = False
        self._connect_task: asyncio.Task[None] | None = None
        self.retry_signal = RetrySignal()
        self._open_spaces: dict[SpaceClient, AsyncExitStack] = {}
        self.own_page: OwnPage | None = None
        self.on_resolved: Callable[[ConnectionState], None] = lambda _: None
        self.connection = Observable(
            ConnectionState(PUBLIC_SPACE if config.target == "auto" else config.target)
        )

    @property
    def outage_seconds(self) -> float:
        """Limit of a job's wait for a Space that can't take it, in seconds."""
        return self._timeouts.outage

    def retry_now(self) -> None:
        """End the current waits for the Space."""
        self.retry_signal.send()
        for space in self._open_spaces:
            space.retry_now()

    def connect(self, *, force: bool = False) -> None:
        """Connect in the background, unless that was done; `force` reconnects."""
        if self._connect_task is not None and not (force and self._connect_task.done()):
            return
        self.connection.set(ConnectionState(self.connection.value.target))
        self._connect_task = create_isolated_task(self._connect())

    async def get(self, on_wait: OnWait = lambda _: None) -> SpaceClient:
        """Return the Space once it is connected; retry if the last attempt failed.

        `on_wait` is called with each wait, such as for a local Space that downloads its model.

        Raises:
            SD35Error: the Space can't be reached or used.
        """
        self.connect(force=self.connection.value.error is not None)
        # `connect` may be called again meanwhile, by another page: only the newest state counts.
        while True:
            connection = self.connection.value
            if connection.space is not None:
                return connection.space
            if connection.error is not None:
                raise connection.error
            if connection.waiting_event is not None:
                on_wait(connection.waiting_event)
            await self.connection.wait_for_change(connection, GET_POLL_SECONDS)

    def mark_suspect(self, space: SpaceClient | None, error: SD35Error | None) -> None:
        """Reconnect next time if a run's error means that the Space is gone or has changed."""
        connection = self.connection.value
        is_connection_error = isinstance(
            error, ConnectionFailedError | ProtocolError
        ) and not isinstance(error, AccessDeniedError)
        # An error at a Space that was replaced meanwhile says nothing about the new one.
        if is_connection_error and space is connection.space is not None:
            self.connection.set(ConnectionState(connection.target, error=error))

    async def close_unused(self) -> None:
        """Close the connections that were replaced, once their last job has ended."""
        replaced = set(self._open_spaces) - {self.connection.value.space}
        if not replaced:
            return
        for space in replaced - set(self._spaces_in_use()):
            await self._open_spaces.pop(space).aclose()

    async def aclose(self) -> None:
        """Stop connecting, and close all connections."""
        if self._connect_task is not None:
            self._connect_task.cancel()
            await asyncio.wait([self._connect_task], timeout=1)
        for stack in self._open_spaces.values():
            await stack.aclose()  # the client's session: aiohttp warns of one that is never closed
        self._open_spaces.clear()

    async def _connect(self) -> None:
        target = self.connection.value.target
        try:
            connection = await self._find_space(target)
        except SD35Error as error:
            connection = ConnectionState(target, error=error)
        except Exception:  # the edge of a task
            log.exception("Connecting to the Space failed unexpectedly.")
            connection = ConnectionState(
                target, error=ConnectionFailedError(f"Can't use {target}: see the log.")
            )
        # First: the page publishes the Space's own API before any watcher can ask for it.
        self.on_resolved(connection)
        self.connection.set(connection)
        if connection.space is not None:
            self.retry_now()
        await self.close_unused()

    async def _find_space(self, target: str) -> ConnectionState:
        fallback_reason: SD35Error | None = None
        if local_model(target) is not None:
            return ConnectionState(target, space=await self._open_own(target, LOCAL))
        if target != DEMO:
            try:
                return ConnectionState(target, space=await self._open_configured(target))
            except (ConnectionFailedError, RateLimitedError) as error:
                # Only `auto` falls back: a Space that was named is never replaced by another.
                if self._config.target != "auto" or self._was_found:
                    raise
                log.warning("%s Using the demo Space instead.", error.happened)
                fallback_reason = error
        space = await self._open_own(DEMO)
        return ConnectionState(target, space=space, fallback_reason=fallback_reason)

    async def _open_own(self, target: str, name: str | None = None) -> SpaceClient:
        """Start a Space of this program, and connect to it: without a token and without a proxy."""
        address = await self._start_space(target, self._on_wait(target))
        space = await self._open(SpaceClient.connect(address, timeouts=self._timeouts))
        space.name = name or space.name  # the port is another one each time
        return space

    def _on_wait(self, target: str) -> OnWait:
        return lambda event: self.connection.set(ConnectionState(target, waiting_event=event))

    async def _open_configured(self, target: str) -> SpaceClient:
        config = self._config
        is_search = config.target == "auto" and not self._was_found
        space = await self._open(
            SpaceClient.connect(
                target,
                token=config.token,
                login=config.login,
                proxy=config.proxy,
                timeouts=self._timeouts,
                connect_timeouts=AUTO_TIMEOUTS if is_search else None,
                hub=config.hub,
                own_page=self.own_page,
                on_wait=self._on_wait(target),
            )
        )
        self._was_found = True
        return space

    async def _open(self, client_context: AbstractAsyncContextManager[SpaceClient]) -> SpaceClient:
        stack = AsyncExitStack()
        space = await stack.enter_async_context(client_context)
        self._open_spaces[space] = stack
        return space
