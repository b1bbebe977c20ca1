"""A graph of ComfyUI's: its nodes, and where their inputs come from. Pure; it may hold cycles, or nonsense."""

from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["PASSING", "Graph", "Node"]

MAX_NODES = 5000
"""In a graph; the largest workflows that people share have some hundred."""

MAX_INPUTS = 50_000
"""Of all nodes together."""

MAX_HOPS = 30
"""Nodes that hand on a value, one behind another."""

PASSING = ("", "input", "base_ctx", *(f"any_{at:02}" for at in range(1, 6)))
"""Inputs of nodes that only hand on what they are given; of several, the first that comes from a node."""

_HELD = (
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
_HARMLESS = frozenset(
    {"control_after_generate", "control_before_generate", "number_type", "title", "name"}
)
_WORKING = frozenset(
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
    kind: str
    inputs: Mapping[str, Any]


class Graph:
    """The nodes of a graph as ComfyUI's API takes it; what is no node is left out."""

    def __init__(self, told: Mapping[str, object]) -> None:
        self.nodes: dict[str, Node] = {}
        left = MAX_INPUTS
        for name, node in list(told.items())[:MAX_NODES]:
            if isinstance(node, dict) and isinstance(node.get("class_type"), str):
                inputs = node.get("inputs")
                taken = dict(list(inputs.items())[:left]) if isinstance(inputs, dict) else {}
                self.nodes[name] = Node(name, node["class_type"], taken)
                left -= len(taken)

    def linked(self, node: Node, *names: str) -> Node | None:
        """The node that the first of these inputs comes from that comes from one."""
        return next(
            (found for name in names if (found := self._target(node.inputs.get(name)))), None
        )

    def _target(self, value: object) -> Node | None:
        return self.nodes.get(value[0]) if _is_link(value) else None  # type: ignore[index]

    def upstream(
        self,
        starts: Iterable[Node],
        through: Iterable[str] | None = None,
        without: Container[str] = (),
    ) -> Iterator[Node]:
        """Yield these nodes and those they come from, each once, the nearest first; `through` these inputs only."""
        seen = {node.name: node for node in starts}
        waiting = deque(seen.values())
        while waiting:
            node = waiting.popleft()
            yield node
            names = node.inputs if through is None else through
            for name in names:
                found = None if name in without else self.linked(node, name)
                if found is not None and found.name not in seen:
                    seen[found.name] = found
                    waiting.append(found)

    def value(
        self, node: Node, names: Iterable[str], is_wanted: Callable[[object], bool]
    ) -> object:
        """Return the first wanted value of these inputs, or what is put into them: `None` if a run works it out."""
        names = list(names)
        each: Node | None = node
        for _ in range(MAX_HOPS):
            if each is None or (each is not node and not _WORKING.isdisjoint(each.inputs)):
                break
            keys = [name for name in names if each.inputs.get(name) is not None]
            keys = keys if keys or each is node else _held(each)
            wanted = next((value for key in keys if is_wanted(value := each.inputs[key])), None)
            if wanted is not None:
                return wanted
            each = self.linked(each, *keys)
        return None


def _held(node: Node) -> list[str]:
    """Return under which name the node holds its one value, or hands on another's."""
    passed = [name for name in PASSING if _is_link(node.inputs.get(name))]
    names = [name for name in node.inputs if name not in _HARMLESS]
    return passed or (names if len(names) == 1 and names[0] in _HELD else [])


def _is_link(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)
