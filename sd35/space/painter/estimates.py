"""Estimates of the finished image at each noise level, guided by the prompts."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from sd35.space.painter.color import RGB, rgb
from sd35.space.painter.palettes import NAMED_COLORS, TIME_PALETTES
from sd35.space.painter.scene import Composition
from sd35.space.painter.streams import RandomStream
from sd35.space.painter.vocabulary import ParsedPrompt

Array = npt.NDArray[np.float32]

_MAX_LATENT_SIDE = 512  # pixels of the latents' longer side
_BEST_GUIDANCE = 4.5
_PAPER: RGB = (201, 194, 186)

# The time (σ before the shift) at which each coarser view is all that is known; the first is the
# image.
_VIEW_TIMES = (0.05, 0.10, 0.20, 0.36, 0.55, 0.76, 1.0)
_VIEW_BLURS = (0.0, 0.008, 0.018, 0.036, 0.07, 0.13, 0.25)  # of the shorter side
_STRIP_ROWS = 64  # rows decoded at once, to keep memory low

_TINTS: dict[str, RGB] = {
    "dark": rgb("20222e"),
    "bright": rgb("f4f2ea"),
    "warm": rgb("e0904a"),
    "cold": rgb("6fa0d8"),
    "vivid": rgb("d8506a"),
    "pastel": rgb("f0dfe0"),
    "monochrome": rgb("707070"),
    "vintage": rgb("b89a6a"),
    "neon": rgb("c03ad0"),
}


def latent_size(width: int, height: int) -> tuple[int, int]:
    """Return the columns and rows of an image's latents."""
    longest = max(width, height)
    share = min(1.0, _MAX_LATENT_SIDE / longest)
    return max(round(width * share), 1), max(round(height * share), 1)


def to_image(estimate: Array) -> Image.Image:
    """Return an estimate (rows × columns × RGB, −1 to 1) as an image."""
    levels = estimate * np.float32(127.5) + np.float32(128.0)
    return Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))


def _to_array(image: Image.Image) -> Array:
    return (np.asarray(image).astype(np.float32) - np.float32(127.5)) * np.float32(1 / 127.5)


@dataclass(frozen=True, slots=True)
class Estimator:
    """Source of the clean image, as blurred as a model would know it at a noise level."""

    image: Image.Image
    views: tuple[Image.Image, ...]  # of latent size, from the image to a few soft blobs
    base_estimate: Array  # the unconditional estimate, without a negative prompt
    negative_offset: Array  # what the negative prompt adds to that
    residual_noise: Array  # what is left of the noise in an estimate
    guidance: float

    @classmethod
    def from_composition(
        cls,
        composition: Composition,
        negative: ParsedPrompt,
        negative_prompt: str,
        guidance_scale: float,
        key: str,
    ) -> Self:
        """Return the estimator of a composition under these prompts."""
        size = latent_size(*composition.image.size)
        views = tuple(_coarse_view(composition, size, i) for i in range(len(_VIEW_TIMES)))
        residual_noise = _soft_noise(size, key)
        grey = Image.blend(views[-2], Image.new("RGB", size, _PAPER), 0.62)
        base = _to_array(grey) + np.float32(0.13) * residual_noise
        return cls(
            composition.image,
            views,
            base,
            _negative_offset(negative, negative_prompt),
            residual_noise,
            _effective_guidance(guidance_scale),
        )

    def estimate(self, sigma: float) -> Array:
        """Return the guided estimate (rows × columns × RGB) at this noise level."""
        index, share = _view_position(sigma)
        near = _to_array(self.views[index])
        far = _to_array(self.views[index + 1])
        return self.apply_guidance(
            near + np.float32(share) * (far - near), self.base_estimate, self.residual_noise, sigma
        )

    def apply_guidance(
        self, target: Array, base: Array, residual_noise: Array, sigma: float
    ) -> Array:
        """Return u + g·(c − u); c is so close to u that guidance 4.5 gives the target."""
        conditional = base + (target - base) * np.float32(1 / _BEST_GUIDANCE)
        unconditional = base + self.negative_offset
        guided: Array = unconditional + np.float32(self.guidance) * (conditional - unconditional)
        time = _time(sigma)
        guided += np.float32(0.17 * time * time) * residual_noise
        return guided


