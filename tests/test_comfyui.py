"""ComfyUI: pipes, models and passes of a graph, and workflows without a graph."""

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd35.metadata.embedding import read_metadata
from sd35.metadata.model import GenerationMetadata
from sd35.metadata.readers import read_tool_metadata
from tests.test_readers import (
    COMFYUI_GRAPH,
    IMAGES_BY_TOOL,
    INK_LORA,
    NEGATIVE_LINK,
    SAMPLER_SETTINGS,
    encode_png,
    encode_with_exif,
    json_values,
    make_node,
    sampler_node,
)

FOX = IMAGES_BY_TOOL["ComfyUI"][1]
SETTINGS = {"seed": 1071208483, "steps": 30, "cfg": 5.5, "sampler_name": "euler"}
PACKED = {
    "model": ["20", 0],
    "clip": ["20", 1],
    "vae": ["4", 2],
    "positive": ["16", 0],
    "negative": NEGATIVE_LINK,
}
CAT = make_node("CLIPTextEncode", text="a cat")
LOADER = {
    "ckpt_name": "a/sd3.5_large_fp8.sft",
    "lora_name": "ink.safetensors",
    "lora_model_strength": 0.75,
    "empty_latent_width": 1024,
    "empty_latent_height": 768,
    "negative": "blurry",
}


def unpacked(name: str, first: int = 0) -> dict[str, Any]:
    """Return the links of a sampler to a node that unpacks a pipe."""
    return {"model": [name, first], "positive": [name, first + 3], "negative": [name, first + 4]}


def pipe_sampler(kind: str, **inputs: object) -> dict[str, Any]:
    return make_node(kind, **SETTINGS, scheduler="sgm_uniform", denoise=1, **inputs)


