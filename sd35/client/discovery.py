"""Finding a Space and reading what it says of itself; waiting, within a limit, for one that is waking up."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import anyio
from yarl import URL

from sd35.client.contract import Contract, check_api_prefix, read_contract
from sd35.client.error_parsing import error_of_stage
from sd35.client.hub import ask_hub
from sd35.client.retry import Tell, retrying
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

__all__ = ["Description", "Discovery", "find_at_hub"]


FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 8.0
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

    async def describe(self, tell: Tell, *, was_there: bool = False) -> Contract:
        """Return the Space's contract, as soon as it answers.

        A Space that `was_there` a moment ago and can't be reached now is waited for as well: it may
        be restarting.

        Raises:
            ConnectionFailedError: it can't be used; the kind says why.
            RateLimitedError: it, or the Hub, has had too many requests.

        """
        timeouts, began, pause = self.transport.timeouts, time.monotonic(), FIRST_PAUSE_SECONDS
        while True:
            try:
                return await self._read_if_awake(tell)
            except (SpaceAsleepError, UnreachableError) as error:
                is_asleep = isinstance(error, SpaceAsleepError)
                limit = timeouts.waking if is_asleep else timeouts.discovery if was_there else 0.0
                waited = time.monotonic() - began
                if waited + pause > limit:
                    if is_asleep and waited > FIRST_PAUSE_SECONDS:
                        error.happened += f" It was waited for {waited:.0f} seconds."
                    raise
                tell(
                    Waiting(
                        error.happened if not is_asleep else "The Space is waking up.",
                        waited,
                        limit,
                    )
                )
            await anyio.sleep(pause)
            pause = min(1.5 * pause, LONGEST_PAUSE_SECONDS)

    async def _read_if_awake(self, tell: Tell) -> Contract:
        asleep = await self._stage_error()
        try:
            with anyio.fail_after(self.transport.timeouts.discovery):
                return await self._read(tell)  # of one that is asleep, too: a visit wakes it
        except TimeoutError as error:
            raise UnreachableError(f"{self.transport.name} gave no answer in time.") from error
        except ConnectionFailedError as error:
            if asleep is not None:
                raise asleep from error
            if isinstance(error, SpaceBrokenError):
                raise await self._stage_error() or error from error
            raise

    async def _stage_error(self) -> SD35Error | None:
        """Ask the Hub for the Space's stage: raises what only its owner can change, returns what may pass."""
        if self.hub is None:
            return None
        try:
            told = await ask_hub(self.hub, self.name, self.transport.timeouts.discovery)
        except (
            UnreachableError,
            RateLimitedError,
            ProtocolError,
        ):  # the Space itself may answer all the same
            return None
        error = error_of_stage(self.name, told.stage)
        if error is not None and not isinstance(error, SpaceAsleepError):
            raise error
        return error

    async def _read(self, tell: Tell) -> Contract:
        config = await self._get(self.transport.root / "config", tell)
        prefix = check_api_prefix(config)  # the next request goes there, with the token
        info = await self._get(self.transport.root / f"{prefix.strip('/')}/info".lstrip("/"), tell)
        return read_contract(config, info, self.endpoint)

    async def _get(self, url: URL, tell: Tell) -> dict[str, Any]:
        name, limit = self.transport.name, self.transport.timeouts.discovery
        try:
            told = await retrying(
                lambda: self.transport.get_json(url, limit), _passes, self.transport.timeouts, tell
            )
        except SpaceNotFoundError as error:
            raise SpaceNotFoundError(
                f"There is no Gradio app at {self.transport.root}, or no longer."
            ) from error
        except AccessDeniedError as error:
            raise AccessDeniedError(f"{name} wants a login or a valid token.") from error
        except ProtocolError as error:
            raise ContractError(f"{name} answers, but not like a Gradio app.") from error
        if not isinstance(told, dict):
            raise ContractError(f"{name} answers, but not like a Gradio app.")
        return told


async def find_at_hub(hub: Transport, name: str, tell: Tell) -> URL:
    """Return the address of the Space `owner/name`.

    Raises:
        ConnectionFailedError: it can't be found; the kind says why.
        RateLimitedError: the Hub has had too many requests.

    """
    limit = hub.timeouts.discovery
    try:
        told = await retrying(lambda: ask_hub(hub, name, limit), _passes, hub.timeouts, tell)
    except ProtocolError as error:
        raise ContractError(f"Hugging Face's answer about {name} can't be understood.") from error
    return told.address


def _passes(error: SD35Error) -> bool:
    return isinstance(error, RateLimitedError) or (
        isinstance(error, UnreachableError) and error.was_sent
    )


class Description:
    """A Space's contract, as it was last read.

    Args:
        discovery: reads it.
        contract: as it was read just now.
        lasting_seconds: how long it is taken to hold.

    """

    def __init__(self, discovery: Discovery, contract: Contract, lasting_seconds: float) -> None:
        self.contract = contract
        self._discovery = discovery
        self._lasting_seconds = lasting_seconds
        self._read_at = time.monotonic()
        self._doubts = 0
        self._renewing: asyncio.Task[Contract] | None = None
        self._waiting: list[Tell] = []

    def doubt(self) -> None:
        """Say that the Space may have restarted, so that its contract is read again before the next request."""
        self._doubts += 1
        self._read_at = float("-inf")

    async def current(self, tell: Tell) -> Contract:
        """Return the contract, read again if it is old or doubted.

        Raises:
            SD35Error: the Space can't be used any more; the kind says why.

        """
        if time.monotonic() - self._read_at <= self._lasting_seconds:
            return self.contract
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.ensure_future(self._renewed())
        self._waiting.append(tell)
        try:
            return await asyncio.shield(self._renewing)  # one reads it, for all who wait for it
        finally:
            self._waiting.remove(tell)
            if not self._waiting:
                self._renewing.cancel()

    async def _renewed(self) -> Contract:
        def tell_all(waiting: Waiting) -> None:
            for tell in self._waiting:
                tell(waiting)

        began, doubts = time.monotonic(), self._doubts
        self.contract = await self._discovery.describe(tell_all, was_there=True)
        if doubts == self._doubts:  # otherwise it may have restarted once more in the meantime
            self._read_at = began
        return self.contract
