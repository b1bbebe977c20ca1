"""A model in a folder, as `save_pretrained` of diffusers writes it. Reads no weights."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from sd35.core.limits import PIPELINE_MULTIPLE, Limits, Range
from sd35.space.engine import EngineError
from sd35.space.models import MODELS, Model, Weights
from sd35.space.weight_files import (
    INDEX_NAME,
    WeightFiles,
    read_json,
    read_weight_bytes,
    select_weight_files,
)

__all__ = ["WEIGHTED_PARTS", "read_model_folder", "select_all_weight_files"]

PIPELINE_CLASS: Final = "StableDiffusion3Pipeline"

T5: Final = "text_encoder_3"
WEIGHTED_PARTS: Final = ("transformer", "vae", "text_encoder", "text_encoder_2", T5)

_LIBRARIES: Final = ("diffusers", "transformers")
_CLASSES: Final = {
    "transformer": "SD3Transformer2DModel",
    "vae": "Autoencoder(KL|Tiny)",
    "text_encoder": "CLIPTextModelWithProjection",
    "text_encoder_2": "CLIPTextModelWithProjection",
    T5: r"\w*T5EncoderModel",
    "tokenizer": r"(?!Auto)\w+Tokenizer(Fast)?",
    "tokenizer_2": r"(?!Auto)\w+Tokenizer(Fast)?",
    "tokenizer_3": r"(?!Auto)\w+Tokenizer(Fast)?",
    "scheduler": r"\w+Scheduler",
}

_REMEDY: Final = "Copy or download the whole model again."
_REMEDY_OF_FORMAT: Final = "Choose a Stable Diffusion 3 or 3.5 model in diffusers' format."

_ADAPTER_FILES: Final = ("adapter_config.json", "pytorch_lora_weights.safetensors")

# One of the sets, without which transformers makes a tokenizer that knows no words.
_TOKENIZER_FILES: Final = (
    ("tokenizer.json",),
    ("vocab.json", "merges.txt"),
    ("spiece.model",),
    ("tokenizer.model",),
)

# Beyond them, a configuration isn't that of an image model, and building it would take hours and
# all memory.
_MAX_LAYERS: Final = 1000
_MAX_NUMBER: Final = 10_000_000
_MAX_POSITIONS: Final = 4096
_MAX_VAE_LEVELS: Final = 8
_LAYER_KEYS: Final = ("num_layers", "num_hidden_layers", "num_decoder_layers", "layers_per_block")


def read_model_folder(
    folder: Path, repository: str = "", file_sizes: Mapping[str, int] | None = None
) -> Model:
    """Return the model in a folder, or of a repository whose configurations are in it.

    `file_sizes` are the bytes of a repository's files by path; by default those of the folder's.

    Raises:
        EngineError: there is no Stable Diffusion 3 pipeline in it, or only a part.
    """
    folder = folder.resolve()  # "." has no name
    name = repository or _clean_name(folder.name)
    index = _read_index(folder, name)
    paths = _list_files(folder) if file_sizes is None else list(file_sizes)
    has_t5 = _has_part(index, T5) and any(path.startswith(f"{T5}/") for path in paths)
    _check_scheduler(folder)
    _check_tokenizers(paths, has_t5=has_t5)
    part_sizes = _measure_parts(folder, paths, file_sizes, has_t5=has_t5)
    configs = {part: _read_config(folder, part) for part in part_sizes}
    _check_dimensions(configs)
    is_turbo = "turbo" in f"{name} {index.get('_name_or_path')}".lower()
    return Model(
        key=name,
        title=name.rpartition("/")[2],
        repository=repository,
        weights=Weights(
            transformer=part_sizes["transformer"],
            t5=part_sizes.get(T5, 0),
            rest=part_sizes["text_encoder"] + part_sizes["text_encoder_2"] + part_sizes["vae"],
        ),
        limits=_read_limits(
            configs["transformer"],
            configs["vae"],
            MODELS["large-turbo" if is_turbo else "large"].limits,
        ),
        quantization=_read_quantization(configs),
    )


def select_all_weight_files(paths: Iterable[str]) -> dict[str, WeightFiles]:
    """Return the files to load for each part that has any, of the paths in a model."""
    all_paths = list(paths)
    selections = ((part, select_weight_files(part, all_paths)) for part in WEIGHTED_PARTS)
    return {part: files for part, files in selections if files is not None}


def _clean_name(name: str) -> str:
    # A folder's name may have line breaks, which a title can't.
    return " ".join(name.split()) or "model"


def _read_index(folder: Path, name: str) -> dict[str, Any]:
    path = folder / INDEX_NAME
    if not path.exists():
        _check_other_formats(folder, name)
    index = read_json(path)
    class_name = index.get("_class_name")
    if class_name != PIPELINE_CLASS:
        raise EngineError(
            f"{name} holds a {class_name}, not a {PIPELINE_CLASS}.", _REMEDY_OF_FORMAT
        )
    for part, class_pattern in _CLASSES.items():
        if not _has_part(index, part):
            continue
        library, *class_names = index[part]
        # Any other class could be, or load, code of the folder's own.
        if library not in _LIBRARIES or not all(
            re.fullmatch(class_pattern, str(class_name)) for class_name in class_names
        ):
            raise EngineError(
                f"{name} has a {part} that isn't loaded: {', '.join(map(str, index[part]))}.",
                _REMEDY_OF_FORMAT,
            )
    return index


def _check_other_formats(folder: Path, name: str) -> None:
    if any((folder / file).exists() for file in _ADAPTER_FILES):
        raise EngineError(
            f"{name} holds an adapter (LoRA), which changes a model and is none.", _REMEDY_OF_FORMAT
        )
    if (folder / "snapshots").is_dir():
        raise EngineError(
            f"{name} is a folder of Hugging Face's cache.", "Choose a folder in its snapshots."
        )


def _list_files(folder: Path) -> list[str]:
    # Only regular files: reading a pipe would wait for ever.
    return [path.relative_to(folder).as_posix() for path in folder.glob("*/*") if path.is_file()]


def _has_part(index: Mapping[str, Any], part: str) -> bool:
    value = index.get(part)
    return isinstance(value, list) and bool(value) and value[0] is not None


def _check_scheduler(folder: Path) -> None:
    """Refuse a scheduler that isn't for flow matching.

    Raises:
        EngineError: the model has another one, with which its images would be noise.
    """
    config = read_json(folder / "scheduler" / "scheduler_config.json")
    class_name = str(config.get("_class_name"))
    if not (class_name.startswith("FlowMatch") or config.get("use_flow_sigmas") is True):
        raise EngineError(
            f"The model's scheduler {class_name} isn't one for flow matching.",
            "Use FlowMatchEulerDiscreteScheduler, as Stable Diffusion 3.5 does.",
        )


def _check_tokenizers(paths: Iterable[str], *, has_t5: bool) -> None:
    existing_paths = set(paths)
    for part in ("tokenizer", "tokenizer_2", *(("tokenizer_3",) * has_t5)):
        if not any(
            all(f"{part}/{name}" in existing_paths for name in names) for names in _TOKENIZER_FILES
        ):
            raise EngineError(f"The model's {part} is missing or incomplete.", _REMEDY)


def _measure_parts(
    folder: Path, paths: Iterable[str], file_sizes: Mapping[str, int] | None, *, has_t5: bool
) -> dict[str, int]:
    """Return the bytes of each part's weights at 16 bits."""
    selections = select_all_weight_files(paths)
    part_sizes = {}
    for part in WEIGHTED_PARTS:
        if part == T5 and not has_t5:
            continue
        files = selections.get(part)
        if files is None:
            raise EngineError(f"The weights of the model's {part} are missing.", _REMEDY)
        part_sizes[part] = (
            read_weight_bytes(folder, files)
            if file_sizes is None
            else sum(file_sizes[path] for path in files.paths)
        )
    return part_sizes


