"""ComfyUI graphs: nodes and the links between them. A graph may be crafted, and hold cycles."""

from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sd35.metadata.budget import Budget
from sd35.metadata.parsing import format_value, parse_number

__all__ = ["PASS_THROUGH", "Graph", "Node", "is_number"]

# Inputs of nodes that only pass a value on, such as reroutes; the first link counts.
PASS_THROUGH = ("", "input", "base_ctx", *(f"any_{index:02}" for index in range(1, 6)))

_MAX_HOPS = 30  # nodes that pass on a value, one after another
_HOP_STEPS = 8
_VISIT_STEPS = 4
_MAX_TYPE_LENGTH = 200

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
    """Node with its inputs by name, and the names of the nodes to which some of them are linked."""

    name: str
    class_type: str
    inputs: Mapping[str, Any]
    links: Mapping[str, str]


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
        # A link is the name of a node and the number of one of its outputs.
        links = {
            input_name: value[0]
            for input_name, value in inputs.items()
            if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)
        }
        return Node(name, node["class_type"][:_MAX_TYPE_LENGTH], inputs, links)

    def linked_node(self, node: Node, *names: str) -> Node | None:
        """Return the source of the first of these inputs that is a link."""
        self.budget.spend()
        for name in names:
            source = self.nodes.get(node.links[name]) if name in node.links else None
            if source is not None:
                return source
        return None

    def upstream(
        self,
        start_nodes: Iterable[Node],
        only_inputs: Iterable[str] | None = None,
        exclude: Container[str] = (),
    ) -> Iterator[Node]:
        """Yield these nodes and their sources, each once, breadth first.

        Follow only the inputs in `only_inputs`, if given, and none of those in `exclude`.
        """
        visited = {node.name: node for node in start_nodes}
        queue = deque(visited.values())
        while queue:
            node = queue.popleft()
            self.budget.spend(_VISIT_STEPS)
            yield node
            for name in node.links if only_inputs is None else only_inputs:
                source = None if name in exclude else self.linked_node(node, name)
                if source is not None and source.name not in visited:
                    visited[source.name] = source
                    queue.append(source)

    def find_value(
        self, node: Node, names: Iterable[str], predicate: Callable[[object], bool]
    ) -> object:
        """Return the first value of these inputs that fits, also from linked nodes.

        `None` if there is none, or if a node computes it when the graph runs.
        """
        names = list(names)
        current: Node | None = node
        for _ in range(_MAX_HOPS):
            if current is None:
                break
            self.budget.spend(_HOP_STEPS)
            # A node that computes something has inputs, too, but none of them is the result.
            if current is not node and not current.inputs.keys().isdisjoint(_COMPUTING_INPUTS):
                break
            keys = [name for name in names if current.inputs.get(name) is not None]
            keys = keys if keys or current is node else _value_keys(current)
            values = (current.inputs[key] for key in keys)
            match = next((value for value in values if self._fits(value, predicate)), None)
            if match is not None:
                return match
            current = self.linked_node(current, *keys)
        return None

    def _fits(self, value: object, predicate: Callable[[object], bool]) -> bool:
        if isinstance(value, str):
            self.budget.spend_on_text(len(value))  # many nodes may be linked to a long text
        return predicate(value)

    def number(self, node: Node, *names: str) -> float | None:
        """Return the first number of these inputs; see `find_value`."""
        return parse_number(self.find_value(node, names, is_number))

    def text(self, node: Node, *names: str) -> str:
        """Return the first non-blank text of these inputs, or an empty one; see `find_value`."""
        return format_value(self.find_value(node, names, _is_text))


def is_number(value: object) -> bool:
    """Return whether a value is a number; a boolean is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value.strip() != ""


def _value_keys(node: Node) -> list[str]:
    """Return the input with a node's only value, or the links that it passes on."""
    linked_inputs = [name for name in PASS_THROUGH if name in node.links]
    if linked_inputs or len(node.inputs) > 1 + len(_NEUTRAL_INPUTS):
        return linked_inputs
    names = [name for name in node.inputs if name not in _NEUTRAL_INPUTS]
    # Of several values, the output could be any, or all of them together.
    return names if len(names) == 1 and names[0] in _VALUE_INPUTS else []
