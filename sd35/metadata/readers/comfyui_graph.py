"""ComfyUI graphs: nodes and the links between them. A graph may be crafted, and hold cycles."""

import re
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sd35.metadata.budget import Budget
from sd35.metadata.parsing import format_value, parse_number

__all__ = ["PASS_THROUGH", "Graph", "Node", "is_number", "is_text"]

# Inputs of nodes that only pass a value on, such as reroutes; the first link counts.
PASS_THROUGH = ("", "input", *(f"any_{index:02}" for index in range(1, 6)))

# Inputs that bundle a model, prompts, latents and settings: pipes of the Impact Pack, of Easy Use
# and others, contexts of rgthree, and the samplers that other samplers run.
_PIPE_PATTERN = re.compile(
    r"(\w+_)?(pipe|ctx|context|tuple|bus)(_opt|_in|_line|_\d+)?|base_sampler|upscaler",
    re.IGNORECASE,
)

_MODEL_PATTERN = re.compile(r"(?:\w+_)?model\d{0,2}(?:_(?:\d{1,2}|[a-z]|opt))?|unet")

_SWITCH_PAIRS = (
    ("on_true", "on_false"),
    ("tt_value", "ff_value"),
    ("text_a", "text_b"),
    ("conditioning_a", "conditioning_b"),
)
_SWITCH_FLAGS = ("boolean", "switch", "cond", "condition", "boolean_number")
_SWITCH_INDEXES = ("select", "Input", "input")
_NUMBERED_PREFIXES = ("input", "text", "conditioning", "model", "image", "latent")

_MAX_HOPS = 30  # nodes that pass on a value, one after another
_HOP_STEPS = 8
_VISIT_STEPS = 4
_MAX_TYPE_LENGTH = 200
_MAX_MATCHED_LENGTH = 50
_MAX_MATCHES = 8

_VALUE_INPUTS = frozenset(
    {"value", "Value", "int", "float", "number", "Number", "boolean"}
    | {"string", "String", "text", "Text", "prompt"}
)
_NEUTRAL_INPUTS = frozenset(
    {"control_after_generate", "control_before_generate", "number_type", "title", "name"}
)
_COMPUTING_INPUTS = frozenset(
    {"op", "operation", "operator", "expression", "formula", "action"}
    | {"minimum", "maximum", "min", "max"}
)


@dataclass(frozen=True, slots=True)
class Node:
    """Node with its inputs by name.

    Attributes:
        links: names of the nodes to which inputs are linked.
        pipes: links that bundle several values, the most important one first.
        model_links: links that may lead to a model, that named `model` first.
        is_switch: whether the node passes one of its inputs on.
    """

    name: str
    class_type: str
    inputs: Mapping[str, Any]
    links: Mapping[str, str]
    pipes: tuple[str, ...]
    model_links: tuple[str, ...]
    is_switch: bool

    @property
    def passed_links(self) -> list[str]:
        """Return the links from which a node without a value of its own passes one on."""
        return [*(name for name in PASS_THROUGH if name in self.links), *self.pipes]