def _read_config(folder: Path, part: str) -> dict[str, Any]:
    config = read_json(folder / part / "config.json")
    limits = dict.fromkeys(_LAYER_KEYS, _MAX_LAYERS) | {"pos_embed_max_size": _MAX_POSITIONS}
    for key, value in config.items():
        numbers = value if isinstance(value, list) else [value]
        limit = limits.get(key, _MAX_NUMBER)
        if any(isinstance(number, int) and abs(number) > limit for number in numbers):
            raise EngineError(f"{part}/config.json has a number that is too large: {key}.", _REMEDY)
    return config


def _check_dimensions(configs: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse parts of different models, whose first run would fail.

    Raises:
        EngineError: a part makes what the transformer doesn't take.
    """
    transformer = configs["transformer"]
    projections = [
        configs[part].get("projection_dim") for part in ("text_encoder", "text_encoder_2")
    ]
    pairs = [
        ("in_channels", "vae", configs["vae"].get("latent_channels")),
        ("joint_attention_dim", T5, configs.get(T5, {}).get("d_model")),
        (
            "pooled_projection_dim",
            "text_encoder",
            sum(value for value in projections if isinstance(value, int)) or None,
        ),
    ]
    for key, part, value in pairs:
        number = transformer.get(key)
        if isinstance(number, int) and isinstance(value, int) and number != value:
            raise EngineError(
                f"The model's {part} doesn't belong to its transformer: it makes {value} values "
                f"where {number} are needed.",
                _REMEDY,
            )


def _read_quantization(configs: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the number format of weights that are stored in fewer bits; empty if none are."""
    for part in ("transformer", T5):
        config = configs.get(part, {}).get("quantization_config")
        if isinstance(config, dict):
            bits = "int8" if config.get("load_in_8bit") else ""
            number_format = (
                config.get("bnb_4bit_quant_type") if config.get("load_in_4bit") else bits
            )
            return f"{config.get('quant_method')} {number_format}".strip()
    return ""


def _read_limits(transformer: dict[str, Any], vae: dict[str, Any], limits: Limits) -> Limits:
    """Return limits with a model's sides, which its table of positions limits."""
    channels = vae.get("block_out_channels")
    level_count = len(channels) if isinstance(channels, list) else 0
    scale = 2 ** (level_count - 1) if 0 < level_count <= _MAX_VAE_LEVELS else 8
    patch_side = _positive(transformer.get("patch_size"), 2) * scale
    multiple = math.lcm(PIPELINE_MULTIPLE, patch_side)
    table_size = transformer.get("pos_embed_max_size", 96)  # by default of diffusers
    maximum = int(limits.width.maximum) // multiple * multiple
    if table_size is not None:  # without a table, positions are computed
        maximum = min(maximum, _positive(table_size, 192) * patch_side // multiple * multiple)
    if not maximum:
        raise EngineError(f"The model can't make images of {multiple} pixels or more.", _REMEDY)
    default_side = _positive(transformer.get("sample_size"), 128) * scale // multiple * multiple
    default = min(max(default_side, multiple), maximum)
    # Half of what the models of Stability are for, and less for a model that is for small images.
    minimum = max(default // 4 // multiple * multiple, multiple)
    side = Range(minimum, maximum, multiple, default)
    return replace(limits, width=side, height=side)


def _positive(value: object, default: int) -> int:
    is_valid = isinstance(value, int) and not isinstance(value, bool) and value > 0
    return value if is_valid and isinstance(value, int) else default