# By name: nodes in place of those of `COMFYUI_GRAPH`, and the changes of its metadata.
GRAPH_CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a pipe that is unpacked": (
        {
            "1": make_node("ToBasicPipe", **PACKED),
            "2": make_node("FromBasicPipe_v2", basic_pipe=["1", 0]),
            "3": sampler_node(**unpacked("2", 1)),
        },
        {},
    ),
    "a sampler with a pipe": (
        {
            "1": make_node("ToBasicPipe", **PACKED),
            "3": pipe_sampler(
                "ImpactKSamplerBasicPipe", basic_pipe=["1", 0], latent_image=["53", 0]
            ),
        },
        {},
    ),
    "a changed pipe": (
        {
            "1": make_node("ToBasicPipe", **PACKED),
            "2": make_node("EditBasicPipe", basic_pipe=["1", 0], positive=["5", 0], model=["4", 0]),
            "3": sampler_node(**unpacked("6")),
            "5": CAT,
            "6": make_node("FromBasicPipe", basic_pipe=["2", 0]),
        },
        {"prompt": "a cat", "extra": SAMPLER_SETTINGS},
    ),
    "a pipe of a pipe": (
        {
            "1": make_node("ToBasicPipe", **PACKED),
            "2": make_node("BasicPipeToDetailerPipe", basic_pipe=["1", 0], bbox_detector=["6", 0]),
            "3": sampler_node(**unpacked("5")),
            "5": make_node("FromDetailerPipe", detailer_pipe=["2", 0]),
            "6": make_node("UltralyticsDetectorProvider", model_name="face.pt"),
        },
        {},
    ),
    "Easy Use": (
        {
            "1": make_node("easy fullLoader", positive="a dog", **LOADER),
            "2": make_node(
                "easy pipeEdit", pipe=["1", 0], optional_positive="a fox", optional_negative=""
            ),
            "3": make_node("easy kSampler", pipe=["5", 0], image_output="Hide"),
            "5": pipe_sampler("easy preSampling", pipe=["2", 0]),
            "9": make_node("SaveImage", images=["3", 1]),
        },
        {},
    ),
    "a loader without a pipe's links": (
        {
            "1": make_node("easy a1111Loader", positive=["17", 0], **LOADER),
            "2": make_node("easy pipeOut", pipe=["1", 0]),
            "3": sampler_node(**unpacked("2"), latent_image=["2", 5]),
        },
        {},
    ),
    "a context": (
        {
            "1": make_node("Context (rgthree)", **PACKED, latent=["53", 0], seed=["6", 0]),
            "2": make_node("Context Big (rgthree)", base_ctx=["1", 0], seed=["6", 0], steps=30),
            "3": sampler_node(
                **unpacked("5"), latent_image=["5", 6], seed=["5", 8], steps=["2", 9]
            ),
            "5": make_node("Context Switch (rgthree)", ctx_01=["2", 0]),
            "6": make_node("Seed (rgthree)", seed=1071208483),
        },
        {},
    ),
    "a bundle with all values": (
        {
            "1": make_node("Bus", **PACKED, latent=["53", 0], seed=1071208483, steps=30),
            "3": sampler_node(**unpacked("1"), latent_image=["1", 6], steps=["1", 9]),
        },
        {},
    ),
    "a tuple": (
        {
            "1": make_node(
                "Pack SDXL Tuple",
                base_model=["20", 0],
                base_positive=["16", 0],
                base_negative=NEGATIVE_LINK,
                refiner_model=["4", 0],
            ),
            "3": pipe_sampler("KSampler SDXL (Eff.)", sdxl_tuple=["1", 0], latent_image=["53", 0]),
        },
        {},
    ),
    "settings in a second pipe": (
        {
            "1": make_node("BusPipe", **PACKED),
            "2": make_node("SamplerPipe", cfg=5.5, sampler_name="euler", scheduler="sgm_uniform"),
            "3": make_node(
                "sample_pipe",
                pipe=["1", 0],
                sampler_pipe=["2", 0],
                seed=1071208483,
                steps=30,
                latent=["53", 0],
            ),
        },
        {},
    ),
    "a sampler for regions": (
        {
            "1": make_node("ToBasicPipe", **PACKED),
            "2": make_node(
                "KSamplerAdvancedProvider",
                basic_pipe=["1", 0],
                cfg=5.5,
                sampler_name="euler",
                scheduler="sgm_uniform",
            ),
            "3": make_node(
                "RegionalSampler",
                seed=1071208483,
                steps=30,
                samples=["53", 0],
                base_sampler=["2", 0],
            ),
        },
        {},
    ),
    "upscaling in steps": (
        {
            "1": make_node("ToBasicPipe", **{**PACKED, "positive": ["5", 0]}),
            "2": make_node(
                "PixelKSampleUpscalerProviderPipe", basic_pipe=["1", 0], seed=1, steps=8, cfg=3
            ),
            "5": CAT,
            "6": make_node("IterativeImageUpscale", pixels=["8", 0], upscaler=["2", 0], steps=2),
            "9": make_node("SaveImage", images=["6", 0]),
        },
        {
            "extra": (
                *SAMPLER_SETTINGS,
                ("Later passes", "IterativeImageUpscale (steps 2, CFG 3)"),
                *INK_LORA,
            )
        },
    ),
    "Stable Cascade": (
        {
            "1": make_node(
                "StableCascade_StageB_Conditioning", conditioning=["2", 0], stage_c=["3", 0]
            ),
            "2": make_node("ConditioningZeroOut", conditioning=["16", 0]),
            "5": sampler_node(
                seed=2, steps=10, cfg=1.1, positive=["1", 0], model=["6", 0], latent_image=["53", 1]
            ),
            "6": make_node("UNETLoader", unet_name="stage_b.safetensors"),
            "8": make_node("VAEDecode", samples=["5", 0]),
            "53": make_node("StableCascade_EmptyLatentImage", width=1024, height=768),
        },
        {
            "extra": (
                *SAMPLER_SETTINGS,
                ("Later passes", "KSampler (steps 10, CFG 1.1, denoise 1, model stage_b)"),
                *INK_LORA,
            )
        },
    ),
    "an image of two samplers": (
        {
            "1": make_node("LatentComposite", samples_to=["3", 0], samples_from=["2", 0], x=0),
            "2": sampler_node(seed=2),
            "8": make_node("VAEDecode", samples=["1", 0]),
        },
        {"extra": (*SAMPLER_SETTINGS, ("Other samplers", "1"), *INK_LORA)},
    ),
    "an image of a map of another image": (
        {
            "1": make_node("InstructPixToPixConditioning", positive=["16", 0], pixels=["2", 0]),
            "2": make_node("VAEDecode", samples=["5", 0]),
            "3": sampler_node(latent_image=["1", 2]),
            "5": sampler_node(positive=["6", 0], latent_image=["7", 0], steps=1),
            "6": make_node("LotusConditioning"),
            "7": make_node("VAEEncode", pixels=["10", 0]),
            "10": make_node("LoadImage", image="x.png"),
        },
        {
            "width": None,
            "height": None,
            "extra": (*SAMPLER_SETTINGS, ("Other samplers", "1"), *INK_LORA),
        },
    ),
    "merged models": (
        {
            "1": make_node("ModelMergeSimple", model1=["20", 0], model2=["2", 0], ratio=0.25),
            "2": make_node("ModelMergeAdd", model1=["5", 0], model2=["6", 0]),
            "3": sampler_node(model=["1", 0]),
            "5": make_node("UNETLoader", unet_name="sub\\turbo.safetensors"),
            "6": make_node("CheckpointLoaderSimple", ckpt_name="anime.ckpt"),
        },
        {
            "model": "sd3.5_large_fp8 + turbo + anime",
            "extra": (
                *SAMPLER_SETTINGS,
                ("Model merge", "ModelMergeSimple, ratio 0.25"),
                ("Model merge", "ModelMergeAdd"),
                *INK_LORA,
            ),
        },
    ),
    "a stack of models": (
        {
            "1": make_node("CR Apply Model Merge", model_stack=["2", 0]),
            "2": make_node(
                "CR Model Merge Stack",
                switch_1="On",
                ckpt_name1="a/one.safetensors",
                switch_2="Off",
                ckpt_name2="two.ckpt",
                switch_3="On",
                ckpt_name3="three.ckpt",
            ),
            "3": sampler_node(model=["1", 0]),
        },
        {"model": "one + three", "extra": SAMPLER_SETTINGS},
    ),
    "files with previews": (
        {
            "4": make_node(
                "CheckpointLoader|pysssss",
                ckpt_name={"content": "a\\sd3.5_large_fp8.ckpt", "image": None},
            ),
            "20": make_node(
                "LoraLoader|pysssss",
                lora_name={"content": "ink.safetensors"},
                strength_model=0.75,
                model=["4", 0],
            ),
        },
        {},
    ),
    "a motion module": (
        {
            "1": make_node("ADE_AnimateDiffLoader", model=["20", 0], model_name="motion.ckpt"),
            "3": sampler_node(model=["1", 0]),
        },
        {},
    ),
    "a model that is switched off": (
        {
            "1": make_node("ImpactSwitch", select=2, input1=["2", 0], input2=["20", 0]),
            "2": make_node("UNETLoader", unet_name="turbo.safetensors"),
            "3": sampler_node(model=["1", 0]),
        },
        {},
    ),
    "steps that are switched": (
        {
            "1": make_node("ComfySwitchNode", switch=["2", 0], on_true=30, on_false=4),
            "2": make_node("PrimitiveBoolean", value=True),
            "3": sampler_node(steps=["1", 0]),
        },
        {},
    ),
    "a place of something else": (
        {
            "1": make_node("GLIGENTextBoxApply", conditioning_to=["16", 0], text="a hat", x=8),
            "3": sampler_node(positive=["1", 0]),
        },
        {},
    ),
    "a preview of something else": (
        {
            "1": make_node("Canny", image=["2", 0]),
            "2": make_node("LoadImage", image="x.png"),
            "5": make_node("PreviewImage", images=["1", 0]),
            "9": make_node("VHS_VideoCombine", images=["8", 0]),
        },
        {},
    ),
    "an image of another service": (
        {
            "3": make_node("FluxProImageNode", prompt=["17", 0], seed=7, steps=50),
            "8": make_node("ImageScaleBy", image=["3", 0]),
        },
        {
            "negative_prompt": "",
            "width": None,
            "height": None,
            "guidance_scale": None,
            "num_inference_steps": 50,
            "seed": 7,
            "model": "",
            "extra": (),
        },
    ),
    "an empty prompt": (
        {"17": make_node("PrimitiveString", value=" \n", speak_and_recognation=True)},
        {"prompt": "", "extra": (*SAMPLER_SETTINGS, ("Prompt", "empty"), *INK_LORA)},
    ),
    "no prompt": (
        {"3": sampler_node(positive=None)},
        {
            "prompt": "",
            "extra": (*SAMPLER_SETTINGS, ("Prompt", "not found in the workflow"), *INK_LORA),
        },
    ),
    "a prompt in other words": (
        {"16": make_node("Encoder", words="a fox")},
        {"prompt": "", "extra": (*SAMPLER_SETTINGS, ("Prompt", "generated by Encoder"), *INK_LORA)},
    ),
    "a prompt that a site notes": (
        {"16": make_node("Encoder", words="…"), "extraMetadata": '{"prompt": "a fox"}'},
        {},
    ),
}


