"""ComfyUI: the settings of the first sampler in a graph of nodes.

A graph holds what each node was given, but not what a custom node computes when the graph runs:
such a value stays unknown.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from sd35.core.seed import parse_whole_number
from sd35.metadata.model import GenerationMetadata
from sd35.metadata.parsing import (
    MAX_EXTRA,
    format_value,
    model_name,
    parse_generation_seed,
    parse_int,
    parse_text,
)
from sd35.metadata.readers.comfyui_graph import PASS_THROUGH, Graph, Node, is_number
from sd35.metadata.readers.comfyui_prompts import PromptResolver
from sd35.metadata.readers.json_fields import format_lora
from sd35.metadata.tool_texts import ToolTexts

__all__ = ["read_comfyui"]

_TOOL = "ComfyUI"
_EXIF_PREFIX = "prompt:"  # EXIF has no keywords, so the key stands before the graph

_MAX_SAMPLERS = 20  # one after another; people use up to six, with those that refine details
_MAX_OUTPUTS = 10  # nodes that save or show an image

_SEED_INPUTS = ("seed", "noise_seed")
_MODEL_INPUTS = ("ckpt_name", "unet_name", "model_name", "gguf_name")
_LORA_WEIGHT_INPUTS = ("strength_model", "lora_model_strength", "strength")
# Nodes that hold settings for a sampler have "KSampler" in their names, too.
_CONFIG_NODE_PATTERN = re.compile(r"Select|Config")

_LATENT_INPUTS = ("latent_image", "latent", "samples", "latents")
_IMAGE_INPUTS = ("image", "images", "pixels")
_NON_IMAGE_INPUTS = frozenset(
    {"model", "clip", "vae", "positive", "negative", "conditioning", "width", "height", "mask"}
    | {"text", "seed", "control_net", "filename_prefix", "guider", "noise", "sigmas", "sampler"}
    | {"upscale_model"}
)


def read_comfyui(texts: ToolTexts) -> GenerationMetadata | None:
    """Return the metadata in a graph that ComfyUI wrote."""
    for graph_json in _iter_graph_objects(texts):
        graph = Graph(graph_json, texts.budget)
        samplers = _first_samplers(graph)
        if samplers:
            return _build_metadata(graph, samplers[0], len(samplers) - 1)
    # `workflow` is the graph as the editor shows it, with values in the order of the widgets: too
    # little to read settings from.
    has_workflow = bool(texts.json_object(texts.get("workflow", "")).get("nodes"))
    return GenerationMetadata(tool=_TOOL) if has_workflow else None


def _iter_graph_objects(texts: ToolTexts) -> Iterator[dict[str, Any]]:
    for name, text in texts.items():
        start = text[:40].lower().find(_EXIF_PREFIX)
        if start >= 0:
            yield texts.json_object(text[start + len(_EXIF_PREFIX) :].lstrip())
        elif name == "prompt":
            yield texts.json_object(text)


def _is_sampler(node: Node) -> bool:
    """Return whether a node is a sampler of ComfyUI, or a custom one with the same inputs."""
    _, sampler_name, rest = node.class_type.partition("KSampler")
    if _CONFIG_NODE_PATTERN.search(rest):
        return False
    if sampler_name or "SamplerCustom" in node.class_type:
        return True
    # Nodes that save an image with its settings have these inputs, too, but not as links.
    return (
        {"positive", "negative", "steps"} <= node.inputs.keys()
        and not node.inputs.keys().isdisjoint(_SEED_INPUTS)
        and any(isinstance(node.inputs.get(name), list) for name in ("model", *_LATENT_INPUTS))
    )


def _first_samplers(graph: Graph) -> list[Node]:
    """Return the first sampler of each saved image; the file doesn't say which of them it holds."""
    nodes = graph.nodes.values()
    image_nodes = [node for node in nodes if graph.linked_node(node, "images", "image")]
    save_nodes = [node for node in image_nodes if "save" in node.class_type.lower()]
    previews = [node for node in image_nodes if node.class_type.startswith("PreviewImage")]
    output_nodes = save_nodes or previews
    start_groups = [[node] for node in output_nodes[:_MAX_OUTPUTS]] or [list(nodes)]
    samplers = [sampler for nodes in start_groups if (sampler := _first_sampler(graph, nodes))]
    return list({sampler.name: sampler for sampler in samplers}.values())


