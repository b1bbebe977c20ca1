"""What is told while pictures are made: the Space's own events, and what this program does itself."""

from dataclasses import dataclass
from pathlib import Path

from sd35.client import StopOutcome
from sd35.core.errors import SD35Error
from sd35.core.events import Event, RemotePicture
from sd35.core.picture import Picture
from sd35.core.request import GenerationRequest

__all__ = [
    "Begun",
    "Checking",
    "Connected",
    "Connecting",
    "Failed",
    "Fetching",
    "Kept",
    "News",
    "Remark",
    "Saved",
    "Stopped",
    "Stopping",
    "Working",
]


@dataclass(frozen=True, slots=True)
class Checking:
    """Something is being looked at."""

    what: str


@dataclass(frozen=True, slots=True)
class Connecting:
    """The Space is being looked for."""

    space: str


@dataclass(frozen=True, slots=True)
class Connected:
    """The Space was found."""

    space: str
    is_demo: bool


@dataclass(frozen=True, slots=True)
class Remark:
    """A sentence that a person should know; nothing has failed."""

    text: str


@dataclass(frozen=True, slots=True)
class Begun:
    """The turn of this picture has come: `number` of `count`."""

    number: int
    count: int
    request: GenerationRequest


@dataclass(frozen=True, slots=True)
class Kept:
    """A preview was written to a file."""

    picture: RemotePicture
    fetched: Picture
    path: Path


@dataclass(frozen=True, slots=True)
class Fetching:
    """The picture is complete at the Space, and is being fetched."""


@dataclass(frozen=True, slots=True)
class Saved:
    """The picture was written to a file; `seconds` is how long it took from its beginning."""

    path: Path
    picture: Picture
    prompt: str
    seconds: float
    space: str
    is_demo: bool


@dataclass(frozen=True, slots=True)
class Stopping:
    """The program was asked to stop."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """The program has stopped, as it was asked to.

    `outcome` is what that did at the Space, `None` where nothing was under way there; `has_saved`
    says that the picture that was complete at that moment is saved.
    """

    outcome: StopOutcome | None
    has_saved: bool = False


@dataclass(frozen=True, slots=True)
class Working:
    """Something of many parts is being done, and so many are; `total` is `None` where it isn't known."""

    what: str
    done: int = 0
    total: int | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """There is no picture; of one that had begun, `request` says which."""

    error: SD35Error
    request: GenerationRequest | None = None


News = (
    Event
    | Checking
    | Connecting
    | Connected
    | Remark
    | Begun
    | Kept
    | Fetching
    | Saved
    | Stopping
    | Stopped
    | Working
    | Failed
)
