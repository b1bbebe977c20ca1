"""Finding a Space and reading what it says of itself; waiting, within a limit, for one that is waking up."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import anyio
from yarl import URL

from sd35.client.contract import Contract, check_api_prefix, read_contract
from sd35.client.error_parsing import error_for_stage
from sd35.client.hub import get_space_info
from sd35.client.retry import OnWait, with_retry
from sd35.client.transport import Transport
from sd35.core.errors import (
    AccessDeniedError,
    ConnectionFailedError,
    ContractError,
    ProtocolError,
    RateLimitedError,
    SD35Error,
    SpaceAsleepError,
    SpaceBrokenError,
    SpaceNotFoundError,
    UnreachableError,
)
from sd35.core.events import Waiting

__all__ = ["ContractCache", "Discovery", "resolve_space_url"]


MIN_POLL_INTERVAL_SECONDS = 1.0
MAX_POLL_INTERVAL_SECONDS = 8.0
"""How often a Space that is waking up is asked: soon at first, then less and less."""


@dataclass(frozen=True, slots=True)
class Discovery:
    """How to read what one Space says of itself.

    `hub` and `name` are there for a Space that was asked for by its name at Hugging Face.
    """

    transport: Transport
    endpoint: str
    hub: Transport | None = None
    name: str = ""

    async def wait_until_ready(self, on_wait: OnWait, *, was_reachable: bool = False) -> Contract:
        """Return the Space's contract, as soon as it answers.

        A Space that `was_there` a moment ago and can't be reached now is waited for as well: it may
        be restarting.

        Raises:
            ConnectionFailedError: it can't be used; the kind says why.
            RateLimitedError: it, or the Hub, has had too many requests.

        """
        timeouts, started_at, delay = (
            self.transport.timeouts,
            time.monotonic(),
            MIN_POLL_INTERVAL_SECONDS,
        )
        while True:
            try:
                return await self._read_if_ready(on_wait)
            except (SpaceAsleepError, UnreachableError) as error:
                is_asleep = isinstance(error, SpaceAsleepError)
                limit_seconds = (
                    timeouts.waking if is_asleep else timeouts.discovery if was_reachable else 0.0
                )
                waited_seconds = time.monotonic() - started_at
                if waited_seconds + delay > limit_seconds:
                    if is_asleep and waited_seconds > MIN_POLL_INTERVAL_SECONDS:
                        error.happened += f" It was waited for {waited_seconds:.0f} seconds."
                    raise
                on_wait(
                    Waiting(
                        error.happened if not is_asleep else "Waking up the Space",
                        waited_seconds,
                        limit_seconds,
                    )
                )
            await anyio.sleep(delay)
            delay = min(1.5 * delay, MAX_POLL_INTERVAL_SECONDS)

    async def _read_if_ready(self, on_wait: OnWait) -> Contract:
        asleep_error = await self._get_stage_error()
        try:
            with anyio.fail_after(self.transport.timeouts.discovery):
                return await self._read_contract(
                    on_wait
                )  # of one that is asleep, too: a visit wakes it
        except TimeoutError as error:
            raise UnreachableError(f"{self.transport.name} gave no answer in time.") from error
        except ConnectionFailedError as error:
            if asleep_error is not None:
                raise asleep_error from error
            if isinstance(error, SpaceBrokenError):
                raise await self._get_stage_error() or error from error
            raise

    async def _get_stage_error(self) -> SD35Error | None:
        """Ask the Hub for the Space's stage: raises what only its owner can change, returns what may pass."""
        if self.hub is None:
            return None
        try:
            space_info = await get_space_info(
                self.hub, self.name, self.transport.timeouts.discovery
            )
        except (
            UnreachableError,
            RateLimitedError,
            ProtocolError,
        ):  # the Space itself may answer all the same
            return None
        error = error_for_stage(self.name, space_info.stage)
        if error is not None and not isinstance(error, SpaceAsleepError):
            raise error
        return error

    async def _read_contract(self, on_wait: OnWait) -> Contract:
        config = await self._get_json(self.transport.root / "config", on_wait)
        prefix = check_api_prefix(config)  # the next request goes there, with the token
        info = await self._get_json(
            self.transport.root / f"{prefix.strip('/')}/info".lstrip("/"), on_wait
        )
        return read_contract(config, info, self.endpoint)

    async def _get_json(self, url: URL, on_wait: OnWait) -> dict[str, Any]:
        name, limit_seconds = self.transport.name, self.transport.timeouts.discovery
        try:
            payload = await with_retry(
                lambda: self.transport.get_json(url, limit_seconds),
                _is_retryable_discovery_error,
                self.transport.timeouts,
                on_wait,
            )
        except SpaceNotFoundError as error:
            raise SpaceNotFoundError(
                f"There is no Gradio app at {self.transport.root}, or no longer."
            ) from error
        except AccessDeniedError as error:
            raise AccessDeniedError(f"{name} wants a login or a valid token.") from error
        except ProtocolError as error:
            raise ContractError(f"{name} answers, but not like a Gradio app.") from error
        if not isinstance(payload, dict):
            raise ContractError(f"{name} answers, but not like a Gradio app.")
        return payload


