"""Readers of other tools' metadata."""

import datetime as dt
import html
import io
import json
import struct
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from sd35.library.picture_file import creation_time, inspect_picture
from sd35.metadata import budget
from sd35.metadata.dates import parse_date
from sd35.metadata.embedding import EmbeddedTexts, metadata_from_texts, read_metadata
from sd35.metadata.infotext import read_infotext, write_infotext
from sd35.metadata.model import GenerationMetadata, metadata_from_json
from sd35.metadata.parsing import MAX_TEXT_LENGTH
from sd35.metadata.readers import read_tool_metadata
from tests.fuzz.meter import measure

SWARMUI_PARAMS = {
    "sui_models": [{"name": "style/ink.safetensors", "hash": f"0x{'a' * 1000}"}],
    "sui_image_params": {
        "prompt": "a fox <lora:snow:0.5>",
        "negativeprompt": "blurry",
        "model": "SD35/sd3.5_large.safetensors",
        "seed": 2042464333,
        "steps": 25,
        "cfgscale": 4.5,
        "aspectratio": "1:1",
        "width": 1024,
        "height": 768,
        "sampler": "euler",
        "nopreviews": True,
        "loras": ["style/ink"],
        "loraweights": ["0.8"],
        "swarm_version": "0.9.5.2",
    },
    "sui_extra_data": {"date": "2025-03-15"},
}

FOOOCUS = {
    "adm_guidance": "(1.5, 0.8, 0.3)",
    "base_model": "juggernautXL_v8Rundiffusion",
    "base_model_hash": "aeb7e9e689",
    "full_prompt": ["cinematic still a fox"],
    "guidance_scale": 4,
    "lora_combined_1": "offset : 0.1",
    "loras": [["offset", 0.1, "4852686128"]],
    "metadata_scheme": "fooocus",
    "negative_prompt": "blurry",
    "performance": "Speed",
    "prompt": "a fox",
    "resolution": "(1024, 768)",
    "sampler": "dpmpp_2m_sde_gpu",
    "seed": "12758",
    "sharpness": 2,
    "steps": 30,
    "styles": "['Fooocus V2']",
    "version": "Fooocus v2.5.5",
}

INVOKEAI_METADATA = {
    "app_version": "5.4.2",
    "generation_mode": "txt2img",
    "positive_prompt": "a fox",
    "negative_prompt": "blurry",
    "width": 1024,
    "height": 768,
    "seed": 12758,
    "cfg_scale": 7.5,
    "steps": 50,
    "scheduler": "euler",
    "model": {"key": "1", "hash": "blake3:00", "name": "sdxl-base", "type": "main"},
    "controlnets": [],
    "loras": [{"model": {"name": "ink"}, "weight": 0.6}],
    "vae": None,
}

SD_METADATA = {
    "model": "stable diffusion",
    "model_weights": "stable-diffusion-1.5",
    "app_id": "invoke-ai/InvokeAI",
    "app_version": "v2.2.4",
    "image": {
        "prompt": [{"prompt": "a fox [blurry, text]", "weight": 1}],
        "steps": 50,
        "cfg_scale": 12,
        "height": 768,
        "width": 512,
        "seed": 2502935700,
        "sampler": "k_euler_a",
    },
}

RUINED_FOOOCUS = {
    "Prompt": "a fox",
    "Negative": "blurry",
    "steps": 30,
    "cfg": 8.5,
    "width": 1024,
    "height": 768,
    "seed": 3864674281,
    "sampler_name": "dpmpp_2m_sde_gpu",
    "base_model_name": "xl/sd_xl_base_1.0.safetensors",
    "loras": [["4852686128", "0.1 - ink\\offset.safetensors"]],
    "denoise": None,
    "software": "RuinedFooocus",
}

SPACE = {
    "prompt": "a fox",
    "negative_prompt": "blurry",
    "resolution": "1024 x 768",
    "guidance_scale": 7,
    "num_inference_steps": 28,
    "seed": 1082676886,
    "sampler": "Euler a",
    "sdxl_style": "(None)",
    "use_upscaler": {"upscale_by": 1.5},
    "Model": {"Model": "Animagine XL 3.1", "Model hash": "e3c47aedb0"},
    "datetime": "2023-11-25 06:42:21.342459",
}

SD_CPP = {
    "generator": {"name": "stable-diffusion.cpp"},
    "seed": 7,
    "width": 1024,
    "height": 768,
    "prompt": {"positive": "a fox", "negative": "blurry"},
    "sampling": {"steps": 8, "method": "euler_a", "guidance": {"txt_cfg": 1}},
    "models": {"diffusion_model": "z_image.gguf"},
}

NOVELAI = {
    "steps": 23,
    "width": 1024,
    "height": 768,
    "scale": 5.0,
    "seed": 2156638429,
    "sampler": "k_euler_ancestral",
    "uc": "blurry",
    "v4_prompt": {
        "caption": {"base_caption": "a fox", "char_captions": [{"char_caption": "a girl"}, 1]}
    },
    "signed_hash": "abc",
}

EASY_DIFFUSION = {
    "prompt": "a fox",
    "negative_prompt": "blurry",
    "seed": "12345",
    "use_stable_diffusion_model": "sd/sd-v1-5.ckpt",
    "sampler_name": "euler_a",
    "num_inference_steps": "25",
    "guidance_scale": "7.5",
    "width": "1024",
    "height": "768",
    "use_lora_model": "ink",
    "lora_alpha": "0.5",
}

TENSORART = {
    "prompt": "a fox",
    "negativePrompt": "blurry",
    "width": 1024,
    "height": 768,
    "steps": 30,
    "cfgScale": 7,
    "seed": -1,
    "ksamplerName": "euler",
    "baseModel": {"label": "v16", "modelFileName": "WAI-16"},
    "models": [{"modelFileName": "ink", "weight": 0.8}],
}

DRAW_THINGS = {
    "c": "a fox",
    "uc": "blurry",
    "model": "sd_v3.5_large_q8p.ckpt",
    "sampler": "DPM++ 2M AYS",
    "scale": 7.5,
    "seed": 12345,
    "steps": 20,
    "size": "1024x768",
    "lora": [{"model": "ink.ckpt", "weight": 0.6}],
}


def make_node(kind: str, **inputs: object) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs, "_meta": {"title": kind}}


