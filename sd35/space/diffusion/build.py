"""The engine for a model that is named on the command line."""

import os
from dataclasses import replace
from pathlib import Path

from sd35.core.model_options import ModelOptions
from sd35.space.diffusion.devices import find_machine
from sd35.space.diffusion.engine import DiffusersEngine
from sd35.space.diffusion.weights import (
    ModelFiles,
    fetch_configuration,
    find_missing_files,
    resolve_revision,
)
from sd35.space.engine import EngineError
from sd35.space.engine_options import EngineOptions
from sd35.space.fit import Machine, Plan, choose_plan, describe_shortage
from sd35.space.model_folder import read_model_folder
from sd35.space.models import MODELS, Model
from sd35.space.remedies import memory_remedy

__all__ = ["create_engine", "find_model", "plan_model"]


def create_engine(engine_options: EngineOptions) -> DiffusersEngine:
    """Return the engine of a model, on the best device or the chosen one of this machine.

    Raises:
        EngineError: there is no such model, or the machine can't run it.
    """
    options = engine_options.model_options
    machine = find_machine(options.device, str(engine_options.with_options(device="cpu")))
    files = find_model(engine_options.model, options.revision)
    plan = plan_model(files.model, machine, engine_options)
    return DiffusersEngine(files, plan, machine, engine_options)


def plan_model(model: Model, machine: Machine, engine_options: EngineOptions) -> Plan:
    """Return how a model runs on a machine; see `choose_plan`.

    Raises:
        EngineError: none fits, or the machine or the model's files don't allow the chosen one.
    """
    options = engine_options.model_options
    _check_options(model, machine, options)
    if model.quantization:
        options = replace(options, precision="bfloat16")  # of the parts that aren't quantized
    plan = choose_plan(machine, model.weights, options)
    if plan is None:
        raise EngineError(
            describe_shortage(machine, model.weights, options),
            f"Close other programs, or {memory_remedy(engine_options, machine, model)}.",
        )
    return replace(plan, quantization=model.quantization)


def _check_options(model: Model, machine: Machine, options: ModelOptions) -> None:
    """Refuse options that the machine or the model's files don't allow.

    Raises:
        EngineError: there is such an option.
    """
    if machine.device != "cuda" and "bitsandbytes" in model.quantization:
        raise EngineError(f"{model.quantization} needs an NVIDIA GPU.", "Choose another model.")
    if machine.device != "cuda" and options.precision == "nf4":
        raise EngineError("--precision nf4 needs an NVIDIA GPU.", "Leave out --precision.")
    if not machine.has_own_memory and options.offload not in {None, "none"}:
        raise EngineError(
            f"--offload {options.offload} needs a GPU with its own memory.", "Leave out --offload."
        )
    if model.quantization and options.precision not in {None, "bfloat16"}:
        raise EngineError(
            f"The weights of {model.title} are {model.quantization} already.",
            "Leave out --precision.",
        )


def find_model(name: str, revision: str | None = None) -> ModelFiles:
    """Return the files of a model that `create_engine` takes.

    Raises:
        EngineError: there is no such model.
    """
    # Unlike Path's methods, these raise nothing for names that no file can have.
    folder = Path(os.path.expanduser(name))  # noqa: PTH111  # see above
    if name not in MODELS and os.path.isdir(folder):  # noqa: PTH112  # see above
        if revision is not None:
            raise EngineError("A folder has no revisions.", "Leave out --revision.")
        return ModelFiles(read_model_folder(folder), folder)
    if os.path.isfile(folder):  # noqa: PTH113  # see above
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
