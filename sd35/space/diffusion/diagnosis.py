"""Checks of what it takes to run a model on this machine."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import diffusers
import torch
import transformers
from huggingface_hub import get_token

from sd35.core.text import format_bytes
from sd35.space.diffusion.build import find_model, plan_model
from sd35.space.diffusion.devices import find_machine
from sd35.space.diffusion.speed import describe_speed
from sd35.space.diffusion.weights import (
    cache_disk_space,
    check_disk_space,
    find_missing_files,
)
from sd35.space.engine import EngineError
from sd35.space.engine_options import EngineOptions
from sd35.space.fit import Machine
from sd35.space.models import Model

__all__ = ["check_model"]


class _CheckSkippedError(Exception):
    """Reason why a check isn't run."""


@dataclass(slots=True)
class _Diagnosis:
    """Checks in their order; later ones use what earlier ones have found."""

    engine_options: EngineOptions
    machine: Machine | None = None
    model: Model | None = None
    missing_bytes: int = 0

    def check_packages(self) -> str:
        return (
            f"torch {torch.__version__}, diffusers {diffusers.__version__}, "
            f"transformers {transformers.__version__}"
        )

    def check_device(self) -> str:
        cpu_command = str(self.engine_options.with_options(device="cpu"))
        machine = self.machine = find_machine(self.engine_options.model_options.device, cpu_command)
        if machine.device == "cpu":
            return "CPU only, which is slow. For a GPU, install the PyTorch for it: see pytorch.org"
        driver = f", CUDA {torch.version.cuda}" if torch.version.cuda else ""
        memory = format_bytes(machine.device_bytes)
        return f"{machine.name}{driver}, {memory} of memory free"

    def check_memory(self) -> str:
        machine = self.machine or find_machine("cpu")
        return f"{format_bytes(machine.ram_bytes)} of RAM"

    def check_token(self) -> str:
        if get_token() is None:
            return "none: needed to download a gated model; set HF_TOKEN or run `hf auth login`"
        return "found; the check of the model says whether it may download"

    def check_model(self) -> str:
        files = find_model(self.engine_options.model, self.engine_options.model_options.revision)
        self.model = files.model
        if files.folder is not None:
            return f"{files.model.title}, in a folder"
        missing_files = find_missing_files(files.model.repository, files.revision or None)
        self.missing_bytes = missing_files.byte_count
        return f"{files.model.title}, {missing_files.summary}"

    def check_disk(self) -> str:
        check_disk_space(self.missing_bytes)
        folder, free_bytes = cache_disk_space()
        return f"{format_bytes(free_bytes)} free in {folder}"

    def check_fit(self) -> str:
        if self.machine is None or self.model is None:
            subject = "the device" if self.machine is None else "the model"
            raise _CheckSkippedError(f"skipped until {subject} works")
        plan = plan_model(self.model, self.machine, self.engine_options)
        description = f"runs as {plan.describe(self.machine, self.model.weights)}"
        speed = describe_speed(self.model, plan, self.machine)
        return f"{description}. {speed}" if speed else description


def check_model(engine_options: EngineOptions) -> Iterator[dict[str, str | bool]]:
    """Yield each check: its name, and `text`, `skipped`, or `happened` and `remedy`."""
    diagnosis = _Diagnosis(engine_options)
    checks: dict[str, Callable[[], str]] = {
        "Packages": diagnosis.check_packages,
        "Device": diagnosis.check_device,
        "Memory": diagnosis.check_memory,
        "Token": diagnosis.check_token,
        "Model": diagnosis.check_model,
        "Disk": diagnosis.check_disk,
        "Fit": diagnosis.check_fit,
    }
    for name, check in checks.items():
        try:
            yield {"check": name, "text": check()}
        except _CheckSkippedError as reason:
            yield {"check": name, "skipped": str(reason)}
        except EngineError as error:
            yield {"check": name, **error.to_dict()}