async def resolve_space_url(hub: Transport, name: str, on_wait: OnWait) -> URL:
    """Return the address of the Space `owner/name`.

    Raises:
        ConnectionFailedError: it can't be found; the kind says why.
        RateLimitedError: the Hub has had too many requests.

    """
    limit_seconds = hub.timeouts.discovery
    try:
        space_info = await with_retry(
            lambda: get_space_info(hub, name, limit_seconds),
            _is_retryable_discovery_error,
            hub.timeouts,
            on_wait,
        )
    except ProtocolError as error:
        raise ContractError(f"Hugging Face's answer about {name} can't be understood.") from error
    return space_info.address


def _is_retryable_discovery_error(error: SD35Error) -> bool:
    return isinstance(error, RateLimitedError) or (
        isinstance(error, UnreachableError) and error.was_sent
    )


class ContractCache:
    """A Space's contract, as it was last read.

    Args:
        discovery: reads it.
        contract: as it was read just now.
        lasting_seconds: how long it is taken to hold.

    """

    def __init__(self, discovery: Discovery, contract: Contract, ttl_seconds: float) -> None:
        self.contract = contract
        self._discovery = discovery
        self._ttl_seconds = ttl_seconds
        self._refreshed_at = time.monotonic()
        self._invalidation_count = 0
        self._refresh_task: asyncio.Task[Contract] | None = None
        self._wait_callbacks: list[OnWait] = []

    def invalidate(self) -> None:
        """Say that the Space may have restarted, so that its contract is read again before the next request."""
        self._invalidation_count += 1
        self._refreshed_at = float("-inf")

    async def get(self, on_wait: OnWait) -> Contract:
        """Return the contract, read again if it is old or doubted.

        Raises:
            SD35Error: the Space can't be used any more; the kind says why.

        """
        if time.monotonic() - self._refreshed_at <= self._ttl_seconds:
            return self.contract
        if self._refresh_task is None or self._refresh_task.done():
            self._refresh_task = asyncio.ensure_future(self._refresh())
        self._wait_callbacks.append(on_wait)
        try:
            return await asyncio.shield(self._refresh_task)  # one reads it, for all who wait for it
        finally:
            self._wait_callbacks.remove(on_wait)
            if not self._wait_callbacks:
                self._refresh_task.cancel()

    async def _refresh(self) -> Contract:
        def notify_all(event: Waiting) -> None:
            for on_wait in self._wait_callbacks:
                on_wait(event)

        started_at, invalidation_count = time.monotonic(), self._invalidation_count
        self.contract = await self._discovery.wait_until_ready(notify_all, was_reachable=True)
        if (
            invalidation_count == self._invalidation_count
        ):  # otherwise it may have restarted once more in the meantime
            self._refreshed_at = started_at
        return self.contract
