"""As whom a run is asked for, where one connection serves many."""

from collections.abc import Mapping
from dataclasses import dataclass

from yarl import URL

from sd35.core.errors import AccessDeniedError

__all__ = ["Identity", "bearer_header", "is_on_hub", "token_header"]


def token_header(root: URL, token: str | None) -> dict[str, str]:
    """Return the header that carries the token to this address.

    Hugging Face's proxy takes `X-HF-Authorization` away, so that the Space's own code can't read
    the token.

    Raises:
        AccessDeniedError: it can't be a token.

    """
    return {
        f"X-HF-{name}" if is_on_hub(root) else name: value
        for name, value in bearer_header(token).items()
    }


def is_on_hub(root: URL) -> bool:
    """Whether a Space of Hugging Face's answers at this address."""
    host = (root.host or "").rstrip(".")
    return host == "hf.space" or host.endswith(".hf.space")


def bearer_header(token: str | None) -> dict[str, str]:
    """Return the header that carries the token to the Hub, or to a server of one's own.

    Raises:
        AccessDeniedError: it can't be a token.

    """
    token = (token or "").strip()
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise AccessDeniedError("The token holds characters that no token has.")
    return {"Authorization": f"Bearer {token}"} if token else {}


MAX_IP_TOKEN_CHARACTERS = 4096


@dataclass(frozen=True, slots=True, repr=False)
class Identity:
    """Whose quota a run is to use. Without one, the connection's own token is sent.

    Both go only to a Space on Hugging Face over https: nobody else is to see them.

    Attributes:
        token: an account's, which goes with each request of the run, in place of the connection's;
            `None`: no token.
        ip_token: the `X-IP-Token` that Hugging Face's proxy gave a visitor, which goes with the
            join alone.

    """

    token: str | None = None
    ip_token: str | None = None

    def headers(self, root: URL) -> Mapping[str, str]:
        """Return what goes with each request to this address.

        Raises:
            AccessDeniedError: the token can't be one.

        """
        return token_header(root, self.token) if _may_receive_token(root) else {}

    def join_headers(self, root: URL) -> Mapping[str, str]:
        """Return what goes with the join, too."""
        token = self.ip_token or ""
        is_valid = (
            token.isascii() and token.isprintable() and 0 < len(token) <= MAX_IP_TOKEN_CHARACTERS
        )
        return {"X-IP-Token": token} if is_valid and _may_receive_token(root) else {}


def _may_receive_token(root: URL) -> bool:
    return root.scheme == "https" and is_on_hub(root)
