"""The connection to the chosen Space: found once, looked for again when it is gone, let go of when it isn't needed.

Everything here belongs to one event loop, that of the first call.
"""

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import Any

from sd35.client import SpaceClient, Timeouts
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
from sd35.core.space_ref import PUBLIC_SPACE

__all__ = ["ConnectionState", "SpaceConfig", "SpaceConnector", "create_isolated_task"]

log = logging.getLogger(__name__)

AUTO_TIMEOUTS = Timeouts(discovery=6.0, waking=0.0, attempts=1)
"""With `auto`, nobody waits longer than this for the public Space before the demo Space takes over."""


@dataclass(frozen=True, slots=True)
class SpaceConfig:
    """Which Space is wanted: `auto`, `demo`, `owner/name` or an address; and how to get there.

    `token` goes with it, `proxy` is on the way to it, and `hub` is Hugging Face's address.
    """

    target: str = "auto"
    token: str | None = None
    proxy: str | None = None
    hub: str = "https://huggingface.co"


@dataclass(frozen=True, slots=True)
class ConnectionState:
    """How it stands between this studio and a Space.

    Exactly one of these holds: `space` is there; `error` says why it isn't; neither: it is being
        looked for.
    `fallback` is why the public Space couldn't be used, where the demo Space has taken its place;
    `waiting` is what is known of one that is waking up.
    """

    target: str
    waiting_event: Waiting | None = None
    space: SpaceClient | None = None
    error: SD35Error | None = None
    fallback_reason: SD35Error | None = None

    @property
    def is_resolved(self) -> bool:
        """Whether the looking is over, well or badly."""
        return self.space is not None or self.error is not None

    @property
    def limits(self) -> Limits:
        """The Space's limits; until it has said them, the public Space's."""
        return PUBLIC_LIMITS if self.space is None else self.space.contract.limits


class SpaceConnector:
    """Looks for the chosen Space, and keeps the connection.

    Args:
        choice: which Space.
        start_demo: starts the embedded demo Space, if it isn't running, and returns its address.
        timeouts: the limit of each wait for the chosen Space.
        in_use: returns the Spaces at which something runs: those aren't let go of.

    Attributes:
        connection: how it stands, to be watched.
        on_settled: is told when a Space was found, or wasn't, before anybody else.

    """

    def __init__(
        self,
        config: SpaceConfig,
        start_demo: Callable[[], Awaitable[str]],
        timeouts: Timeouts | None = None,
        spaces_in_use: Callable[[], Collection[SpaceClient | None]] = tuple,
    ) -> None:
        self._config = config
        self._start_demo = start_demo
        self._timeouts = timeouts or (AUTO_TIMEOUTS if config.target == "auto" else Timeouts())
        self._spaces_in_use = spaces_in_use
        self._connect_task: asyncio.Task[None] | None = None
        self._open_spaces: dict[SpaceClient, AsyncExitStack] = {}
        self.on_resolved: Callable[[ConnectionState], None] = lambda _: None
        self.connection = Observable(
            ConnectionState(PUBLIC_SPACE if config.target == "auto" else config.target)
        )

    def connect(self, *, force: bool = False) -> None:
        """Start looking for the Space, unless that is under way or done; with `again`, even if it is done."""
        if self._connect_task is not None and not (force and self._connect_task.done()):
            return
        self.connection.set(ConnectionState(self.connection.value.target))
        self._connect_task = create_isolated_task(self._connect())

    async def get(self) -> SpaceClient:
        """Return the Space, once it is found; one that couldn't be reached is looked for again.

        Raises:
            SD35Error: it can't be found or used; the kind says why.

        """
        self.connect(force=self.connection.value.error is not None)
        while True:
            connection = self.connection.value
            if connection.space is not None:
                return connection.space
            if connection.error is not None:
                raise connection.error
            await self.connection.wait_for_change(connection, limit_seconds=60)

    def mark_suspect(self, space: SpaceClient | None, error: SD35Error | None) -> None:
        """Look for the Space again next time, if a run there has failed as if it were gone, or another than it was."""
        connection = self.connection.value
        if (
            isinstance(error, ConnectionFailedError | ProtocolError)
            and not isinstance(error, AccessDeniedError)
            and space is connection.space is not None
        ):
            self.connection.set(ConnectionState(connection.target, error=error))

    async def close_unused(self) -> None:
        """Let go of the connections to Spaces that were looked for again, once their last job has ended."""
        for space in (
            set(self._open_spaces) - set(self._spaces_in_use()) - {self.connection.value.space}
        ):
            await self._open_spaces.pop(space).aclose()

    async def aclose(self) -> None:
        """Look no longer, and let go of the connections."""
        if self._connect_task is not None:
            self._connect_task.cancel()
            await asyncio.wait([self._connect_task], timeout=1)
        for stack in self._open_spaces.values():
            await stack.aclose()
        self._open_spaces.clear()

    async def _connect(self) -> None:
        target = self.connection.value.target
        try:
            connection = await self._find_space(target)
        except SD35Error as error:
            connection = ConnectionState(target, error=error)
        except Exception:  # the edge of a task
            log.exception("connecting failed in a way that wasn't foreseen")
            connection = ConnectionState(
                target, error=ConnectionFailedError(f"{target} can't be used: see the log.")
            )
        self.on_resolved(connection)
        self.connection.set(connection)
        await self.close_unused()

    async def _find_space(self, target: str) -> ConnectionState:
        if target == "demo":
            return ConnectionState(target, space=await self._open_demo())
        is_auto = self._config.target == "auto"
        try:
            return ConnectionState(target, space=await self._open_configured())
        except (ConnectionFailedError, RateLimitedError) as error:
            if not is_auto:
                raise
            log.warning("%s The demo Space takes its place.", error.happened)
            return ConnectionState(target, space=await self._open_demo(), fallback_reason=error)

    async def _open_demo(self) -> SpaceClient:
        return await self._open(SpaceClient.connect(await self._start_demo()))

    async def _open_configured(self) -> SpaceClient:
        config, target = self._config, self.connection.value.target

        def on_wait(event: Waiting) -> None:
            self.connection.set(ConnectionState(target, waiting_event=event))

        return await self._open(
            SpaceClient.connect(
                target,
                token=config.token,
                proxy=config.proxy,
                timeouts=self._timeouts,
                hub=config.hub,
                on_wait=on_wait,
            )
        )

    async def _open(self, client_context: AbstractAsyncContextManager[SpaceClient]) -> SpaceClient:
        stack = AsyncExitStack()
        space = await stack.enter_async_context(client_context)
        self._open_spaces[space] = stack
        return space


def create_isolated_task(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Start a task that inherits nothing from the page's listener that it may have been called from.

    Gradio keeps in the context that a listener is running, and there takes a new component for an
        update: the demo
    Space could not be built.
    """
    return asyncio.get_running_loop().create_task(coroutine, context=contextvars.Context())