COMFYUI_GRAPH: dict[str, Any] = {
    "3": make_node(
        "KSampler",
        seed=1071208483,
        steps=30,
        cfg=5.5,
        sampler_name="euler",
        scheduler="sgm_uniform",
        denoise=1,
        model=["20", 0],
        positive=["16", 0],
        negative=["40", 0],
        latent_image=["53", 0],
    ),
    "4": make_node("CheckpointLoaderSimple", ckpt_name="sd35\\sd3.5_large_fp8.safetensors"),
    "20": make_node(
        "LoraLoader",
        lora_name="ink.safetensors",
        strength_model=0.75,
        model=["4", 0],
        clip=["4", 1],
    ),
    "8": make_node("VAEDecode", samples=["3", 0], vae=["4", 2]),
    "9": make_node("SaveImage", images=["8", 0]),
    "16": make_node("CLIPTextEncode", text=["17", 0], clip=["20", 1]),
    "17": make_node("PrimitiveString", value="a fox"),
    "40": make_node(
        "CLIPTextEncodeSD3", clip_l="blurry", clip_g="blurry", t5xxl="blurry", clip=["20", 1]
    ),
    "53": make_node("EmptySD3LatentImage", width=1024, height=768, batch_size=1),
}

CUSTOM_SAMPLER_GRAPH = {
    "1": make_node(
        "SamplerCustomAdvanced",
        noise=["2", 0],
        guider=["3", 0],
        sampler=["4", 0],
        sigmas=["5", 0],
        latent_image=["6", 0],
    ),
    "2": make_node("RandomNoise", noise_seed=["11", 0]),
    "3": make_node("CFGGuider", cfg=3.5, model=["7", 0], positive=["8", 0], negative=["9", 0]),
    "4": make_node("KSamplerSelect", sampler_name="dpmpp_2m"),
    "5": make_node("BasicScheduler", scheduler="beta", steps=28, denoise=0.9, model=["7", 0]),
    "6": make_node("EmptyLatentImage", width=["12", 0], height=768),
    "7": make_node("UNETLoader", unet_name="flux1-dev.gguf"),
    "8": make_node("ControlNetApplyAdvanced", positive=["10", 0], negative=["13", 0], strength=1),
    "9": make_node("ControlNetApplyAdvanced", positive=["10", 0], negative=["13", 0], strength=1),
    "10": make_node("CLIPTextEncode", text="a fox"),
    "11": make_node("PrimitiveInt", value=2**64 - 1),
    "12": make_node("PrimitiveInt", value=1024),
    "13": make_node("CLIPTextEncode", text="blurry"),
}

REFINER_GRAPH = {
    "1": make_node("SaveImage", images=["2", 0]),
    "2": make_node("VAEDecode", samples=["3", 0]),
    "3": make_node(
        "KSampler",
        seed=9,
        steps=9,
        cfg=1,
        positive=["5", 0],
        negative=["6", 0],
        latent_image=["4", 0],
    ),
    "4": make_node("LatentUpscale", samples=["7", 0], width=2048, height=2048),
    "5": make_node("CLIPTextEncode", text="a fox"),
    "6": make_node("ConditioningZeroOut", conditioning=["5", 0]),
    "7": make_node(
        "KSamplerAdvanced", noise_seed=4, steps=20, cfg=7, positive=["5", 0], latent_image=["8", 0]
    ),
    "8": make_node("EmptyLatentImage", width=512, height=640),
}

FOX_FIELDS = {"prompt": "a fox", "negative_prompt": "blurry", "width": 1024, "height": 768}


# Any field of the metadata can be given.
def fox_metadata(tool: str, **kwargs: Any) -> GenerationMetadata:  # noqa: ANN401
    return GenerationMetadata(**{**FOX_FIELDS, "tool": tool, **kwargs})


