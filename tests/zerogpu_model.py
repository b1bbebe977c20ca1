"""A tiny model on ZeroGPU without a GPU: the weights return to the CPU in the forked process.

Before that, all is as at Hugging Face: `spaces` emulates CUDA while the model is loaded, and packs
the weights when the app is launched. Whatever else needs a GPU before a run fails.
"""

import os
from pathlib import Path

import torch

from sd35.server.launch import configure_environment


class FakeEvent:
    """Event of a GPU on which all is done at once."""

    def __init__(self, **_: object) -> None:
        """Take what an event of CUDA takes."""

    def record(self) -> None:
        """Return at once."""

    def synchronize(self) -> None:
        """Return at once."""


def fake_cuda_build() -> None:
    """Make PyTorch for the CPU look like one for CUDA, without which `spaces` isn't imported."""
    torch.version.cuda = "13.0"
    torch._C._cuda_init = lambda: None
    torch._C._cuda_getCurrentRawStream = lambda _: 0
    torch.cuda._is_in_bad_fork = torch.cuda.is_initialized
    torch.cuda.Event = FakeEvent


def unpack_to_cpu(**_: object) -> None:
    """Give the model its packed weights, as `spaces` does on a GPU."""
    from spaces.zero.torch import patching  # noqa: PLC0415

    for pack in patching.tensor_packs:
        with Path(pack.path()).open("rb") as file:
            tensors = [*(item for batch in pack.batches for item in batch), *pack.big_tensors]
            for tensor, size, aligned_size in tensors:
                data = bytearray(file.read(aligned_size)[:size])
                storage = torch.frombuffer(data, dtype=torch.uint8).untyped_storage()
                weights = torch.tensor([], dtype=tensor.dtype)
                weights.set_(storage, 0, tensor.shape, tensor.stride())
                for fake in pack.fakes[tensor]:
                    fake.data = weights


if __name__ == "__main__":
    fake_cuda_build()
    directory = configure_environment()
    import spaces  # noqa: F401
    from spaces.zero import wrappers

    wrappers.torch.init = lambda _: None
    wrappers.torch.move = unpack_to_cpu
    from sd35.space.hosted import HostedSpace

    HostedSpace(os.environ["SD35_MODEL"]).run()
