"""ComfyUI texts: where the nodes and sites that run on ComfyUI put its graphs into an image.

ComfyUI writes `prompt`, the graph as it ran, and `workflow`, the graph as its editor shows it. EXIF
has no keywords: there the key stands before the graph, or both are in one object, or the graph is
without a key. Objects may be written as texts of JSON, too.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from sd35.metadata.tool_texts import ToolTexts

__all__ = ["GraphObject", "find_graphs", "find_workflows", "is_graph"]

GraphObject: TypeAlias = Mapping[str, Any]

_PREFIX_PATTERN = re.compile(r"[^{]{0,33}?(?:prompt|workflow)\s*:\s*", re.IGNORECASE)
_OUTER_KEYS = frozenset({"prompt", "workflow", "extra_data", "extra_pnginfo", "comfyui"})
_MAX_DEPTH = 4
_SCANNED_CHARACTERS = 256  # per step
_BLANKS = "\ufeff\0 \t\r\n"


def find_graphs(texts: ToolTexts) -> Iterator[GraphObject]:
    """Yield the objects that look like a graph in the format of ComfyUI's API."""
    for payload in _iter_objects(texts, "class_type"):
        if any(isinstance(node, dict) and "class_type" in node for node in payload.values()):
            yield payload


def find_workflows(texts: ToolTexts) -> Iterator[GraphObject]:
    """Yield the objects that look like a graph in the format of ComfyUI's editor."""
    for payload in _iter_objects(texts, "nodes"):
        if isinstance(payload.get("nodes"), list) and payload["nodes"]:
            yield payload


def is_graph(texts: ToolTexts, text: str) -> bool:
    """Return whether a text is a graph, or an object with one: not a prompt with settings.

    A node may show the settings of the image, as AUTOMATIC1111 writes them.
    """
    return "class_type" in text and any(_unwrap(texts, _without_prefix(text), 0))


def _iter_objects(texts: ToolTexts, marker: str) -> Iterator[GraphObject]:
    for text in texts.values():
        texts.budget.spend(1 + len(text) // _SCANNED_CHARACTERS)
        if marker in text:  # parsing every text would be slow
            yield from _unwrap(texts, _without_prefix(text), 0)


def _without_prefix(text: str) -> str:
    prefix = _PREFIX_PATTERN.match(text)
    return text[prefix.end() :] if prefix else text


def _unwrap(texts: ToolTexts, value: object, depth: int) -> Iterator[GraphObject]:
    """Yield an object, given as such or as a text of JSON, and those in it."""
    payload = texts.json_object(value.strip(_BLANKS)) if isinstance(value, str) else value
    if not isinstance(payload, dict):
        return
    yield payload
    if depth < _MAX_DEPTH:
        for key, inner in payload.items():
            if key.lower() in _OUTER_KEYS:
                yield from _unwrap(texts, inner, depth + 1)
