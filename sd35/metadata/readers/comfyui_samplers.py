"""ComfyUI samplers: which of a graph's made the image, and which refined it afterwards."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from sd35.metadata.readers.comfyui_graph import Graph, Node, is_text

__all__ = [
    "LATENT_INPUTS",
    "SEED_INPUTS",
    "Passes",
    "find_passes",
    "follow_image",
    "initial_latents",
]

LATENT_INPUTS = ("latent_image", "latent", "samples", "latents", "optional_latent")
SEED_INPUTS = ("seed", "noise_seed")
_IMAGE_INPUTS = ("image", "images", "pixels")

_MAX_PASSES = 20  # one after another; people use up to six, with those that refine details
_MAX_OUTPUTS = 10  # nodes that save or show an image

# Nodes that hold settings for a sampler have "Sampler" in their names, or all of its inputs, too.
_SETTINGS_NODE_PATTERN = re.compile(
    r"select|config|provider|script|presampling|save|^(?:dynamic )?context\b", re.IGNORECASE
)
_SAMPLER_NODE_PATTERN = re.compile(r"KSampler|SamplerCustom", re.IGNORECASE)
_SETTINGS_INPUTS = ("steps", "cfg", "sampler_name", "scheduler")
_SOURCE_INPUTS = ("model", "base_sampler", "upscaler", *LATENT_INPUTS)

_IMAGE_NAME_PATTERN = re.compile(r"latent|samples|image|pixel|img|video", re.IGNORECASE)
_NON_IMAGE_INPUTS = frozenset(
    {"model", "clip", "vae", "positive", "negative", "conditioning", "width", "height", "mask"}
    | {"text", "seed", "control_net", "filename_prefix", "guider", "noise", "sigmas", "sampler"}
    | {"upscale_model", "steps", "cfg", "denoise", "sampler_name", "scheduler"}
)


@dataclass(frozen=True, slots=True)
class Passes:
    """Samplers that an image ran through.

    Attributes:
        first: the one that made the image.
        later: those that refined it, in their order.
        other_count: number of others that took part in a saved image.
    """

    first: Node
    later: tuple[Node, ...]
    other_count: int


def find_passes(graph: Graph) -> Passes | None:
    """Return the passes of the first saved image; the file doesn't say which of them it holds."""
    outputs = _output_nodes(graph)[:_MAX_OUTPUTS]
    sources = _settings_sources(graph)

    def is_sampler(node: Node) -> bool:
        return _is_sampler(node) and node.name not in sources

    return (
        _trace_passes(graph, [[node] for node in outputs], is_sampler)
        or _trace_passes(graph, [_end_nodes(graph)], is_sampler)
        or _trace_passes(graph, [[node] for node in outputs], _is_generator)
    )


def _trace_passes(
    graph: Graph, outputs: list[list[Node]], predicate: Callable[[Node], bool]
) -> Passes | None:
    traces = [_trace_samplers(graph, nodes, predicate) for nodes in outputs]
    traces = [_without_preprocessors(graph, samplers) for samplers in traces if samplers]
    if not traces:
        return None
    # One image may have been saved before and after it was refined.
    first = traces[0][0]
    samplers = max((trace for trace in traces if trace[0] is first), key=len)
    names = {sampler.name for sampler in samplers}
    nodes = graph.walk(chain.from_iterable(outputs), follow_image)
    other_count = sum(predicate(node) and node.name not in names for node in nodes)
    return Passes(first, tuple(samplers[1:]), other_count)


def _output_nodes(graph: Graph) -> list[Node]:
    nodes = [node for node in graph.nodes.values() if _follows_image(node)]
    save_nodes = [node for node in nodes if "save" in node.class_type.lower()]
    return save_nodes or [node for node in nodes if node.class_type.startswith("PreviewImage")]


def _follows_image(node: Node) -> bool:
    return any(map(_IMAGE_NAME_PATTERN.search, node.links))


def _end_nodes(graph: Graph) -> list[Node]:
    """Return the nodes whose outputs aren't used; all of a graph that is a circle."""
    nodes = list(graph.nodes.values())
    sources = {name for node in nodes for name in node.links.values()}
    return [node for node in nodes if node.name not in sources] or nodes


