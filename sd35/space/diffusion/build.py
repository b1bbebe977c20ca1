"""The engine for a model that is named on the command line."""

from dataclasses import replace
from pathlib import Path

from sd35.core.model_options import Offload, Precision
from sd35.space.diffusion.devices import find_machine
from sd35.space.diffusion.engine import DiffusersEngine
from sd35.space.diffusion.weights import (
    ModelFiles,
    fetch_configuration,
    find_missing_files,
    resolve_revision,
)
from sd35.space.engine import EngineError
from sd35.space.fit import Machine, Plan, choose_plan
from sd35.space.model_folder import read_model_folder
from sd35.space.models import MODELS, Model

__all__ = ["create_engine", "find_model", "plan_model"]


def create_engine(
    name: str,
    *,
    device: str | None = None,
    revision: str | None = None,
    precision: Precision | None = None,
    offload: Offload | None = None,
    has_t5: bool | None = None,
) -> DiffusersEngine:
    """Return the engine of a model, on the best device or the given one of this machine.

    Args:
        name: one of `MODELS`, a folder, or `owner/name`.
        device: `cuda`, `mps` or `cpu`.
        revision: of the repository.
        precision: as `choose_plan` takes it.
        offload: as `choose_plan` takes it.
        has_t5: as `choose_plan` takes it.

    Raises:
        EngineError: there is no such model, or the machine can't run it.
    """
    machine = find_machine(device)
    files = find_model(name, revision)
    plan = plan_model(files.model, machine, precision=precision, offload=offload, has_t5=has_t5)
    return DiffusersEngine(files, plan, machine)


def plan_model(
    model: Model,
    machine: Machine,
    *,
    precision: Precision | None = None,
    offload: Offload | None = None,
    has_t5: bool | None = None,
) -> Plan:
    """Return how a model runs on a machine; see `choose_plan`.

    Raises:
        EngineError: none fits, or the machine or the model's files don't allow the given one.
    """
    if machine.device != "cuda":
        if precision == "nf4" or "bitsandbytes" in model.quantization:
            raise EngineError(
                f"{model.quantization or precision} needs an NVIDIA GPU.",
                "Choose --precision int8, or another model."
                if precision
                else "Choose another model.",
            )
        if offload == "group":
            raise EngineError("--offload group needs a GPU.", "Leave out --offload.")
    if model.quantization:
        if precision not in {None, "bfloat16"}:
            raise EngineError(
                f"The weights of {model.title} are {model.quantization} already.",
                "Leave out --precision.",
            )
        precision = "bfloat16"  # of the parts that aren't quantized
    plan = choose_plan(machine, model.weights, precision=precision, offload=offload, has_t5=has_t5)
    return replace(plan, quantization=model.quantization)


def find_model(name: str, revision: str | None = None) -> ModelFiles:
    """Return the files of a model that `create_engine` takes.

    Raises:
        EngineError: there is no such model.
    """
    folder = Path(name).expanduser()
    if name not in MODELS and folder.is_dir():
        return ModelFiles(read_model_folder(folder), folder)
    if folder.is_file():
        raise EngineError(
            f"{folder.name} is a file: a model is a folder in diffusers' format.",
            "Use large-turbo, large, medium, a folder, or owner/name.",
        )
    known_models = (model for model in MODELS.values() if name in {model.key, model.repository})
    model = next(known_models, None)
    if model is None:
        # Its limits and its size are in its files, of which the large ones come later.
        folder = fetch_configuration(name, revision)
        model = read_model_folder(folder, name, find_missing_files(name, revision).file_sizes)
    return ModelFiles(model, None, resolve_revision(model.repository, revision))
