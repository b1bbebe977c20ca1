"""Description of the model that a Space of ours runs, as it announces it in its `/config`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

__all__ = ["MODEL_INFO_ID", "PROVENANCE_NAMES", "UNKNOWN_MODEL", "ModelInfo"]

MODEL_INFO_ID: Final = "sd35-model"
"""`elem_id` of the hidden JSON component whose value is the announcement."""

PROVENANCE_NAMES: Final = ("Model revision", "Precision", "Device", "Model options")
"""Names of the values of `ModelInfo.provenance`."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """The model behind a Space; what is unknown is empty.

    Attributes:
        name: `owner/name` of the model's repository, or the name of its folder.
        revision: commit of the repository.
        precision: number format of the weights, such as `bfloat16` or `int8`.
        device: name of the GPU or other device that computes.
        options: what else changes images or speed, such as a text encoder that isn't used.
        max_pixels: number of pixels that an image may have; 0 if only its sides are limited.
    """

    name: str = ""
    revision: str = ""
    precision: str = ""
    device: str = ""
    options: str = ""
    max_pixels: int = 0

    def to_dict(self) -> dict[str, str | int]:
        """Return the values by name, without those that are unknown."""
        return {name: value for name, value in asdict(self).items() if value}

    @property
    def provenance(self) -> Mapping[str, str]:
        """The values for an image's metadata, besides the model's name."""
        values = (self.revision, self.precision, self.device, self.options)
        return {name: value for name, value in zip(PROVENANCE_NAMES, values, strict=True) if value}


UNKNOWN_MODEL: Final = ModelInfo()
