"""Previews of an unfinished image, from the model's own velocity."""

import logging
from typing import Any, Final, cast

import torch
from PIL import Image

from sd35.space.previews import LONGEST_SIDE, encode_preview

__all__ = ["EstimateRecorder", "LatentPreviews", "PendingPreview"]

log = logging.getLogger(__name__)

# Red, green and blue of each latent channel, as Stability's reference code for SD3 (MIT) has them:
# github.com/Stability-AI/sd3.5, sd3_impls.py.
_LATENT_RGB: Final = (
    *((-0.0645, 0.0177, 0.1052), (0.0028, 0.0312, 0.0650), (0.1848, 0.0762, 0.0360)),
    *((0.0944, 0.0360, 0.0889), (0.0897, 0.0506, -0.0364), (-0.0020, 0.1203, 0.0284)),
    *((0.0855, 0.0118, 0.0283), (-0.0539, 0.0658, 0.1047), (-0.0057, 0.0116, 0.0700)),
    *((-0.0412, 0.0281, -0.0039), (0.1106, 0.1171, 0.1220), (-0.0248, 0.0682, -0.0481)),
    *((0.0815, 0.0846, 0.1207), (-0.0120, -0.0055, -0.0867)),
    *((-0.0749, -0.0634, -0.0456), (-0.1418, -0.1457, -0.1259)),
)


class EstimateRecorder:
    """Recorder that keeps, of each step of a scheduler, the image without its noise: x − σ·v.

    The pipeline's callback gets the latents after a step alone. The estimate could be had from two
    of them as well, but in bfloat16 their difference is mostly rounding while the steps are small.

    Args:
        scheduler: any of diffusers' for flow matching, whose timesteps are the noise's share σ.

    Attributes:
        estimate: of the clean latents after the last step; batch × channels × rows × columns.
    """

    def __init__(self, scheduler: Any) -> None:  # noqa: ANN401  # has no types
        self.estimate: torch.Tensor | None = None
        self._timestep_count = scheduler.config.num_train_timesteps
        self._step = scheduler.step
        scheduler.step = self._record_step

    def _record_step(
        self,
        model_output: torch.Tensor,
        timestep: torch.Tensor,
        sample: torch.Tensor,
        *args: Any,  # noqa: ANN401  # of diffusers
        **kwargs: Any,  # noqa: ANN401  # of diffusers
    ) -> Any:  # noqa: ANN401  # of diffusers
        sigma = timestep.to(sample.device, torch.float32) / self._timestep_count
        self.estimate = sample.float() - sigma * model_output.float()
        return self._step(model_output, timestep, sample, *args, **kwargs)


class LatentPreviews:
    """Previews of the latents in a run.

    Args:
        scheduler: whose steps are previewed.
        scale: how many pixels one latent's side becomes.
        decoder: an `AutoencoderTiny`; without one, the previews are less sharp.
    """

    def __init__(
        self,
        scheduler: Any,  # noqa: ANN401  # has no types
        scale: float,
        decoder: Any | None = None,  # noqa: ANN401  # has no types
    ) -> None:
        self._recorder = EstimateRecorder(scheduler)
        self._scale = scale
        self._decoder = decoder
        # On the device once: a copy from the host in each step would wait for the device.
        self._factors: torch.Tensor | None = None

    def start(self) -> "PendingPreview | None":
        """Start to compute the preview of the last step."""
        latents = self._recorder.estimate
        return None if latents is None else self.preview(latents)

    def preview(self, latents: torch.Tensor) -> "PendingPreview":
        """Start to compute the preview of clean latents; a decoder that fails isn't used again."""
        try:
            rgb = self._estimate_rgb(latents)
        except Exception:
            if self._decoder is None:
                raise
            log.warning("The small decoder has failed: previews go on without it.", exc_info=True)
            self._decoder = None
            rgb = self._estimate_rgb(latents)
        rows, columns = latents.shape[-2:]
        scale = min(self._scale, LONGEST_SIDE / max(rows, columns))
        size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
        return PendingPreview(rgb, size)

    def _estimate_rgb(self, latents: torch.Tensor) -> torch.Tensor:
        """Return rows × columns × RGB, from -1 to 1, of the first image of a batch of latents.

        Without a decoder, a linear map of the channels gives one pixel per latent.
        """
        if self._decoder is not None:
            with torch.no_grad():
                image = self._decoder.decode(latents[:1].to(self._decoder.dtype), return_dict=False)
            return cast("torch.Tensor", image[0][0].float().permute(1, 2, 0))
        if self._factors is None:
            self._factors = torch.tensor(_LATENT_RGB, device=latents.device)[: latents.shape[1]]
        used_latents = latents[0, : len(self._factors)].float()
        return torch.einsum("chw,cr->hwr", used_latents, self._factors)


class PendingPreview:
    """Preview on its way from the device, which goes on with the next step meanwhile.

    Args:
        rgb: rows × columns × RGB, from -1 to 1, on the device.
        size: of the preview; width × height in pixels.
    """

    def __init__(self, rgb: torch.Tensor, size: tuple[int, int]) -> None:
        self._size = size
        pixels = rgb.add(1).mul(127.5).clamp(0, 255).to(torch.uint8)
        # On an Apple GPU, only the thread of the run may ask for them: see `DeviceMark`.
        self._pixels = pixels if pixels.is_cuda else pixels.cpu()

    def encode(self) -> bytes:
        """Wait for the device, and return the JPEG."""
        # Not through pinned memory: once a GPU has failed, freeing that ends the process.
        image = Image.fromarray(self._pixels.cpu().numpy())
        return encode_preview(image.resize(self._size, Image.Resampling.BILINEAR))
