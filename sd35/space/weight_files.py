"""Files of a model's weights: which of several formats, variants and shards are loaded.

A part's folder may hold the same weights more than once: as safetensors and as pickles (`.bin`),
in full and as a variant (`model.fp16.safetensors`), in one file and in shards. One set is loaded.
"""

import json
import math
import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sd35.space.engine import EngineError

__all__ = ["INDEX_NAME", "WeightFiles", "read_json", "read_weight_bytes", "select_weight_files"]

INDEX_NAME: Final = "model_index.json"

_HEADER_LIMIT: Final = 100_000_000  # bytes, as the safetensors library has it
_JSON_LIMIT: Final = 16_000_000  # bytes; the largest index of shards takes 0.2 MB

# Of the format that PyTorch wrote before 1.6.
_LEGACY_MAGIC: Final = b"\x80\x02\x8a\nl\xfc\x9cF\xf9"
_LEGACY_STRUCTURE_BYTES: Final = 1_000_000

_REMEDY: Final = "Copy or download the whole model again."

# The loaders look for these names alone: those of diffusers, and the two of transformers.
_FILE_NAME: Final = re.compile(
    r"(?P<stem>diffusion_pytorch_model|model|pytorch_model)"
    r"(\.(?P<variant>\w+))?(-(?P<shard>\d{5})-of-(?P<shard_count>\d{5}))?"
    r"(\.(?P<suffix_variant>\w+))?\.(?P<format>safetensors|bin)"
)
_TRANSFORMERS_STEMS: Final = {"safetensors": "model", "bin": "pytorch_model"}
_DIFFUSERS_PARTS: Final = ("transformer", "vae")


@dataclass(frozen=True, slots=True)
class WeightFiles:
    """The files that hold one part's weights once.

    Attributes:
        paths: of the weights; several if there are shards.
        index_path: of the file that says which shard holds what; empty without shards.
        variant: such as `fp16`; empty for the files that have no variant in their names.
    """

    paths: tuple[str, ...]
    index_path: str = ""
    variant: str = ""


def select_weight_files(part: str, paths: Iterable[str]) -> WeightFiles | None:
    """Return the files to load for a part, of the paths in a model; `None` if there are none.

    Safetensors come before pickles, and full weights before variants.

    Raises:
        EngineError: shards are missing.
    """
    existing_paths = set(paths)
    groups: dict[tuple[bool, bool, str], dict[str, re.Match[str]]] = {}
    for path in sorted(existing_paths):
        folder, _, name = path.rpartition("/")
        match = _FILE_NAME.fullmatch(name)
        if folder != part or match is None or match["stem"] != _stem(part, match["format"]):
            continue
        variant = match["variant"] or match["suffix_variant"] or ""
        key = (match["format"] == "bin", bool(variant), variant)
        groups.setdefault(key, {})[path] = match
    if not groups:
        return None
    key = min(groups)
    return _select_shards(groups[key], key[2], existing_paths)


def _stem(part: str, file_format: str) -> str:
    if part in _DIFFUSERS_PARTS:
        return "diffusion_pytorch_model"
    return _TRANSFORMERS_STEMS[file_format]


def _select_shards(
    matches: dict[str, re.Match[str]], variant: str, existing_paths: set[str]
) -> WeightFiles:
    whole_files = [path for path, match in matches.items() if match["shard"] is None]
    if whole_files:
        return WeightFiles((whole_files[0],), variant=variant)
    first_path, first = next(iter(matches.items()))
    count = int(first["shard_count"])
    shards = {int(match["shard"]): path for path, match in matches.items()}
    missing_shard = next((number for number in range(1, count + 1) if number not in shards), None)
    if missing_shard is not None:
        path = first_path.replace(f"-{first['shard']}-of-", f"-{missing_shard:05d}-of-")
        raise EngineError(f"{path} is missing, one of {count} files of weights.", _REMEDY)
    folder = first_path.rpartition("/")[0]
    prefix = f"{folder}/{first['stem']}.{first['format']}.index"
    index_path = f"{prefix}.{variant}.json" if variant else f"{prefix}.json"
    if index_path not in existing_paths:
        raise EngineError(f"{index_path} is missing.", _REMEDY)
    return WeightFiles(tuple(shards[number] for number in sorted(shards)), index_path, variant)


