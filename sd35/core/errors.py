"""Everything that can go wrong, as one tree.

SD35Error
├── InvalidRequestError       the request can't be sent, or the Space's own check refused it
├── ConnectionFailedError     the Space can't be used
│   ├── UnreachableError      no answer: network, name, certificate, proxy, time
│   ├── SpaceNotFoundError    there is no such Space, or it is private
│   ├── SpaceAsleepError      asleep, building or starting: later it will answer
│   │   └── SpaceStoppedError it was stopped or restarted while it was being used
│   ├── SpaceBrokenError      in error: only its owner can help
│   │   └── SpacePausedError  paused by its owner
│   ├── AccessDeniedError     a token or a login is needed, or is wrong
│   └── ContractError         it answers, but doesn't make pictures the way this program knows
├── RefusedError              the Space answered, and said no
│   ├── QuotaError            the GPU quota is used up; `retry_at` where it says when it returns
│   ├── IdentityError         it can't tell whose quota to use
│   │   └── IdentityExpiredError  the identity expired while the request waited
│   ├── BusyError             no GPU is free
│   │   └── QueueFullError    the Space's queue is full
│   └── RateLimitedError      too many requests
│       └── UsageLimitError    this program's own limit for its visitors is reached
├── GenerationFailedError     the run failed inside the Space
│   └── AbortedError          the GPU task was ended before it was done
├── StreamError               the way between here and the Space broke during a run
│   ├── StreamInterruptedError        the stream ended without a result
│   │   └── SessionLostError      the Space no longer knows the run
│   ├── StreamTimeoutError      no news for too long
│   └── ProtocolError         an answer that can't be understood
│       └── MalformedRequestError  it doesn't understand this program's request
├── PictureError              what came isn't a picture that is safe to show
│   ├── PictureTooLargeError  more bytes or pixels than are safe
│   ├── PictureExpiredError      the Space no longer has it
│   └── WriteError       it couldn't be written to this machine
└── LibraryError              the library's index or folder can't be used

`str(error)` is fit for the person who reads it: what happened, when it passes if that is known, and
what to do now. The class says the rest: its docstring is the cause, `kind` its short name for
programs, `remedy` what to do, and `may_pass` whether the same request, unchanged, may succeed
later.
"""

import datetime as dt
from dataclasses import dataclass

from sd35.core.text import format_local_time

__all__ = [
    "AbortedError",
    "AccessDeniedError",
    "BusyError",
    "ConnectionFailedError",
    "ContractError",
    "FieldError",
    "GenerationFailedError",
    "IdentityError",
    "IdentityExpiredError",
    "InvalidRequestError",
    "LibraryError",
    "MalformedRequestError",
    "PictureError",
    "PictureExpiredError",
    "PictureTooLargeError",
    "ProtocolError",
    "QueueFullError",
    "QuotaError",
    "RateLimitedError",
    "RefusedError",
    "SD35Error",
    "SessionLostError",
    "SpaceAsleepError",
    "SpaceBrokenError",
    "SpaceNotFoundError",
    "SpacePausedError",
    "SpaceStoppedError",
    "StreamError",
    "StreamInterruptedError",
    "StreamTimeoutError",
    "UnreachableError",
    "UsageLimitError",
    "WriteError",
]


class SD35Error(Exception):
    """Something failed in a way that wasn't foreseen.

    Attributes:
        happened: one sentence for the person who reads it.
        remedy: another, that says what to do now.
        retry_after_seconds: how long to wait before it makes sense to try again, where the Space
            has said it.
        retry_at: that moment, with its time zone.

    """

    kind = "unforeseen"
    may_pass = False
    remedy = "Try again."

    def __init__(self, happened: str, remedy: str | None = None) -> None:
        super().__init__(happened)
        self.happened = happened
        self.retry_after_seconds: float | None = None
        self.retry_at: dt.datetime | None = None
        if remedy is not None:
            self.remedy = remedy

    def set_retry_after(self, seconds: float) -> None:
        """Say that it makes sense to try again after this many seconds from now."""
        self.retry_after_seconds = seconds
        self.retry_at = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=min(seconds, 10**8))

    @property
    def retry_hint(self) -> str:
        """A sentence that says when it passes, by this machine's clock; empty where that isn't known."""
        return f"Come back at {format_local_time(self.retry_at)}." if self.retry_at else ""

    def __str__(self) -> str:
        return " ".join(part for part in (self.happened, self.retry_hint, self.remedy) if part)


@dataclass(frozen=True, slots=True)
class FieldError:
    """The reason why one field of a request is wrong: the field's name, and a sentence."""

    field: str
    message: str


class InvalidRequestError(SD35Error):
    """Something that was asked for isn't possible, at this Space or at all.

    Attributes:
        field_errors: the error of each field, if the fields of a request are wrong.

    """

    kind = "invalid"
    remedy = ""

    def __init__(
        self,
        happened: str,
        remedy: str | None = None,
        *,
        field_errors: tuple[FieldError, ...] = (),
    ) -> None:
        super().__init__(happened, remedy)
        self.field_errors = field_errors


class ConnectionFailedError(SD35Error):
    """The Space can't be used."""

    kind = "connection"


class UnreachableError(ConnectionFailedError):
    """No answer: the network, the name, the certificate, the proxy, or the time ran out.

    Attributes:
        was_sent: whether the request may have reached the Space all the same, and only the answer
            was lost.

    """

    kind = "unreachable"
    may_pass = True
    remedy = "Check the address and your network, then try again."

    def __init__(self, happened: str, remedy: str | None = None, *, was_sent: bool = False) -> None:
        super().__init__(happened, remedy)
        self.was_sent = was_sent


