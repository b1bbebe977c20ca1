"""A visitor: a person at a page, or a program that uses the API."""

import hashlib
from dataclasses import dataclass

__all__ = ["LOCAL_VISITOR", "Visitor", "owner_from_cookie"]


@dataclass(frozen=True, slots=True, repr=False)
class Visitor:
    """The visitor of one request. Never stored with their images: it may hold a token.

    Attributes:
        owner: the owner of the visitor's images: a login, an account, or a browser. `None` for an
            anonymous program, whose only key to its job is the job's unguessable id.
        rate_limit_key: the key by which usage is counted: the owner, or else the client IP.
        name: the display name of a visitor who has signed in.
        token: the visitor's own Hugging Face token.
        ip_token: the `X-IP-Token` from Hugging Face's proxy, which names a ZeroGPU quota.
        has_added_token: whether the visitor has added the token on the page.
    """

    owner: str | None
    rate_limit_key: str
    name: str | None = None
    token: str | None = None
    ip_token: str | None = None
    has_added_token: bool = False

    def may_access(self, owner: str | None) -> bool:
        """Return whether this visitor may use what belongs to this owner."""
        return owner is None or owner == self.owner


# The only visitor of a page that can be reached from this machine alone. Libraries store the name.
LOCAL_VISITOR = Visitor("here", "here")


def owner_from_cookie(secret: str) -> str:
    """Return the owner for a browser's secret cookie, from which the secret can't be derived."""
    return f"browser:{hashlib.sha256(secret.encode()).hexdigest()[:32]}"