def _first_sampler(graph: Graph, start_nodes: Iterable[Node]) -> Node | None:
    """Return the sampler that started an image; later ones only refine its result."""
    sampler = None
    for _ in range(_MAX_SAMPLERS):
        upstream_nodes = graph.upstream(start_nodes, exclude=_NON_IMAGE_INPUTS)
        earlier_sampler = next(filter(_is_sampler, upstream_nodes), None)
        if earlier_sampler is None:
            break
        sampler = earlier_sampler
        start_nodes = _initial_latents(graph, sampler)
    return sampler


def _initial_latents(
    graph: Graph, sampler: Node, input_names: Iterable[str] = (*_LATENT_INPUTS, *_IMAGE_INPUTS)
) -> list[Node]:
    """Return the nodes that provide what a sampler starts from."""
    return [node for name in input_names if (node := graph.linked_node(sampler, name))]


def _build_metadata(graph: Graph, sampler: Node, other_samplers: int) -> GenerationMetadata:
    # Custom samplers get prompts and scale from a guider, and steps from the node with the sigmas.
    guider = graph.linked_node(sampler, "guider") or sampler
    schedule_node = _schedule_node(graph, sampler)
    seed, seed_text = parse_generation_seed(_seed_value(graph, sampler))
    width, height = _size(graph, sampler)
    model, loras = _model(graph, [guider, sampler, schedule_node])
    positive = PromptResolver(
        graph, graph.linked_node(guider, "positive", "conditioning", "cond1"), "positive"
    )
    negative = PromptResolver(graph, graph.linked_node(guider, "negative"), "negative")
    extra = [
        *seed_text,
        *_extra_settings(graph, sampler, schedule_node),
        *_prompt_details("Prompt", positive),
        *_second_prompt(graph, guider, positive),
        *_prompt_details("Negative prompt", negative),
        *([("Other samplers", str(other_samplers))] if other_samplers else []),
        *loras,
    ]
    return GenerationMetadata(
        prompt=positive.resolved_text.text,
        negative_prompt=negative.resolved_text.text,
        width=width,
        height=height,
        guidance_scale=graph.number(guider, "cfg", "cfg_conds"),
        num_inference_steps=parse_int(graph.number(schedule_node, "steps", "steps_total")),
        seed=seed,
        model=model,
        tool=_TOOL,
        extra=tuple(extra[:MAX_EXTRA]),
    )


def _schedule_node(graph: Graph, sampler: Node) -> Node:
    """Return the node with the number of steps."""
    # A chain of nodes may cut or scale the sigmas after the one that computes them.
    sigmas = graph.linked_node(sampler, "sigmas")
    if sigmas is None:
        return sampler
    return next((node for node in graph.upstream([sigmas]) if "steps" in node.inputs), sampler)


def _seed_value(graph: Graph, sampler: Node) -> object:
    node = graph.linked_node(sampler, "noise") or sampler
    seed = graph.find_value(node, _SEED_INPUTS, _is_number)
    # A negative one asks some nodes for a random seed, which isn't in the graph.
    number = parse_whole_number(seed)
    return None if number is not None and number < 0 else seed


def _is_number(value: object) -> bool:
    return is_number(value) or parse_whole_number(value) is not None


def _extra_settings(graph: Graph, sampler: Node, schedule_node: Node) -> Iterator[tuple[str, str]]:
    denoise = graph.number(schedule_node, "denoise")
    settings = [
        ("Sampler", graph.text(sampler, "sampler_name", "sampler")),
        ("Scheduler", graph.text(schedule_node, "scheduler")),
        ("Denoise", "" if denoise is None or denoise == 1 else f"{denoise:g}"),
        *_step_range(graph, sampler),
    ]
    yield from ((name, value) for name, value in settings if value)


