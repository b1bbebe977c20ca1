"""ComfyUI: a graph of nodes, in which a sampler is looked for, and from it what it was given. Pure.

As far as the workflow says: what a node of somebody's own works out while it runs, isn't in it.
"""

from collections.abc import Iterable, Iterator, Mapping

from sd35.metadata.foreign.graph import Graph, Node
from sd35.metadata.foreign.objects import lora
from sd35.metadata.record import MAX_OTHERS, Record
from sd35.metadata.values import as_label, as_name, as_number, as_text, as_whole, read_object

__all__ = ["read_comfyui"]

TOOL = "ComfyUI"

_PREFIX = "prompt:"  # in EXIF, where it has no key; before it stands the name of the tag that it was put into

MAX_STAGES = 10
"""Samplers behind each other; people use two or three."""

MAX_CONDITIONS = 30
"""Nodes between a sampler and its prompt, each of which changes a condition."""

_SEEDS = ("seed", "noise_seed")
_TEXTS = ("text", "t5xxl", "clip_g", "clip_l", "text_g", "text_l", "prompt")
_STRINGS = ("value", "text", "string", "String", "prompt", "Text", "string_a", "text_a", "text1", "populated_text")
_NUMBERS = ("value", "seed", "noise_seed", "int", "float", "number", "Number", "Value")
_CONDITIONS = ("conditioning", "conditioning_1", "conditioning_to", "cond1")
_MODELS = ("ckpt_name", "unet_name", "model_name", "gguf_name")


def read_comfyui(texts: Mapping[str, str]) -> Record | None:
    """Return what a workflow of ComfyUI says of its picture; `None` where there's none."""
    for told in _graphs(texts):
        graph = Graph(told)
        sampler = _first_sampler(graph)
        if sampler is not None:
            return _record(graph, sampler)
    return Record(tool=TOOL) if read_object(texts.get("workflow", "")).get("nodes") else None


def _graphs(texts: Mapping[str, str]) -> Iterator[dict[str, object]]:
    """Yield the objects that may be graphs: under PNG's own key, or with the key before it in any text of EXIF."""
    for name, text in texts.items():
        start = text[:40].lower().find(_PREFIX)
        if name == "prompt" or start >= 0:
            yield read_object(text if start < 0 else text[start + len(_PREFIX) :].lstrip())


def _is_sampler(node: Node) -> bool:
    """Whether it is one of ComfyUI's, or one of somebody's own that is given the same."""
    if node.kind == "KSamplerSelect":
        return False
    is_alike = {"positive", "negative", "steps"} <= node.inputs.keys() and not node.inputs.keys().isdisjoint(_SEEDS)
    return is_alike or "KSampler" in node.kind or "SamplerCustom" in node.kind


def _first_sampler(graph: Graph) -> Node | None:
    """Return the sampler that the saved picture began with: others may have refined what it made."""
    outputs = [node for node in graph.nodes.values() if node.kind.startswith(("SaveImage", "PreviewImage"))]
    sampler = next((node for node in graph.upstream(outputs or graph.nodes.values()) if _is_sampler(node)), None)
    for _ in range(MAX_STAGES):
        former = sampler and next(
            (node for node in graph.upstream(_latents(graph, sampler)) if _is_sampler(node)), None
        )
        if not former:
            break
        sampler = former
    return sampler


def _latents(graph: Graph, sampler: Node) -> list[Node]:
    """Return the node that gives the sampler what it begins with, if one does."""
    links = (graph.linked(sampler, name) for name in ("latent_image", "latent", "samples"))
    return [node for node in links if node is not None]


def _record(graph: Graph, sampler: Node) -> Record:
    guider = graph.linked(sampler, "guider") or sampler
    schedule = _schedule(graph, sampler)
    noise = graph.linked(sampler, "noise") or sampler
    seed = _number(graph, noise, _SEEDS)
    width, height = _size(graph, sampler)
    model, loras = _model(graph, [guider, sampler, schedule])
    return Record(
        prompt=_prompt(graph, guider, ["positive", "conditioning"]),
        negative_prompt=_prompt(graph, guider, ["negative"]),
        width=width,
        height=height,
        guidance_scale=as_number(_number(graph, guider, ["cfg"])),
        num_inference_steps=as_whole(_number(graph, schedule, ["steps"])),
        seed=as_whole(seed),
        model=model,
        tool=TOOL,
        others=(*_settings(graph, sampler, schedule, seed), *loras)[:MAX_OTHERS],
    )


def _schedule(graph: Graph, sampler: Node) -> Node:
    """Return the node that knows the number of steps: the sampler, or the one that gives it its sigmas."""
    sigmas = graph.linked(sampler, "sigmas")
    if sigmas is None:
        return sampler
    return next((node for node in graph.upstream([sigmas]) if "steps" in node.inputs), sampler)


def _settings(graph: Graph, sampler: Node, schedule: Node, seed: object) -> Iterator[tuple[str, str]]:
    """Yield what can't be asked for here."""
    if as_whole(seed) is None and as_label(seed):
        yield "Seed", as_label(seed)
    chosen = graph.linked(sampler, "sampler") or sampler
    denoise = as_number(schedule.inputs.get("denoise"))
    settings = [
        ("Sampler", as_label(chosen.inputs.get("sampler_name"))),
        ("Scheduler", as_label(schedule.inputs.get("scheduler"))),
        ("Denoise", "" if denoise is None or denoise == 1 else f"{denoise:g}"),
    ]
    yield from ((name, value) for name, value in settings if value and not value.startswith("["))


def _number(graph: Graph, node: Node, names: Iterable[str]) -> object:
    """Return the number that the node has under one of these names, or that is put into it from another node."""
    return graph.value(node, names, _NUMBERS, _is_number)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _prompt(graph: Graph, node: Node, names: Iterable[str]) -> str:
    """Return the text that a condition comes from: the first of those that are put together."""
    for name in names:
        first = graph.linked(node, name)
        role = name if name in {"positive", "negative"} else "conditioning"
        if first is not None:
            return _condition(graph, first, role)
    return ""


def _condition(graph: Graph, first: Node, role: str) -> str:
    node: Node | None = first
    for _ in range(MAX_CONDITIONS):
        if node is None or node.kind == "ConditioningZeroOut":
            break
        text = graph.value(node, _TEXTS, _STRINGS, _is_text)
        written = text if _is_text(text) else node.inputs.get(role)
        if isinstance(written, str):
            return as_text(written)
        node = next((found for way in (role, *_CONDITIONS) if (found := graph.linked(node, way))), None)
    return ""


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _size(graph: Graph, sampler: Node) -> tuple[int | None, int | None]:
    """Return the size of the empty latents that the sampler begins with."""
    for node in graph.upstream(_latents(graph, sampler)):
        if {"width", "height"} <= node.inputs.keys() and "latent" in node.kind.lower():
            width, height = (as_whole(_number(graph, node, [name])) for name in ("width", "height"))
            return width, height
    return None, None


def _model(graph: Graph, starts: Iterable[Node]) -> tuple[str, list[tuple[str, str]]]:
    """Return the model's name, and the LoRAs on the way to it."""
    loras: list[tuple[str, str]] = []
    links = [found for node in starts if (found := graph.linked(node, "model"))]
    for node in graph.upstream(links, through=("model", "base_model", "unet")):
        if "lora_name" in node.inputs:
            loras.append(lora(node.inputs["lora_name"], node.inputs.get("strength_model", node.inputs.get("strength"))))
        name = next((as_name(node.inputs[key]) for key in _MODELS if isinstance(node.inputs.get(key), str)), "")
        if name:
            return name, loras
    return "", loras