class SpaceNotFoundError(ConnectionFailedError):
    """There is no such Space, or it is private and this token may not see it."""

    kind = "not-found"
    remedy = "Check the name. If the Space is private, set HF_TOKEN to a token that may see it."


class SpaceAsleepError(ConnectionFailedError):
    """The Space is asleep, building or starting; asking for it wakes it.

    Attributes:
        was_sent: whether a gateway answered in its place, so that the request may have reached the
            Space all the same.

    """

    kind = "asleep"
    may_pass = True
    remedy = "Try again in a minute or two."
    was_sent = False


class SpaceStoppedError(SpaceAsleepError):
    """The Space was stopped or restarted while it was being used."""

    kind = "stopped"


class SpaceBrokenError(ConnectionFailedError):
    """The Space is in error; only its owner can help."""

    kind = "in-error"
    remedy = "Only its owner can change that. Choose another Space, or the demo Space."


class SpacePausedError(SpaceBrokenError):
    """The Space was paused by its owner, who alone can start it again."""

    kind = "paused"


class AccessDeniedError(ConnectionFailedError):
    """The Space is private or wants a login, and the token is missing, not valid, or may not see it."""

    kind = "access"
    remedy = "Set HF_TOKEN (or --token) to a valid token, and start again."


class ContractError(ConnectionFailedError):
    """The Space answers, but doesn't offer what this program needs, or no longer."""

    kind = "contract"
    remedy = "Choose a Space with an /infer endpoint like that of stabilityai/stable-diffusion-3.5-large."


class RefusedError(SD35Error):
    """The Space answered, and said no."""

    kind = "refused"


class QuotaError(RefusedError):
    """The GPU quota of this account, or of this address for who has none, is used up.

    Attributes:
        account: whose quota it is: "anonymous", "free" or "pro", as far as the Space's words tell.
        requested_seconds: of GPU time that the run would have reserved, where they tell that.
        left_seconds: of the quota. It may be more than what is requested: more is reserved than is
            asked for.

    """

    kind = "quota"
    may_pass = True
    remedy = "Wait until the quota returns, or set HF_TOKEN to a token with more."

    def __init__(
        self,
        happened: str,
        remedy: str | None = None,
        *,
        account: str | None = None,
        requested_seconds: int | None = None,
        remaining_seconds: int | None = None,
    ) -> None:
        super().__init__(happened, remedy)
        self.account = account
        self.requested_seconds = requested_seconds
        self.remaining_seconds = remaining_seconds


class IdentityError(RefusedError):
    """The request didn't carry the identity whose quota is to be used, or what it carried has expired."""

    kind = "identity"
    may_pass = True
    remedy = "Generate again; if it happens each time, set HF_TOKEN to a valid token."


class IdentityExpiredError(IdentityError):
    """The identity that the request carried expired before a GPU was free: nothing was run."""

    kind = "identity-expired"


class BusyError(RefusedError):
    """No GPU is free for this request."""

    kind = "busy"
    may_pass = True
    remedy = "Try again in a minute."


class QueueFullError(BusyError):
    """The Space's queue is full: it takes no further requests for now."""

    kind = "queue-full"


class RateLimitedError(RefusedError):
    """Too many requests came from this address or this account."""

    kind = "rate-limited"
    may_pass = True
    remedy = "Wait a minute, then try again."


class UsageLimitError(RateLimitedError):
    """A limit is reached that who runs this program has set for its visitors."""

    kind = "allowance"
    may_pass = True
    remedy = "Wait until a picture of yours is done, or until the hour is over."


class GenerationFailedError(SD35Error):
    """The run failed inside the Space."""

    kind = "failed"
    remedy = "Try again; if it fails each time, try another size or fewer steps."


class AbortedError(GenerationFailedError):
    """The GPU task was ended before it was done: it took longer than it had reserved."""

    kind = "aborted"
    remedy = "Try fewer steps or a smaller size."


class StreamError(SD35Error):
    """The way between here and the Space broke during a run."""

    kind = "stream"
    may_pass = True
    remedy = "The run may be lost; generate again if no picture came."


class StreamInterruptedError(StreamError):
    """The stream ended without a result: the network, a proxy, or the Space broke it off."""

    kind = "cut"


class SessionLostError(StreamInterruptedError):
    """The Space no longer knows the run: it restarted, or another copy of it answered."""

    kind = "lost"


class StreamTimeoutError(StreamError):
    """The Space said nothing new for too long."""

    kind = "silent"


class ProtocolError(StreamError):
    """An answer that can't be understood."""

    kind = "protocol"
    may_pass = False
    remedy = "Try again; if it happens each time, the Space has changed and this program needs an update."


class MalformedRequestError(ProtocolError):
    """The Space doesn't understand this program's request: a mistake of this program, or the Space has changed."""

    kind = "malformed"


class PictureError(SD35Error):
    """What came isn't a picture that is safe to show."""

    kind = "not-a-picture"


class PictureTooLargeError(PictureError):
    """The picture has more bytes or pixels than are safe to open."""

    kind = "too-large"
    remedy = "Choose another Space, or a smaller size."


class WriteError(PictureError):
    """A picture, or the program's output, couldn't be written to this machine."""

    kind = "not-written"
    remedy = "Free some space, or choose another folder."


class PictureExpiredError(PictureError):
    """The Space no longer has the picture: its files die when it restarts."""

    kind = "picture-gone"
    remedy = "Generate again; with the same seed it is the same picture."


class LibraryError(SD35Error):
    """The library's index or folder can't be used."""

    kind = "library"
    remedy = "Choose another folder with --library, or free some space."
