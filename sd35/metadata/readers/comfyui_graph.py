"""ComfyUI graphs: nodes and the links between them. A graph may be crafted, and hold cycles."""

from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from sd35.metadata.parsing import format_value, parse_number

__all__ = ["PASS_THROUGH", "Graph", "Node", "is_number"]

# Inputs of nodes that only pass a value on, such as reroutes; the first link counts.
PASS_THROUGH = ("", "input", "base_ctx", *(f"any_{index:02}" for index in range(1, 6)))

_MAX_NODES = 5000  # the largest workflows that people share have some hundred
_MAX_INPUTS = 50_000  # of all nodes together
_MAX_HOPS = 30  # nodes that pass on a value, one after another

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
    """Node with its inputs by name: values, or links as `[node name, output index]`."""

    name: str
    class_type: str
    inputs: Mapping[str, Any]


class Graph:
    """Nodes of a graph in the format of ComfyUI's API, by name."""

    def __init__(self, graph_json: Mapping[str, object]) -> None:
        self.nodes: dict[str, Node] = {}
        remaining_inputs = _MAX_INPUTS
        for name, node in list(graph_json.items())[:_MAX_NODES]:
            if isinstance(node, dict) and isinstance(node.get("class_type"), str):
                inputs = node.get("inputs")
                items = list(inputs.items()) if isinstance(inputs, dict) else []
                limited_inputs = dict(items[:remaining_inputs])
                self.nodes[name] = Node(name, node["class_type"], limited_inputs)
                remaining_inputs -= len(limited_inputs)

    def linked_node(self, node: Node, *names: str) -> Node | None:
        """Return the source of the first of these inputs that is a link."""
        links = (node.inputs.get(name) for name in names)
        sources = (self.nodes.get(link[0]) for link in links if _is_link(link))
        return next(filter(None, sources), None)

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
            yield node
            for name in node.inputs if only_inputs is None else only_inputs:
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
            # A node that computes something has inputs, too, but none of them is the result.
            if current is not node and not _COMPUTING_INPUTS.isdisjoint(current.inputs):
                break
            keys = [name for name in names if current.inputs.get(name) is not None]
            keys = keys if keys or current is node else _value_keys(current)
            match = next((value for key in keys if predicate(value := current.inputs[key])), None)
            if match is not None:
                return match
            current = self.linked_node(current, *keys)
        return None

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
    linked_inputs = [name for name in PASS_THROUGH if _is_link(node.inputs.get(name))]
    names = [name for name in node.inputs if name not in _NEUTRAL_INPUTS]
    # Of several values, the output could be any, or all of them together.
    return linked_inputs or (names if len(names) == 1 and names[0] in _VALUE_INPUTS else [])


def _is_link(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)
