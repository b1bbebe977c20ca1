"""ComfyUI: a graph of nodes, in which a sampler is looked for, and from it what it was given. Pure.

As far as the workflow says: what a node of somebody's own works out while it runs, isn't in it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from sd35.metadata.model import MAX_EXTRA, GenerationMetadata
from sd35.metadata.parsing import (
    format_value,
    model_name,
    parse_int,
    parse_json_object,
    parse_number,
    parse_text,
)
from sd35.metadata.readers.comfyui_graph import PASS_THROUGH, Graph, Node
from sd35.metadata.readers.comfyui_prompts import PromptResolver
from sd35.metadata.readers.json_fields import format_lora

__all__ = ["read_comfyui"]

TOOL = "ComfyUI"

_EXIF_PREFIX = "prompt:"  # in EXIF, where it has no key; before it stands the name of the tag that it was put into

MAX_SAMPLERS = 20
"""Samplers behind each other; people use two or three, and as many that refine details."""

MAX_OUTPUTS = 10
"""Nodes that save or show a picture, whose samplers are looked for."""

_SEED_INPUTS = ("seed", "noise_seed")
_MODEL_INPUTS = ("ckpt_name", "unet_name", "model_name", "gguf_name")
_LORA_WEIGHT_INPUTS = ("strength_model", "lora_model_strength", "strength")
_CONFIG_NODE_PATTERN = re.compile(r"KSampler.*(Select|Config)")

_LATENT_INPUTS = ("latent_image", "latent", "samples", "latents")
_IMAGE_INPUTS = ("image", "images", "pixels")
_NON_IMAGE_INPUTS = frozenset(
    {
        "model",
        "clip",
        "vae",
        "positive",
        "negative",
        "conditioning",
        "width",
        "height",
        "mask",
        "text",
        "seed",
    }
    | {"control_net", "filename_prefix", "guider", "noise", "sigmas", "sampler", "upscale_model"}
)


def read_comfyui(texts: Mapping[str, str]) -> GenerationMetadata | None:
    """Return what a workflow of ComfyUI says of its picture; `None` where there's none."""
    for graph_json in _iter_graph_objects(texts):
        graph = Graph(graph_json)
        samplers = _first_samplers(graph)
        if samplers:
            return _build_record(graph, samplers[0], len(samplers) - 1)
    return (
        GenerationMetadata(tool=TOOL)
        if parse_json_object(texts.get("workflow", "")).get("nodes")
        else None
    )


def _iter_graph_objects(texts: Mapping[str, str]) -> Iterator[dict[str, object]]:
    """Yield the objects that may be graphs: under PNG's own key, or with the key before it in any text of EXIF."""
    for name, text in texts.items():
        start = text[:40].lower().find(_EXIF_PREFIX)
        if name == "prompt" or start >= 0:
            yield parse_json_object(
                text if start < 0 else text[start + len(_EXIF_PREFIX) :].lstrip()
            )


def _is_sampler(node: Node) -> bool:
    """Whether it is one of ComfyUI's, or one of somebody's own that is given the same."""
    if _CONFIG_NODE_PATTERN.search(node.class_type):
        return False
    has_sampler_inputs = {
        "positive",
        "negative",
        "steps",
    } <= node.inputs.keys() and not node.inputs.keys().isdisjoint(_SEED_INPUTS)
    is_custom_sampler = has_sampler_inputs and any(
        isinstance(node.inputs.get(name), list) for name in ("model", *_LATENT_INPUTS)
    )
    return is_custom_sampler or "KSampler" in node.class_type or "SamplerCustom" in node.class_type


def _first_samplers(graph: Graph) -> list[Node]:
    """Return the samplers that saved pictures began with: one of several outputs is the picture, the first maybe."""
    image_nodes = [
        node for node in graph.nodes.values() if graph.linked_node(node, "images", "image")
    ]
    save_nodes = [node for node in image_nodes if "save" in node.class_type.lower()]
    output_nodes = save_nodes or [
        node for node in image_nodes if node.class_type.startswith("PreviewImage")
    ]
    start_groups = [[node] for node in output_nodes[:MAX_OUTPUTS]] or [list(graph.nodes.values())]
    samplers = [sampler for nodes in start_groups if (sampler := _first_sampler(graph, nodes))]
    return list({sampler.name: sampler for sampler in samplers}.values())


