"""Finding a Space and reading its contract; waiting for one that is waking up."""

import asyncio
import time
from dataclasses import dataclass, replace
from typing import Any

import anyio
from yarl import URL

from sd35.client.contract import Contract, check_api_prefix, read_contract
from sd35.client.error_parsing import error_for_stage
from sd35.client.hub import SpaceInfo, get_space_info
from sd35.client.own_page import OwnPage, is_own_address
from sd35.client.retry import OnWait, with_retry
from sd35.client.timeouts import Timeouts
from sd35.client.transport import Transport
from sd35.core.awake import AwakeTimeout, awake_time
from sd35.core.errors import (
    AccessDeniedError,
    ConnectionFailedError,
    ContractError,
    LoginRequiredError,
    OwnPageError,
    ProtocolError,
    RateLimitedError,
    RedirectedError,
    SD35Error,
    SpaceAsleepError,
    SpaceBrokenError,
    SpaceNotFoundError,
    UnreachableError,
    WebPageError,
)
from sd35.core.events import Waiting
from sd35.core.text import format_duration

__all__ = ["ContractCache", "Discovery", "find_space"]


# The interval between two requests to a Space that is waking up grows from the one to the other.
MIN_POLL_INTERVAL_SECONDS = 1.0
MAX_POLL_INTERVAL_SECONDS = 8.0


@dataclass(frozen=True, slots=True)
class Discovery:
    """Reader of the contract of one Space.

    Attributes:
        hub: set for a Space on Hugging Face, as is its `name`.
        own_page: this program's page, which is no Space for it.
    """

    transport: Transport
    endpoint: str
    hub: Transport | None = None
    name: str = ""
    own_page: OwnPage | None = None

    def with_timeouts(self, timeouts: Timeouts) -> "Discovery":
        """Return a discovery of the same Space with other limits."""
        hub = None if self.hub is None else self.hub.with_timeouts(timeouts)
        return replace(self, transport=self.transport.with_timeouts(timeouts), hub=hub)

    async def wait_until_ready(self, on_wait: OnWait) -> Contract:
        """Return the contract, waiting for a Space that is waking up."""
        limit_seconds = self.transport.timeouts.waking
        started_at = awake_time()
        delay = MIN_POLL_INTERVAL_SECONDS
        while True:
            try:
                return await self.read_if_ready(on_wait)
            except SpaceAsleepError as error:
                waited_seconds = awake_time() - started_at
                if waited_seconds + delay > limit_seconds:
                    if waited_seconds > MIN_POLL_INTERVAL_SECONDS:
                        error.happened += f" Gave up after {format_duration(waited_seconds)}."
                    raise
                on_wait(Waiting("Waking up the Space", waited_seconds, limit_seconds))
            await anyio.sleep(delay)
            delay = min(1.5 * delay, MAX_POLL_INTERVAL_SECONDS)

    async def read_if_ready(self, on_wait: OnWait) -> Contract:
        """Return the contract of a Space that answers now."""
        asleep_error = await self._get_stage_error()
        try:
            async with AwakeTimeout(self.transport.timeouts.discovery):
                # Also if the Hub says that the Space is asleep: only a request wakes it up.
                return await self._read_contract(on_wait)
        except TimeoutError as error:
            raise UnreachableError(f"{self.transport.name} timed out.") from error
        except ConnectionFailedError as error:
            if asleep_error is not None:
                raise asleep_error from error
            # The gateway answers the same for a paused and for a crashed Space. The Hub knows.
            if isinstance(error, SpaceBrokenError):
                raise await self._get_stage_error() or error from error
            raise

    async def _get_stage_error(self) -> SD35Error | None:
        """Return the error for the stage at the Hub; raise it if only the owner can fix it."""
        if self.hub is None:
            return None
        try:
            space_info = await get_space_info(self.hub, self.name)
        except (UnreachableError, SpaceAsleepError, RateLimitedError, ProtocolError):
            # The Space itself may answer all the same: it runs on other servers than the Hub, whose
            # gateway answers like that of a Space.
            return None
        error = error_for_stage(self.name, space_info.stage)
        if error is not None and not isinstance(error, SpaceAsleepError):
            raise error
        return error

    async def _read_contract(self, on_wait: OnWait) -> Contract:
        # Gradio serves /config without the API's prefix, and the prefix in it (since Gradio 5).
        try:
            url, config = await self._get_document(self.transport.root / "config", on_wait)
        except (AccessDeniedError, ContractError, SpaceNotFoundError):
            # The page requires a login, or doesn't answer under this name.
            if self.own_page and await is_own_address(self.own_page, self.transport.root):
                raise self._own_page_error() from None
            raise
        # By its identifier: it has any number of addresses, behind proxies and tunnels, too.
        if self.own_page and config.get("app_id") == self.own_page.app_id:
            raise self._own_page_error()
        # A reverse proxy may have redirected to another path, or to https.
        if url.name == "config":
            self.transport.root = url.with_path(url.raw_path.removesuffix("config"), encoded=True)
        prefix = check_api_prefix(config)  # it comes from the Space, and becomes part of an address
        _, info = await self._get_document(
            self.transport.root / f"{prefix.strip('/')}/info".lstrip("/"), on_wait
        )
        return read_contract(config, info, self.endpoint)

    def _own_page_error(self) -> OwnPageError:
        return OwnPageError(f"{self.transport.name} is this page itself.")

    async def _get_document(self, url: URL, on_wait: OnWait) -> tuple[URL, dict[str, Any]]:
        name = self.transport.name
        try:
            url, payload = await with_retry(
                lambda: self.transport.get_document(url),
                _is_retryable_discovery_error,
                self.transport.timeouts,
                on_wait,
            )
        except (RedirectedError, LoginRequiredError):
            raise
        except SpaceNotFoundError as error:
            raise SpaceNotFoundError(f"No Gradio app found at {self.transport.root}.") from error
        except AccessDeniedError as error:
            raise AccessDeniedError(f"{name} requires a valid token or a login.") from error
        except ProtocolError as error:
            remedy = error.remedy if isinstance(error, WebPageError) else None
            raise ContractError(f"{name} isn't a Gradio app.", remedy) from error
        if not isinstance(payload, dict):
            raise ContractError(f"{name} isn't a Gradio app.")
        return url, payload