@pytest.mark.parametrize("name", GRAPH_CASES)
def test_graphs_are_read(name: str) -> None:
    """Pipes lead to what is in them, merges to all models, and every missing prompt is named."""
    changed, expected = GRAPH_CASES[name]
    graph = json.dumps({**COMFYUI_GRAPH, **changed})
    assert read_tool_metadata({"prompt": graph}) == replace(FOX, **expected)


def test_settings_that_a_graph_shows_are_no_infotext() -> None:
    """A graph that holds an infotext, such as another image's, is read as a graph."""
    display = make_node("ShowText", text_0="a cat, Steps: 3, Sampler: Euler, CFG scale: 2, Seed: 1")
    graph = json.dumps({**COMFYUI_GRAPH, "99": display})
    for texts in ({"UserComment": graph}, {"ImageDescription": f"Prompt: {graph}"}):
        assert read_tool_metadata(texts) == FOX


TEXT_FORMS = {
    "a graph": json.dumps(COMFYUI_GRAPH, indent=1),
    "both": json.dumps({"Workflow": {"nodes": [{}]}, "Prompt": COMFYUI_GRAPH}),
    "both as texts": json.dumps({"prompt": json.dumps(COMFYUI_GRAPH), "workflow": '{"nodes":[1]}'}),
    "a text of JSON": json.dumps(json.dumps({"prompt": json.dumps(COMFYUI_GRAPH)})),
    "no numbers": json.dumps({**COMFYUI_GRAPH, "is_changed": [float("nan")]}),
    "blanks": f"\ufeff\n{json.dumps(COMFYUI_GRAPH)}\0\0",
}
COMMENT_CODES = {
    "UNICODE\0": ("utf-16-be", "utf-16-le", "utf-16", "utf-8"),
    "Unicode\0": ("utf-16-le",),
    "ASCII\0\0\0": ("utf-8", "utf-16-le"),
    "\0" * 8: ("utf-8", "utf-16-be"),
    "": ("utf-8", "utf-16-be", "utf-16-le", "utf-16"),
}


