"""Failures of PyTorch as sentences: too little memory, or a GPU that can't be used."""

from typing import Final

import torch

from sd35.core.request import GenerationRequest
from sd35.space.engine import EngineError
from sd35.space.fit import Machine, Plan, smaller_plan
from sd35.space.models import Weights

__all__ = ["is_device_failure", "is_memory_error", "load_error", "run_error"]

# Of the allocators of Apple's GPUs and of the CPU, and of CUDA's libraries, which raise plain
# RuntimeErrors.
_MEMORY_PHRASES: Final = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "alloc_failed",
)
_DEVICE_PHRASES: Final = ("cuda error", "hip error", "cudnn error", "device-side assert")
_NO_KERNEL_PHRASES: Final = ("no kernel image", "invalid device function")

_REMEDY_OF_BUILD: Final = "Install one for this GPU (see pytorch.org), or start with --device cpu."


def is_memory_error(error: BaseException) -> bool:
    """Return whether the device or the machine has too little memory."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or _has_phrase(
        error, _MEMORY_PHRASES
    )


def is_device_failure(error: BaseException) -> bool:
    """Return whether every later call to the device would fail as well."""
    if is_memory_error(error):
        return False
    return isinstance(error, torch.AcceleratorError) or _has_phrase(error, _DEVICE_PHRASES)


def load_error(error: Exception, plan: Plan, machine: Machine, weights: Weights) -> EngineError:
    """Return why the model can't be loaded, and what may help."""
    if is_memory_error(error):
        return EngineError(
            f"The model doesn't fit into the memory of {machine.name} ({plan}).",
            f"Close other programs, or {_smaller_option(plan, machine, weights)}.",
        )
    return _device_error(error, machine) or EngineError(
        f"The model can't be loaded: {type(error).__name__}.",
        "Copy or download its files again. If they are whole, the Space's log says more.",
    )


def run_error(
    error: Exception, request: GenerationRequest, plan: Plan, machine: Machine, weights: Weights
) -> EngineError:
    """Return why a run has failed, and what may help."""
    if is_memory_error(error):
        pixels = request.width * request.height
        side = next((side for side in (1024, 768, 512, 256) if side * side < pixels), None)
        smaller_size = f"Choose a smaller size, such as {side} × {side}, or " if side else ""
        remedy = f"{smaller_size}{_smaller_option(plan, machine, weights)}."
        return EngineError(
            f"{request.width} × {request.height} doesn't fit into the memory of {machine.name}.",
            remedy[0].upper() + remedy[1:],
        )
    return _device_error(error, machine) or EngineError(
        f"The run failed: {type(error).__name__}.", "The Space's log says more."
    )


def _smaller_option(plan: Plan, machine: Machine, weights: Weights) -> str:
    smaller = smaller_plan(machine, weights, plan)
    if smaller is None:
        return "start the Space with a smaller model, such as --model medium"
    return f"start the Space with {smaller.flags}"


def _device_error(error: Exception, machine: Machine) -> EngineError | None:
    if _has_phrase(error, _NO_KERNEL_PHRASES):
        return EngineError(f"This PyTorch can't compute on {machine.name}.", _REMEDY_OF_BUILD)
    if is_device_failure(error):
        return EngineError(
            f"The GPU has failed: {_first_line(error)}.",
            "The Space starts again. If this happens often, update the GPU's driver.",
        )
    return None


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")


def _has_phrase(error: BaseException, phrases: tuple[str, ...]) -> bool:
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(phrase in text for phrase in phrases)
