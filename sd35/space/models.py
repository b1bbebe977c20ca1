"""The models that our Space serves: their repositories, limits and weights."""

from dataclasses import dataclass, replace
from typing import Final

from sd35.core.limits import Limits, Range

__all__ = ["GB", "MODELS", "Model", "Weights"]

GB: Final = 10**9


@dataclass(frozen=True, slots=True)
class Weights:
    """Bytes of a model's parts at 16 bits per weight.

    Attributes:
        transformer: the diffusion transformer.
        t5: the largest text encoder, which can be left out.
        rest: both CLIP encoders and the VAE.
    """

    transformer: int
    t5: int
    rest: int


@dataclass(frozen=True, slots=True)
class Model:
    """One model of the family, or one in a folder.

    Attributes:
        key: its name in commands.
        title: its name for people.
        repository: `owner/name` at Hugging Face; empty for a folder's.
        limits: of its Space; the defaults are those of the model's card.
        quantization: number format of weights that are stored in fewer than 16 bits; else empty.
    """

    key: str
    title: str
    repository: str
    weights: Weights
    limits: Limits
    quantization: str = ""


# Counted from the configurations of the repositories, on the meta device.
_LARGE_WEIGHTS: Final = Weights(transformer=16_300_000_000, t5=9_500_000_000, rest=1_800_000_000)
_MEDIUM_WEIGHTS: Final = replace(_LARGE_WEIGHTS, transformer=4_900_000_000)

# The models were trained at about a megapixel: far above that, subjects repeat.
_LARGE_LIMITS: Final = Limits(
    width=Range(512, 1536, 16, 1024),
    height=Range(512, 1536, 16, 1024),
    seed=Range(0, 2_147_483_647, 1, 0),  # as at the public Space: a seed means the same
    guidance_scale=Range(0, 7.5, 0.1, 4.5),
    num_inference_steps=Range(1, 50, 1, 40),
    max_pixels=1_600_000,
)
_TURBO_LIMITS: Final = replace(
    _LARGE_LIMITS,
    guidance_scale=Range(0, 7.5, 0.1, 0),  # distilled: it needs no guidance
    num_inference_steps=Range(1, 12, 1, 4),
)
_MEDIUM_LIMITS: Final = replace(
    _LARGE_LIMITS,
    width=Range(512, 1440, 16, 1024),
    height=Range(512, 1440, 16, 1024),
    max_pixels=1440 * 1440,
)

MODELS: Final = {
    model.key: model
    for model in (
        Model(
            "large-turbo",
            "Stable Diffusion 3.5 Large Turbo",
            "stabilityai/stable-diffusion-3.5-large-turbo",
            _LARGE_WEIGHTS,
            _TURBO_LIMITS,
        ),
        Model(
            "large",
            "Stable Diffusion 3.5 Large",
            "stabilityai/stable-diffusion-3.5-large",
            _LARGE_WEIGHTS,
            _LARGE_LIMITS,
        ),
        Model(
            "medium",
            "Stable Diffusion 3.5 Medium",
            "stabilityai/stable-diffusion-3.5-medium",
            _MEDIUM_WEIGHTS,
            _MEDIUM_LIMITS,
        ),
    )
}
