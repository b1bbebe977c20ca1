"""All errors of this program, as one tree.

SD35Error
├── InvalidRequestError            the request isn't possible, at this Space or at all
│   ├── TemplateError              a template of prompts isn't valid
│   └── PromptError                one of several prompts isn't valid
├── ConnectionFailedError          the Space can't be used
│   ├── UnreachableError           no answer: network, name, certificate, proxy, timeout
│   │   └── LoginPageError         the login page of a network answered
│   ├── SpaceNotFoundError         no such Space, or it is private
│   │   └── RedirectedError        it redirects to where no token may be sent
│   ├── SpaceAsleepError           asleep, building or starting; it will answer later
│   │   └── SpaceStoppedError      it was stopped or restarted during the job
│   ├── SpaceBrokenError           in error; only its owner can fix it
│   │   └── SpacePausedError       paused by its owner
│   ├── ModelError                 the model on this machine can't be used
│   ├── AccessDeniedError          a token or a login is missing or invalid
│   │   └── LoginRequiredError     a username and a password are missing or wrong
│   └── ContractError              it doesn't have an endpoint that this program can use
│       └── OwnPageError           it is this program's own page
├── RefusedError                   the Space answered, and refused
│   ├── QuotaError                 the GPU quota is used up; `retry_at` if the Space said when
│   ├── IdentityError              it can't tell whose quota to use
│   │   └── IdentityExpiredError   the identity expired while the request was queued
│   ├── BusyError                  no GPU is free
│   │   └── QueueFullError         the Space's queue is full
│   └── RateLimitedError           too many requests
│       └── UsageLimitError        a limit for the visitors of this page is reached
├── GenerationFailedError          the job failed inside the Space
│   └── AbortedError               the GPU task exceeded its time
├── StreamError                    the connection to the Space broke during a job
│   ├── StreamInterruptedError     the stream ended without a result
│   │   └── SessionLostError       the Space no longer knows the job
│   ├── StreamTimeoutError         no updates for too long
│   └── ProtocolError              an answer that can't be understood
│       ├── WebPageError           a web page in place of an answer
│       └── MalformedRequestError  the Space doesn't understand the request
├── PictureError                   the result isn't an image that is safe to open
│   ├── PictureTooLargeError       more bytes or pixels than are safe
│   ├── PictureExpiredError        the Space no longer has it
│   └── WriteError                 a file couldn't be written to this machine
└── LibraryError                   the library's index or folder can't be used
    └── IndexDamagedError          the index is damaged, and will be rebuilt

`str(error)` is a text for people: what happened, when to try again if that is known, and what to
do. Programs use the class, or its short name `kind`. `may_pass` tells whether the same request may
succeed later without a change.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Self

from sd35.core.text import format_local_time, one_line

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
    "IndexDamagedError",
    "InvalidRequestError",
    "LibraryError",
    "LoginPageError",
    "LoginRequiredError",
    "MalformedRequestError",
    "ModelError",
    "OwnPageError",
    "PictureError",
    "PictureExpiredError",
    "PictureTooLargeError",
    "PromptError",
    "ProtocolError",
    "QueueFullError",
    "QuotaError",
    "RateLimitedError",
    "RedirectedError",
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
    "TemplateError",
    "UnreachableError",
    "UsageLimitError",
    "WebPageError",
    "WriteError",
]


class SD35Error(Exception):
    """The root of all errors; by itself, an unexpected one.

    Attributes:
        happened: a sentence that says what happened.
        remedy: a sentence that says what to do; may be empty.
        retry_after_seconds: how long to wait before another attempt, if the server has said.
        retry_at: the end of that wait, with its time zone.
    """

    # Part of the JSON output, the API and the database: it stays when a class is renamed.
    kind = "unforeseen"
    may_pass = False
    remedy = "Try again."

    def __init__(self, happened: str, remedy: str | None = None) -> None:
        super().__init__(happened)
        self.happened = happened
        # Both: scripts count seconds, and people read the time on the clock.
        self.retry_after_seconds: float | None = None
        self.retry_at: dt.datetime | None = None
        if remedy is not None:
            self.remedy = remedy

    def set_retry_after(self, seconds: float) -> None:
        """Set the wait before another attempt, counted from now."""
        self.retry_after_seconds = seconds
        # A server may ask for more seconds than a datetime can hold.
        self.retry_at = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=min(seconds, 10**8))

    @property
    def retry_hint(self) -> str:
        """A sentence with the time of the next attempt, or an empty text."""
        return f"Try again at {format_local_time(self.retry_at)}." if self.retry_at else ""

    def __str__(self) -> str:
        return " ".join(part for part in (self.happened, self.retry_hint, self.remedy) if part)


@dataclass(frozen=True, slots=True)
class FieldError:
    """The reason why one field of a request is wrong: the field's name, and a sentence."""

    field: str
    message: str


