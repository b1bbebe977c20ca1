"""Loading a model as planned."""

import inspect
from pathlib import Path
from typing import Any, Final

import torch
import transformers
from diffusers import (
    PipelineQuantizationConfig,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from diffusers.hooks import apply_group_offloading
from diffusers.quantizers.quantization_config import BitsAndBytesConfig, TorchAoConfig
from diffusers.utils import logging as diffusers_logging
from transformers import T5EncoderModel
from transformers.utils import logging as transformers_logging

from sd35.space.fit import Machine, Plan
from sd35.space.model_folder import select_all_weight_files

__all__ = ["load_pipeline"]

# The parts that are large enough to be worth it; the others lose more than they gain.
_QUANTIZED_PARTS: Final = ("transformer", "text_encoder_3")

TILE_SIDE: Final = 512  # pixels

# Of image prompts, which the Space doesn't take.
_UNUSED_PARTS: Final = {"image_encoder": None, "feature_extractor": None}


def load_pipeline(folder: Path, plan: Plan, machine: Machine) -> StableDiffusion3Pipeline:
    """Load the model in a folder, and put it where the plan says."""
    # Without a dtype, transformers keeps the files' and diffusers makes float32 of it: the parts
    # wouldn't fit together, or take twice the memory.
    dtype = torch.float32 if plan.precision == "float32" else torch.bfloat16
    options: dict[str, Any] = {"dtype": dtype, "local_files_only": True, **_UNUSED_PARTS}
    variant = max(_read_variants(folder).values())
    if variant:
        options["variant"] = variant
    if not plan.has_t5:
        options |= {"text_encoder_3": None, "tokenizer_3": None}
    quantization = _quantization(plan)
    if quantization is not None:
        options["quantization_config"] = quantization
        if plan.precision == "nf4" and plan.offload != "none":
            options |= _load_parts_in_turn(folder, dtype, quantization)
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    pipeline = StableDiffusion3Pipeline.from_pretrained(folder, **options)
    _adapt(pipeline)
    if plan.is_tiled:
        _decode_in_tiles(pipeline)
    _move_to_device(pipeline, plan, machine)
    return pipeline


def _decode_in_tiles(pipeline: StableDiffusion3Pipeline) -> None:
    vae = pipeline.vae
    vae.enable_tiling()
    # By default a tile has the size for which the VAE was trained: all of an image of a megapixel.
    vae.tile_sample_min_size = TILE_SIDE
    vae.tile_latent_min_size = TILE_SIDE // pipeline.vae_scale_factor


def _load_parts_in_turn(
    folder: Path, dtype: torch.dtype, quantization: PipelineQuantizationConfig
) -> dict[str, torch.nn.Module]:
    """Return the parts in 4 bits, loaded one after the other.

    Bitsandbytes loads them on the GPU, which may have room for one alone.
    """
    classes = {"transformer": SD3Transformer2DModel, "text_encoder_3": T5EncoderModel}
    variants = _read_variants(folder)
    parts = {}
    for name, config in quantization.quant_mapping.items():
        options = {"variant": variants[name]} if variants[name] else {}
        part = classes[name].from_pretrained(
            folder / name, dtype=dtype, quantization_config=config, local_files_only=True, **options
        )
        parts[name] = part.to("cpu")
        torch.cuda.empty_cache()
    return parts


def _read_variants(folder: Path) -> dict[str, str]:
    """Return the variant of each part that has no other weights; empty for full ones."""
    paths = [path.relative_to(folder).as_posix() for path in folder.glob("*/*")]
    return {part: files.variant for part, files in select_all_weight_files(paths).items()}


def _adapt(pipeline: StableDiffusion3Pipeline) -> None:
    """Fill in what the files of a model may leave open, without which each run would fail."""
    # A tokenizer of `tokenizer.json` alone knows no limit.
    pipeline.tokenizer_max_length = min(
        pipeline.tokenizer_max_length,
        pipeline.text_encoder.config.max_position_embeddings,
        pipeline.text_encoder_2.config.max_position_embeddings,
    )
    if pipeline.vae.config.shift_factor is None:
        pipeline.vae.register_to_config(shift_factor=0.0)
    # Some schedulers ignore the setting, but don't take what the pipeline passes because of it.
    if "mu" not in inspect.signature(pipeline.scheduler.set_timesteps).parameters:
        pipeline.scheduler.register_to_config(use_dynamic_shifting=False)


def _quantization(plan: Plan) -> PipelineQuantizationConfig | None:
    if plan.precision == "int8":
        from torchao.quantization import Int8WeightOnlyConfig  # noqa: PLC0415  # takes a second

        by_part = {
            "transformer": TorchAoConfig(Int8WeightOnlyConfig()),
            "text_encoder_3": transformers.TorchAoConfig(Int8WeightOnlyConfig()),
        }
    elif plan.precision == "nf4":
        options = {
            "load_in_4bit": True,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_compute_dtype": torch.bfloat16,
        }
        by_part = {
            "transformer": BitsAndBytesConfig(**options),
            "text_encoder_3": transformers.BitsAndBytesConfig(**options),
        }
    else:
        return None
    parts = _QUANTIZED_PARTS if plan.has_t5 else _QUANTIZED_PARTS[:1]
    return PipelineQuantizationConfig(quant_mapping={part: by_part[part] for part in parts})


def _move_to_device(pipeline: StableDiffusion3Pipeline, plan: Plan, machine: Machine) -> None:
    match plan.offload:
        case "none":
            pipeline.to(machine.device)
        case "model":
            pipeline.enable_model_cpu_offload(device=machine.device)
        case "group":
            _stream_layers(pipeline, torch.device(machine.device))


def _stream_layers(pipeline: StableDiffusion3Pipeline, device: torch.device) -> None:
    """Keep only the layers on a GPU that it works with, and bring the next one meanwhile."""
    options: dict[str, Any] = {
        "offload_type": "block_level",
        "num_blocks_per_group": 1,
        "use_stream": device.type == "cuda",
    }
    apply_group_offloading(pipeline.transformer, device, **options)
    if pipeline.text_encoder_3 is not None:
        # By itself, only layers of the top module are found, and T5 would be there as a whole.
        apply_group_offloading(
            pipeline.text_encoder_3, device, **options, block_modules=["encoder"]
        )
    for part in (pipeline.text_encoder, pipeline.text_encoder_2, pipeline.vae):
        part.to(device)
