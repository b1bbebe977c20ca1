"""A studio for Stable Diffusion 3.5 over a Gradio Space.

- `generate` returns a picture, and `stream` the events on the way to it, without `async`.
- `SpaceClient` is the asynchronous client under them; `GenerationRequest` is what a Space is asked, `Event` what it
  reports, and `SD35Error` the root of everything that is raised.
- `StabilityAI_SD35Large` is the provider class that programs for many providers know.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sd35.client import Contract, Generation, Previews, SpaceClient, StopOutcome, Timeouts
    from sd35.errors import SD35Error
    from sd35.events import (
        Event,
        Finished,
        Notice,
        Preview,
        Progress,
        Queued,
        RemotePicture,
        Started,
        Waiting,
    )
    from sd35.picture import Picture
    from sd35.provider import ImagePreview, ImageResponse, ResponseError, StabilityAI_SD35Large
    from sd35.request import GenerationRequest, Limits, Wish
    from sd35.simple import generate, stream

__all__ = [
    "Contract",
    "Event",
    "Finished",
    "Generation",
    "GenerationRequest",
    "ImagePreview",
    "ImageResponse",
    "Limits",
    "Notice",
    "Picture",
    "Preview",
    "Previews",
    "Progress",
    "Queued",
    "RemotePicture",
    "ResponseError",
    "SD35Error",
    "SpaceClient",
    "StabilityAI_SD35Large",
    "Started",
    "StopOutcome",
    "Timeouts",
    "Waiting",
    "Wish",
    "generate",
    "stream",
]

__version__ = "0.1.0"

_ROOMS = ("client", "errors", "events", "picture", "provider", "request", "simple")


def __getattr__(name: str) -> Any:  # noqa: ANN401  # as Python has it
    """Import a public name when it is first used: who asks for `--help` doesn't wait for an HTTP library."""
    if name in __all__:
        for room in _ROOMS:
            module = importlib.import_module(f"sd35.{room}")
            if name in module.__all__:
                value = globals()[name] = getattr(module, name)
                return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
