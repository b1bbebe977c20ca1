"""A graph of ComfyUI's: its nodes, and where their inputs come from. Pure; it may hold cycles, or nonsense."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Graph", "Node"]

MAX_NODES = 5000
"""In a graph; the largest workflows that people share have some hundred."""


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
        for name, node in list(told.items())[:MAX_NODES]:
            if isinstance(node, dict) and isinstance(node.get("class_type"), str):
                inputs = node.get("inputs")
                self.nodes[name] = Node(name, node["class_type"], inputs if isinstance(inputs, dict) else {})

    def linked(self, node: Node, name: str) -> Node | None:
        """The node that this input comes from, if it comes from one."""
        return self._target(node.inputs.get(name))

    def _target(self, value: object) -> Node | None:
        is_link = isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)
        return self.nodes.get(value[0]) if is_link else None  # type: ignore[index]

    def upstream(self, starts: Iterable[Node], through: Iterable[str] | None = None) -> Iterator[Node]:
        """Yield these nodes and those they come from, each once, the nearest first; `through` these inputs only."""
        seen = {node.name: node for node in starts}
        waiting = deque(seen.values())
        while waiting:
            node = waiting.popleft()
            yield node
            names = node.inputs if through is None else [name for name in through if name in node.inputs]
            for name in names:
                found = self.linked(node, name)
                if found is not None and found.name not in seen:
                    seen[found.name] = found
                    waiting.append(found)

    def value(
        self, node: Node, names: Iterable[str], further: Iterable[str], is_wanted: Callable[[object], bool]
    ) -> object:
        """Return the first wanted value of these inputs, or of the `further` ones of the nodes that they come from."""
        further = list(further)
        waiting = deque([(node, list(names))])
        seen = {node.name}
        while waiting:
            each, keys = waiting.popleft()
            values = [each.inputs[key] for key in keys if key in each.inputs]
            wanted = next((value for value in values if is_wanted(value)), None)
            if wanted is not None:
                return wanted
            links = {found.name: found for value in values if (found := self._target(value))}
            waiting.extend((found, further) for name, found in links.items() if name not in seen)
            seen.update(links)
        return None