def test_graphs_in_comments_are_read() -> None:
    """A graph in EXIF is read in each form, encoding and directory that tools write."""
    for form, text in TEXT_FORMS.items():
        for code, encodings in COMMENT_CODES.items():
            for encoding in encodings:
                comment: dict[int, object] = {0x9286: code.encode() + text.encode(encoding)}
                for tags, inner in ((comment, {}), ({}, comment)):
                    metadata = read_metadata(encode_with_exif("JPEG", tags, inner))
                    assert metadata == FOX, (form, code, encoding)
        assert read_metadata(encode_png({"Comment": text})) == FOX


def edit_node(kind: str, *widgets: object, **links: int) -> dict[str, Any]:
    """Return a node of the editor whose inputs are linked to first outputs."""
    return {"type": kind, "widgets_values": [*widgets], "inputs": links, "outputs": [{"type": "X"}]}


def make_workflow(nodes: dict[int, dict[str, Any]], **other: object) -> dict[str, Any]:
    """Return a workflow of nodes by number."""
    links: list[list[object]] = []
    linked_nodes = []
    for number, node in nodes.items():
        slots = []
        for slot, (name, origin) in enumerate(node["inputs"].items()):
            links.append([len(links), origin, 0, number, slot, "X"])
            slots.append({"name": name, "type": "X", "link": len(links) - 1})
        linked_nodes.append({**node, "id": number, "inputs": [*slots, *node.get("slots", [])]})
    return {"nodes": linked_nodes, "links": links, **other}


