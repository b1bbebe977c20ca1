"""A model in a folder, as `save_pretrained` of diffusers writes it. Reads configurations only."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from sd35.core.limits import PIPELINE_MULTIPLE, Limits, Range
from sd35.space.engine import EngineError
from sd35.space.models import MODELS, Model, Weights

__all__ = ["read_model_folder"]

PIPELINE_CLASS: Final = "StableDiffusion3Pipeline"

_WEIGHT_SUFFIXES: Final = (".safetensors", ".bin")


def read_model_folder(
    folder: Path, repository: str = "", file_sizes: Mapping[str, int] | None = None
) -> Model:
    """Return the model in a folder, or of a repository whose configurations are in it.

    `file_sizes` are the bytes of a repository's files by path; by default those of the folder's.

    Raises:
        EngineError: there is no Stable Diffusion 3 pipeline in it, or only a part.
    """
    class_name = _read_json(folder / "model_index.json").get("_class_name")
    if class_name != PIPELINE_CLASS:
        raise EngineError(
            f"{folder.name} holds a {class_name}, not a {PIPELINE_CLASS}.",
            "Choose a Stable Diffusion 3 or 3.5 model in diffusers' format.",
        )
    transformer = _read_json(folder / "transformer" / "config.json")
    vae = _read_json(folder / "vae" / "config.json")
    return Model(
        key=repository or folder.name,
        title=repository.rpartition("/")[2] or folder.name,
        repository=repository,
        weights=_sum_weights(_file_sizes(folder) if file_sizes is None else file_sizes),
        limits=_read_limits(transformer, vae),
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise EngineError(
            f"{path.parent.name}/{path.name} is missing: this is no model in diffusers' format.",
            "Choose a folder that contains model_index.json, transformer, vae and text_encoder.",
        ) from error
    except ValueError as error:
        raise EngineError(f"{path.name} of the model isn't valid JSON.") from error
    if not isinstance(value, dict):
        raise EngineError(f"{path.name} of the model isn't a JSON object.")
    return value


def _read_limits(transformer: dict[str, Any], vae: dict[str, Any]) -> Limits:
    """Return the limits of a model: its table of positions limits the sides."""
    limits = MODELS["large"].limits
    channels = vae.get("block_out_channels")
    scale = 2 ** (len(channels) - 1) if isinstance(channels, list) and channels else 8
    table_size = _positive(transformer.get("pos_embed_max_size"), 192)
    table_side = table_size * _positive(transformer.get("patch_size"), 2) * scale
    maximum = min(limits.width.maximum, table_side // PIPELINE_MULTIPLE * PIPELINE_MULTIPLE)
    minimum = min(limits.width.minimum / 2, maximum)
    default_side = _positive(transformer.get("sample_size"), 128) * scale
    default_side = default_side // PIPELINE_MULTIPLE * PIPELINE_MULTIPLE
    default = min(max(default_side, minimum), maximum)
    side = Range(minimum, maximum, PIPELINE_MULTIPLE, default)
    return replace(limits, width=side, height=side)


def _positive(value: object, default: int) -> int:
    is_valid = isinstance(value, int) and not isinstance(value, bool) and value > 0
    return value if is_valid and isinstance(value, int) else default


def _file_sizes(folder: Path) -> dict[str, int]:
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in folder.glob("*/*")
        if path.is_file()
    }


def _sum_weights(file_sizes: Mapping[str, int]) -> Weights:
    """Return the sizes of a model's parts, whose files hold 16 bits per weight, or more."""
    sizes: Counter[str] = Counter()
    for path, size in file_sizes.items():
        part, _, name = path.partition("/")
        if name.endswith(_WEIGHT_SUFFIXES):
            sizes[part] += size
    return Weights(
        transformer=sizes["transformer"],
        t5=sizes["text_encoder_3"],
        rest=sizes["text_encoder"] + sizes["text_encoder_2"] + sizes["vae"],
    )
