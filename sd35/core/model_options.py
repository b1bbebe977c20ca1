"""Options of a model on this machine, as `app.py`, the commands and `python -m sd35.space` take."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final, Literal, get_args

__all__ = [
    "DEFAULT_MODEL_OPTIONS",
    "DEVICES",
    "OFFLOADS",
    "OPTION_HELP",
    "PRECISIONS",
    "Device",
    "ModelOptions",
    "Offload",
    "Precision",
    "refuse_model_options",
]

Device = Literal["cuda", "mps", "cpu"]
Precision = Literal["float32", "bfloat16", "int8", "nf4"]
Offload = Literal["none", "model", "group"]

DEVICES: Final[tuple[Device, ...]] = get_args(Device)
PRECISIONS: Final[tuple[Precision, ...]] = get_args(Precision)
OFFLOADS: Final[tuple[Offload, ...]] = get_args(Offload)

OPTION_HELP: Final[Mapping[str, str]] = {
    "device": "device that computes (default: the best)",
    "precision": "number format of the weights (default: the best that fits)",
    "offload": "what waits in RAM while it isn't used (default: as little as possible)",
    "no_t5": "leave out the largest text encoder, to save memory",
    "revision": "branch, tag or commit of the model (default: the newest)",
}
"""One line of help for each field of `ModelOptions`."""


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """How a model runs, as far as the user decides; the rest is fitted to the machine."""

    device: Device | None = None
    precision: Precision | None = None
    offload: Offload | None = None
    no_t5: bool = False
    revision: str | None = None

    @property
    def arguments(self) -> list[str]:
        """The options as arguments of a command line."""
        arguments = []
        for field in fields(self):
            value = getattr(self, field.name)
            flag = f"--{field.name.replace('_', '-')}"
            if value is True:
                arguments.append(flag)
            elif value:
                # In one argument: a value may begin with a hyphen.
                arguments.append(f"{flag}={value}")
        return arguments

    def __str__(self) -> str:
        parts = (argument.partition("=") for argument in self.arguments)
        return " ".join(
            f"{flag} {shlex.quote(value)}" if value else flag for flag, _, value in parts
        )


DEFAULT_MODEL_OPTIONS: Final = ModelOptions()


def refuse_model_options(options: Mapping[str, object]) -> str:
    """Return why options have no effect at a Space elsewhere; empty if none of them is given."""
    flags = [f"--{name.replace('_', '-')}" for name in OPTION_HELP if options.get(name)]
    if not flags:
        return ""
    verb = "is" if len(flags) == 1 else "are"
    return (
        f"{' and '.join(flags)} {verb} for a model on this machine. "
        "Choose local, local:medium or local:FOLDER as the Space"
    )
