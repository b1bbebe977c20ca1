"""What is told while pictures are made: the Space's own events, and what this program does itself."""

from dataclasses import dataclass
from pathlib import Path

from sd35.client import StopOutcome
from sd35.core.errors import SD35Error
from sd35.core.events import Event, RemotePicture
from sd35.core.picture import Picture
from sd35.core.request import GenerationRequest

__all__ = [
    "CheckStarted",
    "CliEvent",
    "ConnectionEstablished",
    "ConnectionStarted",
    "DownloadStarted",
    "Hint",
    "OperationFailed",
    "PictureSaved",
    "PictureStarted",
    "PreviewSaved",
    "ShutdownReport",
    "ShutdownRequested",
    "TaskProgress",
]


@dataclass(frozen=True, slots=True)
class CheckStarted:
    """Something is being looked at."""

    check_name: str


@dataclass(frozen=True, slots=True)
class ConnectionStarted:
    """The Space is being looked for."""

    space: str


@dataclass(frozen=True, slots=True)
class ConnectionEstablished:
    """The Space was found."""

    space: str
    is_demo: bool


@dataclass(frozen=True, slots=True)
class Hint:
    """A sentence that a person should know; nothing has failed."""

    text: str


@dataclass(frozen=True, slots=True)
class PictureStarted:
    """The turn of this picture has come: `number` of `count`."""

    index: int
    total: int
    request: GenerationRequest


@dataclass(frozen=True, slots=True)
class PreviewSaved:
    """A preview was written to a file."""

    picture: RemotePicture
    preview: Picture
    path: Path


@dataclass(frozen=True, slots=True)
class DownloadStarted:
    """The picture is complete at the Space, and is being fetched."""


@dataclass(frozen=True, slots=True)
class PictureSaved:
    """The picture was written to a file; `seconds` is how long it took from its beginning."""

    path: Path
    picture: Picture
    prompt: str
    elapsed_seconds: float
    space: str
    is_demo: bool


@dataclass(frozen=True, slots=True)
class ShutdownRequested:
    """The program was asked to stop."""


@dataclass(frozen=True, slots=True)
class ShutdownReport:
    """The program has stopped, as it was asked to.

    `outcome` is what that did at the Space, `None` where nothing was under way there; `has_saved`
    says that the picture that was complete at that moment is saved.
    """

    outcome: StopOutcome | None
    has_saved_picture: bool = False


@dataclass(frozen=True, slots=True)
class TaskProgress:
    """Something of many parts is being done, and so many are; `total` is `None` where it isn't known."""

    description: str
    completed: int = 0
    total: int | None = None


@dataclass(frozen=True, slots=True)
class OperationFailed:
    """There is no picture; of one that had begun, `request` says which."""

    error: SD35Error
    request: GenerationRequest | None = None


CliEvent = (
    Event
    | CheckStarted
    | ConnectionStarted
    | ConnectionEstablished
    | Hint
    | PictureStarted
    | PreviewSaved
    | DownloadStarted
    | PictureSaved
    | ShutdownRequested
    | ShutdownReport
    | TaskProgress
    | OperationFailed
)
