"""Limits of waits."""

from dataclasses import dataclass

__all__ = ["Timeouts"]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """The limit of each wait in seconds, and the number of attempts."""

    discovery: float = 30.0
    """Find the Space and read its description."""
    waking: float = 300.0
    """Wait for a Space that is asleep, building or starting; 0 to not wait."""
    connect: float = 10.0
    """Open a TCP and TLS connection."""
    join: float = 30.0
    """Wait for the answer to a request to join the queue."""
    retry_after: float = 60.0
    """The longest delay before a retry that a server may ask for."""
    silence: float = 60.0
    """Wait for a byte on the stream; Gradio sends a heartbeat every 15 s."""
    no_news: float = 900.0
    """Wait for a message other than a heartbeat."""
    run: float = 7200.0
    """A whole run, from the first message to the last."""
    cancel: float = 5.0
    """Wait for the answer to a cancel."""
    fetch: float = 120.0
    """Fetch an image, from the request to the last byte."""
    description: float = 300.0
    """The age at which a Space's description is read again."""
    attempts: int = 6
    """The number of attempts to read a description, join a queue or fetch an image."""
