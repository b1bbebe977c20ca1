"""Lookup at Hugging Face: whose a token is, and what is left of its GPU quota."""

import asyncio
import hashlib
import time
from dataclasses import dataclass, replace
from typing import Final

from cachetools import TTLCache

from sd35.client import Timeouts
from sd35.client.hub import HUB_URL, get_quota, open_hub, whoami
from sd35.core.access_token import clean_token
from sd35.core.account import HubAccount, HubQuota
from sd35.core.errors import AccessDeniedError, SD35Error
from sd35.jobs.tasks import BackgroundTasks

__all__ = ["MAX_TOKEN_CHARACTERS", "AccountFacts", "HubAccounts", "parse_token"]

LOOKUP_SECONDS: Final = 6.0
_TIMEOUTS: Final = Timeouts(discovery=4.0, connect=4.0, attempts=1)

# Hugging Face limits whoami strictly, and the quota changes with each run.
ACCOUNT_SECONDS: Final = 3600.0
QUOTA_SECONDS: Final = 10.0
FAILURE_SECONDS: Final = 60.0

MAX_ACCOUNTS: Final = 1000
MIN_TOKEN_CHARACTERS: Final = 8
MAX_TOKEN_CHARACTERS: Final = 400


def parse_token(text: object) -> str:
    """Return the token in what was pasted.

    Raises:
        AccessDeniedError: it can't be a token. The message doesn't repeat it.
    """
    token = clean_token(text) if isinstance(text, str) else None
    if token is None:
        raise AccessDeniedError("Paste a token first.", "")
    is_plain = token.isascii() and token.isprintable() and " " not in token
    if not is_plain or not MIN_TOKEN_CHARACTERS <= len(token) <= MAX_TOKEN_CHARACTERS:
        raise AccessDeniedError("This isn't a Hugging Face token.", "They begin with hf_.")
    return token


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """What Hugging Face has said of a token; `None` for what it hasn't."""

    account: HubAccount | None = None
    quota: HubQuota | None = None


class HubAccounts:
    """Lookup of accounts and quotas, whose answers are kept for a while. Not thread-safe."""

    def __init__(self, hub: str, proxy: str | None, tasks: BackgroundTasks) -> None:
        self._hub = hub or HUB_URL
        self._proxy = proxy
        self._tasks = tasks
        # By a hash: the tokens themselves are kept in one place alone.
        self._facts: TTLCache[bytes, AccountFacts] = TTLCache(MAX_ACCOUNTS, ACCOUNT_SECONDS)
        self._next_lookups: TTLCache[bytes, float] = TTLCache(MAX_ACCOUNTS, ACCOUNT_SECONDS)
        self._lookups: dict[bytes, asyncio.Event] = {}

    def facts(self, token: str | None) -> AccountFacts:
        """Return what is known of a token now."""
        return AccountFacts() if token is None else self._facts.get(_key(token), AccountFacts())

    def is_looking_up(self, token: str | None) -> bool:
        """Return whether an answer about a token is on its way."""
        return token is not None and _key(token) in self._lookups

    async def check(self, token: str) -> AccountFacts:
        """Return what Hugging Face says of a new token; nothing if it can't be asked.

        Raises:
            AccessDeniedError: it doesn't know the token.
        """
        await self._look_up(token, raises_denial=True)
        return self.facts(token)

    def refresh(self, token: str | None, *, is_forced: bool = False) -> None:
        """Ask for a token's account and quota in the background, unless that was just done."""
        if token is None or _key(token) in self._lookups:
            return
        if is_forced or time.monotonic() >= self._next_lookups.get(_key(token), 0.0):
            self._tasks.start(self._refresh(token))

    async def wait(self, token: str | None, seconds: float) -> None:
        """Wait for the answer that is on its way, but no longer than this."""
        lookup = None if token is None else self._lookups.get(_key(token))
        if lookup is None:
            return
        try:
            async with asyncio.timeout(seconds):
                await lookup.wait()
        except TimeoutError:
            return

    def forget(self, token: str) -> None:
        """Forget what is known of a token."""
        self._facts.pop(_key(token), None)

    async def _refresh(self, token: str) -> None:
        await self._look_up(token, raises_denial=False)

    async def _look_up(self, token: str, *, raises_denial: bool) -> None:
        key = _key(token)
        lookup = self._lookups[key] = asyncio.Event()
        seconds = FAILURE_SECONDS
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                facts = await self._ask(token)
            self._facts[key] = facts
            seconds = FAILURE_SECONDS if facts.quota is None else QUOTA_SECONDS
        except AccessDeniedError:
            self._facts.pop(key, None)
            if raises_denial:
                raise AccessDeniedError(
                    "Hugging Face doesn't know this token.", "Check that you copied all of it."
                ) from None
        except (SD35Error, TimeoutError):  # it can't be reached; nothing is shown in its place
            self._facts[key] = replace(self.facts(token), quota=None)
        finally:
            self._next_lookups[key] = time.monotonic() + seconds
            if self._lookups.get(key) is lookup:
                del self._lookups[key]
            lookup.set()

    async def _ask(self, token: str) -> AccountFacts:
        account = self.facts(token).account
        async with open_hub(self._hub, token=token, proxy=self._proxy, timeouts=_TIMEOUTS) as hub:
            if account is None:
                account = await whoami(hub)
                self._facts[_key(token)] = AccountFacts(account)
            try:
                quota = await get_quota(hub)
            except SD35Error:  # a token may not have the right to read it
                quota = None
            return AccountFacts(account, quota)


def _key(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
