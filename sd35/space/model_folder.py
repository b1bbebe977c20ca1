"""A model in a folder, as `save_pretrained` of diffusers writes it. Reads configurations only."""

import json
import math
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
_WEIGHTED_PARTS: Final = ("transformer", "vae", "text_encoder", "text_encoder_2")
_PARTS: Final = (*_WEIGHTED_PARTS, "scheduler", "tokenizer", "tokenizer_2")

_HEADER_LIMIT: Final = 100_000_000  # bytes, as the safetensors library has it


def read_model_folder(
    folder: Path, repository: str = "", file_sizes: Mapping[str, int] | None = None
) -> Model:
    """Return the model in a folder, or of a repository whose configurations are in it.

    `file_sizes` are the bytes of a repository's files by path; by default those of the folder's.

    Raises:
        EngineError: there is no Stable Diffusion 3 pipeline in it, or only a part.
    """
    folder = folder.resolve()  # "." has no name
    index = _read_json(folder / "model_index.json")
    class_name = index.get("_class_name")
    if class_name != PIPELINE_CLASS:
        raise EngineError(
            f"{folder.name} holds a {class_name}, not a {PIPELINE_CLASS}.",
            "Choose a Stable Diffusion 3 or 3.5 model in diffusers' format.",
        )
    transformer = _read_json(folder / "transformer" / "config.json")
    vae = _read_json(folder / "vae" / "config.json")
    part_sizes = _sum_parts(_file_sizes(folder) if file_sizes is None else file_sizes)
    _check_parts(folder, part_sizes)
    name = repository or folder.name
    is_turbo = "turbo" in f"{name} {index.get('_name_or_path')}".lower()
    return Model(
        key=name,
        title=name.rpartition("/")[2],
        repository=repository,
        weights=Weights(
            transformer=part_sizes["transformer"],
            t5=part_sizes["text_encoder_3"],
            rest=part_sizes["text_encoder"] + part_sizes["text_encoder_2"] + part_sizes["vae"],
        ),
        limits=_read_limits(
            transformer, vae, MODELS["large-turbo" if is_turbo else "large"].limits
        ),
    )


def _check_parts(folder: Path, part_sizes: Mapping[str, int]) -> None:
    remedy = "Copy or download the whole model again."
    for part in _PARTS:
        if not (folder / part).is_dir():
            raise EngineError(f"The model's {part} is missing.", remedy)
    for part in _WEIGHTED_PARTS:
        if not part_sizes[part]:
            raise EngineError(f"The weights of the model's {part} are missing.", remedy)


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


def _read_limits(transformer: dict[str, Any], vae: dict[str, Any], limits: Limits) -> Limits:
    """Return limits with a model's sides, which its table of positions limits."""
    channels = vae.get("block_out_channels")
    scale = 2 ** (len(channels) - 1) if isinstance(channels, list) and channels else 8
    patch_side = _positive(transformer.get("patch_size"), 2) * scale
    table_side = _positive(transformer.get("pos_embed_max_size"), 192) * patch_side
    multiple = math.lcm(PIPELINE_MULTIPLE, patch_side)
    maximum = min(limits.width.maximum, table_side) // multiple * multiple
    minimum = min(limits.width.minimum / 2, maximum)
    default_side = _positive(transformer.get("sample_size"), 128) * scale // multiple * multiple
    default = min(max(default_side, minimum), maximum)
    side = Range(minimum, maximum, multiple, default)
    return replace(limits, width=side, height=side)


def _positive(value: object, default: int) -> int:
    is_valid = isinstance(value, int) and not isinstance(value, bool) and value > 0
    return value if is_valid and isinstance(value, int) else default


def _file_sizes(folder: Path) -> dict[str, int]:
    """Return the bytes that the weights of each file take at 16 bits, by path."""
    sizes = {}
    for path in folder.glob("*/*"):
        if path.is_file() and path.name.endswith(_WEIGHT_SUFFIXES):
            is_readable = path.suffix == ".safetensors"
            size = _read_weight_count(path) * 2 if is_readable else path.stat().st_size
            sizes[path.relative_to(folder).as_posix()] = size
    return sizes


def _read_weight_count(path: Path) -> int:
    """Return the number of weights in a safetensors file, which begins with their shapes.

    Raises:
        EngineError: the file is damaged.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, _HEADER_LIMIT)))
        tensors = [tensor for name, tensor in header.items() if name != "__metadata__"]
        end = max((tensor["data_offsets"][1] for tensor in tensors), default=0)
        count = int(sum(math.prod(tensor["shape"]) for tensor in tensors))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        end = -1
    # A file of Git LFS that wasn't fetched is a short text; a copy that was interrupted has no end.
    if end < 0 or path.stat().st_size < 8 + length + end:
        raise EngineError(
            f"{path.parent.name}/{path.name} is damaged or incomplete.",
            "Copy or download the file again.",
        )
    return count


def _sum_parts(file_sizes: Mapping[str, int]) -> Counter[str]:
    """Return the bytes of a model's parts; each is loaded once, also if it is there twice."""
    sizes: Counter[tuple[str, str, bool]] = Counter()
    for path, size in file_sizes.items():
        part, _, name = path.partition("/")
        if name.endswith(_WEIGHT_SUFFIXES):
            sizes[part, Path(name).suffix, ".fp16" in name] += size
    part_sizes: Counter[str] = Counter()
    for part, suffix, is_variant in sorted(sizes, key=lambda key: (key[2], key[1] == ".bin")):
        part_sizes[part] = part_sizes[part] or sizes[part, suffix, is_variant]
    return part_sizes
