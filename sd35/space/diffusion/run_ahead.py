"""Limit of how far a run's thread gets ahead of the GPU, to which it only hands the work."""

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final

import torch
from diffusers import AutoencoderTiny, StableDiffusion3Pipeline

__all__ = ["DeviceMark", "RunAheadLimit"]

# Layers that wait at the GPU, a fifth of a step of Large. With fewer, the GPU would run out of work
# while Python encodes a preview; a stopped run ends after these.
MAX_LAYERS: Final = 8


class DeviceMark:
    """Point in the work that was handed to a device; on others than CUDA GPUs it is done by then.

    Args:
        device: `cuda`, `mps` or `cpu`.
    """

    def __init__(self, device: str) -> None:
        self._event: torch.cuda.Event | None = None
        if device == "cuda":
            # Not `blocking=False`: a thread that waits would take a whole core.
            self._event = torch.cuda.Event(blocking=True)
            self._event.record()
        elif device == "mps":
            # An Apple GPU works on after a call, too, but ends the process if a second thread uses
            # it. Not `torch.mps.synchronize`: no other thread of Python would run meanwhile.
            torch.zeros(1, device=device).cpu()

    def wait(self) -> None:
        """Wait until the device has done the work before this point.

        Raises:
            RuntimeError: the device has failed.
        """
        if self._event is not None:
            self._event.synchronize()


class RunAheadLimit:
    """Limit of how far a pipeline's thread gets ahead of its GPU.

    Without one, a stopped run would go on for as long as its work is queued at the GPU. If the
    thread waited for the GPU after each step instead, the GPU would wait for the thread as well.

    Attributes:
        device: of the pipeline; `cuda`, `mps` or `cpu`.
    """

    def __init__(self, pipeline: StableDiffusion3Pipeline, device: str) -> None:
        self.device = device
        self._on_layer: Callable[[], None] | None = None
        self._marks: deque[DeviceMark] = deque()
        for layer in _layers(pipeline):
            layer.register_forward_pre_hook(self._before_layer)

    @contextlib.contextmanager
    def hold(self, on_layer: Callable[[], None]) -> Iterator[None]:
        """Hold the limit during a run; what `on_layer` raises, which is called often, ends it."""
        self._on_layer = on_layer
        try:
            yield
        finally:
            self._on_layer = None
            self._marks.clear()

    def _before_layer(self, _layer: torch.nn.Module, _arguments: Any) -> None:  # noqa: ANN401  # of torch
        if self._on_layer is None:
            return
        self._on_layer()
        self._marks.append(DeviceMark(self.device))
        if len(self._marks) > MAX_LAYERS:
            self._marks.popleft().wait()


def _layers(pipeline: StableDiffusion3Pipeline) -> Iterator[torch.nn.Module]:
    """Yield the layers of the largest parts."""
    if pipeline.text_encoder_3 is not None:
        yield from pipeline.text_encoder_3.encoder.block
    yield from pipeline.transformer.transformer_blocks
    decoder = pipeline.vae.decoder
    is_tiny = isinstance(pipeline.vae, AutoencoderTiny)  # which may stand in the VAE's place
    yield from decoder.layers if is_tiny else decoder.up_blocks