def _step_range(graph: Graph, sampler: Node) -> Iterator[tuple[str, str]]:
    """Yield the first and last step of a sampler that doesn't run all of them."""
    steps = graph.number(sampler, "steps")
    start = graph.number(sampler, "start_at_step")
    end = graph.number(sampler, "end_at_step")
    if start is not None and start > 0:
        yield "Start at step", f"{start:g}"
    if end is not None and end < (10_000 if steps is None else steps):  # ComfyUI's default end
        yield "End at step", f"{end:g}"


def _prompt_details(title: str, prompt: PromptResolver) -> Iterator[tuple[str, str]]:
    if prompt.resolved_text.computed_by:
        partly = "partly " if prompt.resolved_text.text else ""
        yield title, f"{partly}generated by {format_value(prompt.resolved_text.computed_by)}"
    for encoder, text in prompt.encoders.items():
        yield f"{title} for {encoder}", format_value(text)
    if prompt.guidance is not None and title == "Prompt":
        yield "Guidance", f"{prompt.guidance:g}"


def _second_prompt(
    graph: Graph, guider: Node, first_prompt: PromptResolver
) -> Iterator[tuple[str, str]]:
    """Yield the second prompt of a DualCFGGuider."""
    second = PromptResolver(graph, graph.linked_node(guider, "cond2"), "positive").resolved_text
    guidance_scale = graph.number(guider, "cfg_cond2_negative")
    if second.text and second.text != first_prompt.resolved_text.text:
        yield "Second prompt", format_value(second.text)
    if guidance_scale is not None:
        yield "Second guidance scale", f"{guidance_scale:g}"


def _size(graph: Graph, sampler: Node) -> tuple[int | None, int | None]:
    """Return the size of the empty latents that a sampler starts from."""
    latents = _initial_latents(graph, sampler, _LATENT_INPUTS)
    for node in graph.upstream(latents, exclude=_NON_IMAGE_INPUTS):
        if {"empty_latent_width", "empty_latent_height"} <= node.inputs.keys():
            names = ("empty_latent_width", "empty_latent_height")
        elif {"width", "height"} <= node.inputs.keys() and "latent" in node.class_type.lower():
            names = ("width", "height")
        else:
            continue
        return _side(graph, node, names[0]), _side(graph, node, names[1])
    return None, None


def _side(graph: Graph, node: Node, name: str) -> int | None:
    # With an aspect ratio, or swapped sides, the node computes other numbers than it was given.
    inputs = (graph.linked_node(node, name) or node).inputs
    ratio = parse_text(inputs.get("aspect_ratio", "custom")).lower()
    if "custom" not in ratio or parse_text(inputs.get("swap_dimensions", "Off")).lower() != "off":
        return None
    return parse_int(graph.number(node, name, name.removeprefix("empty_latent_")))


def _model(graph: Graph, start_nodes: Iterable[Node]) -> tuple[str, list[tuple[str, str]]]:
    """Return the model's name and the LoRAs that were applied to it."""
    loras: list[tuple[str, str]] = []
    model_nodes = [source for node in start_nodes if (source := graph.linked_node(node, "model"))]
    inputs = ("model", "base_model", "unet", *PASS_THROUGH)
    # LoRAs are applied one after another, and the model's file is at the end of the chain.
    for node in graph.upstream(model_nodes, only_inputs=inputs):
        new_loras = (
            format_lora(name, weight)
            for name, weight in _loras(graph, node)
            if name not in {"", "None"}
        )
        loras.extend(islice(new_loras, MAX_EXTRA - len(loras)))
        for key in _MODEL_INPUTS:
            if file_name := graph.text(node, key):
                return model_name(file_name), loras
    return "", loras


def _loras(graph: Graph, node: Node) -> Iterator[tuple[str, object]]:
    """Yield name and weight of the LoRAs that a node loads.

    Loaders have one, numbered ones, or objects that can be switched off.
    """
    graph.budget.spend(len(node.inputs))
    if "lora_name" in node.inputs:
        weight = graph.number(node, *_LORA_WEIGHT_INPUTS)
        yield graph.text(node, "lora_name"), weight
    for key, value in node.inputs.items():
        if isinstance(value, dict) and value.get("on") is True:
            yield parse_text(value.get("lora")), value.get("strength")
        elif re.fullmatch(r"lora_\d\d", key):
            weight = graph.number(node, key.replace("lora", "strength"))
            yield graph.text(node, key), weight