IMAGES_BY_TOOL: dict[str, tuple[dict[str, str], GenerationMetadata]] = {
    "SwarmUI": (
        {"parameters": json.dumps(SWARMUI_PARAMS, indent=2)},
        fox_metadata(
            "SwarmUI",
            guidance_scale=4.5,
            num_inference_steps=25,
            seed=2042464333,
            made_at=parse_date("2025-03-15"),
            model="sd3.5_large",
            versions={"SwarmUI": "0.9.5.2"},
            extra=(
                *(
                    ("LoRA", "ink:0.8"),
                    ("Aspectratio", "1:1"),
                    ("Sampler", "euler"),
                ),
                *(("Nopreviews", "true"), ("LoRA", "snow:0.5")),
            ),
        ),
    ),
    "Fooocus": (
        {"parameters": json.dumps(FOOOCUS), "fooocus_scheme": "fooocus"},
        fox_metadata(
            "Fooocus",
            guidance_scale=4,
            num_inference_steps=30,
            seed=12758,
            model="juggernautXL_v8Rundiffusion",
            versions={"Fooocus": "v2.5.5"},
            extra=(
                *(
                    ("LoRA", "offset:0.1"),
                    ("Adm guidance", "(1.5, 0.8, 0.3)"),
                    ("Performance", "Speed"),
                ),
                *(
                    ("Sampler", "dpmpp_2m_sde_gpu"),
                    ("Sharpness", "2"),
                    ("Styles", "['Fooocus V2']"),
                ),
            ),
        ),
    ),
    "InvokeAI": (
        {"invokeai_metadata": json.dumps(INVOKEAI_METADATA)},
        fox_metadata(
            "InvokeAI",
            guidance_scale=7.5,
            num_inference_steps=50,
            seed=12758,
            model="sdxl-base",
            versions={"InvokeAI": "5.4.2"},
            extra=(("LoRA", "ink:0.6"), ("Generation mode", "txt2img"), ("Scheduler", "euler")),
        ),
    ),
    "InvokeAI 2": (
        {"sd-metadata": json.dumps(SD_METADATA)},
        fox_metadata(
            "InvokeAI",
            negative_prompt="blurry, text",
            width=512,
            guidance_scale=12,
            num_inference_steps=50,
            seed=2502935700,
            model="stable-diffusion-1.5",
            versions={"InvokeAI": "v2.2.4"},
            extra=(("Sampler", "k_euler_a"),),
        ),
    ),
    "InvokeAI 1": (
        {
            "dream": '"a "red" fox [blurry]" -s50 -S 123 -W1024 -H 768 -C7.5 -Ak_dpm_2_a --grid'
            " -U 4 0.75"
        },
        fox_metadata(
            "InvokeAI",
            prompt='a "red" fox',
            guidance_scale=7.5,
            num_inference_steps=50,
            seed=123,
            extra=(("Sampler", "k_dpm_2_a"), ("Upscale", "4")),
        ),
    ),
    "InvokeAI 1.15": (
        {
            "Dream": '"a fox -s 50',
            "sd-metadata": json.dumps(
                {"model_id": "sd-1.4", "app_version": "v1.15", "images": [SD_METADATA["image"], 1]}
            ),
        },
        fox_metadata(
            "InvokeAI",
            negative_prompt="blurry, text",
            width=512,
            guidance_scale=12,
            num_inference_steps=50,
            seed=2502935700,
            model="sd-1.4",
            versions={"InvokeAI": "v1.15"},
            extra=(("Sampler", "k_euler_a"),),
        ),
    ),
    "InvokeAI's command": (
        {"Dream": "a fox [blurry] -W512 -H768 -C7.5 -S7 -Ak_lms -s 50"},
        fox_metadata(
            "InvokeAI",
            width=512,
            guidance_scale=7.5,
            num_inference_steps=50,
            seed=7,
            extra=(("Sampler", "k_lms"),),
        ),
    ),
    "RuinedFooocus": (
        {"parameters": json.dumps(RUINED_FOOOCUS)},
        fox_metadata(
            "RuinedFooocus",
            guidance_scale=8.5,
            num_inference_steps=30,
            seed=3864674281,
            model="sd_xl_base_1.0",
            extra=(("LoRA", "offset:0.1"), ("Sampler", "dpmpp_2m_sde_gpu")),
        ),
    ),
    "a Space": (
        {"metadata": json.dumps(SPACE)},
        fox_metadata(
            "Hugging Face Space",
            guidance_scale=7,
            num_inference_steps=28,
            seed=1082676886,
            made_at=parse_date(SPACE["datetime"]),
            model="Animagine XL 3.1",
            extra=(("Sampler", "Euler a"),),
        ),
    ),
    "stable-diffusion.cpp": (
        {"parameters": json.dumps(SD_CPP)},
        fox_metadata(
            "stable-diffusion.cpp",
            guidance_scale=1,
            num_inference_steps=8,
            seed=7,
            model="z_image",
            extra=(("Sampler", "euler_a"),),
        ),
    ),
    "NovelAI": (
        {"Comment": json.dumps(NOVELAI), "Source": "NovelAI Diffusion V4.5 4BDE2A90"},
        fox_metadata(
            "NovelAI",
            guidance_scale=5,
            num_inference_steps=23,
            seed=2156638429,
            model="NovelAI Diffusion V4.5",
            extra=(("Character prompt", "a girl"), ("Sampler", "k_euler_ancestral")),
        ),
    ),
    "NovelAI 1": (
        {
            "Description": "a fox",
            "Source": "Stable Diffusion 1D44365E",
            "Comment": '{"uc": "blurry", "scale": 11.0, "sampler": "plms", "width": 1024, '
            '"height": 768}',
        },
        fox_metadata(
            "NovelAI", guidance_scale=11, model="Stable Diffusion", extra=(("Sampler", "plms"),)
        ),
    ),
    "Easy Diffusion": (
        EASY_DIFFUSION,
        fox_metadata(
            "Easy Diffusion",
            guidance_scale=7.5,
            num_inference_steps=25,
            seed=12345,
            model="sd-v1-5",
            extra=(("LoRA", "ink:0.5"), ("Sampler", "euler_a")),
        ),
    ),
    "TensorArt": (
        {"generation_data": f"{json.dumps(TENSORART)}\0", "prompt": json.dumps(COMFYUI_GRAPH)},
        fox_metadata(
            "TensorArt",
            guidance_scale=7,
            num_inference_steps=30,
            seed=1071208483,
            model="WAI-16",
            extra=(("LoRA", "ink:0.8"), ("Sampler", "euler")),
        ),
    ),
    "Mochi Diffusion": (
        {
            "ImageDescription": "Include in Image: a fox; Exclude from Image: blurry; Model: d/x; "
            "Guidance Scale: 11; Seed: 9; Size: 1024x768; Generator: Mochi Diffusion 4.0"
        },
        fox_metadata("Mochi Diffusion 4.0", guidance_scale=11, seed=9, model="x"),
    ),
    "a text for each setting": (
        {"prompt": "a fox", "negative-prompt": "blurry", "seed": "9", "width": "1024"}
        | {"height": "768", "scale": "7.5", "sampler": "ddim"},
        fox_metadata("", guidance_scale=7.5, seed=9, extra=(("Sampler", "ddim"),)),
    ),
    "Draw Things": (
        {"UserComment": json.dumps(DRAW_THINGS)},
        fox_metadata(
            "Draw Things",
            guidance_scale=7.5,
            num_inference_steps=20,
            seed=12345,
            model="sd_v3.5_large_q8p",
            extra=(("LoRA", "ink:0.6"), ("Sampler", "DPM++ 2M AYS")),
        ),
    ),
    "ComfyUI": (
        {"prompt": json.dumps(COMFYUI_GRAPH), "workflow": "{}"},
        fox_metadata(
            "ComfyUI",
            guidance_scale=5.5,
            num_inference_steps=30,
            seed=1071208483,
            model="sd3.5_large_fp8",
            extra=(("Sampler", "euler"), ("Scheduler", "sgm_uniform"), ("LoRA", "ink:0.75")),
        ),
    ),
    "ComfyUI, custom": (
        {"prompt": json.dumps(CUSTOM_SAMPLER_GRAPH)},
        fox_metadata(
            "ComfyUI",
            guidance_scale=3.5,
            num_inference_steps=28,
            seed=2**64 - 1,
            model="flux1-dev",
            extra=(("Sampler", "dpmpp_2m"), ("Scheduler", "beta"), ("Denoise", "0.9")),
        ),
    ),
    "ComfyUI, refined": (
        {"prompt": json.dumps(REFINER_GRAPH)},
        fox_metadata(
            "ComfyUI",
            negative_prompt="",
            width=512,
            height=640,
            guidance_scale=7,
            num_inference_steps=20,
            seed=4,
            extra=(("Later passes", "KSampler (steps 9, CFG 1)"),),
        ),
    ),
    "AUTOMATIC1111": (
        {
            "parameters": "a fox\nNegative prompt: blurry\n"
            "Steps: 2, Sampler: Euler a, Seed: 3, Size: 1024x768"
        },
        fox_metadata(
            "AUTOMATIC1111", num_inference_steps=2, seed=3, extra=(("Sampler", "Euler a"),)
        ),
    ),
    "a prompt": (
        {"parameters": "a fox, in the snow"},
        GenerationMetadata(prompt="a fox, in the snow", tool=""),
    ),
}


