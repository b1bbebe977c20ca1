"""The device that computes, and the memory of the machine."""

import os
from pathlib import Path
from typing import Final

import torch

from sd35.core.model_options import DEVICES
from sd35.space.engine import EngineError
from sd35.space.fit import Machine

__all__ = ["find_machine"]

_CONTROL_GROUPS: Final = Path("/sys/fs/cgroup")

# Of PyTorch, where there is no GPU, or none for this process.
_ABSENCES: Final = ("Found no NVIDIA driver", "No CUDA GPUs are available")


def find_machine(device: str | None = None, cpu_command: str = "--device cpu") -> Machine:
    """Return the machine with its best device, or with the given one of `DEVICES`.

    `cpu_command` is for people: how to compute on the CPU.

    Raises:
        EngineError: the machine has no such device, or PyTorch can't use it.
    """
    if device is None:
        device = next(filter(_is_available, DEVICES))
        if device == "cpu":
            _check_driver(cpu_command)
    elif not _is_available(device):
        raise EngineError(
            f"PyTorch finds no {_device_name(device)} here.", _remedy(device, cpu_command)
        )
    ram_bytes = _ram_bytes()
    if device == "cuda":
        return _cuda_machine(ram_bytes, cpu_command)
    name = "Apple GPU" if device == "mps" else "CPU"
    return Machine(device, name, ram_bytes, ram_bytes)


def _is_available(device: str) -> bool:
    match device:
        case "cuda":
            return bool(torch.cuda.is_available())
        case "mps":
            return bool(torch.backends.mps.is_available())
        case _:
            return device == "cpu"


def _check_driver(cpu_command: str) -> None:
    """Refuse to compute on the CPU beside a GPU whose driver is too old or doesn't work.

    Raises:
        EngineError: there is such a GPU.
    """
    if torch.version.cuda is None:
        return
    try:
        torch.cuda.init()
    except RuntimeError as error:
        if not str(error).startswith(_ABSENCES):
            raise _gpu_error(error, cpu_command) from error


def _gpu_error(error: RuntimeError, cpu_command: str) -> EngineError:
    # Such as "The NVIDIA driver on your system is too old (found …). Please update …", or that
    # there are kernels for other GPUs only.
    message = str(error).partition("\n")[0].partition(". ")[0].rstrip(".")
    return EngineError(f"The GPU can't be used: {message}.", _remedy("cuda", cpu_command))


def _device_name(device: str) -> str:
    return {"cuda": "NVIDIA or AMD GPU", "mps": "Apple GPU"}.get(device, device)


def _remedy(device: str, cpu_command: str) -> str:
    if device == "cuda" and torch.version.cuda is None and torch.version.hip is None:
        return "This PyTorch is for the CPU alone: install one for your GPU, see pytorch.org."
    if device == "cuda":
        return f"Check the driver with nvidia-smi, or compute on the CPU: {cpu_command}."
    return "Leave out --device, and the best one is used."


def _cuda_machine(ram_bytes: int, cpu_command: str) -> Machine:
    try:
        free_bytes, _ = torch.cuda.mem_get_info()
        name = torch.cuda.get_device_name()
    except RuntimeError as error:
        raise _gpu_error(error, cpu_command) from error
    return Machine("cuda", name, free_bytes, ram_bytes)


def _ram_bytes() -> int:
    limits = [_installed_bytes()]
    # A container ends a program that takes more than its limit, of whatever the machine has.
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            limits.append(int((_CONTROL_GROUPS / name).read_text()))
        except (OSError, ValueError):
            continue  # there is no limit
    return min(limits)


def _installed_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        import psutil  # noqa: PLC0415  # accelerate requires it

        return int(psutil.virtual_memory().total)
