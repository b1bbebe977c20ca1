"""What other programs wrote into their pictures, each in its own way."""

import io
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from sd35.metadata.embedding import read_picture
from sd35.metadata.foreign import read_foreign
from sd35.metadata.record import Record

SWARM = {
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

INVOKE = {
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


def node(kind: str, **inputs: object) -> dict[str, object]:
    return {"class_type": kind, "inputs": inputs, "_meta": {"title": kind}}


COMFY = {
    "3": node(
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
    "4": node("CheckpointLoaderSimple", ckpt_name="sd35\\sd3.5_large_fp8.safetensors"),
    "20": node("LoraLoader", lora_name="ink.safetensors", strength_model=0.75, model=["4", 0], clip=["4", 1]),
    "8": node("VAEDecode", samples=["3", 0], vae=["4", 2]),
    "9": node("SaveImage", images=["8", 0]),
    "16": node("CLIPTextEncode", text=["17", 0], clip=["20", 1]),
    "17": node("PrimitiveString", value="a fox"),
    "40": node("CLIPTextEncodeSD3", clip_l="blurry", clip_g="blurry", t5xxl="blurry", clip=["20", 1]),
    "53": node("EmptySD3LatentImage", width=1024, height=768, batch_size=1),
}

CUSTOM = {
    "1": node(
        "SamplerCustomAdvanced",
        noise=["2", 0],
        guider=["3", 0],
        sampler=["4", 0],
        sigmas=["5", 0],
        latent_image=["6", 0],
    ),
    "2": node("RandomNoise", noise_seed=["11", 0]),
    "3": node("CFGGuider", cfg=3.5, model=["7", 0], positive=["8", 0], negative=["9", 0]),
    "4": node("KSamplerSelect", sampler_name="dpmpp_2m"),
    "5": node("BasicScheduler", scheduler="beta", steps=28, denoise=0.9, model=["7", 0]),
    "6": node("EmptyLatentImage", width=["12", 0], height=768),
    "7": node("UNETLoader", unet_name="flux1-dev.gguf"),
    "8": node("ControlNetApplyAdvanced", positive=["10", 0], negative=["13", 0], strength=1),
    "9": node("ControlNetApplyAdvanced", positive=["10", 0], negative=["13", 0], strength=1),
    "10": node("CLIPTextEncode", text="a fox"),
    "11": node("PrimitiveInt", value=2**64 - 1),
    "12": node("PrimitiveInt", value=1024),
    "13": node("CLIPTextEncode", text="blurry"),
}

REFINED = {
    "1": node("SaveImage", images=["2", 0]),
    "2": node("VAEDecode", samples=["3", 0]),
    "3": node("KSampler", seed=9, steps=9, cfg=1, positive=["5", 0], negative=["6", 0], latent_image=["4", 0]),
    "4": node("LatentUpscale", samples=["7", 0], width=2048, height=2048),
    "5": node("CLIPTextEncode", text="a fox"),
    "6": node("ConditioningZeroOut", conditioning=["5", 0]),
    "7": node("KSamplerAdvanced", noise_seed=4, steps=20, cfg=7, positive=["5", 0], latent_image=["8", 0]),
    "8": node("EmptyLatentImage", width=512, height=640),
}

FOX = {"prompt": "a fox", "negative_prompt": "blurry", "width": 1024, "height": 768}


def a_fox(tool: str, **more: Any) -> Record:  # noqa: ANN401  # whatever a record has
    return Record(**{**FOX, "tool": tool, **more})


TABLE: dict[str, tuple[dict[str, str], Record]] = {
    "SwarmUI": (
        {"parameters": json.dumps(SWARM, indent=2)},
        a_fox(
            "SwarmUI",
            guidance_scale=4.5,
            num_inference_steps=25,
            seed=2042464333,
            model="sd3.5_large",
            versions={"SwarmUI": "0.9.5.2"},
            others=(
                *(("LoRA", "ink:0.8"), ("LoRA", "snow:0.5"), ("Aspectratio", "1:1"), ("Sampler", "euler")),
                ("Nopreviews", "true"),
            ),
        ),
    ),
    "Fooocus": (
        {"parameters": json.dumps(FOOOCUS), "fooocus_scheme": "fooocus"},
        a_fox(
            "Fooocus",
            guidance_scale=4,
            num_inference_steps=30,
            seed=12758,
            model="juggernautXL_v8Rundiffusion",
            versions={"Fooocus": "v2.5.5"},
            others=(
                *(("LoRA", "offset:0.1"), ("Adm guidance", "(1.5, 0.8, 0.3)"), ("Performance", "Speed")),
                *(("Sampler", "dpmpp_2m_sde_gpu"), ("Sharpness", "2"), ("Styles", "['Fooocus V2']")),
            ),
        ),
    ),
    "InvokeAI": (
        {"invokeai_metadata": json.dumps(INVOKE)},
        a_fox(
            "InvokeAI",
            guidance_scale=7.5,
            num_inference_steps=50,
            seed=12758,
            model="sdxl-base",
            versions={"InvokeAI": "5.4.2"},
            others=(("LoRA", "ink:0.6"), ("Generation mode", "txt2img"), ("Scheduler", "euler")),
        ),
    ),
    "InvokeAI 2": (
        {"sd-metadata": json.dumps(SD_METADATA)},
        a_fox(
            "InvokeAI",
            negative_prompt="blurry, text",
            width=512,
            guidance_scale=12,
            num_inference_steps=50,
            seed=2502935700,
            model="stable-diffusion-1.5",
            versions={"InvokeAI": "v2.2.4"},
            others=(("Sampler", "k_euler_a"),),
        ),
    ),
    "ComfyUI": (
        {"prompt": json.dumps(COMFY), "workflow": "{}"},
        a_fox(
            "ComfyUI",
            guidance_scale=5.5,
            num_inference_steps=30,
            seed=1071208483,
            model="sd3.5_large_fp8",
            others=(("Sampler", "euler"), ("Scheduler", "sgm_uniform"), ("LoRA", "ink:0.75")),
        ),
    ),
    "ComfyUI, custom": (
        {"prompt": json.dumps(CUSTOM)},
        a_fox(
            "ComfyUI",
            guidance_scale=3.5,
            num_inference_steps=28,
            model="flux1-dev",
            others=(
                *(("Seed", str(2**64 - 1)), ("Sampler", "dpmpp_2m"), ("Scheduler", "beta")),
                ("Denoise", "0.9"),
            ),
        ),
    ),
    "ComfyUI, refined": (
        {"prompt": json.dumps(REFINED)},
        a_fox(
            "ComfyUI",
            negative_prompt="",
            width=512,
            height=640,
            guidance_scale=7,
            num_inference_steps=20,
            seed=4,
        ),
    ),
    "AUTOMATIC1111": (
        {"parameters": "a fox\nNegative prompt: blurry\nSteps: 2, Sampler: Euler a, Seed: 3, Size: 1024x768"},
        a_fox("AUTOMATIC1111", num_inference_steps=2, seed=3, others=(("Sampler", "Euler a"),)),
    ),
    "a prompt": ({"parameters": "a fox, in the snow"}, Record(prompt="a fox, in the snow", tool="")),
}


@pytest.mark.parametrize("name", TABLE)
def test_pngs_of_other_programs(name: str) -> None:
    """A picture of another program's can't be made again here, for it isn't understood what it was made with."""
    texts, wanted = TABLE[name]
    info = PngInfo()
    for keyword, text in texts.items():
        info.add_text(keyword, text)
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "PNG", pnginfo=info)
    assert read_picture(out.getvalue()) == wanted


def with_exif(kind: str, tags: dict[int, object], inner: dict[int, object]) -> bytes:
    """A file as programs write it with Pillow: some put a comment into the outer table, some into the inner one."""
    exif = Image.Exif()
    exif.update(tags)
    exif.get_ifd(0x8769).update(inner)
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, kind, exif=exif)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
@pytest.mark.parametrize(
    ("name", "tags", "inner"),
    [
        ("SwarmUI", {}, {0x9286: b"UNICODE\0" + json.dumps(SWARM).encode("utf-16-le")}),
        ("Fooocus", {0x9286: json.dumps(FOOOCUS), 0x0131: "Fooocus v2.5.5", 0x927C: "fooocus"}, {}),
        ("ComfyUI", {0x0110: f"prompt:{json.dumps(COMFY)}", 0x010F: "workflow:{}"}, {}),
        ("ComfyUI", {0x010E: "Workflow:{}", 0x010F: f"Prompt:{json.dumps(COMFY)}"}, {}),
        (
            "AUTOMATIC1111",
            {},
            {0x9286: b"UNICODE\0" + TABLE["AUTOMATIC1111"][0]["parameters"].encode("utf-16-be")},
        ),
    ],
    ids=["SwarmUI", "Fooocus", "ComfyUI", "ComfyUI's nodes", "AUTOMATIC1111"],
)
def test_other_files_of_other_programs(kind: str, name: str, tags: dict[int, object], inner: dict[int, object]) -> None:
    """What is understood in a PNG isn't in a JPEG or WebP, where the same program writes it in another way."""
    assert read_picture(with_exif(kind, tags, inner)) == TABLE[name][1]


@pytest.mark.parametrize(
    "texts",
    [
        {},
        {"Comment": "Made on a rainy day: a fox", "UserComment": "one, two", "Make": "A camera"},
        {"parameters": '{"a": 1}', "prompt": "a fox", "invokeai_metadata": "[]", "sd-metadata": '{"image": 3}'},
        {"prompt": json.dumps({"1": node("LoadImage", image="x.png")})},
        {"parameters": '{"sui_image_params": [1]}'},
    ],
    ids=["nothing", "comments", "other things", "no sampler", "a list"],
)
def test_what_says_nothing(texts: dict[str, str]) -> None:
    """A camera's comment passes for a prompt; or nothing at all for a record."""
    assert read_foreign(texts) is None


def test_a_graph_that_never_ends() -> None:
    """Somebody's workflow, made for it, keeps a core busy for ever: cycles, and a thousand ways between two nodes."""
    keys = ("text", "clip_l", "clip_g", "t5xxl", "conditioning", "value", "string", "samples", "model", "positive")
    size = 2000
    graph = {str(at): node("KSampler", **{key: [str((at + 1) % size), 0] for key in keys}) for at in range(size)}
    read = read_foreign({"prompt": json.dumps(graph)})
    assert read is not None
    assert (read.prompt, read.seed) == ("", None)
    read_foreign({"prompt": '{"1":' * 50_000 + "1" + "}" * 50_000})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from([SWARM["sui_image_params"], FOOOCUS, INVOKE, SD_METADATA["image"], COMFY, CUSTOM]), st.data())
