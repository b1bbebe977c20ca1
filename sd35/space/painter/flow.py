"""A small painter that obeys the model's arithmetic: it stands in for Stable Diffusion 3.5 without a network.

A picture begins as noise and follows the rectified flow of SD3, x_σ = (1 − σ)·x₀ + σ·noise, from σ
= 1 to 0 in Euler steps, with classifier-free guidance. Only the network is missing: what the
picture would be without its noise is not predicted but known, because the scene was composed from
the prompt's words, and it is told to the sampler as blurred as the network would see it at that
noise level.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from PIL import Image

from sd35.space.painter.estimates import Estimator, decode, latent_size, to_image
from sd35.space.painter.scene import compose
from sd35.space.painter.streams import RandomStream
from sd35.space.painter.vocabulary import ParsedPrompt, fingerprint, parse_prompt

__all__ = ["Painting", "Step", "paint", "sigmas"]

_SHIFT = 3.0  # SD3's, for pictures of about a megapixel


@dataclass(frozen=True, slots=True)
class Painting:
    """What to paint; the fields are the parameters of the public Space, width and height in pixels."""

    prompt: str
    negative_prompt: str = ""
    seed: int = 0
    width: int = 1024
    height: int = 1024
    guidance_scale: float = 4.5
    num_inference_steps: int = 40


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the flow; `sigma` is the noise level after it, from 1 down to 0."""

    number: int
    total: int
    sigma: float
    _estimate: npt.NDArray[np.float32] = field(
        repr=False, compare=False
    )  # rows × columns × RGB, −1 … 1

    def preview(self, longest_side: int = 512) -> Image.Image:
        """Return the estimate of the clean picture, RGB, at most `longest_side` pixels wide and high."""
        image = to_image(self._estimate)
        image.thumbnail((longest_side, longest_side), Image.Resampling.BILINEAR, reducing_gap=None)
        return image


def sigmas(steps: int) -> list[float]:
    """Return the noise levels before each step and, last, 0: evenly spaced times under SD3's shift."""
    times = [(steps - i) / steps for i in range(steps)]
    return [_SHIFT * t / (1 + (_SHIFT - 1) * t) for t in times] + [0.0]


def paint(painting: Painting) -> Generator[Step, None, Image.Image]:
    """Yield each step as it is done, and return the finished RGB picture of width × height pixels."""
    is_guided = (
        painting.guidance_scale > 1
    )  # below, the model is asked once, without the negative prompt
    negative = parse_prompt(painting.negative_prompt) if is_guided else ParsedPrompt()
    key = f"{painting.seed}/{fingerprint(painting.prompt)}"
    composition = compose(
        parse_prompt(painting.prompt), negative, key, (painting.width, painting.height)
    )
    estimator = Estimator.from_composition(
        composition,
        negative,
        painting.negative_prompt if is_guided else "",
        painting.guidance_scale,
        key,
    )
    levels = sigmas(painting.num_inference_steps)
    columns, rows = latent_size(painting.width, painting.height)
    latents = RandomStream(painting.seed, "noise").normal(rows, columns, 3)
    for step_number, (sigma, next_sigma) in enumerate(pairwise(levels), 1):
        estimate = estimator.estimate(sigma)
        velocity = (latents - estimate) / np.float32(sigma)
        latents += np.float32(next_sigma - sigma) * velocity
        yield Step(step_number, painting.num_inference_steps, next_sigma, estimate)
    return decode(estimator, levels[-2])
