"""Models in folders: what is read of them before anything is loaded."""

import json
import os
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sd35.core.limits import Range
from sd35.space.engine import EngineError
from sd35.space.model_folder import read_model_folder
from sd35.space.models import Weights

WEIGHT_COUNT = 1000
INDEX_WITH_CODE = b'{"_class_name": "StableDiffusion3Pipeline", "vae": ["os", "system"]}'
INDEX_WITH_AUTO_MODEL = (
    b'{"_class_name": "StableDiffusion3Pipeline", "text_encoder": ["transformers", "AutoModel"]}'
)
TOKENIZERS = ("tokenizer", "tokenizer_2", "tokenizer_3")
PARTS = ("transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3")
TRANSFORMER = "transformer/diffusion_pytorch_model"
T5 = "text_encoder_3/model.safetensors"


def write_weights(
    path: Path, dtype: str, byte_count: int, shape: Sequence[float] = (10, 100)
) -> None:
    """Write a file of 1,000 weights in the format of safetensors."""
    tensor = {"dtype": dtype, "shape": shape, "data_offsets": [0, byte_count]}
    header = json.dumps({"__metadata__": {"format": "pt"}, "weight": tensor}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(byte_count))


def write_pickle(path: Path, storage_type: str, byte_count: int) -> None:
    """Write a file of one tensor as `torch.save` does."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", f"ctorch\n{storage_type}\n")
        archive.writestr("model/data/0", bytes(byte_count))


def write_model(folder: Path, transformer: dict[str, Any] | None = None, levels: int = 4) -> Path:
    for part in (*PARTS, "scheduler", *TOKENIZERS):
        (folder / part).mkdir(parents=True)
    for part in PARTS:
        stem = "diffusion_pytorch_model" if part in {"transformer", "vae"} else "model"
        write_weights(folder / part / f"{stem}.safetensors", "F32", WEIGHT_COUNT * 4)
        write_json(folder / part / "config.json", {})
    for tokenizer in TOKENIZERS:
        write_json(folder / tokenizer / "tokenizer.json", {})
    index = {
        "_class_name": "StableDiffusion3Pipeline",
        "text_encoder_3": ["transformers", "T5EncoderModel"],
    }
    write_json(folder / "model_index.json", index)
    scheduler = {"_class_name": "FlowMatchEulerDiscreteScheduler"}
    write_json(folder / "scheduler" / "scheduler_config.json", scheduler)
    write_json(folder / "transformer" / "config.json", transformer or {})
    write_json(folder / "vae" / "config.json", {"block_out_channels": [8] * levels})
    return folder


def write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value))


def write_shards(folder: Path, numbers: tuple[int, ...], **weight_map: str) -> None:
    """Write some of three shards, and the index that names them."""
    (folder / f"{TRANSFORMER}.safetensors").unlink()
    for number in numbers:
        path = folder / f"{TRANSFORMER}-0000{number}-of-00003.safetensors"
        write_weights(path, "BF16", WEIGHT_COUNT * 2)
    write_json(folder / f"{TRANSFORMER}.safetensors.index.json", {"weight_map": weight_map})


@pytest.mark.parametrize(
    ("transformer", "levels", "expected_range"),
    [
        ({}, 4, Range(256, 1536, 16, 1024)),
        ({"sample_size": 64, "pos_embed_max_size": 64}, 4, Range(128, 1024, 16, 512)),
        ({"patch_size": 4}, 4, Range(256, 1536, 32, 1024)),
        ({"patch_size": 3, "sample_size": 33}, 4, Range(48, 1536, 48, 240)),
        ({"patch_size": 1, "pos_embed_max_size": 50}, 4, Range(96, 400, 16, 400)),
        ({"sample_size": 100, "pos_embed_max_size": 41}, 5, Range(320, 1312, 32, 1312)),
        ({"pos_embed_max_size": 10}, 3, Range(16, 80, 16, 80)),
        ({"patch_size": 1, "sample_size": 32}, 1, Range(16, 96, 16, 32)),
        ({"pos_embed_max_size": None}, 3, Range(128, 1536, 16, 512)),
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
    """Files of 32 bits take half of their bytes, and variants and pickles beside them nothing."""
    folder = write_model(tmp_path / "model")
    write_weights(folder / f"{TRANSFORMER}.fp16.safetensors", "F16", WEIGHT_COUNT * 2)
    write_pickle(folder / f"{TRANSFORMER}.bin", "FloatStorage", 9000)
    size = WEIGHT_COUNT * 2
    expected_weights = Weights(transformer=size, t5=size, rest=3 * size)
    assert read_model_folder(folder).weights == expected_weights


@pytest.mark.parametrize(
    ("name", "storage_type", "byte_count"),
    [
        ("{}.bin", "FloatStorage", WEIGHT_COUNT * 4),
        ("{}.fp16.bin", "HalfStorage", WEIGHT_COUNT * 2),
        ("{}.bin", "BFloat16Storage", WEIGHT_COUNT * 2),
        ("{}.fp16.safetensors", "F16", WEIGHT_COUNT * 2),
        ("{}.bf16.safetensors", "BF16", WEIGHT_COUNT * 2),
        ("{}.safetensors", "F8_E4M3", WEIGHT_COUNT),
        ("{}.safetensors", "U8", WEIGHT_COUNT * 2),  # several in a byte, quantized already
    ],
)
def test_weights_of_each_format_count_16_bits(
    tmp_path: Path, name: str, storage_type: str, byte_count: int
) -> None:
    """Pickles are measured without unpickling, and each number format is known."""
    folder = write_model(tmp_path / "model")
    (folder / f"{TRANSFORMER}.safetensors").unlink()
    write = write_pickle if name.endswith(".bin") else write_weights
    write(folder / name.format(TRANSFORMER), storage_type, byte_count)
    assert read_model_folder(folder).weights.transformer == WEIGHT_COUNT * 2


@pytest.mark.parametrize(
    ("numbers", "weight_map", "expected_message"),
    [
        ((1, 2, 3), {"a": "diffusion_pytorch_model-00003-of-00003.safetensors"}, ""),
        ((1, 3), {}, "00002-of-00003.safetensors is missing, one of 3"),
        ((1, 2), {}, "00003-of-00003.safetensors is missing, one of 3"),
        ((1, 2, 3), {"a": "../../secret.safetensors"}, "doesn't belong to the files"),
    ],
)
def test_shards_are_whole_and_in_their_folder(
    tmp_path: Path, numbers: tuple[int, ...], weight_map: dict[str, str], expected_message: str
) -> None:
    """A missing shard is named, and an index can't name a file elsewhere."""
    folder = write_model(tmp_path / "model")
    write_shards(folder, numbers, **weight_map)
    if expected_message:
        with pytest.raises(EngineError, match=expected_message):
            read_model_folder(folder)
    else:
        assert read_model_folder(folder).weights.transformer == 3 * WEIGHT_COUNT * 2


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, ""),
        (
            {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
            "bitsandbytes nf4",
        ),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "bitsandbytes int8"),
        ({"quant_method": "torchao"}, "torchao"),
    ],
)
def test_quantization_of_the_files_is_known(
    tmp_path: Path, config: dict[str, Any], expected: str
) -> None:
    """Weights that were quantized before they were stored aren't quantized again."""
    transformer = {"quantization_config": config} if config else {}
    assert read_model_folder(write_model(tmp_path / "m", transformer)).quantization == expected


