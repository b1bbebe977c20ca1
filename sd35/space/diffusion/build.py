"""The engine for a model that is named on the command line."""

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
from sd35.space.fit import choose_plan
from sd35.space.model_folder import read_model_folder
from sd35.space.models import MODELS

__all__ = ["create_engine", "find_model"]


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
    weights = files.model.weights
    plan = choose_plan(machine, weights, precision=precision, offload=offload, has_t5=has_t5)
    return DiffusersEngine(files, plan, machine)


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
