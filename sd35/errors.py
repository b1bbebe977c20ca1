"""Everything that can go wrong, as one tree.

SD35Error
├── InvalidRequestError      the request can't be sent; nothing was
├── ConnectionFailedError    the Space can't be used
│   ├── UnreachableError     no answer: network, name, certificate, time
│   ├── SpaceNotFoundError   there is no such Space, or it is private
│   ├── SpaceAsleepError     asleep, building or restarting: later it will answer
│   ├── SpaceBrokenError     paused, or in error: only its owner can help
│   ├── AccessDeniedError    a token or a login is needed, or is wrong
│   └── ContractError        it answers, but doesn't make pictures the way this program knows
├── RefusedError             the Space answered, and said no
│   ├── QuotaError           the GPU quota is used up; `retry_after_seconds` where it says
│   ├── BusyError            no GPU is free, or the queue is full
│   └── RateLimitedError     too many requests
├── GenerationFailedError    the run failed inside the Space
│   └── AbortedError         the GPU task was ended before it was done
├── StreamError              the way between here and the Space broke during a run
│   ├── StreamCutError       the stream ended without a result
│   ├── SilentSpaceError     no news for too long
│   └── ProtocolError        an answer that can't be understood
└── PictureError             what came isn't a picture that is safe to show

`str(error)` is fit for the person who reads it: what happened and what to do now.
"""

__all__ = [
    "AbortedError",
    "AccessDeniedError",
    "BusyError",
    "ConnectionFailedError",
    "ContractError",
    "GenerationFailedError",
    "InvalidRequestError",
    "PictureError",
    "ProtocolError",
    "QuotaError",
    "RateLimitedError",
    "RefusedError",
    "SD35Error",
    "SilentSpaceError",
    "SpaceAsleepError",
    "SpaceBrokenError",
    "SpaceNotFoundError",
    "StreamCutError",
    "StreamError",
    "UnreachableError",
]


class SD35Error(Exception):
    """What this package raises: `happened` is one sentence, `remedy` another that says what to do now."""

    remedy = "Try again."

    def __init__(self, happened: str, remedy: str | None = None) -> None:
        super().__init__(happened)
        self.happened = happened
        if remedy is not None:
            self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.happened} {self.remedy}".strip()


class InvalidRequestError(SD35Error):
    """The request can't be sent to this Space; nothing was sent."""

    remedy = ""


class ConnectionFailedError(SD35Error):
    """The Space can't be used."""


class UnreachableError(ConnectionFailedError):
    """No answer: the network, the name, the certificate, or the time ran out."""

    remedy = "Check the address and your network, then try again."


class SpaceNotFoundError(ConnectionFailedError):
    """There is no such Space, or it is private."""

    remedy = "Check the name. If the Space is private, set HF_TOKEN to a token that may see it."


class SpaceAsleepError(ConnectionFailedError):
    """The Space is asleep, building or restarting."""

    remedy = "Try again in a minute or two."


class SpaceBrokenError(ConnectionFailedError):
    """The Space is paused or in error; only its owner can help."""

    remedy = "Only its owner can change that. Choose another Space, or the demo Space."


class AccessDeniedError(ConnectionFailedError):
    """A token or a login is needed, or the one that was sent isn't valid."""

    remedy = "Set HF_TOKEN (or --token) to a valid token, and restart."


class ContractError(ConnectionFailedError):
    """The Space answers, but doesn't offer what this program needs."""

    remedy = "Choose a Space with an /infer endpoint like that of stabilityai/stable-diffusion-3.5-large."


class RefusedError(SD35Error):
    """The Space answered, and said no."""


class QuotaError(RefusedError):
    """The GPU quota is used up. `retry_after_seconds` is what the Space said, if it did."""

    remedy = "Wait until the quota returns, or set HF_TOKEN to a token with more."

    def __init__(self, happened: str, remedy: str | None = None, *, retry_after_seconds: int | None = None) -> None:
        super().__init__(happened, remedy)
        self.retry_after_seconds = retry_after_seconds


class BusyError(RefusedError):
    """No GPU is free, or the Space's queue is full."""

    remedy = "Try again in a minute."


class RateLimitedError(RefusedError):
    """Too many requests."""

    remedy = "Wait a minute, then try again."


class GenerationFailedError(SD35Error):
    """The run failed inside the Space."""

    remedy = "Try again; if it fails each time, try another size or fewer steps."


class AbortedError(GenerationFailedError):
    """The GPU task was ended before it was done."""

    remedy = "Try fewer steps or a smaller size."


class StreamError(SD35Error):
    """The way between here and the Space broke during a run."""

    remedy = "The run may be lost; generate again if no picture came."


class StreamCutError(StreamError):
    """The stream ended without a result."""


class SilentSpaceError(StreamError):
    """The Space said nothing new for too long."""


class ProtocolError(StreamError):
    """An answer that can't be understood."""

    remedy = "Try again; if it happens each time, the Space has changed and this program needs an update."


class PictureError(SD35Error):
    """What came isn't a picture that is safe to show."""

    remedy = "Try again."
