"""SD3's arithmetic without its network.

An image begins as noise and follows the rectified flow of SD3, x_σ = (1 − σ)·x₀ + σ·noise, from
σ = 1 to 0 in Euler steps with classifier-free guidance. Where the model would predict the clean
image x₀, the painter knows it, as the scene was composed from the prompt's words: the sampler gets
it as blurred as the network would see it at that noise level.
"""

from collections.abc import Generator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from PIL import Image

from sd35.core.request import GenerationRequest
from sd35.space.painter.estimates import Estimator, decode, latent_size, to_image
from sd35.space.painter.scene import compose
from sd35.space.painter.streams import RandomStream
from sd35.space.painter.vocabulary import fingerprint, parse_prompt

__all__ = ["Step", "paint", "sigmas"]

_SHIFT = 3.0  # of SD3, for images of about one megapixel


@dataclass(frozen=True, slots=True)
class Step:
    """Finished step of the flow; `sigma` is the noise level after it, from 1 down to 0."""

    number: int
    total: int
    sigma: float
    # rows × columns × RGB, from −1 to 1
    _estimate: npt.NDArray[np.float32] = field(repr=False, compare=False)

    def preview(self, longest_side: int = 512) -> Image.Image:
        """Return the estimate of the clean image, RGB, with sides of at most `longest_side`."""
        image = to_image(self._estimate)
        image.thumbnail((longest_side, longest_side), Image.Resampling.BILINEAR, reducing_gap=None)
        return image


def sigmas(steps: int) -> list[float]:
    """Return the noise level before each step, and a final 0: even times under SD3's shift."""
    times = [(steps - i) / steps for i in range(steps)]
    return [_SHIFT * t / (1 + (_SHIFT - 1) * t) for t in times] + [0.0]


def paint(request: GenerationRequest) -> Generator[Step, None, Image.Image]:
    """Yield each finished step, and return the RGB image of width × height pixels."""
    # Without guidance, the model runs once per step and never sees the negative prompt.
    negative_prompt = request.negative_prompt if request.guidance_scale > 1 else ""
    negative = parse_prompt(negative_prompt)
    key = f"{request.seed}/{fingerprint(request.prompt)}"
    size = (request.width, request.height)
    composition = compose(parse_prompt(request.prompt), negative, key, size)
    estimator = Estimator.from_composition(
        composition, negative, negative_prompt, request.guidance_scale, key
    )
    levels = sigmas(request.num_inference_steps)
    columns, rows = latent_size(*size)
    latents = RandomStream(request.seed, "noise").normal(rows, columns, 3)
    for step_number, (sigma, next_sigma) in enumerate(pairwise(levels), 1):
        estimate = estimator.estimate(sigma)
        velocity = (latents - estimate) / np.float32(sigma)
        latents += np.float32(next_sigma - sigma) * velocity
        yield Step(step_number, request.num_inference_steps, next_sigma, estimate)
    return decode(estimator, levels[-2])
