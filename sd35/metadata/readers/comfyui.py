"""ComfyUI: a graph of nodes, in which a sampler is looked for, and from it what it was given. Pure.

As far as the workflow says: what a node of somebody's own works out while it runs, isn't in it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from sd35.metadata.model import MAX_OTHERS, Record
from sd35.metadata.parsing import as_label, as_name, as_number, as_text, as_whole, read_object
from sd35.metadata.readers.comfyui_graph import PASSING, Graph, Node
from sd35.metadata.readers.comfyui_prompts import Condition
from sd35.metadata.readers.json_fields import lora

__all__ = ["read_comfyui"]

TOOL = "ComfyUI"

_PREFIX = "prompt:"  # in EXIF, where it has no key; before it stands the name of the tag that it was put into

MAX_STAGES = 20
"""Samplers behind each other; people use two or three, and as many that refine details."""

MAX_OUTPUTS = 10
"""Nodes that save or show a picture, whose samplers are looked for."""

_SEEDS = ("seed", "noise_seed")
_MODELS = ("ckpt_name", "unet_name", "model_name", "gguf_name")
_LORA_WEIGHTS = ("strength_model", "lora_model_strength", "strength")
_CONFIGURING = re.compile(r"KSampler.*(Select|Config)")

_LATENTS = ("latent_image", "latent", "samples", "latents")
_PICTURES = ("image", "images", "pixels")
_NO_PICTURES = frozenset(
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


def read_comfyui(texts: Mapping[str, str]) -> Record | None:
    """Return what a workflow of ComfyUI says of its picture; `None` where there's none."""
    for told in _graphs(texts):
        graph = Graph(told)
        samplers = _first_samplers(graph)
        if samplers:
            return _record(graph, samplers[0], len(samplers) - 1)
    return Record(tool=TOOL) if read_object(texts.get("workflow", "")).get("nodes") else None


def _graphs(texts: Mapping[str, str]) -> Iterator[dict[str, object]]:
    """Yield the objects that may be graphs: under PNG's own key, or with the key before it in any text of EXIF."""
    for name, text in texts.items():
        start = text[:40].lower().find(_PREFIX)
        if name == "prompt" or start >= 0:
            yield read_object(text if start < 0 else text[start + len(_PREFIX) :].lstrip())


def _is_sampler(node: Node) -> bool:
    """Whether it is one of ComfyUI's, or one of somebody's own that is given the same."""
    if _CONFIGURING.search(node.kind):
        return False
    is_told_how = {
        "positive",
        "negative",
        "steps",
    } <= node.inputs.keys() and not node.inputs.keys().isdisjoint(_SEEDS)
    is_alike = is_told_how and any(
        isinstance(node.inputs.get(name), list) for name in ("model", *_LATENTS)
    )
    return is_alike or "KSampler" in node.kind or "SamplerCustom" in node.kind


def _first_samplers(graph: Graph) -> list[Node]:
    """Return the samplers that saved pictures began with: one of several outputs is the picture, the first maybe."""
    pictured = [node for node in graph.nodes.values() if graph.linked(node, "images", "image")]
    saving = [node for node in pictured if "save" in node.kind.lower()]
    outputs = saving or [node for node in pictured if node.kind.startswith("PreviewImage")]
    starts = [[node] for node in outputs[:MAX_OUTPUTS]] or [list(graph.nodes.values())]
    found = [sampler for nodes in starts if (sampler := _first_sampler(graph, nodes))]
    return list({sampler.name: sampler for sampler in found}.values())


def _first_sampler(graph: Graph, starts: Iterable[Node]) -> Node | None:
    """Return the sampler that a picture began with: others may have refined what it made."""
    sampler = None
    for _ in range(MAX_STAGES):
        former = next(
            (node for node in graph.upstream(starts, without=_NO_PICTURES) if _is_sampler(node)),
            None,
        )
        if former is None:
            break
        sampler = former
        starts = _begun_with(graph, sampler)
    return sampler


def _begun_with(
    graph: Graph, sampler: Node, names: Iterable[str] = (*_LATENTS, *_PICTURES)
) -> list[Node]:
    """Return the nodes that give the sampler what it begins with."""
    return [node for name in names if (node := graph.linked(sampler, name))]


def _record(graph: Graph, sampler: Node, other_samplers: int) -> Record:
    guider = graph.linked(sampler, "guider") or sampler
    schedule = _schedule(graph, sampler)
    seed = _seed(graph, sampler)
    width, height = _size(graph, sampler)
    model, loras = _model(graph, [guider, sampler, schedule])
    positive = Condition(
        graph, graph.linked(guider, "positive", "conditioning", "cond1"), "positive"
    )
    negative = Condition(graph, graph.linked(guider, "negative"), "negative")
    others = [
        *_settings(graph, sampler, schedule, seed),
        *_worded("Prompt", positive),
        *_second(graph, guider, positive),
        *_worded("Negative prompt", negative),
        *([("Other samplers", str(other_samplers))] if other_samplers else []),
        *loras,
    ]
    return Record(
        prompt=positive.wording.text,
        negative_prompt=negative.wording.text,
        width=width,
        height=height,
        guidance_scale=_number(graph, guider, "cfg", "cfg_conds"),
        num_inference_steps=as_whole(_number(graph, schedule, "steps", "steps_total")),
        seed=as_whole(seed),
        model=model,
        tool=TOOL,
        others=tuple(others[:MAX_OTHERS]),
    )


