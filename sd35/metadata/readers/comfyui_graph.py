"""A graph of ComfyUI's: its nodes, and where their inputs come from. Pure; it may hold cycles, or nonsense."""

from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["PASS_THROUGH", "Graph", "Node"]

MAX_NODES = 5000
"""In a graph; the largest workflows that people share have some hundred."""

MAX_INPUTS = 50_000
"""Of all nodes together."""

MAX_HOPS = 30
"""Nodes that hand on a value, one behind another."""

PASS_THROUGH = ("", "input", "base_ctx", *(f"any_{index:02}" for index in range(1, 6)))
"""Inputs of nodes that only hand on what they are given; of several, the first that comes from a node."""

_VALUE_INPUTS = (
    "value",
    "Value",
    "int",
    "float",
    "number",
    "Number",
    "boolean",
    "string",
    "String",
    "text",
    "Text",
    "prompt",
)
_NEUTRAL_INPUTS = frozenset(
    {"control_after_generate", "control_before_generate", "number_type", "title", "name"}
)
_COMPUTING_INPUTS = frozenset(
    {
        "op",
        "operation",
        "operator",
        "expression",
        "formula",
        "minimum",
        "maximum",
        "min",
        "max",
        "action",
    }
)


@dataclass(frozen=True, slots=True)
class Node:
    """A node: its name in the graph, what kind it is, and its inputs: values, or links to other nodes."""

    name: str
    class_type: str
    inputs: Mapping[str, Any]


class Graph:
    """The nodes of a graph as ComfyUI's API takes it; what is no node is left out."""

    def __init__(self, graph_json: Mapping[str, object]) -> None:
        self.nodes: dict[str, Node] = {}
        remaining_inputs = MAX_INPUTS
        for name, node in list(graph_json.items())[:MAX_NODES]:
            if isinstance(node, dict) and isinstance(node.get("class_type"), str):
                inputs = node.get("inputs")
                limited_inputs = (
                    dict(list(inputs.items())[:remaining_inputs])
                    if isinstance(inputs, dict)
                    else {}
                )
                self.nodes[name] = Node(name, node["class_type"], limited_inputs)
                remaining_inputs -= len(limited_inputs)

    def linked_node(self, node: Node, *names: str) -> Node | None:
        """The node that the first of these inputs comes from that comes from one."""
        return next(
            (target for name in names if (target := self._link_target(node.inputs.get(name)))), None
        )

    def _link_target(self, value: object) -> Node | None:
        return self.nodes.get(value[0]) if _is_link(value) else None  # type: ignore[index]

    def upstream(
        self,
        start_nodes: Iterable[Node],
        only_inputs: Iterable[str] | None = None,
        exclude: Container[str] = (),
    ) -> Iterator[Node]:
        """Yield these nodes and those they come from, each once, the nearest first; `through` these inputs only."""
        visited = {node.name: node for node in start_nodes}
        queue = deque(visited.values())
        while queue:
            node = queue.popleft()
            yield node
            names = node.inputs if only_inputs is None else only_inputs
            for name in names:
                source = None if name in exclude else self.linked_node(node, name)
                if source is not None and source.name not in visited:
                    visited[source.name] = source
                    queue.append(source)

    def find_value(
        self, node: Node, names: Iterable[str], predicate: Callable[[object], bool]
    ) -> object:
        """Return the first wanted value of these inputs, or what is put into them: `None` if a run works it out."""
        names = list(names)
        current: Node | None = node
        for _ in range(MAX_HOPS):
            if current is None or (
                current is not node and not _COMPUTING_INPUTS.isdisjoint(current.inputs)
            ):
                break
            keys = [name for name in names if current.inputs.get(name) is not None]
            keys = keys if keys or current is node else _value_keys(current)
            match = next((value for key in keys if predicate(value := current.inputs[key])), None)
            if match is not None:
                return match
            current = self.linked_node(current, *keys)
        return None


def _value_keys(node: Node) -> list[str]:
    """Return under which name the node holds its one value, or hands on another's."""
    linked_inputs = [name for name in PASS_THROUGH if _is_link(node.inputs.get(name))]
    names = [name for name in node.inputs if name not in _NEUTRAL_INPUTS]
    return linked_inputs or (names if len(names) == 1 and names[0] in _VALUE_INPUTS else [])


def _is_link(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)
