"""The engine that a command line names, as a value that can be sent to other machines."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sd35.core.model_options import DEFAULT_MODEL_OPTIONS, ModelOptions
from sd35.space.engine import EngineError

if TYPE_CHECKING:
    from sd35.space.engine import Engine

__all__ = ["INSTALL_HINT", "EngineOptions"]

INSTALL_HINT: Final = "pip install -r requirements-model.txt"


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What an engine is made from.

    Attributes:
        model: `demo`, or as `sd35.space.diffusion.build.create_engine` takes it.
        model_options: how the model runs.
        step_seconds: least duration of a step of the demo painter; by default its own pace.
    """

    model: str = "demo"
    model_options: ModelOptions = DEFAULT_MODEL_OPTIONS
    step_seconds: float | None = None

    @property
    def needs_gpu(self) -> bool:
        """Return whether the engine computes on a GPU, which runs nothing else meanwhile."""
        return self.model != "demo" and self.model_options.device != "cpu"

    def create_engine(self) -> "Engine":
        """Return the engine, on this machine.

        Raises:
            EngineError: there is no such model, or this machine can't run it.
        """
        if self.model == "demo":
            from sd35.space.painter import DemoPainter  # noqa: PLC0415  # only for the demo

            return DemoPainter() if self.step_seconds is None else DemoPainter(self.step_seconds)
        try:
            from sd35.space.diffusion import build  # noqa: PLC0415  # torch: seconds
        except ImportError as error:
            message = f"The model needs more packages: {error.name} is missing."
            raise EngineError(message, f"Install them: {INSTALL_HINT}.") from error
        options = self.model_options
        return build.create_engine(
            self.model,
            device=options.device,
            revision=options.revision,
            precision=options.precision,
            offload=options.offload,
            has_t5=False if options.no_t5 else None,
        )
