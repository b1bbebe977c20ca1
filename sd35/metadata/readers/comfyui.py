"""ComfyUI: the settings of the first sampler in a graph of nodes.

A graph holds what each node was given, but not what a custom node computes when the graph runs:
such a value stays unknown.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sd35.core.seed import parse_whole_number
from sd35.metadata.model import GenerationMetadata
from sd35.metadata.parsing import (
    MAX_EXTRA,
    MAX_VALUE_LENGTH,
    format_value,
    join_texts,
    parse_generation_seed,
    parse_int,
    parse_text,
)
from sd35.metadata.readers.comfyui_graph import Graph, Node, is_number
from sd35.metadata.readers.comfyui_models import find_models
from sd35.metadata.readers.comfyui_prompts import ROLE_INPUTS, PromptResolver
from sd35.metadata.readers.comfyui_samplers import (
    LATENT_INPUTS,
    SEED_INPUTS,
    Passes,
    find_passes,
    follow_image,
    initial_latents,
)
from sd35.metadata.readers.comfyui_texts import GraphObject, find_graphs, find_workflows
from sd35.metadata.readers.comfyui_workflow import convert_workflow
from sd35.metadata.tool_texts import ToolTexts

__all__ = ["read_comfyui"]

_TOOL = "ComfyUI"
_POSITIVE_INPUTS = (*ROLE_INPUTS["positive"], "conditioning", "cond1", "text_embeds", "prompt")
_NEGATIVE_INPUTS = (*ROLE_INPUTS["negative"], "neg_conditioning")
_GUIDANCE_INPUTS = ("cfg", "cfg_conds", "cfg_scale")
_NO_PROMPT = ("Prompt", "not found in the workflow")
_EMPTY_PROMPT = ("Prompt", "empty")


def read_comfyui(texts: ToolTexts) -> GenerationMetadata | None:
    """Return the metadata in a graph that ComfyUI wrote."""
    for graph_json in find_graphs(texts):
        metadata = _read_graph(Graph(graph_json, texts.budget))
        if metadata is not None:
            return _add_site_settings(metadata, texts, graph_json)
    # The editor's form of a graph may have changed since the image was made, as far as sizes go.
    has_workflow = False
    for workflow in find_workflows(texts):
        has_workflow = True
        metadata = _read_graph(Graph(convert_workflow(workflow, texts.budget), texts.budget))
        if metadata is not None:
            return replace(metadata, width=None, height=None)
    return GenerationMetadata(tool=_TOOL, extra=(_NO_PROMPT,)) if has_workflow else None


def _read_graph(graph: Graph) -> GenerationMetadata | None:
    passes = find_passes(graph)
    return _build_metadata(graph, passes) if passes else None


def _add_site_settings(
    metadata: GenerationMetadata, texts: ToolTexts, graph_json: GraphObject
) -> GenerationMetadata:
    """Return the metadata with what Civitai's site notes beside the graph and the graph lacks."""
    noted = graph_json.get("extraMetadata")
    settings = texts.json_object(noted) if isinstance(noted, str) else noted
    if not isinstance(settings, dict) or metadata.prompt:
        return metadata
    prompt = parse_text(settings.get("prompt"))
    extra = tuple(pair for pair in metadata.extra if not prompt or pair[0] != "Prompt")
    negative_prompt = metadata.negative_prompt or parse_text(settings.get("negativePrompt"))
    return replace(metadata, prompt=prompt, negative_prompt=negative_prompt, extra=extra)