def encode_png(texts: dict[str, str], *, is_compressed: bool = False) -> bytes:
    """Return a PNG with these texts by keyword."""
    info = PngInfo()
    for keyword, text in texts.items():
        info.add_text(keyword, text, zip=is_compressed)
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "PNG", pnginfo=info)
    return out.getvalue()


@pytest.mark.parametrize("name", IMAGES_BY_TOOL)
def test_png_files_are_read(name: str) -> None:
    """Metadata of each tool is read from a PNG."""
    texts, expected = IMAGES_BY_TOOL[name]
    assert read_metadata(encode_png(texts)) == expected


@pytest.mark.parametrize("seed", [0, 2**31, 2**53 + 1, 10**15, 2**63, 2**64 - 1])
@pytest.mark.parametrize("is_text", [False, True], ids=["number", "text"])
def test_seed_of_each_tool_is_exact(seed: int, is_text: bool) -> None:  # noqa: FBT001
    """A seed is read to its last digit, whether the tool writes it as a number or as text."""
    value = str(seed) if is_text else seed
    for texts in (
        {"parameters": json.dumps({"sui_image_params": {"prompt": "a fox", "seed": value}})},
        {"parameters": json.dumps({**FOOOCUS, "seed": value})},
        {"invokeai_metadata": json.dumps({**INVOKEAI_METADATA, "seed": value})},
        {"prompt": json.dumps({**COMFYUI_GRAPH, "3": sampler_node(seed=value)})},
        {"parameters": f"a fox\nSteps: 2, Sampler: Euler a, Seed: {value}, Size: 8x8"},
    ):
        metadata = read_tool_metadata(texts)
        assert metadata is not None
        assert (metadata.seed, "Seed" in dict(metadata.extra)) == (seed, False)
        assert metadata_from_json(metadata.to_json()) == metadata
        infotext = read_infotext(write_infotext(metadata, 8, 8))
        assert infotext is not None
        assert infotext.seed == seed


@pytest.mark.parametrize("value", ["1.5", "1e999", str(2**64), "1,234,567", "random"])
def test_seed_that_is_none_is_shown_as_it_is(value: str) -> None:
    """A value that isn't a seed is neither rounded nor left out."""
    for texts in (
        {"parameters": json.dumps({"sui_image_params": {"prompt": "a fox", "seed": value}})},
        {"parameters": f"a fox\nSteps: 2, Sampler: Euler a, Seed: {value}, Size: 8x8"},
    ):
        metadata = read_tool_metadata(texts)
        assert metadata is not None
        assert (metadata.seed, dict(metadata.extra)["Seed"]) == (None, value)


def test_number_that_is_no_seed_is_shown_as_it_is() -> None:
    """A number of any length in place of a seed is shown."""
    for number in (2**64, 10**40):
        metadata = read_tool_metadata(
            {"prompt": json.dumps({**COMFYUI_GRAPH, "3": sampler_node(seed=number)})}
        )
        assert metadata is not None
        assert (metadata.seed, dict(metadata.extra).get("Seed")) == (None, str(number))


def sampler_node(kind: str = "KSampler", **inputs: object) -> dict[str, object]:
    """Return the sampler of `COMFYUI_GRAPH` with other inputs."""
    return make_node(kind, **{**COMFYUI_GRAPH["3"]["inputs"], **inputs})


SAMPLER_SETTINGS = (("Sampler", "euler"), ("Scheduler", "sgm_uniform"))
INK_LORA = (("LoRA", "ink:0.75"),)
UNRELATED_NODES = {
    "1": make_node("VAEDecode", samples=["2", 0]),
    "2": make_node(
        "KSampler",
        seed=9,
        steps=4,
        cfg=1,
        positive=["40", 0],
        negative=["40", 0],
        latent_image=["53", 0],
    ),
}
LLM_NODE = make_node(
    "OllamaGenerate", prompt="Write a prompt", url="http://localhost", model="llama3"
)
NEGATIVE_LINK = ["40", 0]
LOADER_INPUTS = ("model", "positive", "negative", "latent_image")

