"""References to a Space: `owner/name`, its page on Hugging Face, or the address of a Gradio app."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from yarl import URL

__all__ = [
    "DEMO",
    "LOCAL",
    "PUBLIC_SPACE",
    "SpaceRef",
    "canonical_target",
    "is_hub_host",
    "local_model",
    "parse_space_ref",
]

PUBLIC_SPACE = "stabilityai/stable-diffusion-3.5-large"

# Spaces that this program starts itself.
DEMO = "demo"
LOCAL = "local"
DEFAULT_LOCAL_MODEL = "large-turbo"

_NAME_PATTERN = re.compile(r"[A-Za-z0-9][\w.\-]{0,95}/[A-Za-z0-9][\w.\-]{0,95}", re.ASCII)
_HUB_PAGE_PATTERN = re.compile(
    r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/spaces/([^/?#]+/[^/?#]+)/?(?:[?#].*)?"
)


@dataclass(frozen=True, slots=True)
class SpaceRef:
    """A Space, either by `name` (`owner/name`) or by `address`, which ends with a slash."""

    name: str | None = None
    address: str | None = None

    def __str__(self) -> str:
        return self.name or self.address or ""

    @property
    def is_on_hub(self) -> bool:
        """Return whether the Space is on Hugging Face, so that it may get a Hugging Face token."""
        if self.address is None:
            return self.name is not None
        parts = urlsplit(self.address)
        return parts.scheme == "https" and is_hub_host(parts.hostname or "")


def local_model(target: str) -> str | None:
    """Return the model of a target such as `local:medium`; `None` if it isn't a local Space."""
    kind, _, model = target.strip().partition(":")
    return (model or DEFAULT_LOCAL_MODEL) if kind == LOCAL else None


def canonical_target(target: str) -> str:
    """Return the same text for all names of one local Space; any other target as it is."""
    model = local_model(target)
    return target if model is None else f"{LOCAL}:{model}"


def is_hub_host(host: str) -> bool:
    """Return whether a host name is one of Hugging Face's for Spaces."""
    # The added dot lets hf.space itself match, but not evilhf.space. A fully qualified name ends
    # with a dot.
    return f".{host.rstrip('.')}".endswith(".hf.space")


def parse_space_ref(text: str) -> SpaceRef:
    """Return the Space that a text refers to.

    Raises:
        ValueError: it is no reference; the message says what a reference looks like.
    """
    text = text.strip()
    page_match = _HUB_PAGE_PATTERN.fullmatch(text)
    name = page_match[1] if page_match else text
    if _NAME_PATTERN.fullmatch(name):
        return SpaceRef(name=name)
    if not text.startswith(("http://", "https://")) or any(char.isspace() for char in text):
        raise ValueError("use owner/name, or an address that begins with http:// or https://")
    try:
        parts = urlsplit(text)
        # Both check lazily: what they refuse would fail later, in the middle of a request.
        _ = parts.port, URL(text).host
    except (ValueError, IndexError):
        parts = urlsplit("http:")
    if not parts.hostname:
        raise ValueError("an address looks like http://host:port/")
    if "@" in parts.netloc:
        # It would show up in logs, in error messages and in the library.
        raise ValueError("use SD35_SPACE_LOGIN instead of a user or password in the address")
    # So that a token is never sent there unencrypted.
    scheme = "https" if is_hub_host(parts.hostname) else parts.scheme
    return SpaceRef(
        address=urlunsplit((scheme, parts.netloc, parts.path.rstrip("/") + "/", "", ""))
    )
