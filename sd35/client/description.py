"""What a Space has said of itself, read again when that may be old. One for all who ask there."""

import asyncio
import time

from sd35.client.contract import Contract
from sd35.client.discovery import Discovery
from sd35.client.retries import Tell
from sd35.events import Waiting

__all__ = ["Description"]


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