def _build_metadata(graph: Graph, passes: Passes) -> GenerationMetadata:
    sampler = passes.first
    # Custom samplers get prompts and scale from a guider, and steps from the node with the sigmas.
    guider = _guider(graph, sampler)
    schedule_node = _schedule_node(graph, sampler)
    seed, seed_text = parse_generation_seed(_seed_value(graph, sampler))
    width, height = _size(graph, sampler)
    models = find_models(graph, [guider, sampler, schedule_node])
    positive = PromptResolver(graph, graph.source(guider, *_POSITIVE_INPUTS), "positive")
    negative = PromptResolver(graph, _negative_source(graph, guider), "negative")
    extra = [
        *seed_text,
        *_extra_settings(graph, sampler, schedule_node),
        *_prompt_details("Prompt", positive),
        *_second_prompt(graph, guider, positive),
        *_prompt_details("Negative prompt", negative),
        *_later_passes(graph, passes, models.name),
        *([("Other samplers", str(passes.other_count))] if passes.other_count else []),
        *models.merges,
        *models.loras,
    ]
    return GenerationMetadata(
        prompt=positive.resolved_text.text,
        negative_prompt=negative.resolved_text.text,
        width=width,
        height=height,
        guidance_scale=graph.number(guider, *_GUIDANCE_INPUTS),
        num_inference_steps=_steps(graph, schedule_node),
        seed=seed,
        model=models.name,
        tool=_TOOL,
        extra=tuple(extra[:MAX_EXTRA]),
    )


def _guider(graph: Graph, sampler: Node) -> Node:
    guider = graph.linked_node(sampler, "guider")
    if guider is None:
        return sampler
    nodes = graph.walk([guider], Graph.passed_links)
    return next((node for node in nodes if "guid" in node.class_type.lower()), guider)


def _negative_source(graph: Graph, guider: Node) -> Node | None:
    source = graph.source(guider, *_NEGATIVE_INPUTS)
    # One encoder may make both prompts.
    encoder = graph.linked_node(guider, "text_embeds")
    has_both = encoder is not None and "negative_prompt" in encoder.inputs
    return encoder if source is None and has_both else source


def _schedule_node(graph: Graph, sampler: Node) -> Node:
    """Return the node with the number of steps."""
    # A chain of nodes may cut or scale the sigmas after the one that computes them.
    sigmas = graph.linked_node(sampler, "sigmas")
    if sigmas is None:
        return sampler
    nodes = graph.walk([sigmas], lambda _graph, node: node.links)
    return next((node for node in nodes if "steps" in node.inputs), sampler)


def _steps(graph: Graph, schedule_node: Node) -> int | None:
    return parse_int(graph.number(schedule_node, "steps", "steps_total"))


def _seed_value(graph: Graph, sampler: Node) -> object:
    node = graph.linked_node(sampler, "noise") or sampler
    seed = graph.find_value(node, SEED_INPUTS, _is_number)
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
    resolved = prompt.resolved_text
    if resolved.computed_by:
        partly = "partly " if resolved.text else ""
        yield title, f"{partly}generated by {format_value(resolved.computed_by)}"
    elif not resolved.text and title == "Prompt":
        yield _EMPTY_PROMPT if prompt.has_source else _NO_PROMPT
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


def _later_passes(graph: Graph, passes: Passes, model: str) -> Iterator[tuple[str, str]]:
    """Yield the samplers that refined the image, as one line."""
    if passes.later:
        descriptions = (_describe_pass(graph, sampler, model) for sampler in passes.later)
        yield "Later passes", join_texts(descriptions, "; ", MAX_VALUE_LENGTH)


def _describe_pass(graph: Graph, sampler: Node, first_model: str) -> str:
    schedule_node = _schedule_node(graph, sampler)
    guider = _guider(graph, sampler)
    model = find_models(graph, [guider, sampler, schedule_node]).name
    numbers: dict[str, Any] = {
        "steps": _steps(graph, schedule_node),
        "CFG": graph.number(guider, *_GUIDANCE_INPUTS),
        "denoise": graph.number(schedule_node, "denoise"),
    }
    parts = [f"{name} {value:g}" for name, value in numbers.items() if value is not None]
    parts.extend(f"{name.lower()} {value}" for name, value in _step_range(graph, sampler))
    if model and model != first_model:
        parts.append(f"model {model}")
    return f"{sampler.class_type} ({', '.join(parts)})" if parts else sampler.class_type


def _size(graph: Graph, sampler: Node) -> tuple[int | None, int | None]:
    """Return the size of the empty latents that a sampler starts from."""
    latents = initial_latents(graph, sampler, LATENT_INPUTS)
    for node in graph.walk(latents, follow_image):
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