class InvalidRequestError(SD35Error):
    """The request isn't possible, at this Space or at all.

    Attributes:
        field_errors: one error for each wrong field, if the fields of a request are the reason.
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


class TemplateError(InvalidRequestError):
    """A template of prompts isn't valid, or too complex.

    Attributes:
        message: what is wrong, without the position.
        position: the index of the character where it is wrong, if it is at one.
    """

    kind = "template"

    def __init__(self, message: str, position: int | None = None, remedy: str = "") -> None:
        self.message = message.rstrip(".")
        self.position = position
        where = "" if position is None else f" (at character {position + 1:,})"
        super().__init__(f"{self.message}{where}.", remedy)


class PromptError(InvalidRequestError):
    """One of several prompts isn't valid.

    Attributes:
        index: which one, counted from 0.
        prompt: the prompt, or its template.
        error: what is wrong with it.
    """

    kind = "prompt"
    index = 0
    prompt = ""
    error = InvalidRequestError("")

    @classmethod
    def of(cls, index: int, prompt: str, error: InvalidRequestError) -> Self:
        """Return what is wrong with one of several prompts."""
        happened = f"“{one_line(prompt)[:40]}”: {error.happened}"
        prompt_error = cls(happened, error.remedy, field_errors=error.field_errors)
        prompt_error.index = index
        prompt_error.prompt = prompt
        prompt_error.error = error
        return prompt_error


class ConnectionFailedError(SD35Error):
    """The Space can't be used."""

    kind = "connection"


class UnreachableError(ConnectionFailedError):
    """No answer: because of the network, the name, the certificate, the proxy, or a timeout.

    Attributes:
        was_sent: whether the request may have reached the Space, and only the answer was lost.
    """

    kind = "unreachable"
    may_pass = True
    remedy = "Check the address and your internet connection, then try again."

    def __init__(self, happened: str, remedy: str | None = None, *, was_sent: bool = False) -> None:
        super().__init__(happened, remedy)
        self.was_sent = was_sent


class LoginPageError(UnreachableError):
    """A login page answered in place of the server, such as that of a public Wi-Fi."""

    kind = "login-page"
    remedy = (
        "If your Wi-Fi or network has a login page, open any site in a browser and log in. "
        "Otherwise check the address: a Space with a login page of its own can't be used."
    )


class SpaceNotFoundError(ConnectionFailedError):
    """The Space doesn't exist, or is private and the token has no access to it."""

    kind = "not-found"
    remedy = "Check the name. If it's private, use a token with access (HF_TOKEN)."


class RedirectedError(SpaceNotFoundError):
    """The server redirects to another one, where no token may be sent."""

    kind = "redirected"


class SpaceAsleepError(ConnectionFailedError):
    """The Space is asleep, building or starting; a request wakes it up.

    Attributes:
        was_sent: whether a gateway answered in its place, so that the request may have reached the
            Space.
    """

    kind = "asleep"
    may_pass = True
    remedy = "Try again in a minute or two."
    was_sent = False


class SpaceStoppedError(SpaceAsleepError):
    """The Space was stopped or restarted during the job."""

    kind = "stopped"


class SpaceBrokenError(ConnectionFailedError):
    """The Space is in error, and only its owner can fix it."""

    kind = "in-error"
    remedy = "Only the owner can fix this. Choose another Space, or the demo Space."


class SpacePausedError(SpaceBrokenError):
    """The Space was paused by its owner, who alone can restart it."""

    kind = "paused"


class ModelError(ConnectionFailedError):
    """The model of a local Space can't be used on this machine as it is."""

    kind = "model"


class AccessDeniedError(ConnectionFailedError):
    """A token or a login is missing, invalid, or without access to the Space."""

    kind = "access"
    remedy = "Set HF_TOKEN (or SD35_TOKEN) to a valid token and restart."


class LoginRequiredError(AccessDeniedError):
    """The Space requires a username and a password, or doesn't accept these."""

    kind = "login"
    remedy = "Set SD35_SPACE_LOGIN to name:password (or use --space-login-file) and restart."


class ContractError(ConnectionFailedError):
    """The Space answers, but has no endpoint that this program can use."""

    kind = "contract"
    remedy = "Choose a Space with an /infer endpoint like stabilityai/stable-diffusion-3.5-large."