def workflow_nodes() -> dict[int, dict[str, Any]]:
    """Return the nodes of `COMFYUI_GRAPH` as the editor has them."""
    return {
        3: edit_node(
            *("KSampler", 1071208483, "randomize", 30, 5.5, "euler", "sgm_uniform", 1),
            model=20,
            positive=16,
            negative=40,
            latent_image=53,
        ),
        4: edit_node("CheckpointLoaderSimple", "sd35\\sd3.5_large_fp8.safetensors"),
        8: edit_node("VAEDecode", samples=3, vae=4),
        9: edit_node("SaveImage", "ComfyUI", images=8),
        16: edit_node("CLIPTextEncode", "a fox", clip=20),
        20: edit_node("LoraLoader", "ink.safetensors", 0.75, 1, model=4, clip=4),
        40: edit_node("CLIPTextEncode", "blurry", clip=20),
        53: edit_node("EmptyLatentImage", 1024, 768, 1),
    }


def changed_workflow(changes: dict[int, dict[str, Any]], **other: object) -> dict[str, Any]:
    return make_workflow({**workflow_nodes(), **changes}, **other)


def text_slot(name: str, link: int | None = None) -> dict[str, object]:
    return {"name": name, "type": "STRING", "link": link, "widget": {"name": name}}


def subgraph_workflow(user: dict[str, Any]) -> dict[str, Any]:
    """Return a workflow with sampler and prompts in a subgraph, whose prompt is set outside."""
    inner = make_workflow({number: workflow_nodes()[number] for number in (3, 16, 20, 40, 53)})
    # Its links are objects, and -10 and -20 stand for its inputs and outputs.
    ends = [(-10, 0, 16, 1), (-10, 1, 20, 0), (3, 0, -20, 0)]
    links = [*inner["links"], *([100 + at, *end] for at, end in enumerate(ends))]
    names = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    for node in inner["nodes"]:
        if node["type"] == "CLIPTextEncode":
            node["inputs"].append(text_slot("text", 100 if node["id"] == 16 else None))
        if node["type"] == "LoraLoader":
            node["inputs"][0]["link"] = 101
    subgraph = {
        "id": "aa-11",
        "nodes": inner["nodes"],
        "links": [dict(zip(names, link, strict=False)) for link in links],
        "inputs": [{"name": "prompt", "linkIds": [100]}, {"name": "model", "linkIds": [101]}],
        "outputs": [{"name": "LATENT"}],
    }
    nodes = {number: workflow_nodes()[number] for number in (4, 8, 9)}
    return make_workflow(
        {**nodes, 3: {**edit_node("aa-11", model=4), **user}},
        definitions={"subgraphs": [subgraph]},
    )


ENCODER = edit_node("CLIPTextEncode", "an old text", clip=20, text=17)