GRAPH_CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "settings of one node": (
        {
            "3": sampler_node(
                seed=["1", 0], steps=["1", 1], cfg=["1", 2], sampler_name=["1", 3], denoise=["1", 5]
            ),
            "1": make_node(
                "Input Parameters (Image Saver)",
                seed=5,
                steps=20,
                cfg=6.5,
                sampler_name="heun",
                denoise=0.5,
            ),
        },
        {
            "seed": 5,
            "num_inference_steps": 20,
            "guidance_scale": 6.5,
            "extra": (("Sampler", "heun"), SAMPLER_SETTINGS[1], ("Denoise", "0.5"), *INK_LORA),
        },
    ),
    "a size of one node": (
        {
            "53": make_node("EmptyLatentImage", width=["1", 0], height=["1", 1]),
            "1": make_node(
                "SDParameterGenerator",
                seed=5,
                steps=9,
                aspect_ratio="custom",
                width=832,
                height=1216,
            ),
        },
        {"width": 832, "height": 1216},
    ),
    "a size out of a ratio": (
        {
            "53": make_node("EmptyLatentImage", width=["1", 0], height=["1", 1]),
            "1": make_node(
                "CR Aspect Ratio",
                width=832,
                height=1216,
                aspect_ratio="custom",
                swap_dimensions="On",
            ),
        },
        {"width": None, "height": None},
    ),
    "arithmetic": (
        {
            "3": sampler_node(steps=["1", 0], cfg=["2", 0]),
            "1": make_node("FloatToInt", float=["2", 0]),
            "2": make_node("MathBinary", op="*", value=10, number=3),
        },
        {"num_inference_steps": None, "guidance_scale": None},
    ),
    "KSampler Config": (
        {
            "3": sampler_node(steps=["1", 0], cfg=["1", 2], scheduler=["1", 4]),
            "1": make_node(
                "KSampler Config (rgthree)",
                steps_total=24,
                refiner_step=20,
                cfg=6.5,
                scheduler="beta",
            ),
        },
        {
            "num_inference_steps": 24,
            "guidance_scale": 6.5,
            "extra": (SAMPLER_SETTINGS[0], ("Scheduler", "beta"), *INK_LORA),
        },
    ),
    "a random seed": (
        {
            "3": sampler_node(seed=["1", 0], sampler_name=["2", 3]),
            "1": make_node("Seed (rgthree)", seed=-1),
            "2": LLM_NODE,
        },
        {"seed": None, "extra": (SAMPLER_SETTINGS[1], *INK_LORA)},
    ),
    "some of the steps": (
        {"3": sampler_node("KSamplerAdvanced", start_at_step=2, end_at_step=20)},
        {"extra": (*SAMPLER_SETTINGS, ("Start at step", "2"), ("End at step", "20"), *INK_LORA)},
    ),
    "refined pixels": (
        {
            "1": sampler_node("FaceDetailer", seed=9, latent_image=None, image=["8", 0]),
            "2": make_node("ImageScaleBy", image=["1", 0]),
            "5": make_node("VAEEncode", pixels=["2", 0]),
            "6": sampler_node(seed=8, latent_image=["5", 0], denoise=None),
            "7": make_node("VAEDecode", samples=["6", 0]),
            "9": make_node("SaveImage", images=["7", 0]),
        },
        {
            "extra": (
                *SAMPLER_SETTINGS,
                (
                    "Later passes",
                    "FaceDetailer (steps 30, CFG 5.5, denoise 1); KSampler (steps 30, CFG 5.5)",
                ),
                *INK_LORA,
            )
        },
    ),
    "a preview": ({"0": make_node("PreviewImage", images=["1", 0]), **UNRELATED_NODES}, {}),
    "a saver of its own": (
        {
            "0": make_node("PreviewImage", images=["1", 0]),
            **UNRELATED_NODES,
            "9": make_node(
                "SDPromptSaver", images=["8", 0], positive="x", negative="x", steps=1, seed=1
            ),
        },
        {},
    ),
    "two images": (
        {**UNRELATED_NODES, "z": make_node("SaveImage", images=["1", 0])},
        {"extra": (*SAMPLER_SETTINGS, ("Other samplers", "1"), *INK_LORA)},
    ),
    "LoRAs": (
        {
            "20": make_node(
                "Power Lora Loader (rgthree)",
                model=["21", 0],
                lora_1={"on": True, "lora": "a/ink.safetensors", "strength": 0.8},
                lora_2={"on": False, "lora": "off.safetensors", "strength": 1},
            ),
            "21": make_node(
                "Lora Loader Stack (rgthree)",
                model=["4", 0],
                lora_01="snow",
                strength_01=0.5,
                lora_02="None",
            ),
        },
        {"extra": (*SAMPLER_SETTINGS, ("LoRA", "ink:0.8"), ("LoRA", "snow:0.5"))},
    ),
    "Efficient Loader": (
        {
            "3": sampler_node("KSampler (Efficient)", **{key: ["1", 0] for key in LOADER_INPUTS}),
            "1": make_node(
                "Efficient Loader",
                ckpt_name="sd3.5_large_fp8",
                lora_name="ink",
                lora_model_strength=0.75,
                positive="a fox",
                negative="blurry",
                empty_latent_width=1024,
                empty_latent_height=768,
            ),
        },
        {"height": 768},
    ),
    "Efficient Loader's no LoRA": (
        {
            "20": make_node(
                "Efficient Loader", ckpt_name="base.ckpt", lora_name="None", lora_model_strength=1
            )
        },
        {"model": "base", "extra": SAMPLER_SETTINGS},
    ),
    "text encoders": (
        {"16": make_node("CLIPTextEncodeSD3", clip_l="fox", clip_g="", t5xxl=["17", 0])},
        {"extra": (*SAMPLER_SETTINGS, ("Prompt for CLIP-L", "fox"), *INK_LORA)},
    ),
    "Flux's guidance": (
        {
            "3": sampler_node(positive=["1", 0]),
            "1": make_node("FluxGuidance", guidance=3.5, conditioning=["16", 0]),
        },
        {"extra": (*SAMPLER_SETTINGS, ("Guidance", "3.5"), *INK_LORA)},
    ),
    "conditions": (
        {
            "3": sampler_node(positive=["1", 0]),
            "1": make_node("ConditioningCombine", conditioning_1=["2", 0], conditioning_2=["5", 0]),
            "2": make_node("CLIPTextEncode", text=""),
            "5": make_node(
                "ConditioningConcat", conditioning_to=["16", 0], conditioning_from=["6", 0]
            ),
            "6": make_node("CLIPTextEncode", text="in snow"),
        },
        {"prompt": "a fox, in snow"},
    ),
    "SD3's negative schedule": (
        {
            "3": sampler_node(negative=["1", 0]),
            "1": make_node("ConditioningCombine", conditioning_1=["2", 0], conditioning_2=["5", 0]),
            "2": make_node("ConditioningSetTimestepRange", conditioning=["6", 0], start=0.1, end=1),
            "5": make_node(
                "ConditioningSetTimestepRange", conditioning=NEGATIVE_LINK, start=0, end=0.1
            ),
            "6": make_node("ConditioningZeroOut", conditioning=NEGATIVE_LINK),
        },
        {},
    ),
    "DualCFGGuider": (
        {
            "3": make_node(
                "SamplerCustomAdvanced", guider=["1", 0], sampler=["2", 0], latent_image=["53", 0]
            ),
            "1": make_node(
                "DualCFGGuider",
                cond1=["16", 0],
                cond2=["5", 0],
                negative=NEGATIVE_LINK,
                cfg_conds=5,
                model=["20", 0],
            ),
            "2": make_node("KSamplerSelect", sampler_name="euler"),
            "5": make_node("CLIPTextEncode", text="in snow"),
        },
        {
            "seed": None,
            "num_inference_steps": None,
            "guidance_scale": 5,
            "extra": (SAMPLER_SETTINGS[0], ("Second prompt", "in snow"), *INK_LORA),
        },
    ),
    "two texts of one node": (
        {
            "17": make_node("Prompt Pair", prompt="a fox", negative_prompt="smudged"),
            "40": make_node("CLIPTextEncode", text=["17", 1]),
        },
        {"negative_prompt": "smudged"},
    ),
}


def test_half_surrogate_pairs_are_replaced() -> None:
    """No text of a file holds what UTF-8 can't encode, and so nothing that can't be sent."""
    half = "\ud800"
    values = {"prompt": half, "negativeprompt": half, "seed": half, "model": half, half: half}
    own = {"prompt": half, "space": half, "tags": [half], "versions": {half: half}}
    for texts in (
        {"parameters": json.dumps({"sui_image_params": values})},
        {"parameters": f"a fox\nSteps: 2, Seed: 3, Sampler: {json.dumps(half)}"},
        {"prompt": json.dumps({**COMFYUI_GRAPH, "17": make_node("Text", value=half)})},
        {"sd35": json.dumps({"format": 1, **own, "others": [[half, half]]})},
    ):
        metadata = metadata_from_texts(EmbeddedTexts(texts))
        assert "?" in str(metadata)
        assert str(metadata).isascii()
        assert "ud800" not in str(metadata)