def _without_preprocessors(graph: Graph, samplers: list[Node]) -> list[Node]:
    """Return the samplers from the first one with a prompt.

    Those before it made something else of an image, such as a map of its depth.
    """
    for index, sampler in enumerate(samplers):
        guider = graph.linked_node(sampler, "guider") or sampler
        source = graph.source(guider, "positive", "conditioning", "cond1")
        if source is None or source.links or any(map(is_text, source.inputs.values())):
            return samplers[index:]
    return samplers


def _trace_samplers(
    graph: Graph, start_nodes: Iterable[Node], predicate: Callable[[Node], bool]
) -> list[Node]:
    """Return the samplers that an image ran through, the first one first."""
    samplers: dict[str, Node] = {}
    for _ in range(_MAX_PASSES):
        upstream_nodes = graph.walk(start_nodes, follow_image)
        sampler = next(filter(predicate, upstream_nodes), None)
        if sampler is None or sampler.name in samplers:
            break
        samplers[sampler.name] = sampler
        start_nodes = _earlier_nodes(graph, sampler)
    return list(reversed(samplers.values()))


def _is_sampler(node: Node) -> bool:
    """Return whether a node is a sampler of ComfyUI, or a custom one with similar inputs."""
    if _SETTINGS_NODE_PATTERN.search(node.class_type):
        return False
    if _SAMPLER_NODE_PATTERN.search(node.class_type):
        return True
    if "upscaler" in node.links or "base_sampler" in node.links:
        return True
    # Nodes that only hold settings have some of these inputs, too, but not as links.
    return (
        "steps" in node.inputs
        and not node.inputs.keys().isdisjoint(SEED_INPUTS)
        and (bool(node.pipes) or not node.links.keys().isdisjoint(_SOURCE_INPUTS))
    )


def _settings_sources(graph: Graph) -> set[str]:
    """Return the names of the nodes that provide samplers with settings, so that they are none.

    A bundle of values may have all inputs of a sampler.
    """
    samplers = filter(_is_sampler, graph.nodes.values())
    links = (node.links.get(name) for node in samplers for name in _SETTINGS_INPUTS)
    return set(filter(None, links))


def _is_generator(node: Node) -> bool:
    """Return whether a node generates an image at another service."""
    return "prompt" in node.inputs and "seed" in node.inputs


def initial_latents(graph: Graph, sampler: Node, input_names: Iterable[str]) -> list[Node]:
    """Return the nodes that provide what a sampler starts from."""
    nodes = [node for name in input_names if (node := graph.linked_node(sampler, name))]
    return nodes or [node for name in sampler.pipes if (node := graph.linked_node(sampler, name))]


def _earlier_nodes(graph: Graph, sampler: Node) -> list[Node]:
    # Stable Cascade starts twice from empty latents: the second sampler gets what the first one
    # made as a condition.
    positive = graph.source(sampler, "positive")
    conditions = graph.walk([positive] if positive else [], _follow_conditions)
    stages = (graph.linked_node(node, "stage_c") for node in conditions)
    stage = next(filter(None, stages), None)
    return [stage] if stage else initial_latents(graph, sampler, (*LATENT_INPUTS, *_IMAGE_INPUTS))


def _follow_conditions(graph: Graph, node: Node) -> Iterator[str]:
    yield from (name for name in node.links if name.startswith(("conditioning", "positive")))
    yield from graph.passed_links(node)


def follow_image(graph: Graph, node: Node) -> Iterable[str]:
    """Return the links that lead to where an image or its latents came from."""
    if node.is_switch:
        return graph.passed_links(node) or node.links
    pipes = set(node.pipes)
    names = [name for name in node.links if name not in _NON_IMAGE_INPUTS and name not in pipes]
    # Pipes lead to models and prompts as well, and an image that is linked itself isn't in them.
    if not any(map(_IMAGE_NAME_PATTERN.search, names)):
        names.extend(node.pipes)
    return names
