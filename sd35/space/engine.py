"""Interface of an engine, which makes the images in a Space that we run.

`sd35.space.painter.DemoPainter` is one, `sd35.space.diffusion.DiffusersEngine` another, and
`sd35.space.replicas` has one over several of them; `sd35.space.server` serves any, and knows none.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from PIL import Image

from sd35.core.limits import Limits
from sd35.core.model_info import ModelInfo
from sd35.core.model_options import ModelOptions
from sd35.core.request import GenerationRequest

__all__ = [
    "AccessError",
    "Broken",
    "Engine",
    "EngineError",
    "EngineState",
    "Loading",
    "Notice",
    "Ready",
    "ReplicatedEngine",
    "Result",
    "Step",
    "Waiting",
]


class EngineError(Exception):
    """A foreseen failure of an engine, such as too little memory.

    Attributes:
        happened: what happened, as a sentence.
        remedy: what to do about it, as a sentence; may be empty.
    """

    def __init__(self, happened: str, remedy: str = "") -> None:
        super().__init__(f"{happened} {remedy}".strip())
        self.happened = happened
        self.remedy = remedy

    def to_dict(self) -> dict[str, str | bool]:
        """Return the error for another process."""
        is_refusal = isinstance(self, AccessError)
        return {"happened": self.happened, "remedy": self.remedy, "is_refusal": is_refusal}


class AccessError(EngineError):
    """A failure for lack of a licence's acceptance, of a token, or of what the token allows."""


@dataclass(frozen=True, slots=True)
class Step:
    """Finished inference step of a run.

    Attributes:
        number: from 1.
        total: number of steps in the run.
        preview: JPEG of the current estimate of the image; `None` on most steps.
    """

    number: int
    total: int
    preview: bytes | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A run waits before its first step; repeated while it does."""

    text: str


@dataclass(frozen=True, slots=True)
class Notice:
    """What the user should know about a run besides its steps."""

    text: str


Result = Step | Waiting | Notice | Image.Image


@dataclass(frozen=True, slots=True)
class Loading:
    """The engine can't make images yet: `fraction`, from 0 to 1, is unknown for some waits."""

    text: str
    fraction: float | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """The engine can make images."""


@dataclass(frozen=True, slots=True)
class Broken:
    """The engine can't make images until it is started again; see `EngineError`.

    Attributes:
        smaller_options: with these, the model may fit into the memory.
    """

    error: EngineError
    smaller_options: ModelOptions | None = None


EngineState = Loading | Ready | Broken


class Engine(Protocol):
    """Maker of images.

    Attributes:
        title: title of the Space's page, and the software that image files name.
        description: text below the title, as Markdown; how it runs.
        warning: a sentence for those who wait, such as that a step takes minutes; may be empty.
        model_info: the model, for `/config`; complete when the constructor returns.
        limits: the ranges that the server enforces.
        size_multiple: what both sides must be multiples of, in pixels.
        concurrency: largest number of runs at the same time.
    """

    title: str
    description: str
    warning: str
    model_info: ModelInfo
    limits: Limits
    size_multiple: int
    concurrency: int

    @property
    def state(self) -> EngineState:
        """The state now."""
        ...

    def start(self) -> None:
        """Begin to load the model, in the background."""
        ...

    def generate(self, request: GenerationRequest) -> Generator[Result, None, None]:
        """Yield each finished step, and last the RGB image in the requested size.

        A run that begins again on another device counts its steps from 1 again, after a notice.

        `request.seed` counts even with `randomize_seed`: the server draws random seeds. Closing the
        generator ends the run before its next step, and returns once the device is free.

        Raises:
            EngineError: the run failed; the engine's state says whether others may succeed.
        """
        ...

    def close(self) -> None:
        """Free the device. A run that is under way ends before its next step."""
        ...


@runtime_checkable
class ReplicatedEngine(Protocol):
    """What an engine over several devices has besides what each engine has.

    Attributes:
        middleware: ASGI middleware for its Space.
        on_model_info: called with the model of each device that is new.
    """

    middleware: Sequence[Any]
    on_model_info: Callable[[ModelInfo], None]

    def update(self) -> None:
        """Load the model again, one device after the other, without ending a run.

        Raises:
            EngineError: the devices can't be told.
        """
        ...