async def find_space(hub: Transport, name: str, on_wait: OnWait) -> SpaceInfo:
    """Return the Hub's information about the Space `owner/name`, with retries."""
    try:
        return await with_retry(
            lambda: get_space_info(hub, name),
            _is_retryable_discovery_error,
            hub.timeouts,
            on_wait,
        )
    except ProtocolError as error:
        raise ContractError(f"Hugging Face's answer about {name} can't be understood.") from error


def _is_retryable_discovery_error(error: SD35Error) -> bool:
    return isinstance(error, RateLimitedError) or (
        isinstance(error, UnreachableError) and error.was_sent
    )


class ContractCache:
    """The contract of a Space, read again when it is older than `ttl_seconds`."""

    def __init__(self, discovery: Discovery, contract: Contract, ttl_seconds: float) -> None:
        self.contract = contract
        self._discovery = discovery
        self._ttl_seconds = ttl_seconds
        self._refreshed_at = time.monotonic()
        self._invalidation_count = 0
        self._refresh_task: asyncio.Task[Contract] | None = None
        self._wait_callbacks: list[OnWait] = []

    def invalidate(self) -> None:
        """Mark the contract as outdated: the Space may have restarted with another one."""
        self._invalidation_count += 1
        self._refreshed_at = float("-inf")

    async def refresh(self, on_wait: OnWait) -> Contract:
        """Return the contract, read again if it is old or was invalidated."""
        if time.monotonic() - self._refreshed_at <= self._ttl_seconds:
            return self.contract
        if self._refresh_task is None or self._refresh_task.done():
            self._refresh_task = asyncio.ensure_future(self._read())
        self._wait_callbacks.append(on_wait)
        try:
            # All callers share one task; it is cancelled with the last of them only.
            return await asyncio.shield(self._refresh_task)
        finally:
            self._wait_callbacks.remove(on_wait)
            if not self._wait_callbacks:
                self._refresh_task.cancel()

    async def _read(self) -> Contract:
        def notify_all(event: Waiting) -> None:
            for on_wait in self._wait_callbacks:
                on_wait(event)

        started_at = time.monotonic()
        invalidation_count = self._invalidation_count
        self.contract = await self._discovery.read_if_ready(notify_all)
        # Otherwise the Space may have restarted once more in the meantime.
        if invalidation_count == self._invalidation_count:
            self._refreshed_at = started_at
        return self.contract