def _schedule(graph: Graph, sampler: Node) -> Node:
    """Return the node that knows the number of steps: the sampler, or the one that gives it its sigmas."""
    sigmas = graph.linked(sampler, "sigmas")
    if sigmas is None:
        return sampler
    return next((node for node in graph.upstream([sigmas]) if "steps" in node.inputs), sampler)


def _seed(graph: Graph, sampler: Node) -> object:
    """Return the seed; less than zero is what some nodes call a random one."""
    seed = graph.value(graph.linked(sampler, "noise") or sampler, _SEEDS, _is_number)
    return seed if isinstance(seed, int | float) and seed >= 0 else None


def _settings(
    graph: Graph, sampler: Node, schedule: Node, seed: object
) -> Iterator[tuple[str, str]]:
    """Yield what can't be asked for here."""
    denoise = _number(graph, schedule, "denoise")
    settings = [
        ("Seed", as_label(seed) if as_whole(seed) is None else ""),
        ("Sampler", _text(graph, sampler, "sampler_name", "sampler")),
        ("Scheduler", _text(graph, schedule, "scheduler")),
        ("Denoise", "" if denoise is None or denoise == 1 else f"{denoise:g}"),
        *_span(graph, sampler),
    ]
    yield from ((name, value) for name, value in settings if value)


def _span(graph: Graph, sampler: Node) -> Iterator[tuple[str, str]]:
    """Yield between which steps the sampler worked, where it didn't do all of them."""
    steps = _number(graph, sampler, "steps")
    start, end = _number(graph, sampler, "start_at_step"), _number(graph, sampler, "end_at_step")
    if start is not None and start > 0:
        yield "Start at step", f"{start:g}"
    if end is not None and end < (10_000 if steps is None else steps):
        yield "End at step", f"{end:g}"


def _worded(title: str, condition: Condition) -> Iterator[tuple[str, str]]:
    """Yield what a condition holds besides its text."""
    if condition.wording.unknown:
        partly = "partly " if condition.wording.text else ""
        yield title, f"{partly}worked out by {as_label(condition.wording.unknown)}"
    yield from (
        (f"{title} for {encoder}", as_label(text)) for encoder, text in condition.encoders.items()
    )
    if condition.guidance is not None and title == "Prompt":
        yield "Guidance", f"{condition.guidance:g}"


def _second(graph: Graph, guider: Node, first: Condition) -> Iterator[tuple[str, str]]:
    """Yield the second prompt of a guider that has two."""
    second = Condition(graph, graph.linked(guider, "cond2"), "positive").wording.text
    guidance_scale = _number(graph, guider, "cfg_cond2_negative")
    if second and second != first.wording.text:
        yield "Second prompt", as_label(second)
    if guidance_scale is not None:
        yield "Second guidance scale", f"{guidance_scale:g}"


def _number(graph: Graph, node: Node, *names: str) -> float | None:
    """Return the number that the node has under one of these names, or that is put into it from another node."""
    return as_number(graph.value(node, names, _is_number))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(graph: Graph, node: Node, *names: str) -> str:
    """Return the text that the node has under one of these names, or that is put into it from another node."""
    return as_label(
        graph.value(node, names, lambda value: isinstance(value, str) and value.strip() != "")
    )


def _size(graph: Graph, sampler: Node) -> tuple[int | None, int | None]:
    """Return the size of the empty latents that the sampler begins with."""
    for node in graph.upstream(_begun_with(graph, sampler, _LATENTS), without=_NO_PICTURES):
        if {"empty_latent_width", "empty_latent_height"} <= node.inputs.keys():
            return _side(graph, node, "empty_latent_width"), _side(
                graph, node, "empty_latent_height"
            )
        if {"width", "height"} <= node.inputs.keys() and "latent" in node.kind.lower():
            return _side(graph, node, "width"), _side(graph, node, "height")
    return None, None


def _side(graph: Graph, node: Node, name: str) -> int | None:
    """Return a width or height, unless another node works it out from a ratio."""
    inputs = (graph.linked(node, name) or node).inputs
    ratio = as_text(inputs.get("aspect_ratio", "custom")).lower()
    if "custom" not in ratio or as_text(inputs.get("swap_dimensions", "Off")).lower() != "off":
        return None
    return as_whole(_number(graph, node, name, name.removeprefix("empty_latent_")))


def _model(graph: Graph, starts: Iterable[Node]) -> tuple[str, list[tuple[str, str]]]:
    """Return the model's name, and the LoRAs on the way to it."""
    loras: list[tuple[str, str]] = []
    links = [found for node in starts if (found := graph.linked(node, "model"))]
    for node in graph.upstream(links, through=("model", "base_model", "unet", *PASSING)):
        loras.extend(
            lora(name, weight) for name, weight in _loras(graph, node) if name not in {"", "None"}
        )
        name = next((as_name(told) for key in _MODELS if (told := _text(graph, node, key))), "")
        if name:
            return name, loras
    return "", loras


def _loras(graph: Graph, node: Node) -> Iterator[tuple[str, object]]:
    """Yield the LoRAs that a node loads, each with its weight: one, a numbered list, or objects that can be off."""
    if "lora_name" in node.inputs:
        yield _text(graph, node, "lora_name"), _number(graph, node, *_LORA_WEIGHTS)
    for key, told in node.inputs.items():
        if isinstance(told, dict) and told.get("on") is True:
            yield as_text(told.get("lora")), told.get("strength")
        elif re.fullmatch(r"lora_\d\d", key):
            yield _text(graph, node, key), _number(graph, node, key.replace("lora", "strength"))