def decode(estimator: Estimator, sigma: float) -> Image.Image:
    """Return the estimate at this noise level in full size."""
    size = estimator.image.size
    index, share = _view_position(sigma)
    near, far = (_enlarge(estimator.views[i], size) for i in (index, index + 1))
    near = estimator.image if index == 0 else near
    # Through 8-bit images, as Pillow can't resize arrays; the noise has to fit into −1 to 1.
    base, residual_noise = (
        _enlarge(to_image(part), size)
        for part in (estimator.base_estimate, estimator.residual_noise * np.float32(0.25))
    )
    image = Image.new("RGB", size)
    # In strips: arrays of the whole image would take many times its memory.
    for top in range(0, size[1], _STRIP_ROWS):
        strip_box = (0, top, size[0], min(top + _STRIP_ROWS, size[1]))
        near_strip, far_strip, base_strip, noise_strip = (
            _to_array(layer.crop(strip_box)) for layer in (near, far, base, residual_noise)
        )
        target = near_strip + np.float32(share) * (far_strip - near_strip)
        image.paste(
            to_image(
                estimator.apply_guidance(target, base_strip, noise_strip * np.float32(4.0), sigma)
            ),
            strip_box,
        )
    return image


def _enlarge(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image.resize(size, Image.Resampling.BICUBIC)


def _time(sigma: float) -> float:
    """Return the time of a noise level: the inverse of SD3's shift."""
    return sigma / (3.0 - 2.0 * sigma)


def _view_position(sigma: float) -> tuple[int, float]:
    """Return the index of the finer view at this noise level, and the share of the next one."""
    time = _time(sigma)
    for index, (near, far) in enumerate(pairwise(_VIEW_TIMES)):
        if time <= far:
            return index, min(max((time - near) / (far - near), 0.0), 1.0)
    return len(_VIEW_TIMES) - 2, 1.0


def _coarse_view(composition: Composition, size: tuple[int, int], index: int) -> Image.Image:
    """Return the composition at a level of detail; coarse ones lack its small things."""
    if index < 4:
        layer = composition.image
    elif index < 6:
        layer = composition.masses
    else:
        layer = composition.backdrop
    small = layer.resize(size, Image.Resampling.BOX)
    radius = _VIEW_BLURS[index] * min(size)
    if not radius:
        return small
    factor = max(int(radius / 3), 1)
    blurred = small.reduce(factor).filter(ImageFilter.GaussianBlur(radius / factor))
    return blurred.resize(size, Image.Resampling.BICUBIC)


def _soft_noise(size: tuple[int, int], key: str) -> Array:
    """Return soft colored blobs: the low frequencies of the noise."""
    longest = max(size)
    columns = max(round(6 * size[0] / longest), 2)
    rows = max(round(6 * size[1] / longest), 2)
    coarse = RandomStream(key, "murk").normal(rows, columns, 3) * np.float32(0.5)
    return _to_array(to_image(coarse).resize(size, Image.Resampling.BICUBIC)) * np.float32(2.0)


def _effective_guidance(guidance_scale: float) -> float:
    """Return the guidance in effect: at least 1, and damped above the best value."""
    excess = max(guidance_scale - _BEST_GUIDANCE, 0.0)
    return min(max(guidance_scale, 1.0), _BEST_GUIDANCE) + 0.42 * excess


def _negative_offset(negative: ParsedPrompt, negative_prompt: str) -> Array:
    """Return the color (RGB, −1 to 1) that the negative prompt adds to the unconditional part."""
    offset = np.zeros(3, dtype=np.float32)
    for word in sorted(negative.known_words):
        tint = NAMED_COLORS.get(word) or _TINTS.get(word)
        tint = tint or (TIME_PALETTES[word].sky[1] if word in TIME_PALETTES else None)
        if tint:
            offset += np.array([(c - 128) / 128 for c in tint], dtype=np.float32) * np.float32(0.07)
    if negative_prompt.strip():
        random = RandomStream("negative", negative_prompt)
        offset += np.array([random.uniform(-0.012, 0.012) for _ in range(3)], dtype=np.float32)
    return offset