class Graph:
    """Nodes of a graph in the format of ComfyUI's API, by name.

    All methods raise a `BudgetExceededError` when the budget of the file is spent.
    """

    def __init__(self, graph_json: Mapping[str, object], budget: Budget) -> None:
        self.budget = budget
        self.nodes: dict[str, Node] = {}
        for name, node in graph_json.items():
            if isinstance(node, dict) and isinstance(node.get("class_type"), str):
                self.nodes[name] = self._parse_node(name, node)

    def _parse_node(self, name: str, node: Mapping[str, Any]) -> Node:
        inputs = node.get("inputs")
        if not isinstance(inputs, dict):
            inputs = {}
        self.budget.spend(1 + len(inputs))
        if any(isinstance(value, dict) for value in inputs.values()):
            # Some loaders have the name of a file beside its preview.
            inputs = {key: _content(value) for key, value in inputs.items()}
        # A link is the name of a node and the number of one of its outputs.
        links = {
            input_name: value[0]
            for input_name, value in inputs.items()
            if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)
        }
        short_names = [link for link in links if len(link) <= _MAX_MATCHED_LENGTH]
        pipes = sorted(filter(_PIPE_PATTERN.fullmatch, short_names))
        model_links = sorted(
            filter(_MODEL_PATTERN.fullmatch, short_names), key=lambda link: (link != "model", link)
        )
        class_type = node["class_type"][:_MAX_TYPE_LENGTH]
        return Node(
            name,
            class_type,
            inputs,
            links,
            pipes=tuple(pipes[:_MAX_MATCHES]),
            model_links=tuple(model_links[:_MAX_MATCHES]),
            is_switch=_is_switch(class_type, inputs),
        )

    def linked_node(self, node: Node, *names: str) -> Node | None:
        """Return the source of the first of these inputs that is a link."""
        self.budget.spend()
        for name in names:
            source = self.nodes.get(node.links[name]) if name in node.links else None
            if source is not None:
                return source
        return None

    def source(self, node: Node, *names: str) -> Node | None:
        """Return the node that provides the first of these inputs, directly or through pipes.

        It may be a node that holds a value instead of a link, such as a loader with a prompt.
        """
        current: Node | None = node
        for _ in range(_MAX_HOPS):
            if current is None:
                break
            source = self.linked_node(current, *names)
            if source is not None:
                return source
            if any(is_text(current.inputs.get(name)) for name in names):
                return current
            current = self.linked_node(current, *self.passed_links(current))
        return None

    def walk(
        self, start_nodes: Iterable[Node], follow: Callable[["Graph", Node], Iterable[str]]
    ) -> Iterator[Node]:
        """Yield these nodes and their sources, each once, breadth first.

        `follow` returns the links of a node that lead to its sources.
        """
        visited = {node.name: node for node in start_nodes}
        queue = deque(visited.values())
        while queue:
            node = queue.popleft()
            self.budget.spend(_VISIT_STEPS + len(node.links))
            yield node
            for name in follow(self, node):
                source = self.linked_node(node, name)
                if source is not None and source.name not in visited:
                    visited[source.name] = source
                    queue.append(source)

    def find_value(
        self,
        node: Node,
        names: Iterable[str],
        predicate: Callable[[object], bool],
        *,
        passes_switches: bool = True,
    ) -> object:
        """Return the first value of these inputs that fits, also from linked nodes.

        `None` if there is none, or if a node computes it when the graph runs.
        """
        names = list(names)
        starts: list[Node | None] = [node]
        if all(node.inputs.get(name) is None for name in names):
            starts = [self.linked_node(node, pipe) for pipe in node.pipes]
        for start in starts:
            current = start
            for _ in range(_MAX_HOPS):
                if current is None:
                    break
                self.budget.spend(_HOP_STEPS)
                # A node that computes something has inputs, too, but none of them is the result.
                if current is not node and not current.inputs.keys().isdisjoint(_COMPUTING_INPUTS):
                    break
                keys = [name for name in names if current.inputs.get(name) is not None]
                if not keys and (passes_switches or not current.is_switch):
                    keys = self._passed_keys(current)
                values = (current.inputs[key] for key in keys)
                match = next((value for value in values if self._fits(value, predicate)), None)
                if match is not None:
                    return match
                current = self.linked_node(current, *keys)
        return None

    def _passed_keys(self, node: Node) -> list[str]:
        """Return the input with a node's only value, or the links that it passes on."""
        links = self.passed_links(node)
        if links or node.is_switch or len(node.inputs) > 1 + len(_NEUTRAL_INPUTS):
            return links
        names = [name for name in node.inputs if name not in _NEUTRAL_INPUTS]
        # Of several values, the output could be any, or all of them together.
        return names if len(names) == 1 and names[0] in _VALUE_INPUTS else []

    def _fits(self, value: object, predicate: Callable[[object], bool]) -> bool:
        if isinstance(value, str):
            self.budget.spend_on_text(len(value))  # many nodes may be linked to a long text
        return predicate(value)

    def passed_links(self, node: Node) -> list[str]:
        """Return the links from which a node without a value of its own may pass one on."""
        if not node.is_switch:
            return node.passed_links
        name = self.selected_input(node)
        return [name] if name else []

    def selected_input(self, node: Node) -> str | None:
        """Return the input that a switch passes on; `None` if it depends on a computed value."""
        if not node.is_switch:
            return None
        pair = next(
            (pair for pair in _SWITCH_PAIRS if not node.inputs.keys().isdisjoint(pair)), None
        )
        if pair:
            # Switches that control each other could make a circle.
            flag = self.find_value(node, _SWITCH_FLAGS, _is_flag, passes_switches=False)
            if flag is None:
                return None
            on_true, on_false = pair
            names = [on_true] if flag else [on_false]
        else:
            index = self.find_value(node, _SWITCH_INDEXES, _is_index, passes_switches=False)
            names = [f"{prefix}{index}" for prefix in _NUMBERED_PREFIXES]
            if index is None:
                names = [name for name in node.passed_links if self.linked_node(node, name)]
        return next((name for name in names if name in node.inputs), None)

    def number(self, node: Node, *names: str) -> float | None:
        """Return the first number of these inputs; see `find_value`."""
        return parse_number(self.find_value(node, names, is_number))

    def text(self, node: Node, *names: str) -> str:
        """Return the first non-blank text of these inputs, or an empty one; see `find_value`."""
        return format_value(self.find_value(node, names, is_text))


def _content(value: object) -> object:
    content = value.get("content") if isinstance(value, dict) else None
    return content if isinstance(content, str) else value


def is_number(value: object) -> bool:
    """Return whether a value is a number; a boolean is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_text(value: object) -> bool:
    """Return whether a value is a text that isn't blank."""
    return isinstance(value, str) and value.strip() != ""


def _is_switch(class_type: str, inputs: Container[str]) -> bool:
    # Only pairs that no other kind of node has: text_a and text_b are inputs of joins as well.
    return "switch" in class_type.lower() or any(
        first in inputs and second in inputs for first, second in _SWITCH_PAIRS[:2]
    )


def _is_flag(value: object) -> bool:
    return isinstance(value, int) and value in {0, 1}


def _is_index(value: object) -> bool:
    return type(value) is int