WORKFLOWS: dict[str, dict[str, Any]] = {
    "core nodes": changed_workflow({}),
    "an early editor": changed_workflow(
        {
            3: {
                **workflow_nodes()[3],
                "widgets_values": [1071208483, True, 30, 5.5, "euler", "sgm_uniform", 1],
            }
        }
    ),
    "primitives and reroutes": changed_workflow(
        {
            16: edit_node("Reroute", **{"": 1}),
            17: edit_node("PrimitiveNode", "a fox", "fixed"),
            1: ENCODER,
        }
    ),
    "a text of a node": changed_workflow(
        {16: ENCODER, 17: edit_node("PrimitiveStringMultiline", "a fox")}
    ),
    "nodes that are switched off": changed_workflow(
        {
            1: {**edit_node("ConditioningSetMask", 1, conditioning=2), "mode": 4},
            2: edit_node("CLIPTextEncode", "a fox", clip=20),
            16: {**edit_node("SomethingElse", conditioning=1), "mode": 4},
            5: {**edit_node("SaveImage", "x", images=6), "mode": 2},
            6: edit_node("KSampler", 1, "fixed", 2, 3, "heun", "beta", 1, positive=40),
        }
    ),
    "connections by name": changed_workflow(
        {
            1: edit_node("SetNode", "prompt", CONDITIONING=2),
            2: edit_node("CLIPTextEncode", "a fox", clip=20),
            16: edit_node("GetNode", "prompt"),
        }
    ),
    "an unknown encoder": changed_workflow(
        {
            16: {
                **edit_node("Encoder", "a fox", "A1111", 1, clip=20),
                "outputs": [{"type": "CONDITIONING"}],
            },
            3: edit_node(
                *("KSampler", 1, "fixed", 30, 5.5, "euler", "sgm_uniform", 1),
                model=20,
                positive=16,
                negative=40,
                seed=1,
            ),
            1: {**edit_node("Seed", 1071208483, None), "outputs": [{"type": "INT"}]},
        }
    ),
    "named widgets": changed_workflow(
        {16: {**edit_node("Custom Encode", clip=20), "widgets_values": {"text": "a fox"}}}
    ),
    "widgets with inputs": changed_workflow(
        {16: {**edit_node("Custom Encode", "a fox", clip=20), "slots": [text_slot("text")]}}
    ),
    "nodes of other packs": changed_workflow(
        {
            3: edit_node(
                *("KSampler (Efficient)", 1071208483, None, 30, 5.5, "euler", "sgm_uniform", 1),
                *("auto", "true"),
                model=1,
                positive=2,
                negative=2,
            ),
            1: edit_node(
                *("Power Lora Loader (rgthree)", {}, {"on": False, "lora": "x.pt", "strength": 1}),
                {"on": True, "lora": "a\\ink.safetensors", "strength": 0.75},
                model=4,
            ),
            2: edit_node("Efficient Loader", "x", "", -1, "None", 1, 1, "a fox", "blurry", "none"),
        }
    ),
    "a subgraph": subgraph_workflow({"widgets_values": ["a fox"]}),
    "a subgraph's own text": subgraph_workflow({"widgets_values": [None]}),
    "a subgraph's widgets": subgraph_workflow(
        {
            "widgets_values": [7, "a fox"],
            "properties": {"proxyWidgets": [["53", "x"], ["16", "text"]]},
        }
    ),
}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflows_without_a_graph_are_read(name: str) -> None:
    """The editor's form of a graph is read as the graph; the size in it may not be the image's."""
    texts = {"workflow": json.dumps(WORKFLOWS[name])}
    assert read_tool_metadata(texts) == replace(FOX, width=None, height=None)


def test_inputs_without_a_line_are_linked() -> None:
    """An input that gets what a node broadcasts is read like a linked one."""
    workflow = changed_workflow({})
    sampler = workflow["nodes"][0]
    sampler["inputs"][1]["link"] = None
    link = {"downstream": 3, "downstream_slot": 1, "upstream": "16", "upstream_slot": 0}
    workflow["extra"] = {"ue_links": [link]}
    metadata = read_tool_metadata({"workflow": json.dumps(workflow)})
    assert metadata is not None
    assert metadata.prompt == "a fox"


def test_workflow_without_a_sampler_has_no_prompt() -> None:
    """Of a workflow that generates nothing, only the tool is known: no prompt was found."""
    workflow = make_workflow(
        {1: edit_node("LoadImage", "x.png"), 9: edit_node("SaveImage", images=1)}
    )
    expected = GenerationMetadata(tool="ComfyUI", extra=(("Prompt", "not found in the workflow"),))
    assert read_tool_metadata({"workflow": json.dumps(workflow)}) == expected


def places(value: object) -> Iterator[tuple[Any, Any]]:
    """Yield the keys of all objects and lists in a value, with what holds them."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield value, key
            yield from places(inner)


@given(st.sampled_from([*WORKFLOWS]), st.data())
def test_values_of_wrong_types_never_raise(name: str, data: st.DataObject) -> None:
    """A workflow with other values in any place is read, or none."""
    workflow = copy.deepcopy(WORKFLOWS[name])
    for _ in range(data.draw(st.integers(1, 3))):
        holder, key = data.draw(st.sampled_from([*places(workflow)]))
        holder[key] = data.draw(json_values)
    metadata = read_tool_metadata({"workflow": json.dumps(workflow)})
    assert metadata is None or metadata.to_json()