def _first_sampler(graph: Graph, start_nodes: Iterable[Node]) -> Node | None:
    """Return the sampler that a picture began with: others may have refined what it made."""
    sampler = None
    for _ in range(MAX_SAMPLERS):
        earlier_sampler = next(
            (
                node
                for node in graph.upstream(start_nodes, exclude=_NON_IMAGE_INPUTS)
                if _is_sampler(node)
            ),
            None,
        )
        if earlier_sampler is None:
            break
        sampler = earlier_sampler
        start_nodes = _initial_latents(graph, sampler)
    return sampler


def _initial_latents(
    graph: Graph, sampler: Node, input_names: Iterable[str] = (*_LATENT_INPUTS, *_IMAGE_INPUTS)
) -> list[Node]:
    """Return the nodes that give the sampler what it begins with."""
    return [node for name in input_names if (node := graph.linked_node(sampler, name))]


def _build_record(graph: Graph, sampler: Node, extra_sampler_count: int) -> GenerationMetadata:
    guider = graph.linked_node(sampler, "guider") or sampler
    schedule_node = _schedule_node(graph, sampler)
    seed = _seed(graph, sampler)
    width, height = _size(graph, sampler)
    model, loras = _model(graph, [guider, sampler, schedule_node])
    positive = PromptResolver(
        graph, graph.linked_node(guider, "positive", "conditioning", "cond1"), "positive"
    )
    negative = PromptResolver(graph, graph.linked_node(guider, "negative"), "negative")
    extra = [
        *_extra_settings(graph, sampler, schedule_node, seed),
        *_prompt_details("Prompt", positive),
        *_second_prompt(graph, guider, positive),
        *_prompt_details("Negative prompt", negative),
        *([("Other samplers", str(extra_sampler_count))] if extra_sampler_count else []),
        *loras,
    ]
    return GenerationMetadata(
        prompt=positive.resolved_text.text,
        negative_prompt=negative.resolved_text.text,
        width=width,
        height=height,
        guidance_scale=_number_input(graph, guider, "cfg", "cfg_conds"),
        num_inference_steps=parse_int(_number_input(graph, schedule_node, "steps", "steps_total")),
        seed=parse_int(seed),
        model=model,
        tool=TOOL,
        others=tuple(extra[:MAX_EXTRA]),
    )


def _schedule_node(graph: Graph, sampler: Node) -> Node:
    """Return the node that knows the number of steps: the sampler, or the one that gives it its sigmas."""
    sigmas = graph.linked_node(sampler, "sigmas")
    if sigmas is None:
        return sampler
    return next((node for node in graph.upstream([sigmas]) if "steps" in node.inputs), sampler)


def _seed(graph: Graph, sampler: Node) -> object:
    """Return the seed; less than zero is what some nodes call a random one."""
    seed = graph.find_value(
        graph.linked_node(sampler, "noise") or sampler, _SEED_INPUTS, _is_number
    )
    return seed if isinstance(seed, int | float) and seed >= 0 else None


def _extra_settings(
    graph: Graph, sampler: Node, schedule_node: Node, seed: object
) -> Iterator[tuple[str, str]]:
    """Yield what can't be asked for here."""
    denoise = _number_input(graph, schedule_node, "denoise")
    settings = [
        ("Seed", format_value(seed) if parse_int(seed) is None else ""),
        ("Sampler", _text_input(graph, sampler, "sampler_name", "sampler")),
        ("Scheduler", _text_input(graph, schedule_node, "scheduler")),
        ("Denoise", "" if denoise is None or denoise == 1 else f"{denoise:g}"),
        *_step_range(graph, sampler),
    ]
    yield from ((name, value) for name, value in settings if value)


def _step_range(graph: Graph, sampler: Node) -> Iterator[tuple[str, str]]:
    """Yield between which steps the sampler worked, where it didn't do all of them."""
    steps = _number_input(graph, sampler, "steps")
    start, end = (
        _number_input(graph, sampler, "start_at_step"),
        _number_input(graph, sampler, "end_at_step"),
    )
    if start is not None and start > 0:
        yield "Start at step", f"{start:g}"
    if end is not None and end < (10_000 if steps is None else steps):
        yield "End at step", f"{end:g}"