@pytest.mark.parametrize("name", GRAPH_CASES)
def test_comfyui_graphs_are_read(name: str) -> None:
    """Settings come from the first sampler of the saved image, and from no other node."""
    changed, expected = GRAPH_CASES[name]
    graph = json.dumps({**COMFYUI_GRAPH, **changed}, sort_keys=True)
    assert read_tool_metadata({"prompt": graph}) == replace(
        IMAGES_BY_TOOL["ComfyUI"][1], **expected
    )


PROMPT_CASES: dict[str, tuple[dict[str, object], str, str]] = {
    "StringConcatenate": (
        make_node("StringConcatenate", string_a="a fox", string_b=["18", 0], delimiter=" "),
        "a fox in snow",
        "",
    ),
    "Text Concatenate": (
        make_node(
            "Text Concatenate",
            text_b=["18", 0],
            text_a="a fox ",
            text_c="",
            delimiter=", ",
            clean_whitespace="true",
        ),
        "a fox, in snow",
        "",
    ),
    "JoinStrings": (
        make_node("JoinStrings", string1="a fox", string2="in snow", delimiter="\\n"),
        "a fox\nin snow",
        "",
    ),
    "append": (
        make_node(
            "StringFunction|pysssss",
            action="append",
            tidy_tags="yes",
            text_a="a fox,",
            text_b="in snow",
            text_c="",
        ),
        "a fox, in snow",
        "",
    ),
    "replace": (
        make_node(
            "StringFunction|pysssss", action="replace", text_a="a cat", text_b="cat", text_c="fox"
        ),
        "",
        "generated by StringFunction|pysssss",
    ),
    "what it became": (
        make_node(
            "StringFunction|pysssss",
            action="replace",
            text_a="a cat",
            text_b="cat",
            text_c="fox",
            result="a fox",
        ),
        "a fox",
        "",
    ),
    "a language model": (LLM_NODE, "", "generated by OllamaGenerate"),
    "half of it": (
        make_node("StringConcatenate", string_a="a fox", string_b=["19", 0]),
        "a fox",
        "partly generated by OllamaGenerate",
    ),
    "what it wrote": (make_node("ShowText|pysssss", text=["19", 0], text_0="a fox"), "a fox", ""),
    "a switch": (
        make_node("Text Input Switch", boolean=False, text_a="a cat", text_b=["18", 0]),
        "in snow",
        "",
    ),
    "a switch by number": (
        make_node("ImpactSwitch", select=2, input1=["19", 0], input2=["18", 0]),
        "in snow",
        "",
    ),
    "a switch by chance": (
        make_node("ComfySwitchNode", switch=["19", 0], on_true="a fox", on_false="a cat"),
        "",
        "generated by ComfySwitchNode",
    ),
    "a styler": (
        make_node("SDXLPromptStyler", text_negative="blurry", text_positive="a fox", style="base"),
        "a fox",
        "",
    ),
    "easy positive": (make_node("easy positive", positive="a fox"), "a fox", ""),
    "a circle": (make_node("StringConcatenate", string_a="a fox", string_b=["17", 0]), "a fox", ""),
}


@pytest.mark.parametrize("name", PROMPT_CASES)
def test_comfyui_prompts_are_resolved(name: str) -> None:
    """Texts are joined and chosen as in the graph; a generated one isn't taken for the prompt."""
    prompt_node, prompt, instruction = PROMPT_CASES[name]
    graph = {
        **COMFYUI_GRAPH,
        "17": prompt_node,
        "18": make_node("PrimitiveString", value="in snow"),
        "19": LLM_NODE,
    }
    metadata = read_tool_metadata({"prompt": json.dumps(graph)})
    assert metadata is not None
    assert (metadata.prompt, dict(metadata.extra).get("Prompt", "")) == (prompt, instruction)


LONG_TEXT = make_node("PrimitiveString", value="\N{FOX FACE}" * MAX_TEXT_LENGTH)
PART_NAMES = [f"text_{number}" for number in range(1000)]


def sampler_graph(sampler: dict[str, object], **nodes: object) -> dict[str, object]:
    return {"k": make_node("KSampler", seed=1, steps=2, **sampler), **nodes}


def wide_nodes(count: int, links: dict[str, int], **inputs: object) -> dict[str, dict[str, Any]]:
    """Return nodes `0` to `count - 1` in a cycle, linked to those at these distances."""
    return {
        str(number): make_node(
            "Node",
            **{name: [str((number + offset) % count), 0] for name, offset in links.items()},
            **inputs,
        )
        for number in range(count)
    }


