"""Tokens that visitors have added for their own images, in this server's memory alone.

A browser gets a random secret in a cookie that ends with its session, and no token.
"""

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cachetools import TTLCache

__all__ = ["TOKEN_COOKIE", "VisitorTokens"]

TOKEN_COOKIE: Final = "sd35-token"  # noqa: S105  # a name

MAX_TOKENS: Final = 5000
IDLE_SECONDS: Final = 12 * 3600.0
"""Some browsers keep the cookies of a session that has ended."""


@dataclass(frozen=True, slots=True, repr=False)
class _Entry:
    owner: str
    token: str


class VisitorTokens:
    """The tokens, by a hash of the secret in their browser's cookie. Not thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._entries: TTLCache[bytes, _Entry] = TTLCache(MAX_TOKENS, IDLE_SECONDS, clock)

    def add(self, owner: str, token: str) -> str:
        """Keep the token of a visitor, and return the secret for their browser's cookie."""
        secret = secrets.token_urlsafe(32)
        self._entries[_key(secret)] = _Entry(owner, token)
        return secret

    def find(self, secret: str | None, owner: str | None) -> str | None:
        """Return the token that this browser's visitor has added."""
        if not secret:
            return None
        key = _key(secret)
        entry = self._entries.get(key)
        # The browser may have logged in as somebody else since.
        if entry is None or entry.owner != owner:
            return None
        self._entries[key] = entry  # it is used, so its time begins anew
        return entry.token

    def remove(self, secret: str | None, owner: str | None) -> None:
        """Forget the token that this browser's visitor has added."""
        if secret and self.find(secret, owner) is not None:
            del self._entries[_key(secret)]


def _key(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