def test_nonsense_is_survived(told: dict[str, Any], data: st.DataObject) -> None:
    """A value of another kind than its program writes ends in an error that nobody foresaw."""
    names = st.sampled_from(sorted({*told, "inputs", "class_type"}))
    changed: dict[str, Any] = {**told, **data.draw(st.dictionaries(names, JSON, max_size=4))}
    for name, each in changed.items():
        if isinstance(each, dict) and isinstance(each.get("inputs"), dict) and each["inputs"]:
            inputs = st.sampled_from(sorted(each["inputs"]))
            changed[name] = {
                **each,
                "inputs": {**each["inputs"], **data.draw(st.dictionaries(inputs, JSON, max_size=1))},
            }
    for texts in (
        {"parameters": json.dumps({"sui_image_params": changed})},
        {"parameters": json.dumps(changed), "fooocus_scheme": "fooocus"},
        {"invokeai_metadata": json.dumps(changed)},
        {"sd-metadata": json.dumps({"image": changed})},
        {"prompt": json.dumps(changed)},
    ):
        read = read_foreign(texts)
        assert read is None or read.as_json()


@given(st.text(), st.integers(0, 255))
def test_any_comment_is_survived(text: str, byte: int) -> None:
    """A comment of any kind, cut anywhere, ends in an error that nobody foresaw."""
    comment = b"UNICODE\0" + text.encode("utf-16-be", "surrogatepass") + struct.pack("B", byte)
    read_picture(with_exif("JPEG", {}, {0x9286: comment}))
