"""A studio for Stable Diffusion 3.5 over a Gradio Space.

- `generate` returns an image, and `stream` the events on the way to it, without `async`.
- `SpaceClient` is the asynchronous client below them. `RequestOptions` and `GenerationRequest`
  describe an image, `Event` is what a Space reports, and `SD35Error` the root of all errors.
- `Template` makes prompts of one text with choices and wildcards; `apply_styles` gives them styles.
- `StabilityAI_SD35Large` is the provider class for programs that support many providers.
"""

import importlib
from typing import TYPE_CHECKING, Any

from sd35.core.version import __version__

if TYPE_CHECKING:
    from sd35.client import Contract, Generation, Previews, SpaceClient, StopOutcome, Timeouts
    from sd35.core.errors import SD35Error
    from sd35.core.events import (
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
    from sd35.core.limits import Limits
    from sd35.core.picture import Picture
    from sd35.core.request import GenerationRequest, RequestOptions
    from sd35.prompts.styles import Style, StyleBook, apply_styles, load_styles
    from sd35.prompts.templates import Template
    from sd35.prompts.wildcards import WildcardFolders
    from sd35.provider import (
        AsyncResult,
        ImagePreview,
        ImageResponse,
        Messages,
        ResponseError,
        StabilityAI_SD35Large,
    )
    from sd35.sync import generate, stream

__all__ = [
    "AsyncResult",
    "Contract",
    "Event",
    "Finished",
    "Generation",
    "GenerationRequest",
    "ImagePreview",
    "ImageResponse",
    "Limits",
    "Messages",
    "Notice",
    "Picture",
    "Preview",
    "Previews",
    "Progress",
    "Queued",
    "RemotePicture",
    "RequestOptions",
    "ResponseError",
    "SD35Error",
    "SpaceClient",
    "StabilityAI_SD35Large",
    "Started",
    "StopOutcome",
    "Style",
    "StyleBook",
    "Template",
    "Timeouts",
    "Waiting",
    "WildcardFolders",
    "__version__",
    "apply_styles",
    "generate",
    "load_styles",
    "stream",
]

_MODULES = (
    "client",
    "core.errors",
    "core.events",
    "core.limits",
    "core.picture",
    "core.request",
    "prompts.styles",
    "prompts.templates",
    "prompts.wildcards",
    "provider",
    "sync",
)


def __getattr__(name: str) -> Any:  # noqa: ANN401  # Python's interface
    """Import a public name when it is first used."""
    # Importing sd35.cli imports this package, and --help shouldn't wait for an HTTP library.
    if name in __all__:
        for module_name in _MODULES:
            module = importlib.import_module(f"sd35.{module_name}")
            if name in module.__all__:
                value = globals()[name] = getattr(module, name)
                return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