def read_weight_bytes(folder: Path, files: WeightFiles) -> int:
    """Return the bytes that a part's weights take at 16 bits, by the beginnings of its files.

    Raises:
        EngineError: a file is damaged.
    """
    if files.index_path:
        _check_index(folder, files)
    return sum(
        _read_safetensors_bytes(folder / path)
        if path.endswith(".safetensors")
        else _read_pickle_bytes(folder / path)
        for path in files.paths
    )


def _check_index(folder: Path, files: WeightFiles) -> None:
    # Elsewhere it could name any file of the machine.
    weight_map = read_json(folder / files.index_path).get("weight_map")
    names = {path.rpartition("/")[2] for path in files.paths}
    is_valid = isinstance(weight_map, dict) and all(
        isinstance(name, str) and name in names for name in weight_map.values()
    )
    if not is_valid:
        raise EngineError(f"{files.index_path} doesn't belong to the files beside it.", _REMEDY)


def _read_safetensors_bytes(path: Path) -> int:
    """Return the bytes of the weights at 16 bits: the file begins with their shapes."""
    end = -1
    byte_count = 0
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, _HEADER_LIMIT)))
        tensors = [tensor for name, tensor in header.items() if name != "__metadata__"]
        end = max((tensor["data_offsets"][1] for tensor in tensors), default=0)
        byte_count = sum(_tensor_bytes(tensor) for tensor in tensors)
    except PermissionError as error:
        raise _permission_error(path) from error
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError):
        end = -1
    # A file of Git LFS that wasn't fetched is a short text; a copy that was interrupted has no end.
    file_size = path.stat().st_size
    if not 0 <= end <= file_size - 8 - length or not 0 <= byte_count <= 8 * file_size:
        raise _damage_error(path)
    return byte_count


def _tensor_bytes(tensor: dict[str, Any]) -> int:
    count = math.prod(tensor["shape"])
    # Integers are weights that were quantised already, and stay as they are.
    is_float = tensor["dtype"].startswith(("F", "BF"))
    begin, end = tensor["data_offsets"]
    return int(count * 2 if is_float else end - begin)


def _read_pickle_bytes(path: Path) -> int:
    """Return the bytes of the weights at 16 bits, without unpickling anything."""
    try:
        with path.open("rb") as file:
            structure = file.read(_LEGACY_STRUCTURE_BYTES)
        byte_count = path.stat().st_size
        if not structure.startswith(_LEGACY_MAGIC):
            # `torch.save` writes a ZIP: the structure, and each tensor's bytes.
            with zipfile.ZipFile(path) as archive:
                entries = archive.infolist()
                name = next(entry for entry in entries if entry.filename.endswith("/data.pkl"))
                with archive.open(name) as file:
                    structure = file.read(_HEADER_LIMIT)
            byte_count = sum(entry.file_size for entry in entries if "/data/" in entry.filename)
    except PermissionError as error:
        raise _permission_error(path) from error
    except (zipfile.BadZipFile, StopIteration, ValueError, NotImplementedError) as error:
        raise _damage_error(path) from error
    if not byte_count:
        raise _damage_error(path)
    return byte_count // 2 if b"\nFloatStorage\n" in structure else byte_count


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a file of a model.

    Raises:
        EngineError: there is none.
    """
    # The parent of the index has the model's own name, or in the cache that of a commit.
    name = path.name if path.name == INDEX_NAME else f"{path.parent.name}/{path.name}"
    try:
        if not path.is_file():  # reading a pipe would wait for ever
            raise FileNotFoundError(path)
        with path.open("rb") as file:
            data = file.read(_JSON_LIMIT + 1)
        # Decoded first: of bytes, the json module takes encodings that the loaders refuse.
        value = json.loads(data.decode())
    except PermissionError as error:
        raise _permission_error(path) from error
    except OSError as error:
        raise EngineError(
            f"{name} is missing: this is no model in diffusers' format.",
            "Choose a folder that contains model_index.json, transformer, vae and text_encoder.",
        ) from error
    except (ValueError, RecursionError) as error:
        raise EngineError(f"{name} isn't valid JSON in UTF-8.", _REMEDY) from error
    if not isinstance(value, dict):
        raise EngineError(f"{name} isn't a JSON object.", _REMEDY)
    return value


def _permission_error(path: Path) -> EngineError:
    name = f"{path.parent.name}/{path.name}"
    return EngineError(f"{name} may not be read by this user.", "Change its permissions.")


def _damage_error(path: Path) -> EngineError:
    name = f"{path.parent.name}/{path.name}"
    return EngineError(f"{name} is damaged or incomplete.", "Copy or download the file again.")