def test_t5_may_be_missing(tmp_path: Path) -> None:
    """A model may lack the T5 encoder in its index or in its folder, but not a half of it."""
    folder = write_model(tmp_path / "model")
    index = json.loads((folder / "model_index.json").read_text())
    write_json(folder / "model_index.json", {**index, "text_encoder_3": [None, None]})
    assert not read_model_folder(folder).weights.t5
    write_json(folder / "model_index.json", index)
    (folder / T5).unlink()
    with pytest.raises(EngineError, match="weights of the model's text_encoder_3 are missing"):
        read_model_folder(folder)
    shutil.rmtree(folder / "text_encoder_3")
    assert not read_model_folder(folder).weights.t5


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
        ("model_index.json", b"\xef\xbb\xbf{}", "isn't valid JSON in UTF-8"),
        ("model_index.json", b"[" * 100_000, "isn't valid JSON"),
        ("model_index.json", None, "model_index.json is missing"),
        ("model_index.json", INDEX_WITH_CODE, "has a vae that isn't loaded: os, system"),
        ("model_index.json", INDEX_WITH_AUTO_MODEL, "isn't loaded: transformers, AutoModel"),
        ("scheduler", None, "scheduler_config.json is missing"),
        ("scheduler/scheduler_config.json", b'{"_class_name": "DDIMScheduler"}', "flow matching"),
        ("tokenizer_3/tokenizer.json", None, "tokenizer_3 is missing or incomplete"),
        ("transformer/config.json", b'{"num_layers": 1000000000}', "too large: num_layers"),
        ("transformer/config.json", b'{"pos_embed_max_size": 1, "patch_size": 1}', "can't make"),
        ("vae/config.json", b'{"latent_channels": 4}', "vae doesn't belong to its transformer"),
        ("vae/diffusion_pytorch_model.safetensors", None, "weights of the model's vae are missing"),
        (T5, b"version https://git-lfs.github.com/spec", "incomplete"),
        (T5, b"", "incomplete"),
        (T5, b"\x02" + bytes(7) + b"[]", "incomplete"),
        (T5, ("F32", 4, [10**400]), "incomplete"),
        (T5, ("F32", 4, [1e300, 1e300]), "incomplete"),
        ("adapter_config.json", b"{}", "holds an adapter"),
    ],
)
def test_what_is_missing_is_named(
    tmp_path: Path, path: str, content: bytes | tuple[str, int, Any] | None, expected_message: str
) -> None:
    """Folders with another model, or with only a part of one, are refused before loading."""
    channels = {"in_channels": 16}
    file = write_model(tmp_path / "model", channels) / path
    if isinstance(content, tuple):
        write_weights(file, *content)
    elif content is not None:
        file.write_bytes(content)
    elif file.is_dir():
        shutil.rmtree(file)
    else:
        file.unlink()
    if path == "adapter_config.json":
        (file.parent / "model_index.json").unlink()
    with pytest.raises(EngineError, match=expected_message):
        read_model_folder(tmp_path / "model")


def test_pipe_is_no_file_of_a_model(tmp_path: Path) -> None:
    """Nothing waits for a pipe that nobody writes to."""
    folder = write_model(tmp_path / "model")
    for path in ("model_index.json", "text_encoder/model.safetensors"):
        (folder / path).rename(folder / "file")
        os.mkfifo(folder / path)
        with pytest.raises(EngineError, match="missing"):
            read_model_folder(folder)
        (folder / "file").replace(folder / path)