def _prompt_details(title: str, prompt: PromptResolver) -> Iterator[tuple[str, str]]:
    """Yield what a condition holds besides its text."""
    if prompt.resolved_text.computed_by:
        partly = "partly " if prompt.resolved_text.text else ""
        yield title, f"{partly}worked out by {format_value(prompt.resolved_text.computed_by)}"
    yield from (
        (f"{title} for {encoder}", format_value(text)) for encoder, text in prompt.encoders.items()
    )
    if prompt.guidance is not None and title == "Prompt":
        yield "Guidance", f"{prompt.guidance:g}"


def _second_prompt(
    graph: Graph, guider: Node, first_prompt: PromptResolver
) -> Iterator[tuple[str, str]]:
    """Yield the second prompt of a guider that has two."""
    second_text = PromptResolver(
        graph, graph.linked_node(guider, "cond2"), "positive"
    ).resolved_text.text
    guidance_scale = _number_input(graph, guider, "cfg_cond2_negative")
    if second_text and second_text != first_prompt.resolved_text.text:
        yield "Second prompt", format_value(second_text)
    if guidance_scale is not None:
        yield "Second guidance scale", f"{guidance_scale:g}"


def _number_input(graph: Graph, node: Node, *names: str) -> float | None:
    """Return the number that the node has under one of these names, or that is put into it from another node."""
    return parse_number(graph.find_value(node, names, _is_number))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text_input(graph: Graph, node: Node, *names: str) -> str:
    """Return the text that the node has under one of these names, or that is put into it from another node."""
    return format_value(
        graph.find_value(node, names, lambda value: isinstance(value, str) and value.strip() != "")
    )


def _size(graph: Graph, sampler: Node) -> tuple[int | None, int | None]:
    """Return the size of the empty latents that the sampler begins with."""
    for node in graph.upstream(
        _initial_latents(graph, sampler, _LATENT_INPUTS), exclude=_NON_IMAGE_INPUTS
    ):
        if {"empty_latent_width", "empty_latent_height"} <= node.inputs.keys():
            return _side(graph, node, "empty_latent_width"), _side(
                graph, node, "empty_latent_height"
            )
        if {"width", "height"} <= node.inputs.keys() and "latent" in node.class_type.lower():
            return _side(graph, node, "width"), _side(graph, node, "height")
    return None, None


def _side(graph: Graph, node: Node, name: str) -> int | None:
    """Return a width or height, unless another node works it out from a ratio."""
    inputs = (graph.linked_node(node, name) or node).inputs
    ratio = parse_text(inputs.get("aspect_ratio", "custom")).lower()
    if "custom" not in ratio or parse_text(inputs.get("swap_dimensions", "Off")).lower() != "off":
        return None
    return parse_int(_number_input(graph, node, name, name.removeprefix("empty_latent_")))


def _model(graph: Graph, start_nodes: Iterable[Node]) -> tuple[str, list[tuple[str, str]]]:
    """Return the model's name, and the LoRAs on the way to it."""
    loras: list[tuple[str, str]] = []
    model_nodes = [
        model_node for node in start_nodes if (model_node := graph.linked_node(node, "model"))
    ]
    for node in graph.upstream(
        model_nodes, only_inputs=("model", "base_model", "unet", *PASS_THROUGH)
    ):
        loras.extend(
            format_lora(name, weight)
            for name, weight in _loras(graph, node)
            if name not in {"", "None"}
        )
        name = next(
            (
                model_name(file_name)
                for key in _MODEL_INPUTS
                if (file_name := _text_input(graph, node, key))
            ),
            "",
        )
        if name:
            return name, loras
    return "", loras


def _loras(graph: Graph, node: Node) -> Iterator[tuple[str, object]]:
    """Yield the LoRAs that a node loads, each with its weight: one, a numbered list, or objects that can be off."""
    if "lora_name" in node.inputs:
        yield (
            _text_input(graph, node, "lora_name"),
            _number_input(graph, node, *_LORA_WEIGHT_INPUTS),
        )
    for key, value in node.inputs.items():
        if isinstance(value, dict) and value.get("on") is True:
            yield parse_text(value.get("lora")), value.get("strength")
        elif re.fullmatch(r"lora_\d\d", key):
            yield (
                _text_input(graph, node, key),
                _number_input(graph, node, key.replace("lora", "strength")),
            )
