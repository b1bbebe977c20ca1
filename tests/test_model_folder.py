"""Models in folders: what is read of them before anything is loaded."""

import json
from pathlib import Path
from typing import Any

import pytest

from sd35.core.limits import Range
from sd35.space.engine import EngineError
from sd35.space.model_folder import read_model_folder
from sd35.space.models import Weights

WEIGHT_COUNT = 1000
PARTS = ("transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3")


def write_weights(path: Path, dtype: str, byte_count: int) -> None:
    """Write a file of 1,000 weights in the format of safetensors."""
    tensor = {"dtype": dtype, "shape": [10, 100], "data_offsets": [0, byte_count]}
    header = json.dumps({"__metadata__": {"format": "pt"}, "weight": tensor}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(byte_count))


def write_model(folder: Path, transformer: dict[str, Any] | None = None, levels: int = 4) -> Path:
    for part in (*PARTS, "scheduler", "tokenizer", "tokenizer_2"):
        (folder / part).mkdir(parents=True)
    for part in PARTS:
        write_weights(folder / part / "model.safetensors", "F32", WEIGHT_COUNT * 4)
    configs: dict[str, dict[str, Any]] = {
        "model_index.json": {"_class_name": "StableDiffusion3Pipeline"},
        "transformer/config.json": transformer or {},
        "vae/config.json": {"block_out_channels": [8] * levels},
    }
    for name, config in configs.items():
        (folder / name).write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("transformer", "levels", "expected_range"),
    [
        ({}, 4, Range(256, 1536, 16, 1024)),
        ({"sample_size": 64, "pos_embed_max_size": 64}, 4, Range(256, 1024, 16, 512)),
        ({"patch_size": 4}, 4, Range(256, 1536, 32, 1024)),
        ({"patch_size": 1, "pos_embed_max_size": 50}, 4, Range(256, 400, 16, 400)),
        ({"sample_size": 100, "pos_embed_max_size": 41}, 5, Range(256, 1312, 32, 1312)),
        ({"pos_embed_max_size": 10}, 3, Range(80, 80, 16, 80)),
        ({"sample_size": "many", "patch_size": None}, 4, Range(256, 1536, 16, 1024)),
    ],
)
def test_sides_that_a_model_can_make(
    tmp_path: Path, transformer: dict[str, Any], levels: int, expected_range: Range
) -> None:
    """Depth of the VAE, patches and the table of positions decide about the sides."""
    limits = read_model_folder(write_model(tmp_path / "model", transformer, levels)).limits
    assert limits.width == limits.height == expected_range


def test_weights_count_16_bits_and_once(tmp_path: Path) -> None:
    """Files of 32 bits take half of their bytes, and variants beside them nothing."""
    folder = write_model(tmp_path / "model")
    for name in ("model.fp16.safetensors", "model-00001-of-00002.safetensors"):
        write_weights(folder / "transformer" / name, "F16", WEIGHT_COUNT * 2)
    (folder / "transformer" / "pytorch_model.bin").write_bytes(bytes(9000))
    size = WEIGHT_COUNT * 2
    expected_weights = Weights(transformer=2 * size, t5=size, rest=3 * size)
    assert read_model_folder(folder).weights == expected_weights


def test_turbo_is_known_by_its_name(tmp_path: Path) -> None:
    """A copy of Large Turbo begins with four steps and no guidance, and others don't."""
    turbo = read_model_folder(write_model(tmp_path / "sd3.5-Large-Turbo")).limits
    other = read_model_folder(write_model(tmp_path / "sd3.5-large")).limits
    for limits, expected in ((turbo, (4, 0)), (other, (40, 4.5))):
        assert limits.num_inference_steps is not None
        assert limits.guidance_scale is not None
        defaults = (limits.num_inference_steps.default, limits.guidance_scale.default)
        assert defaults == expected


def test_folder_here_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--model .` is named as the folder is."""
    monkeypatch.chdir(write_model(tmp_path / "my-model"))
    assert read_model_folder(Path()).title == "my-model"


@pytest.mark.parametrize(
    ("path", "content", "expected_message"),
    [
        ("model_index.json", b'{"_class_name": "FluxPipeline"}', "holds a FluxPipeline"),
        ("model_index.json", b"{", "isn't valid JSON"),
        ("model_index.json", None, "model_index.json is missing"),
        ("scheduler", None, "scheduler is missing"),
        ("vae/model.safetensors", None, "weights of the model's vae are missing"),
        ("vae/model.safetensors", b"version https://git-lfs.github.com/spec", "incomplete"),
        ("vae/model.safetensors", b"", "incomplete"),
        ("vae/model.safetensors", b"\x02" + bytes(7) + b"[]", "incomplete"),
    ],
)
def test_what_is_missing_is_named(
    tmp_path: Path, path: str, content: bytes | None, expected_message: str
) -> None:
    """Folders with another model, or with only a part of one, are refused before loading."""
    file = write_model(tmp_path / "model") / path
    if content is not None:
        file.write_bytes(content)
    elif file.is_dir():
        file.rmdir()
    else:
        file.unlink()
    with pytest.raises(EngineError, match=expected_message):
        read_model_folder(tmp_path / "model")
