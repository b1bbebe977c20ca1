"""Tokens in requests, and the identity for which a run is requested."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass

from yarl import URL

from sd35.core.access_token import clean_token
from sd35.core.errors import AccessDeniedError
from sd35.core.space_ref import is_hub_host

__all__ = ["Identity", "basic_header", "bearer_header", "token_header"]


def token_header(root: URL, token: str | None) -> dict[str, str]:
    """Return the header with the token for a Space at this address."""
    # As gradio_client does: Hugging Face's proxy removes X-HF-Authorization, so that the Space's
    # code can't read the token.
    prefix = "X-HF-" if is_hub_host(root.host or "") else ""
    return {f"{prefix}{name}": value for name, value in bearer_header(token).items()}


def bearer_header(token: str | None) -> dict[str, str]:
    """Return the header with the token for the Hub, or for a server elsewhere.

    Raises:
        AccessDeniedError: the token contains invalid characters.
    """
    token = clean_token(token) or ""
    # A line break would start another header.
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise AccessDeniedError("The token contains invalid characters.")
    return {"Authorization": f"Bearer {token}"} if token else {}


def basic_header(name: str, password: str) -> dict[str, str]:
    """Return the header with a username and a password, as of HTTP Basic."""
    return {"Authorization": f"Basic {b64encode(f'{name}:{password}'.encode()).decode()}"}


# Servers refuse requests with long headers; nginx's buffer for one is 8 KiB by default.
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
        """Return the headers of each request to this address."""
        return token_header(root, self.token) if _may_receive_token(root) else {}

    def join_headers(self, root: URL) -> Mapping[str, str]:
        """Return the additional headers of the join."""
        token = self.ip_token or ""
        # It came with a visitor's request, who may have made it up.
        is_valid = token.isascii() and token.isprintable() and len(token) <= MAX_IP_TOKEN_CHARACTERS
        return {"X-IP-Token": token} if token and is_valid and _may_receive_token(root) else {}


def _may_receive_token(root: URL) -> bool:
    return root.scheme == "https" and is_hub_host(root.host or "")
