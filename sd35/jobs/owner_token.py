"""The token that the owner of a private page has added on it, for Spaces on Hugging Face."""

import asyncio

from sd35.jobs.hub_accounts import HubAccounts, parse_token
from sd35.jobs.space_connection import SpaceConnector
from sd35.jobs.token_store import TokenStore

__all__ = ["OwnerToken"]


class OwnerToken:
    """The token, which the system's keyring keeps if there is one.

    Attributes:
        value: the token; `None` without one.
        is_kept: whether the keyring has it, so that it outlives the program.
    """

    def __init__(
        self, accounts: HubAccounts, store: TokenStore | None, connector: SpaceConnector
    ) -> None:
        self.value: str | None = None
        self.is_kept = False
        self._accounts = accounts
        self._store = store
        self._connector = connector
        connector.load_token = self._load
        self._is_loaded = store is None
        self._lock = asyncio.Lock()

    @property
    def can_change(self) -> bool:
        """Return whether a token can be added and removed here."""
        return self._store is not None

    @property
    def is_added(self) -> bool:
        """Return whether there is a token, or one that the keyring couldn't remove."""
        return self.value is not None or self.is_kept

    async def _load(self) -> None:
        """Read the token from the keyring, the first time."""
        if self._is_loaded or self._store is None:
            return
        async with self._lock:
            if not self._is_loaded:
                self.value = await self._store.load()
                self.is_kept = self.value is not None
                self._is_loaded = True
                self._connector.set_token(self.value)

    async def can_keep(self) -> bool:
        """Return whether a token that is added outlives the program."""
        return self._store is not None and await self._store.can_keep()

    async def add(self, text: object) -> None:
        """Use a token for each Space at Hugging Face from now on, and keep it.

        Raises:
            AccessDeniedError: it isn't a token, or Hugging Face doesn't know it.
        """
        assert self._store is not None
        token = parse_token(text)
        await self._accounts.check(token)
        await self._load()
        async with self._lock:
            self.value = token
            self.is_kept = await self._store.save(token)
        await self._connector.replace_token(token)

    async def remove(self) -> None:
        """Use no token from now on, and keep none.

        Raises:
            WriteError: the keyring still has it.
        """
        assert self._store is not None
        await self._load()
        if self.value is not None:
            self._accounts.forget(self.value)
        self.value = None
        await self._connector.replace_token(None)
        async with self._lock:
            await self._store.delete()
            self.is_kept = False
