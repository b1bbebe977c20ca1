"""The limit of each wait."""

from dataclasses import dataclass

__all__ = ["Timeouts"]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long each wait may take, in seconds, and how often the opening is tried."""

    discovery: float = 30.0
    """Finding the Space and reading its description."""
    waking: float = 300.0
    """A Space that is asleep, building or starting; 0 not to wait for one."""
    connect: float = 10.0
    """A TCP and TLS connection."""
    join: float = 30.0
    """The Space's answer to the request to join its queue."""
    retry_after: float = 60.0
    """The longest wait that a server may ask for before the opening is tried again."""
    silence: float = 60.0
    """Not a byte on the stream; Gradio sends a heartbeat every 15 s."""
    no_news: float = 900.0
    """Nothing but heartbeats on the stream."""
    run: float = 7200.0
    """A whole run, from the first word on the stream to the last."""
    cancel: float = 5.0
    """The Space's answer to a cancel."""
    fetch: float = 120.0
    """A picture, from the request to its last byte."""
    description: float = 300.0
    """How long a Space's description of itself is trusted before it is read again."""
    attempts: int = 6
    """How often the opening is tried: reading the description, joining the queue, fetching a picture."""
