"""Recognition of this program's own page, which would wait for itself as its Space."""

import socket
from typing import Any, Protocol

import anyio.to_thread
from yarl import URL

__all__ = ["OwnPage", "is_own_address"]


class OwnPage(Protocol):
    """The Gradio app that this program serves.

    Attributes:
        app_id: Gradio's identifier of the app: a random number, which its `/config` tells.
        server_port: the port that it listens on, once it does.
    """

    app_id: int
    server_port: int | None


async def is_own_address(page: OwnPage, address: URL) -> bool:
    """Return whether an address is the page's port at this machine.

    For a page that requires a login, so that its `/config` can't be read.
    """
    if getattr(page, "server_port", None) != address.port:
        return False
    return await anyio.to_thread.run_sync(_is_local, address.host or "")


def _is_local(host: str) -> bool:
    try:
        results = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return any(_can_bind(family, address) for family, _, _, _, address in results)


def _can_bind(family: int, address: tuple[Any, ...]) -> bool:
    """Return whether a network interface of this machine has an address."""
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind(address)
    except OSError:
        return False
    return True
