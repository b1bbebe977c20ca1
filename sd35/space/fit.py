"""Plan of how a model runs on a machine: number formats, and what leaves the GPU between uses.

Pure arithmetic: no torch.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from sd35.core.model_options import DEFAULT_MODEL_OPTIONS, ModelOptions, Offload, Precision
from sd35.core.text import format_bytes
from sd35.space.models import GB, Weights

__all__ = [
    "Machine",
    "Plan",
    "choose_plan",
    "describe_shortage",
    "smaller_plan",
]

# Of the weights at 16 bits. Counted: biases, norms and embeddings keep 16 bits.
_SIZES: Final[dict[Precision, float]] = {
    "float32": 2.0,
    "bfloat16": 1.0,
    "int8": 0.52,
    "nf4": 0.3,
}

WORKING_BYTES: Final = 2_500_000_000
"""Memory for one image of a megapixel with guidance, besides the weights.

Measured on an H100 by `python -m bench plans`: with all parts on the GPU, runs of Large succeed
within the sum; with model offload they take 0.6 to 1.5 GB less.
"""

TILED_WORKING_BYTES: Final = 1_500_000_000  # with the VAE decoding the image in tiles
SYSTEM_BYTES: Final = 4_000_000_000  # RAM for everything else on the machine
GROUP_BYTES: Final = 1_000_000_000  # on the GPU at once, when layers are streamed


@dataclass(frozen=True, slots=True)
class Machine:
    """A device that computes, and the memory of its machine.

    Attributes:
        device: `cuda`, `mps` or `cpu`.
        name: of the device, for people.
        device_bytes: memory of the GPU that is free; on other devices that of the machine.
        ram_bytes: memory of the machine.
    """

    device: str
    name: str
    device_bytes: int
    ram_bytes: int

    @property
    def has_own_memory(self) -> bool:
        """Return whether the device's memory isn't that of the machine."""
        return self.device == "cuda"


@dataclass(frozen=True, slots=True)
class Plan:
    """How a model runs.

    Attributes:
        precision: number format of the transformer and the T5 encoder; the rest has 16 bits.
        offload: what waits in the machine's memory while it isn't used: nothing, each part of the
            model, or each layer of the transformer.
        has_t5: whether the largest text encoder is used.
        is_tiled: whether the VAE decodes the image in tiles, which takes less memory.
        quantization: number format of the files, if the weights in them are quantized already.
    """

    precision: Precision
    offload: Offload = "none"
    has_t5: bool = True
    is_tiled: bool = False
    quantization: str = ""

    def device_bytes(self, weights: Weights) -> int:
        """Return the memory of the device that a run takes at its peak."""
        size = _SIZES[self.precision]
        transformer = weights.transformer * size
        t5 = weights.t5 * size * self.has_t5
        rest = weights.rest * max(1.0, size)  # never below 16 bits
        working_bytes = TILED_WORKING_BYTES if self.is_tiled else WORKING_BYTES
        match self.offload:
            case "none":
                loaded_bytes = transformer + t5 + rest
            case "model":
                loaded_bytes = max(transformer, t5, rest)
            case "group":
                loaded_bytes = GROUP_BYTES + rest
        return round(loaded_bytes + working_bytes)

    def ram_bytes(self, weights: Weights) -> int:
        """Return the memory of the machine that the parts take that aren't on the device."""
        if self.offload == "none":
            return 0
        size = _SIZES[self.precision]
        return round((weights.transformer + weights.t5 * self.has_t5) * size + weights.rest)

    def fits(self, machine: Machine, weights: Weights) -> bool:
        """Return whether a run takes no more memory than the machine has."""
        available_ram = machine.ram_bytes - SYSTEM_BYTES
        if not machine.has_own_memory:
            return self.device_bytes(weights) <= min(machine.device_bytes, available_ram)
        is_on_device = self.device_bytes(weights) <= machine.device_bytes
        return is_on_device and self.ram_bytes(weights) <= available_ram

    @property
    def number_format(self) -> str:
        """The number format of the weights, for people."""
        return self.quantization or self.precision

    @property
    def options(self) -> str:
        """What is unusual about the plan, for people; empty if nothing is."""
        texts = (
            f"{self.offload} offload" if self.offload != "none" else "",
            "without T5" if not self.has_t5 else "",
        )
        return ", ".join(filter(None, texts))

    def describe(self, machine: Machine, weights: Weights) -> str:
        """Return how a model runs, for people, with the memory that it takes."""
        t5 = "with T5" if self.has_t5 else "without T5"
        offload = f", {self.offload} offload" if self.offload != "none" else ""
        memory = _share(self.device_bytes(weights), machine.device_bytes)
        memory += " free" if machine.has_own_memory else " of RAM"
        if machine.has_own_memory and self.offload != "none":
            memory += f" and {_share(self.ram_bytes(weights), machine.ram_bytes)} of RAM"
        return f"{self.number_format}{offload}, {t5}, on {machine.name}: takes {memory}"

    def __str__(self) -> str:
        return ", ".join(filter(None, (self.number_format, self.options)))


