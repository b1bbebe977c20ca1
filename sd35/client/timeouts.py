"""Limits of waits, in seconds in which the process runs."""

from dataclasses import dataclass

__all__ = ["Timeouts"]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """The limit of each wait in seconds, and the number of attempts."""

    discovery: float = 30.0  # find the Space and read its description
    waking: float = 300.0  # wait for a Space that is asleep, building or starting; 0 to not wait
    outage: float = 300.0  # wait with a request that a Space can't take: unreachable, busy, asleep
    connect: float = 10.0  # open a TCP and TLS connection
    join: float = 30.0  # wait for the answer to a request to join the queue
    retry_after: float = 60.0  # the longest delay before a retry that a server may ask for
    silence: float = 60.0  # wait for a byte on the stream; Gradio sends a heartbeat every 15 s
    no_news: float = 900.0  # wait for a message other than a heartbeat
    run: float = 7200.0  # a whole run, from the first message to the last
    cancel: float = 5.0  # wait for the answer to a cancel
    fetch: float = 120.0  # fetch an image, from the request to the last byte
    description: float = 300.0  # the age at which a Space's description is read again
    # The number of attempts to read a description, open a stream or fetch an image.
    attempts: int = 6
