"""The Space for ZeroGPU over a demo painter that fails as its prompt says."""

import os
from collections.abc import Generator

import httpx
from PIL import Image

from sd35.core.request import GenerationRequest
from sd35.space import painter
from sd35.space.engine import Broken, EngineError, EngineState, Ready, Step
from sd35.space.hosted import HostedSpace
from sd35.space.painter import DemoPainter


class FaultyPainter(DemoPainter):
    """Painter that waits for a permit before each step, or fails after the first step."""

    is_broken = False

    @property
    def state(self) -> EngineState:
        """The state now."""
        return Broken(EngineError("The GPU has failed.")) if self.is_broken else Ready()

    def generate(self, request: GenerationRequest) -> Generator[Step | Image.Image, None, None]:
        """Yield each step, and last the image, unless the prompt names a failure."""
        for result in super().generate(request):
            if request.prompt == "gated":
                httpx.post(f"{os.environ['SPACES_ZERO_DEVICE_API_URL']}/step", timeout=None)  # noqa: S113  # the test decides
            yield result
            match request.prompt:
                case "foreseen":
                    raise EngineError("Too little memory.", "Choose a smaller size.")
                case "unforeseen":
                    raise ZeroDivisionError("text of a visitor")
                case "broken":
                    self.is_broken = True
                    raise EngineError("The GPU has failed.")
                case "exit":
                    os._exit(1)


if __name__ == "__main__":
    painter.DemoPainter = FaultyPainter  # type: ignore[misc]
    HostedSpace("demo").run()
