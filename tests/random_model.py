"""Stable Diffusion 3 pipelines of the true classes with random weights, tiny or in their true size.

What random weights cost is what the real ones cost.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

__all__ = ["SHAPES", "build_random_model", "save_tiny_model"]


@dataclass(frozen=True, slots=True)
class Shape:
    """The options of each part that differ from model to model."""

    transformer: dict[str, Any]
    clips: tuple[dict[str, Any], dict[str, Any]]
    t5: dict[str, Any]
    vae: dict[str, Any]


_TRUE_CLIPS: Final = (
    {
        "vocab_size": 49408,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "projection_dim": 768,
        "hidden_act": "quick_gelu",
    },
    {
        "vocab_size": 49408,
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "num_attention_heads": 20,
        "projection_dim": 1280,
        "hidden_act": "gelu",
    },
)
_TRUE_T5: Final = {
    "vocab_size": 32128,
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_layers": 24,
    "num_heads": 64,
}
_TRUE_VAE: Final = {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2}
_TINY_CLIP: Final = {
    "vocab_size": 514,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "projection_dim": 32,
}

# As in the configurations of the repositories; Large and Large Turbo are alike.
SHAPES: Final = {
    "tiny": Shape(
        {
            "sample_size": 32,
            "num_layers": 2,
            "num_attention_heads": 4,
            "attention_head_dim": 8,
            "joint_attention_dim": 64,
            "caption_projection_dim": 32,
            "pooled_projection_dim": 64,
            "pos_embed_max_size": 96,
        },
        (_TINY_CLIP, _TINY_CLIP),
        {"vocab_size": 98, "d_model": 64, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 4},
        {"block_out_channels": (8, 8, 8, 8), "layers_per_block": 1, "norm_num_groups": 4},
    ),
    # As no model of Stability's is: 32 channels of latents, each for 16 pixels.
    "unusual": Shape(
        {
            "sample_size": 16,
            "num_layers": 1,
            "num_attention_heads": 2,
            "attention_head_dim": 8,
            "joint_attention_dim": 64,
            "caption_projection_dim": 16,
            "pooled_projection_dim": 64,
            "pos_embed_max_size": 48,
            "in_channels": 32,
            "out_channels": 32,
        },
        (_TINY_CLIP, _TINY_CLIP),
        {"vocab_size": 98, "d_model": 64, "d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 4},
        {
            "block_out_channels": (4, 4, 4, 4, 4),
            "layers_per_block": 1,
            "norm_num_groups": 2,
            "latent_channels": 32,
        },
    ),
    "medium": Shape(
        {
            "num_layers": 24,
            "num_attention_heads": 24,
            "joint_attention_dim": 4096,
            "caption_projection_dim": 1536,
            "pooled_projection_dim": 2048,
            "pos_embed_max_size": 384,
            "dual_attention_layers": tuple(range(13)),
        },
        _TRUE_CLIPS,
        _TRUE_T5,
        _TRUE_VAE,
    ),
    "large": Shape(
        {
            "num_layers": 38,
            "num_attention_heads": 38,
            "joint_attention_dim": 4096,
            "caption_projection_dim": 2432,
            "pooled_projection_dim": 2048,
            "pos_embed_max_size": 192,
        },
        _TRUE_CLIPS,
        _TRUE_T5,
        _TRUE_VAE,
    ),
}


def build_random_model(shape_name: str, device: str = "cpu") -> StableDiffusion3Pipeline:
    """Return a pipeline whose weights are made on the device: Large takes 28 GB there."""
    shape = SHAPES[shape_name]
    torch.manual_seed(0)
    clip = _clip_tokenizer()
    special_tokens = {
        "bos_token_id": clip.bos_token_id,
        "eos_token_id": clip.eos_token_id,
        "pad_token_id": clip.pad_token_id,
    }
    dtype = torch.bfloat16 if shape_name in {"medium", "large"} else torch.float32
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            text_encoders = [
                CLIPTextModelWithProjection(CLIPTextConfig(**options, **special_tokens)).eval()
                for options in shape.clips
            ]
            pipeline = StableDiffusion3Pipeline(
                transformer=_transformer(shape),
                scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
                vae=_vae(shape),
                text_encoder=text_encoders[0],
                tokenizer=clip,
                text_encoder_2=text_encoders[1],
                tokenizer_2=clip,
                text_encoder_3=_t5_encoder(shape),
                tokenizer_3=_t5_tokenizer(),
            )
    finally:
        torch.set_default_dtype(torch.float32)
    return pipeline.to(dtype=dtype)


def save_tiny_model(folder: Path) -> Path:
    """Save the tiny pipeline as diffusers does, some 2 MB, and return the folder."""
    build_random_model("tiny").save_pretrained(folder)
    return folder


def _transformer(shape: Shape) -> SD3Transformer2DModel:
    options = {"patch_size": 2, "in_channels": 16, "out_channels": 16, "qk_norm": "rms_norm"}
    return SD3Transformer2DModel(**(options | shape.transformer))


def _t5_encoder(shape: Shape) -> T5EncoderModel:
    return T5EncoderModel(T5Config(feed_forward_proj="gated-gelu", **shape.t5)).eval()


def _vae(shape: Shape) -> AutoencoderKL:
    block_count = len(shape.vae["block_out_channels"])
    options = {
        "latent_channels": 16,
        "down_block_types": ("DownEncoderBlock2D",) * block_count,
        "up_block_types": ("UpDecoderBlock2D",) * block_count,
        "scaling_factor": 1.5305,
        "shift_factor": 0.0609,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
    }
    return AutoencoderKL(**(options | shape.vae))


def _clip_tokenizer() -> CLIPTokenizer:
    # Byte-level BPE writes bytes as letters: printable ones as themselves, the rest from U+0100 on.
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = [chr(byte) for byte in printable]
    letters += [chr(0x100 + number) for number in range(256 - len(printable))]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)


def _t5_tokenizer() -> T5Tokenizer:
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(chr(code), -4.0) for code in range(0x21, 0x7F)]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=512)