# Each is a small file: texts compress well, and a link takes a few bytes.
COSTLY_TEXTS: dict[str, dict[str, object]] = {
    "one text joined thousands of times": {
        "prompt": sampler_graph(
            {"positive": ["e", 0], "negative": ["e", 0]},
            e=make_node("CLIPTextEncode", text=["j", 0]),
            j=make_node("StringJoin", **{name: ["t", 0] for name in PART_NAMES}),
            t=LONG_TEXT,
        )
    },
    "a long delimiter": {
        "prompt": sampler_graph(
            {"positive": ["j", 0]},
            j=make_node("CLIPTextEncode", text=["s", 0]),
            s=make_node("StringJoin", delimiter="-" * 90_000, **dict.fromkeys(PART_NAMES, "x")),
        )
    },
    "blanks to strip": {
        "prompt": sampler_graph(
            {"positive": ["e", 0]},
            e=make_node("CLIPTextEncode", text=["j", 0]),
            j=make_node("StringJoin", tidy_tags="yes", **{name: ["t", 0] for name in PART_NAMES}),
            t=make_node("PrimitiveString", value=" ," * 50_000),
        )
    },
    "texts that double": {
        "prompt": sampler_graph(
            {"positive": ["0", 0]},
            **{
                str(number): make_node(
                    "ConditioningCombine",
                    **{f"conditioning_{at}": [str(number + 1), 0] for at in range(3)},
                )
                for number in range(38)
            },
            **{"38": make_node("CLIPTextEncode", text="fox" * 30_000)},
        )
    },
    "a long type": {
        "prompt": {"k": make_node("KSampler" * 400_000, positive=["k", 0], seed=1, steps=2)}
    },
    "cycles of wide nodes": {
        "prompt": sampler_graph(
            {name: ["0", 0] for name in ("positive", "negative", "cfg", "model", "latent_image")},
            **wide_nodes(
                200, {"conditioning": 1, "guidance": 7, "any_01": 1}, **dict.fromkeys("abcdef", 0)
            ),
        )
    },
    "long walks to many samplers": {
        "prompt": {
            **{f"save {at}": make_node("SaveImage", images=["0", 0]) for at in range(10)},
            **wide_nodes(900, {"image": 1}),
            "899": make_node("KSampler", samples=["0", 0]),
        }
    },
    "settings of thousands of LoRAs": {
        "prompt": sampler_graph(
            {"model": ["0", 0]},
            **wide_nodes(
                40, {"model": 1}, **{f"lora_{number}": ["a", 0] for number in range(10, 60)}
            ),
            a=make_node("Reroute", any_01=["b", 0]),
            b=make_node("Reroute", any_01=["a", 0]),
        )
    },
    "a switch in a circle of switches": {
        "prompt": sampler_graph(
            {name: ["0", 0] for name in ("positive", "model", "latent_image")},
            **{
                str(number): make_node(
                    "ComfySwitchNode",
                    **{
                        name: [str((number + offset) % 5000), 0]
                        for name, offset in {"switch": 1, "on_true": 7, "on_false": 9}.items()
                    },
                )
                for number in range(5000)
            },
        )
    },
    "pipes in each other": {"prompt": wide_nodes(300, {f"a{at}_pipe": at + 1 for at in range(40)})},
    "many uses of subgraphs": {
        "workflow": {
            "nodes": [{"id": 1, "type": "s0"}],
            "definitions": {
                "subgraphs": [
                    {"id": f"s{at}", "nodes": [{"id": n, "type": f"s{at + 1}"} for n in range(30)]}
                    for at in range(8)
                ]
            },
        }
    },
    "a node with many inputs, passed by": {
        "workflow": {
            "nodes": [
                {"id": 1, "mode": 4, "inputs": [{"type": "A"}] * 3000, "outputs": [{"type": "B"}]},
                {"id": 2, "type": "KSampler", "inputs": [{"name": "a", "link": 1}] * 3000},
            ],
            "links": [[1, 1, 0, 2, 0, "B"]],
        }
    },
    "empty lists": {"parameters": {"a": [[]] * 900_000}, "prompt": {"a": [[]] * 200_000}},
    "our own tags": {"sd35": {"format": 1, "tags": ["x" * 40_000] * 100, "others": [[]] * 900_000}},
}


@pytest.mark.parametrize("name", COSTLY_TEXTS)
def test_costly_texts_are_given_up(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No text makes a reader do more than its budget allows, or build what isn't kept."""
    max_steps = 60_000
    monkeypatch.setattr(budget, "MAX_STEPS", max_steps)
    texts = {
        key: json.dumps(value, ensure_ascii=False) for key, value in COSTLY_TEXTS[name].items()
    }
    cost = measure(lambda: metadata_from_texts(EmbeddedTexts(texts)))
    assert cost.calls < 10 * max_steps
    assert cost.peak_bytes < 8 << 20


def test_large_workflows_are_read() -> None:
    """A workflow of 2,000 nodes that saves ten images, with a prompt of 10,000 characters."""
    prompt = ("a fox in the snow, highly detailed, " * 300)[:10_000]
    filters = wide_nodes(
        1990, {"mask": 5, "model": 9}, amount=0.5, mode="normal, soft", size=512, strength=1
    )
    chain = {
        f"filter {number}": {**node, "inputs": {**node["inputs"], "image": image}}
        for (number, node), image in zip(
            filters.items(), [["8", 0], *([f"filter {at}", 0] for at in range(1989))], strict=True
        )
    }
    graph = {
        **COMFYUI_GRAPH,
        "17": make_node("PrimitiveString", value=prompt),
        **chain,
        **{f"save {at}": make_node("SaveImage", images=["filter 1989", 0]) for at in range(10)},
    }
    texts = {"prompt": json.dumps(graph), "workflow": json.dumps({"nodes": [filters] * 4})}
    assert len(texts["workflow"]) > 1 << 20
    inspected = inspect_picture(encode_png(texts, is_compressed=True))
    expected = replace(IMAGES_BY_TOOL["ComfyUI"][1], id=inspected.metadata.id, prompt=prompt)
    assert inspected.metadata == expected


def encode_with_exif(kind: str, tags: dict[int, object], inner: dict[int, object]) -> bytes:
    """Return a file with EXIF as Pillow writes it, in the first and the Exif directory."""
    exif = Image.Exif()
    exif.update(tags)
    exif.get_ifd(0x8769).update(inner)
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, kind, exif=exif)
    return out.getvalue()


# By tool: tags of the first directory and of the Exif directory.
EXIF_BY_TOOL: dict[str, tuple[dict[int, object], dict[int, object]]] = {
    "SwarmUI": (
        {},
        {0x9286: b"UNICODE\0" + json.dumps(SWARMUI_PARAMS).encode("utf-16-le")},
    ),
    "Fooocus": (
        {0x9286: json.dumps(FOOOCUS), 0x0131: "Fooocus v2.5.5", 0x927C: "fooocus"},
        {},
    ),
    "ComfyUI": (
        {0x0110: f"prompt:{json.dumps(COMFYUI_GRAPH)}", 0x010F: "workflow:{}"},
        {},
    ),
    "ComfyUI, nodes": (
        {0x010E: "Workflow:{}", 0x010F: f"Prompt:{json.dumps(COMFYUI_GRAPH)}"},
        {},
    ),
    "ComfyUI, in one object": (
        {0x9286: json.dumps({"prompt": json.dumps(COMFYUI_GRAPH), "workflow": {"nodes": [{}]}})},
        {},
    ),
    "ComfyUI, on a site": (
        {},
        {
            0x9286: b"UNICODE\0"
            + json.dumps(
                {**COMFYUI_GRAPH, "extra": {"airs": []}, "extraMetadata": '{"prompt":"a cat"}'}
            ).encode("utf-16-le")
        },
    ),
    "RuinedFooocus": ({0x010E: json.dumps(RUINED_FOOOCUS)}, {}),
    "NovelAI": (
        {},
        {
            0x9286: b"ASCII\0\0\0"
            + json.dumps(
                {**IMAGES_BY_TOOL["NovelAI"][0], "Software": "NovelAI"}, ensure_ascii=False
            ).encode()
        },
    ),
    "AUTOMATIC1111": (
        {},
        {
            0x9286: b"UNICODE\0"
            + IMAGES_BY_TOOL["AUTOMATIC1111"][0]["parameters"].encode("utf-16-be")
        },
    ),
}


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
@pytest.mark.parametrize("name", EXIF_BY_TOOL)
def test_jpeg_and_webp_files_are_read(kind: str, name: str) -> None:
    """Metadata of each tool is read from a JPEG and WebP, too."""
    expected = IMAGES_BY_TOOL[name.partition(",")[0]][1]
    assert read_metadata(encode_with_exif(kind, *EXIF_BY_TOOL[name])) == expected


