"""Failures of PyTorch as sentences: too little memory, or a GPU that can't be used."""

import errno
from dataclasses import dataclass
from typing import Final

import torch

from sd35.core.request import GenerationRequest
from sd35.space.engine import EngineError
from sd35.space.engine_options import EngineOptions
from sd35.space.fit import Machine, Plan
from sd35.space.models import Model
from sd35.space.remedies import memory_remedy, restart_remedy

__all__ = ["Failures", "is_device_failure", "is_memory_error"]

# Of the allocators of Apple's GPUs and of the CPU, and of CUDA's libraries, which raise plain
# RuntimeErrors.
_MEMORY_PHRASES: Final = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "alloc_failed",
)
_DEVICE_PHRASES: Final = ("cuda error", "hip error", "cudnn error", "device-side assert")
_NO_KERNEL_PHRASES: Final = ("no kernel image", "invalid device function")


def is_memory_error(error: BaseException) -> bool:
    """Return whether the device or the machine has too little memory."""
    if isinstance(error, OSError):  # files are mapped into the memory
        return error.errno == errno.ENOMEM
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or _has_phrase(
        error, _MEMORY_PHRASES
    )


def is_device_failure(error: BaseException) -> bool:
    """Return whether every later call to the device would fail as well."""
    if is_memory_error(error):
        return False
    return isinstance(error, torch.AcceleratorError) or _has_phrase(error, _DEVICE_PHRASES)


@dataclass(frozen=True, slots=True)
class Failures:
    """Errors of a model that runs as planned, as sentences."""

    engine_options: EngineOptions
    model: Model
    plan: Plan
    machine: Machine

    def load_error(self, error: Exception) -> EngineError:
        """Return why the model can't be loaded, and what may help."""
        if is_memory_error(error):
            return EngineError(
                f"The model doesn't fit into the memory of {self.machine.name} ({self.plan}).",
                f"Close other programs, or {self._memory_remedy()}.",
            )
        return self._device_error(error) or EngineError(
            f"The model can't be loaded: {type(error).__name__}.",
            "Copy or download its files again. If they are whole, the Space's log says more.",
        )

    def run_error(self, error: Exception, request: GenerationRequest) -> EngineError:
        """Return why a run has failed, and what may help."""
        if is_memory_error(error):
            size = f"{request.width} × {request.height}"
            remedy = self._smaller_size(request) + self._memory_remedy()
            return EngineError(
                f"{size} doesn't fit into the memory of {self.machine.name}.",
                f"{remedy[0].upper()}{remedy[1:]}.",
            )
        return self._device_error(error) or EngineError(
            f"The run failed: {type(error).__name__}.", "The Space's log says more."
        )

    def _smaller_size(self, request: GenerationRequest) -> str:
        pixels = request.width * request.height
        minimum = self.model.limits.width.minimum
        for side in (1024, 768, 512, 256):
            if minimum <= side and side * side < pixels:
                return f"choose a smaller size, such as {side} × {side}, or "
        return ""

    def _memory_remedy(self) -> str:
        return memory_remedy(self.engine_options, self.machine, self.model, self.plan)

    def _device_error(self, error: Exception) -> EngineError | None:
        if _has_phrase(error, _NO_KERNEL_PHRASES):
            remedy = restart_remedy(self.engine_options.with_options(device="cpu"))
            return EngineError(
                f"This PyTorch can't compute on {self.machine.name}.",
                f"Install one for this GPU (see pytorch.org), or {remedy}.",
            )
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
