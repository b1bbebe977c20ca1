"""Tokens in requests, and the identity for which a run is requested."""

from collections.abc import Mapping
from dataclasses import dataclass

from yarl import URL

from sd35.core.errors import AccessDeniedError
from sd35.core.space_ref import is_hub_host

__all__ = ["Identity", "bearer_header", "is_on_hub", "token_header"]


def token_header(root: URL, token: str | None) -> dict[str, str]:
    """Return the header with the token for a Space at this address.

    Raises:
        AccessDeniedError: the token contains invalid characters.

    """
    # Hugging Face's proxy removes X-HF-Authorization: the Space's code can't read the token.
    return {
        f"X-HF-{name}" if is_on_hub(root) else name: value
        for name, value in bearer_header(token).items()
    }


def is_on_hub(root: URL) -> bool:
    """Return whether an address is that of a Space on Hugging Face."""
    return is_hub_host(root.host or "")


def bearer_header(token: str | None) -> dict[str, str]:
    """Return the header with the token for the Hub, or for a server elsewhere.

    Raises:
        AccessDeniedError: the token contains invalid characters.

    """
    token = (token or "").strip()
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise AccessDeniedError("The token contains invalid characters.")
    return {"Authorization": f"Bearer {token}"} if token else {}


MAX_IP_TOKEN_CHARACTERS = 4096


@dataclass(frozen=True, slots=True, repr=False)
class Identity:
    """The identity whose quota a run uses, in place of the connection's own token.

    Its tokens go only to Spaces on Hugging Face, over https.

    Attributes:
        token: the token of an account, sent with each request of the run; `None` for no token.
        ip_token: the `X-IP-Token` that Hugging Face's proxy gave a visitor, sent when joining.

    """

    token: str | None = None
    ip_token: str | None = None

    def headers(self, root: URL) -> Mapping[str, str]:
        """Return the headers of each request to this address.

        Raises:
            AccessDeniedError: the token contains invalid characters.

        """
        return token_header(root, self.token) if _may_receive_token(root) else {}

    def join_headers(self, root: URL) -> Mapping[str, str]:
        """Return the additional headers of the join."""
        token = self.ip_token or ""
        is_valid = (
            token.isascii() and token.isprintable() and 0 < len(token) <= MAX_IP_TOKEN_CHARACTERS
        )
        return {"X-IP-Token": token} if is_valid and _may_receive_token(root) else {}


def _may_receive_token(root: URL) -> bool:
    return root.scheme == "https" and is_on_hub(root)
