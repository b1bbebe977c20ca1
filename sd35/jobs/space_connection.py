"""The connection to the configured Space, which belongs to the event loop of the first call."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from sd35.client import RetrySignal, SpaceClient, Timeouts
from sd35.client.own_page import OwnPage
from sd35.client.retry import OnWait
from sd35.core.errors import (
    AccessDeniedError,
    ConnectionFailedError,
    ModelError,
    ProtocolError,
    RateLimitedError,
    SD35Error,
    SpaceAsleepError,
    SpaceStoppedError,
)
from sd35.core.events import Waiting
from sd35.core.limits import PUBLIC_LIMITS, Limits
from sd35.core.observable import Observable
from sd35.core.space_ref import (
    DEMO,
    LOCAL,
    PUBLIC_SPACE,
    canonical_target,
    local_model,
    parse_space_ref,
)
from sd35.jobs.provenance import space_label
from sd35.jobs.tasks import create_isolated_task

__all__ = [
    "ConnectionState",
    "SpaceConfig",
    "SpaceConnector",
    "SpaceFacts",
    "StartSpace",
    "is_on_hub",
]

log = logging.getLogger(__name__)

# Limits of the waits for the public Space before `auto` falls back to the demo Space. They end when
# the Space is found: its runs have the same limits as at a Space that was named.
AUTO_TIMEOUTS = Timeouts(discovery=6.0, waking=0.0, attempts=1)

# Limits of the waits for a Space that was chosen on the page, which waits for the answer.
SWITCH_TIMEOUTS = Timeouts(discovery=10.0, waking=0.0, attempts=1)

# How long a job waits for a Space that can't take it.
OUTAGE_SECONDS: Final = 86400.0

GET_POLL_SECONDS: Final = 60.0
FORMER_SPACE_POLL_SECONDS: Final = 0.5

StartSpace = Callable[[str, OnWait], Awaitable[str]]
"""Starts `demo` or `local:…`, unless it runs, and returns its URL once it can make images."""


@dataclass(frozen=True, slots=True)
class SpaceConfig:
    """Configuration of the Space: `target` is `auto`, `demo`, `local:…`, `owner/name` or a URL.

    `token` and `login` are for this Space alone, and `hub_token` is for any at Hugging Face. The
    sources say where each token was found: an option, a variable or a file.
    """

    target: str = "auto"
    token: str | None = field(default=None, repr=False)
    proxy: str | None = field(default=None, repr=False)
    hub: str = "https://huggingface.co"
    login: tuple[str, str] | None = field(default=None, repr=False)
    hub_token: str | None = field(default=None, repr=False)
    token_source: str = ""
    hub_token_source: str = ""

    def for_space(self, target: str) -> "SpaceConfig":
        """Return the configuration for a Space, with the secrets that it may get."""
        if target == (PUBLIC_SPACE if self.target == "auto" else canonical_target(self.target)):
            return replace(self, target=target)
        token, source = self.hub_token, self.hub_token_source
        if not is_on_hub(target):
            token, source = None, ""
        return replace(self, target=target, token=token, token_source=source, login=None)


def is_on_hub(target: str) -> bool:
    """Return whether a target is a Space at Hugging Face, which may get a token of its accounts."""
    is_own = target == DEMO or local_model(target) is not None
    return not is_own and parse_space_ref(target).is_on_hub


@dataclass(frozen=True, slots=True)
class SpaceFacts:
    """What a Space has said of itself: names, previews and limits."""

    name: str
    model: str
    is_demo: bool
    has_previews: bool
    limits: Limits

    @classmethod
    def of(cls, space: SpaceClient) -> "SpaceFacts":
        """Return the facts of a connected Space."""
        contract = space.contract
        return cls(
            space_label(space),
            space.model,
            contract.is_demo,
            contract.is_generator,
            contract.limits,
        )


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


class _OpenSpace(NamedTuple):
    """An open connection: the target for which it was opened, and what closes it.

    An outdated one takes no further jobs: its Space has crashed, or its token was replaced.
    """

    target: str
    stack: AsyncExitStack
    is_outdated: bool = False


async def _do_nothing() -> None:
    pass


class SpaceConnector:
    """Connector to the configured Space, or to the demo Space in its place.

    `auto` uses the demo Space only if the public Space wasn't found since the program started: jobs
    that were meant for the public Space wait for it.

    `start_space` starts the demo Space or a local one, and returns its URL. The connections to
    `spaces_in_use` stay open. `on_resolved` is called with a resolved state before `connection` is
    set. `own_page` is the page of these jobs, and no Space for them. `stop_local` ends the local
    Space that was left for another, once its last job has ended. `load_token` is awaited before
    the first connection, to call `set_token`.

    Attributes:
        facts: what each Space that was connected has said of itself last, by target.
    """

    def __init__(
        self,
        config: SpaceConfig,
        start_space: StartSpace,
        timeouts: Timeouts | None = None,
        spaces_in_use: Callable[[], Collection[SpaceClient | None]] = tuple,
    ) -> None:
        self._initial_config = self._config = config
        self._start_space = start_space
        self._timeouts = timeouts or Timeouts(outage=OUTAGE_SECONDS)
        self._spaces_in_use = spaces_in_use
        self._was_found = False
        self._connect_task: asyncio.Task[None] | None = None
        self.retry_signal = RetrySignal()
        self._switch_lock = asyncio.Lock()
        self._open_spaces: dict[SpaceClient, _OpenSpace] = {}
        self._added_token: str | None = None
        self.facts: dict[str, SpaceFacts] = {}
        self.own_page: OwnPage | None = None
        self.on_resolved: Callable[[ConnectionState], None] = lambda _: None
        self.stop_local: Callable[[], Awaitable[None]] = _do_nothing
        self.load_token: Callable[[], Awaitable[None]] = _do_nothing
        self.connection = Observable(
            ConnectionState(PUBLIC_SPACE if config.target == "auto" else config.target)
        )

    @property
    def initial_target(self) -> str:
        """The Space with which the program was started."""
        target = self._initial_config.target
        return PUBLIC_SPACE if target == "auto" else canonical_target(target)

    @property
    def outage_seconds(self) -> float:
        """Limit of a job's wait for a Space that can't take it, in seconds."""
        return self._timeouts.outage

    def token_with_source(self, target: str) -> tuple[str | None, str]:
        """Return the token that a Space gets, and its source; empty for one that was added here."""
        config = self._initial_config.for_space(target)
        if config.token is None and is_on_hub(target):
            return self._added_token, ""
        return config.token, config.token_source

    def set_token(self, token: str | None) -> None:
        """Use a token for each Space at Hugging Face to which the configuration gives none."""
        self._added_token = token

    async def replace_token(self, token: str | None) -> None:
        """Use another token from now on, or none: jobs that were sent go on with the former one."""
        async with self._switch_lock:
            former_token = self._added_token
            self._added_token = token
            target = self.connection.value.target
            if token == former_token:
                return
            for space, open_space in self._open_spaces.items():
                _, source = self.token_with_source(open_space.target)
                if not source and is_on_hub(open_space.target):
                    self._open_spaces[space] = open_space._replace(is_outdated=True)
            _, source = self.token_with_source(target)
            # A local Space downloads its model with the token.
            is_refused = isinstance(self.connection.value.error, AccessDeniedError)
            if not source and (is_on_hub(target) or is_refused):
                await self._adopt(self._config, ConnectionState(target))

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

    async def switch(self, target: str) -> None:
        """Use another Space from now on: jobs that were sent go on where they are.

        A Space elsewhere is adopted once it has answered, and a Space of this program at once: its
        start may take long, and says how far it is.

        Args:
            target: `demo`, `local:…`, `owner/name` or a URL.

        Raises:
            SD35Error: the Space can't be reached or used; the former one stays.
        """
        target = canonical_target(target)
        async with self._switch_lock:  # a page repeats a call whose answer was lost
            current = self.connection.value
            is_usable = current.error is None and current.fallback_reason is None
            if canonical_target(current.target) == target and is_usable:
                return
            await self.load_token()
            config = self._initial_config.for_space(target)
            space = None
            if target != DEMO and local_model(target) is None:
                with suppress(SpaceAsleepError):  # it wakes up, for which connecting waits
                    space = await self._open_configured(config, SWITCH_TIMEOUTS, lambda _: None)
            await self._adopt(config, ConnectionState(config.target, space=space))

    async def _adopt(self, config: SpaceConfig, connection: ConnectionState) -> None:
        """Replace the current connection, and what is connecting, by this one."""
        if self._connect_task is not None:
            self._connect_task.cancel()
        self._config = config
        if connection.is_resolved:
            self._note_facts(connection)
            self.on_resolved(connection)
        # Before any wait: a job that ends meanwhile closes the connections that nobody needs.
        self.connection.set(connection)
        if self._connect_task is not None:
            await asyncio.wait([self._connect_task])
        # In the background: the end of a local Space takes up to 20 seconds.
        work = self.close_unused() if connection.is_resolved else self._connect()
        self._connect_task = create_isolated_task(work)
        self.retry_now()

    def _note_facts(self, connection: ConnectionState) -> None:
        if connection.space is not None:
            is_fallback = connection.fallback_reason is not None
            target = DEMO if is_fallback else canonical_target(connection.target)
            self.facts[target] = SpaceFacts.of(connection.space)

    def restart_local(self, target: str, error: SpaceStoppedError) -> None:
        """End the runs at a local Space that has crashed, and connect to it when it is back."""
        crashed = [space for space, (name, *_) in self._open_spaces.items() if name == target]
        for space in crashed:
            self._open_spaces[space] = self._open_spaces[space]._replace(is_outdated=True)
        if self.connection.value.target == target and self.connection.value.space in crashed:
            self.connection.set(ConnectionState(target, waiting_event=Waiting(error.happened, 0.0)))
            self._connect_task = create_isolated_task(self._connect())
        for space in crashed:
            space.end_runs(error)

    def is_former(self, space: SpaceClient | None) -> bool:
        """Return whether this connection was replaced, or its Space has crashed."""
        open_space = None if space is None else self._open_spaces.get(space)
        if open_space is None:
            return False
        return open_space.is_outdated or open_space.target != self.connection.value.target

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
        ) and not isinstance(error, AccessDeniedError | ModelError)
        # An error at a Space that was replaced meanwhile says nothing about the new one.
        if is_connection_error and space is connection.space is not None:
            self.connection.set(ConnectionState(connection.target, error=error))

    async def close_unused(self) -> None:
        """Close the connections that were replaced, once their last job has ended."""
        replaced = set(self._open_spaces) - {self.connection.value.space}
        unused = replaced - set(self._spaces_in_use()) if replaced else set()
        for space in unused:
            open_space = self._open_spaces.pop(space, None)
            if open_space is not None:  # two jobs may end at once
                await open_space.stack.aclose()
        targets = [open_space.target for open_space in self._open_spaces.values()]
        if all(local_model(text) is None for text in (*targets, self.connection.value.target)):
            await self.stop_local()

    async def aclose(self) -> None:
        """Stop connecting, and close all connections."""
        if self._connect_task is not None:
            self._connect_task.cancel()
            await asyncio.wait([self._connect_task], timeout=1)
        for open_space in self._open_spaces.values():
            # The client's session: aiohttp warns of one that is never closed.
            await open_space.stack.aclose()
        self._open_spaces.clear()

    async def _connect(self) -> None:
        target = self.connection.value.target
        try:
            await self.load_token()
            connection = await self._find_space(target)
        except SD35Error as error:
            connection = ConnectionState(target, error=error)
        except Exception:  # the edge of a task
            log.exception("Connecting to the Space failed unexpectedly.")
            connection = ConnectionState(
                target, error=ConnectionFailedError(f"Can't use {target}: see the log.")
            )
        self._note_facts(connection)
        # First: the page publishes the Space's own API before any watcher can ask for it.
        self.on_resolved(connection)
        self.connection.set(connection)
        if connection.space is not None:
            self.retry_now()
        await self.close_unused()

    async def _find_space(self, target: str) -> ConnectionState:
        fallback_reason: SD35Error | None = None
        if local_model(target) is not None:
            await self._wait_for_other_models(target)
            space = await self._open_own(target, target)
            space.name = LOCAL  # the port is another one each time
            return ConnectionState(target, space=space)
        if target != DEMO:
            try:
                is_search = self._config.target == "auto" and not self._was_found
                timeouts = AUTO_TIMEOUTS if is_search else None
                config = replace(self._config, target=target)
                space = await self._open_configured(config, timeouts, self._on_wait(target))
                self._was_found = True
                return ConnectionState(target, space=space)
            except (ConnectionFailedError, RateLimitedError) as error:
                # Only `auto` falls back: a Space that was named is never replaced by another.
                if self._config.target != "auto" or self._was_found:
                    raise
                log.warning("%s Using the demo Space instead.", error.happened)
                fallback_reason = error
        space = await self._open_own(DEMO, target)
        return ConnectionState(target, space=space, fallback_reason=fallback_reason)

    async def _wait_for_other_models(self, target: str) -> None:
        """Wait until no job runs at another local Space: two models wouldn't fit into one GPU."""
        started_at = time.monotonic()
        while any(
            local_model(space.target) not in {None, local_model(target)}
            for space in self._open_spaces.values()
        ):
            waited_seconds = time.monotonic() - started_at
            text = "Finishing the image of the former model"
            self._on_wait(target)(Waiting(text, waited_seconds))
            await asyncio.sleep(FORMER_SPACE_POLL_SECONDS)
            await self.close_unused()

    async def _open_own(self, own_space: str, target: str) -> SpaceClient:
        """Start a Space of this program, and connect to it: without a token and without a proxy."""
        address = await self._start_space(own_space, self._on_wait(target))
        return await self._open(target, SpaceClient.connect(address, timeouts=self._timeouts))

    def _on_wait(self, target: str) -> OnWait:
        return lambda event: self.connection.set(ConnectionState(target, waiting_event=event))

    async def _open_configured(
        self, config: SpaceConfig, timeouts: Timeouts | None, on_wait: OnWait
    ) -> SpaceClient:
        """Connect to a Space elsewhere; `timeouts` are the limits until it is found."""
        target = config.target
        return await self._open(
            target,
            SpaceClient.connect(
                target,
                token=self.token_with_source(target)[0],
                login=config.login,
                proxy=config.proxy,
                timeouts=self._timeouts,
                connect_timeouts=timeouts,
                hub=config.hub,
                own_page=self.own_page,
                on_wait=on_wait,
            ),
        )

    async def _open(
        self, target: str, client_context: AbstractAsyncContextManager[SpaceClient]
    ) -> SpaceClient:
        stack = AsyncExitStack()
        space = await stack.enter_async_context(client_context)
        self._open_spaces[space] = _OpenSpace(target, stack)
        return space
