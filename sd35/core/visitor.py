"""One who asks this program for something: a person at a page, or a program."""

import hashlib
from dataclasses import dataclass

__all__ = ["LOCAL_VISITOR", "Visitor", "owner_from_cookie"]


@dataclass(frozen=True, slots=True, repr=False)
class Visitor:
    """Who asks, as far as it is known for this one request. Never kept with what was made: it may hold a token.

    Attributes:
        owner: to whom belongs what is made for this visitor: a login, an account, or a browser.
            `None` for a program that can't be told from others: then the job's id, which can't be
            guessed, is the key to it.
        payer: by whom allowances are counted: the owner, or else the network address.
        name: how a person is called who has signed in.
        token: the visitor's own Hugging Face token.
        ip_token: the `X-IP-Token` that Hugging Face's proxy gave: whose ZeroGPU quota it is.

    """

    owner: str | None
    rate_limit_key: str
    name: str | None = None
    token: str | None = None
    ip_token: str | None = None

    def may_access(self, owner: str | None) -> bool:
        """Whether what belongs to this owner is this visitor's."""
        return owner is None or owner == self.owner


LOCAL_VISITOR = Visitor("here", "here")
"""The one owner of a program that only this machine can reach."""


def owner_from_cookie(secret: str) -> str:
    """Return the owner that a browser's secret stands for; the secret itself is kept nowhere."""
    return f"browser:{hashlib.sha256(secret.encode()).hexdigest()[:32]}"
