"""The engine that a command line names, as a value that can be sent to other machines."""

import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sd35.core.model_options import DEFAULT_MODEL_OPTIONS, ModelOptions
from sd35.core.space_ref import LOCAL
from sd35.space.engine import EngineError
from sd35.space.fit import Plan

if TYPE_CHECKING:
    from sd35.space.engine import Engine

__all__ = ["EngineOptions", "packages_error"]


def packages_error(error: ImportError) -> EngineError:
    """Return which of the model's packages is missing, and how to install them."""
    happened = f"The model needs more packages: {error.name} is missing."
    return EngineError(happened, "Install them: pip install -r requirements-model.txt.")


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What an engine is made from, as the user named it; as a text, the command line for it.

    Attributes:
        model: `demo`, one of `MODELS`, a folder, or `owner/name`.
        model_options: how the model runs.
        step_seconds: least duration of a step of the demo painter; by default its own pace.
        is_child: whether `app.py` or a command started the process: there, a Space is chosen, and
            `python -m sd35.space` takes a model.
        is_hosted: whether this is a Space at Hugging Face, which nobody starts by a command line.
    """

    model: str = "demo"
    model_options: ModelOptions = DEFAULT_MODEL_OPTIONS
    step_seconds: float | None = None
    is_child: bool = False
    is_hosted: bool = False

    def __str__(self) -> str:
        flag, prefix = ("--space", f"{LOCAL}:") if self.is_child else ("--model", "")
        return f"{flag} {shlex.quote(prefix + self.model)} {self.model_options}".rstrip()

    @property
    def needs_gpu(self) -> bool:
        """Return whether the engine computes on a GPU, which runs nothing else meanwhile."""
        return self.model != "demo" and self.model_options.device != "cpu"

    @property
    def is_decided(self) -> bool:
        """Return whether the user has decided how the model fits into the memory."""
        return self.model_options.precision is not None and self.model_options.offload is not None

    def with_options(self, **values: Any) -> "EngineOptions":  # noqa: ANN401  # of `ModelOptions`
        """Return the same with other options of the model."""
        return replace(self, model_options=replace(self.model_options, **values))

    def with_plan(self, plan: Plan) -> "EngineOptions":
        """Return those that ask for a plan."""
        no_t5 = self.model_options.no_t5 or not plan.has_t5
        return self.with_options(precision=plan.precision, offload=plan.offload, no_t5=no_t5)

    def with_model(self, model: str) -> "EngineOptions":
        """Return those for another model, of which only the device is known."""
        return replace(self, model=model, model_options=ModelOptions(self.model_options.device))

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
            raise packages_error(error) from error
        return build.create_engine(self)