class OwnPageError(ContractError):
    """The Space is this program's own page, which would pass each request on to itself."""

    kind = "own-page"
    remedy = "Choose another Space with --space, or the demo Space."


class RefusedError(SD35Error):
    """The Space answered, and refused."""

    kind = "refused"


class QuotaError(RefusedError):
    """The GPU quota of this account, or of this IP address without an account, is used up.

    Attributes:
        account: the kind of account: "anonymous", "free" or "pro", if the message tells.
        requested_seconds: the GPU time that the job would have reserved, if the message tells.
        remaining_seconds: the rest of the quota. ZeroGPU may reserve more than was requested, so
            this can exceed `requested_seconds`.
    """

    kind = "quota"
    may_pass = True
    remedy = "Wait until the quota resets, or use a token with more (HF_TOKEN)."

    account: str | None = None
    requested_seconds: int | None = None
    remaining_seconds: int | None = None


class IdentityError(RefusedError):
    """The request had no identity whose quota the Space could use, or an expired one."""

    kind = "identity"
    may_pass = True
    remedy = "Try again. If it keeps failing, set HF_TOKEN to a valid token."


class IdentityExpiredError(IdentityError):
    """The identity in the request expired before a GPU was free: nothing was run."""

    kind = "identity-expired"


class BusyError(RefusedError):
    """No GPU is free for this request."""

    kind = "busy"
    may_pass = True
    remedy = "Try again in a minute."


class QueueFullError(BusyError):
    """The Space's queue is full."""

    kind = "queue-full"


class RateLimitedError(RefusedError):
    """Too many requests came from this IP address or account."""

    kind = "rate-limited"
    may_pass = True
    remedy = "Wait a minute, then try again."


class UsageLimitError(RateLimitedError):
    """A usage limit for the visitors of this page is reached."""

    kind = "allowance"
    may_pass = True
    remedy = "Wait until one finishes or the hour is up."


class GenerationFailedError(SD35Error):
    """The job failed inside the Space."""

    kind = "failed"
    remedy = "Try again. If it keeps failing, use another size or fewer steps."


class AbortedError(GenerationFailedError):
    """The GPU task took longer than the time that it had reserved."""

    kind = "aborted"
    remedy = "Try fewer steps or a smaller size."


class StreamError(SD35Error):
    """The connection to the Space broke during a job."""

    kind = "stream"
    may_pass = True
    remedy = "The result may be lost. Generate again if no image appears."


class StreamInterruptedError(StreamError):
    """The stream ended without a result: the network, a proxy, or the Space closed it."""

    kind = "cut"


class SessionLostError(StreamInterruptedError):
    """The Space no longer knows the job: it restarted, or another replica answered."""

    kind = "lost"


class StreamTimeoutError(StreamError):
    """The Space sent no updates for too long."""

    kind = "silent"


class ProtocolError(StreamError):
    """An answer that can't be understood."""

    kind = "protocol"
    may_pass = False
    remedy = "Try again. If it keeps failing, the Space has changed and this app needs an update."


class WebPageError(ProtocolError):
    """A web page in place of an answer: it isn't a Gradio app, or a network has a login page."""

    kind = "web-page"
    remedy = LoginPageError.remedy


class MalformedRequestError(ProtocolError):
    """The Space doesn't understand the request: a bug here, or the Space has changed."""

    kind = "malformed"


class PictureError(SD35Error):
    """The result isn't an image that is safe to open."""

    kind = "not-a-picture"


class PictureTooLargeError(PictureError):
    """The image has more bytes or pixels than are safe to open."""

    kind = "too-large"
    remedy = "Choose another Space, or a smaller size."


class WriteError(PictureError):
    """An image, or the program's output, couldn't be written to this machine."""

    kind = "not-written"
    remedy = "Free some space, or choose another folder."


class PictureExpiredError(PictureError):
    """The Space no longer has the image: a restart deletes its files."""

    kind = "picture-gone"
    remedy = "Generate again; the same seed gives the same image."


class LibraryError(SD35Error):
    """The library's index or folder can't be used."""

    kind = "library"
    remedy = "Choose another folder with --library, or free some space."


class IndexDamagedError(LibraryError):
    """The library's index is damaged, and will be rebuilt."""

    kind = "index-damaged"
    remedy = "Reload the page, or restart: it will be rebuilt from your images."

    def __init__(self, happened: str = "The library's index is damaged.") -> None:
        super().__init__(happened)