@pytest.mark.parametrize(
    "texts",
    [
        {},
        {"Comment": "Made on a rainy day: a fox", "UserComment": "one, two", "Make": "A camera"},
        {
            "parameters": '{"a": 1}',
            "prompt": "a fox",
            "invokeai_metadata": "[]",
            "sd-metadata": '{"image": 3}',
        },
        {"prompt": json.dumps({"1": make_node("LoadImage", image="x.png")})},
        {"parameters": '{"sui_image_params": [1]}'},
    ],
    ids=["nothing", "comments", "other things", "no sampler", "a list"],
)
def test_other_texts_are_ignored(texts: dict[str, str]) -> None:
    """Comments and other JSON are no metadata."""
    assert read_tool_metadata(texts) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(
    st.sampled_from(
        [
            SWARMUI_PARAMS["sui_image_params"],
            FOOOCUS,
            INVOKEAI_METADATA,
            SD_METADATA["image"],
            {**RUINED_FOOOCUS, **SPACE},
            SD_CPP,
            NOVELAI,
            {**TENSORART, **DRAW_THINGS},
            COMFYUI_GRAPH,
            CUSTOM_SAMPLER_GRAPH,
        ]
    ),
    st.data(),
)
def test_values_of_wrong_types_are_ignored(workflow: dict[str, Any], data: st.DataObject) -> None:
    """Values of any type in place of the expected ones never raise."""
    names = st.sampled_from(sorted({*workflow, "inputs", "class_type"}))
    changed: dict[str, Any] = {
        **workflow,
        **data.draw(st.dictionaries(names, json_values, max_size=4)),
    }
    for name, node_data in changed.items():
        if (
            isinstance(node_data, dict)
            and isinstance(node_data.get("inputs"), dict)
            and node_data["inputs"]
        ):
            inputs = st.sampled_from(sorted(node_data["inputs"]))
            changed[name] = {
                **node_data,
                "inputs": {
                    **node_data["inputs"],
                    **data.draw(st.dictionaries(inputs, json_values, max_size=1)),
                },
            }
    for texts in (
        {"parameters": json.dumps({"sui_image_params": changed})},
        {"parameters": json.dumps(changed), "fooocus_scheme": "fooocus"},
        {"invokeai_metadata": json.dumps(changed)},
        {"sd-metadata": json.dumps({"image": changed})},
        {"sd-metadata": json.dumps([changed])},
        {"generation_data": json.dumps(changed), "Comment": json.dumps(changed)},
        {"UserComment": json.dumps(changed)},
        {"prompt": json.dumps(changed)},
    ):
        metadata = read_tool_metadata(texts)
        assert metadata is None or metadata.to_json()


@given(st.text(), st.integers(0, 255))
def test_any_comment_can_be_read(text: str, byte: int) -> None:
    """A comment of any bytes, cut anywhere, never raises."""
    comment = b"UNICODE\0" + text.encode("utf-16-be", "surrogatepass") + struct.pack("B", byte)
    read_metadata(encode_with_exif("JPEG", {}, {0x9286: comment}))


FILE_TIME = dt.datetime(2025, 3, 15, 6, 7, 8).astimezone()
XMP = f"""<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:Description xmp:CreateDate="2025-02-03T10:11:12Z">
<exif:UserComment><rdf:Alt>
<rdf:li xml:lang="x-default">{html.escape(json.dumps(DRAW_THINGS))}</rdf:li>
</rdf:Alt></exif:UserComment></rdf:Description></x:xmpmeta>"""


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_settings_in_xmp_are_read(kind: str) -> None:
    """Draw Things has its settings in XMP, and the date as well."""
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP)
    options = {"pnginfo": info} if kind == "PNG" else {"xmp": XMP.encode()}
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, kind, **options)
    metadata = inspect_picture(out.getvalue()).metadata
    expected = IMAGES_BY_TOOL["Draw Things"][1]
    made_at = dt.datetime(2025, 2, 3, 10, 11, 12, tzinfo=dt.UTC)
    assert metadata == replace(expected, id=metadata.id, made_at=made_at)


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (encode_png({"Creation Time": "Tue, 3 Jan 2023 10:11:12 +0100"}), "2023-01-03T09:11:12Z"),
        (encode_png({"Creation Time": "2023-01-03T10:11:12.7613Z"}), "2023-01-03T10:11:12.761300Z"),
        (encode_png(IMAGES_BY_TOOL["SwarmUI"][0]), FILE_TIME.isoformat()),
        (
            encode_png(
                {"parameters": '{"sui_image_params": {"prompt": "a", "date": "2024-08-07"}}'}
            ),
            "2024-08-07T12:00:00",
        ),
        (
            encode_with_exif(
                "JPEG",
                {0x0132: "2024:01:01 00:00:00"},
                {0x9003: "2021:05:06 07:08:09", 0x9011: "+09:00"},
            ),
            "2021-05-05T22:08:09Z",
        ),
        (encode_with_exif("WEBP", {0x0132: "2021:05:06 07:08:09"}, {}), "2021-05-06T07:08:09"),
        *(
            (encode_png({"Creation Time": date}), FILE_TIME.isoformat())
            for date in (
                *(
                    "0000:00:00 00:00:00",
                    "9999-12-31T23:59:59Z",
                    "0001-01-01",
                    "1970:01:01 00:00:00",
                ),
                *("2024-02-30", "2024-01-01T25:00:00", "2024-01-01T00:00:00+99:99", "yesterday"),
                *("1" * 100_000, "\u0662\u0660\u0662\u0664-01-01", "31 Foo 2024 10:11"),
            )
        ),
    ],
)
def test_date_of_an_image_is_its_own(file: bytes, expected: str) -> None:
    """The date in a file decides, and the file's time where it has none or nonsense.

    The file's time also orders images that have a day alone.
    """
    metadata = inspect_picture(file).metadata
    mtime_ns = int(FILE_TIME.timestamp() * 1e9)
    assert creation_time(metadata, mtime_ns) == dt.datetime.fromisoformat(expected).astimezone()