def plans(machine: Machine) -> Iterator[Plan]:
    """Yield the plans for a kind of device, the best images first, then the fastest."""
    yield Plan("bfloat16")
    yield Plan("int8")
    if machine.has_own_memory:
        # On other devices the memory is the machine's own, and nothing is gained.
        yield Plan("bfloat16", "model")
        yield Plan("int8", "model")
        yield Plan("nf4", "model", is_tiled=True)
        yield Plan("bfloat16", "group", is_tiled=True)
        yield Plan("nf4", "model", has_t5=False, is_tiled=True)
    else:
        yield Plan("int8", has_t5=False, is_tiled=True)


def choose_plan(
    machine: Machine, weights: Weights, options: ModelOptions = DEFAULT_MODEL_OPTIONS
) -> Plan | None:
    """Return the best plan that fits, with the values of the options; `None` if none fits.

    With both a precision and an offload, the user has decided: such a plan is returned in any case.
    """
    candidates = list(_candidates(machine, weights, options))
    plan = next((plan for plan in candidates if plan.fits(machine, weights)), None)
    is_decided = options.precision is not None and options.offload is not None
    return candidates[0] if plan is None and is_decided else plan


def _candidates(machine: Machine, weights: Weights, options: ModelOptions) -> Iterator[Plan]:
    for plan in plans(machine):
        yield replace(
            plan,
            precision=options.precision or plan.precision,
            offload=options.offload or plan.offload,
            has_t5=plan.has_t5 and not options.no_t5 and weights.t5 > 0,
        )


def describe_shortage(machine: Machine, weights: Weights, options: ModelOptions) -> str:
    """Return how much memory is missing if no plan fits, as a sentence."""
    candidates = _candidates(machine, weights, options)
    plan = min(candidates, key=lambda plan: plan.device_bytes(weights))
    device_bytes = plan.device_bytes(weights)
    if machine.has_own_memory and device_bytes > machine.device_bytes:
        return (
            f"The model needs {format_bytes(device_bytes)} of memory on {machine.name}, which has "
            f"{format_bytes(machine.device_bytes)} free."
        )
    needed_bytes = plan.ram_bytes(weights) if machine.has_own_memory else device_bytes
    return (
        f"The model needs {format_bytes(needed_bytes)} of RAM besides the "
        f"{format_bytes(SYSTEM_BYTES)} of other programs, and this machine has "
        f"{format_bytes(machine.ram_bytes)}."
    )


def smaller_plan(
    machine: Machine,
    weights: Weights,
    plan: Plan,
    options: ModelOptions = DEFAULT_MODEL_OPTIONS,
) -> Plan | None:
    """Return the best plan that fits and takes less of the device than one that didn't fit."""
    candidates = (
        replace(
            candidate,
            precision=plan.precision if plan.quantization else candidate.precision,
            has_t5=candidate.has_t5 and plan.has_t5,
            quantization=plan.quantization,
        )
        for candidate in _candidates(machine, weights, options)
    )
    plan_bytes = plan.device_bytes(weights)
    return next(
        (
            candidate
            for candidate in candidates
            # Only tiled is no other plan: no option asks for it.
            if replace(candidate, is_tiled=plan.is_tiled) != plan
            and candidate.device_bytes(weights) < plan_bytes
            and candidate.fits(machine, weights)
        ),
        None,
    )


def _share(part_bytes: int, total_bytes: int) -> str:
    return f"{part_bytes / GB:.1f} of {format_bytes(total_bytes)}"
