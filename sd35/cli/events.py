"""Events of a command: those that the Space sends, and those of this program."""

from dataclasses import dataclass
from pathlib import Path

from sd35.core.errors import SD35Error
from sd35.core.events import Event, RemotePicture
from sd35.core.picture import Picture
from sd35.core.request import GenerationRequest
from sd35.core.stop_outcome import StopOutcome

__all__ = [
    "CliEvent",
    "Hint",
    "OperationFailed",
    "PicturePlanned",
    "PictureSaved",
    "PictureStarted",
    "PreviewSaved",
    "SheetSaved",
    "ShutdownReport",
    "ShutdownRequested",
    "TaskProgress",
]


@dataclass(frozen=True, slots=True)
class TaskProgress:
    """Progress of a task; `total` is `None` while it is unknown.

    A brief task is shown on a live line, but not written to a log.
    """

    description: str
    completed: int = 0
    total: int | None = None
    is_brief: bool = False


@dataclass(frozen=True, slots=True)
class Hint:
    """Message that isn't an error; a warning is shown with `--quiet`, too."""

    text: str
    is_warning: bool = False


@dataclass(frozen=True, slots=True)
class PicturePlanned:
    """Image that a dry run would make; `index` counts from 1."""

    index: int
    total: int
    request: GenerationRequest
    origin: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class PictureStarted:
    """Start of one image of a batch; `index` counts from 1.

    Attributes:
        expected_seconds: how long it usually takes; `None` if that isn't known.
        following_seconds: how long the images after it will take.
    """

    index: int
    total: int
    request: GenerationRequest
    expected_seconds: float | None = None
    following_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class PreviewSaved:
    """Preview that was written to a file."""

    picture: RemotePicture
    preview: Picture
    path: Path


@dataclass(frozen=True, slots=True)
class PictureSaved:
    """Finished image that was written to a file."""

    path: Path
    picture: Picture
    prompt: str
    elapsed_seconds: float
    space: str
    is_demo: bool


@dataclass(frozen=True, slots=True)
class SheetSaved:
    """Sheet of a grid that was written to a file."""

    path: Path


@dataclass(frozen=True, slots=True)
class ShutdownRequested:
    """Request to stop, by Ctrl+C or SIGTERM."""


@dataclass(frozen=True, slots=True)
class ShutdownReport:
    """End of a command that was asked to stop; `outcome` is `None` if nothing was running."""

    outcome: StopOutcome | None
    has_saved_picture: bool = False


@dataclass(frozen=True, slots=True)
class OperationFailed:
    """Failure of a command, or of the request that it was working on."""

    error: SD35Error
    request: GenerationRequest | None = None


CliEvent = (
    Event
    | Hint
    | OperationFailed
    | PicturePlanned
    | PictureSaved
    | PictureStarted
    | PreviewSaved
    | SheetSaved
    | ShutdownReport
    | ShutdownRequested
    | TaskProgress
)
