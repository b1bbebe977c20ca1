"""ComfyUI models: the weights files that a sampler used, and the LoRAs that were applied."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from sd35.metadata.parsing import MAX_EXTRA, model_name, parse_text
from sd35.metadata.readers.comfyui_graph import Graph, Node
from sd35.metadata.readers.json_fields import format_lora

__all__ = ["Models", "find_models"]

_STACK_INPUTS = ("lora_stack", "optional_lora_stack", "model_stack")
_FILE_INPUTS = ("ckpt_name", "base_ckpt_name", "unet_name", "model_name", "gguf_name", "model")
_MERGE_PATTERN = re.compile(r"merge", re.IGNORECASE)
_RATIO_INPUTS = ("ratio", "multiplier", "input", "middle", "out")
_MAX_MODELS = 8

_LORA_WEIGHT_INPUTS = ("strength_model", "lora_model_strength", "strength")
_NUMBERED_LORA_PATTERN = re.compile(r"lora_?(?:name_)?(\d{1,2})(?:_name)?")
_NUMBERED_WEIGHT_INPUTS = (
    *("strength_{}", "lora_wt_{}", "model_str_{}", "model_weight_{}"),
    *("lora_{}_strength", "lora_{}_model_strength", "lora{}_model_strength"),
)


@dataclass(slots=True)
class Models:
    """Names of the models that were merged, or of the only one, and settings to display."""

    names: list[str] = field(default_factory=list)
    merges: list[tuple[str, str]] = field(default_factory=list)
    loras: list[tuple[str, str]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Return the name of the model, or of all that were merged."""
        return " + ".join(self.names)


def find_models(graph: Graph, users: Iterable[Node]) -> Models:
    """Return the models of the first of these nodes that has any."""
    models = Models()
    for user in users:
        models = _trace_models(graph, user)
        if models.names:
            break
    return models


def _trace_models(graph: Graph, start: Node) -> Models:
    models = Models()
    # LoRAs are applied one after another, and the model's file is at the end of the chain.
    for node in graph.walk([start], _follow_model):
        for name, weight in _loras(graph, node):
            if name not in {"", "None"} and len(models.loras) < MAX_EXTRA:
                models.loras.append(format_lora(name, weight))
        if _is_merge(node) and len(models.merges) < _MAX_MODELS:
            models.merges.append(("Model merge", _describe_merge(graph, node)))
        for name in _file_names(graph, node):
            if name and name not in models.names and len(models.names) < _MAX_MODELS:
                models.names.append(name)
    return models


def _follow_model(graph: Graph, node: Node) -> Iterator[str]:
    yield from (name for name in _STACK_INPUTS if name in node.links)
    names = () if node.is_switch else node.model_links
    # A node of a pipe replaces the model of the pipe that it gets.
    yield from (names if _is_merge(node) else names[:1]) or graph.passed_links(node)[:1]


def _is_merge(node: Node) -> bool:
    return len(node.model_links) > 1 and _MERGE_PATTERN.search(node.class_type) is not None


def _describe_merge(graph: Graph, node: Node) -> str:
    ratios = ((name, graph.number(node, name)) for name in _RATIO_INPUTS if name in node.inputs)
    parts = [f"{name} {ratio:g}" for name, ratio in ratios if ratio is not None]
    return ", ".join([node.class_type, *parts])


def _file_names(graph: Graph, node: Node) -> Iterator[str]:
    # With a model as input, a node's file is something else, such as a motion module.
    if node.model_links:
        return
    yield model_name(graph.text(node, *_FILE_INPUTS))
    for number in range(1, _MAX_MODELS):  # of a stack that is merged
        if node.inputs.get(f"switch_{number}") == "On":
            yield model_name(graph.text(node, f"ckpt_name{number}"))


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
        elif match := _NUMBERED_LORA_PATTERN.fullmatch(key):
            number = match[1]
            weight = graph.number(node, *(name.format(number) for name in _NUMBERED_WEIGHT_INPUTS))
            if node.inputs.get(f"switch_{number}") != "Off":
                yield graph.text(node, key), weight
