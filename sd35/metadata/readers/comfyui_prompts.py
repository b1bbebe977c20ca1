"""What a condition of ComfyUI's was made of: the prompt's text, out of the nodes that write and join it. Pure.

A text that nobody wrote into the graph, because a node works it out while it runs, isn't known.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from sd35.metadata.parsing import as_number, as_text
from sd35.metadata.readers.comfyui_graph import PASSING, Graph, Node

__all__ = ["Condition", "Wording"]

MAX_DEPTH = 40
"""Nodes between a sampler and a text, one behind another."""

MAX_VISITS = 300
"""Nodes that are asked for one prompt; each is asked once."""

_ROLES = {
    "positive": ("positive", "text_positive", "positive_prompt"),
    "negative": ("negative", "text_negative", "negative_prompt"),
}
_WRITTEN = ("populated_text", "text", "t5xxl", "clip_g", "clip_l", "text_g", "text_l", "prompt")
_HELD = (*_WRITTEN, "value", "string", "String", "Text", "source", "anything", *PASSING)
_OUTCOMES = ("result", "populated_text", "text_0", "preview_text")
_ENCODERS = {
    "t5xxl": "T5",
    "clip_g": "CLIP-G",
    "text_g": "CLIP-G",
    "clip_l": "CLIP-L",
    "text_l": "CLIP-L",
}
_HARMLESS = frozenset(
    {*_HELD, *_OUTCOMES, *(name for names in _ROLES.values() for name in names)}
    | {
        "style",
        "log_prompt",
        "strip_newlines",
        "control_after_generate",
        "title",
        "preview_markdown",
        "previewMode",
    }
    | {"print_to_console", "console_title", "token_normalization", "weight_interpretation"}
)

_PART = re.compile(r"(?:string|text|prompt)(?:_[a-z]|_?\d{1,3})")
_JOINING = re.compile(r"concat|join|append", re.IGNORECASE)
_WORKING = re.compile(
    r"ollama|llm|gpt|gemini|claude|deepseek|florence|llava|vision|vlm|chat|caption|interrogat|tagger|translat"
    r"|random|replace|generat|enhanc|rewrite",
    re.IGNORECASE,
)

_CHOICES = (
    ("on_true", "on_false"),
    ("tt_value", "ff_value"),
    ("text_a", "text_b"),
    ("conditioning_a", "conditioning_b"),
)
_FLAGS = ("boolean", "switch", "cond", "condition", "boolean_number")
_NUMBERED = ("input", "text", "conditioning")


@dataclass(frozen=True, slots=True)
class Wording:
    """A text as far as it is known, and what kind of node works out the rest of it; empty where nothing is left."""

    text: str = ""
    unknown: str = ""


class Condition:
    """What a sampler is given in one role, positive or negative.

    Attributes:
        wording: of the prompt.
        encoders: texts that were for one text encoder only, by its name.
        guidance: of Flux, which isn't the guidance scale.

    """

    def __init__(self, graph: Graph, start: Node | None, role: str) -> None:
        self._graph = graph
        self._role = role
        self._read: dict[str, Wording] = {}
        self.encoders: dict[str, str] = {}
        self.guidance: float | None = None
        self.wording = self._wording(start, 0) if start else Wording()

    def _wording(self, node: Node, depth: int, *, is_string: bool = False) -> Wording:
        """Return what the node says; nothing if it is asked a second time before it has answered."""
        if node.name not in self._read:
            if depth > MAX_DEPTH or len(self._read) >= MAX_VISITS:
                return Wording(unknown=node.kind)
            self._read[node.name] = Wording()
            self._read[node.name] = (
                self._string(node, depth) if is_string else self._condition(node, depth)
            )
        return self._read[node.name]

    def _condition(self, node: Node, depth: int) -> Wording:
        if node.kind == "ConditioningZeroOut":
            return Wording()
        if self.guidance is None:
            self.guidance = as_number(
                self._graph.value(node, ["guidance"], lambda value: as_number(value) is not None)
            )
        if _is_switch(node):
            return self._chosen(node, depth, is_string=False)
        roles = _of_role(node, self._role)
        if roles:
            return self._value(node, roles[0], depth, is_string=False)
        written = {
            name: self._value(node, name, depth, is_string=True)
            for name in _present(node, _WRITTEN)
        }
        if written:
            return self._encoded(written)
        names = [name for name in node.inputs if name.startswith("conditioning")] or self._passed(
            node
        )
        found = [self._value(node, name, depth, is_string=False) for name in _ordered(names)]
        return _joined(found, ", ", is_distinct=True) if names else Wording(unknown=node.kind)

    def _encoded(self, written: dict[str, Wording]) -> Wording:
        """Return the first text that an encoder was given, and remember those of others that differ from it."""
        first = next((each for each in written.values() if each != Wording()), Wording())
        for name, each in written.items():
            if name in _ENCODERS and each.text and each.text != first.text:
                self.encoders.setdefault(_ENCODERS[name], each.text)
        return first

    def _string(self, node: Node, depth: int) -> Wording:
        """Return a text that goes to an encoder: written down, joined, chosen, or what a run has left in the node."""
        if _is_switch(node):
            told = self._chosen(node, depth, is_string=True)
        elif _is_joining(node):
            told = self._parts(node, depth)
        else:
            told = self._held(node, depth)
        outcome = next(
            (text for name in _OUTCOMES if (text := as_text(node.inputs.get(name))).strip()), ""
        )
        return Wording(outcome) if told.unknown and outcome else told

    def _held(self, node: Node, depth: int) -> Wording:
        """Return the text of a node that does no more than hold it, or hand it on."""
        if _WORKING.search(node.kind) or not node.inputs.keys() <= _HARMLESS:
            return Wording(unknown=node.kind)
        other = "negative" if self._role == "positive" else "positive"
        names = [*_of_role(node, self._role), *_present(node, _HELD), *_of_role(node, other)]
        return (
            self._value(node, names[0], depth, is_string=True)
            if names
            else Wording(unknown=node.kind)
        )

    def _parts(self, node: Node, depth: int) -> Wording:
        names = _ordered(name for name in node.inputs if _PART.fullmatch(name))
        found = [self._value(node, name, depth, is_string=True) for name in names]
        is_tidied = node.inputs.get("tidy_tags") == "yes"
        if is_tidied or node.inputs.get("clean_whitespace") == "true":
            unwanted = " ,\n" if is_tidied else None
            found = [Wording(each.text.strip(unwanted), each.unknown) for each in found]
        delimiter = node.inputs.get(
            "delimiter", node.inputs.get("separator", ", " if is_tidied else "")
        )
        return _joined(found, as_text(delimiter).replace("\\n", "\n"))

    def _chosen(self, node: Node, depth: int, *, is_string: bool) -> Wording:
        name = _choice(self._graph, node)
        return (
            self._value(node, name, depth, is_string=is_string)
            if name
            else Wording(unknown=node.kind)
        )

    def _value(self, node: Node, name: str, depth: int, *, is_string: bool) -> Wording:
        """Return what an input says: a text, or what comes from another node."""
        linked = self._graph.linked(node, name)
        if linked:
            return self._wording(linked, depth + 1, is_string=is_string)
        text = as_text(node.inputs[name])
        return Wording(text if text.strip() else "")

    def _passed(self, node: Node) -> list[str]:
        return [name for name in PASSING if self._graph.linked(node, name)][:1]


def _present(node: Node, names: Iterable[str]) -> list[str]:
    return [name for name in names if node.inputs.get(name) is not None]


def _of_role(node: Node, role: str) -> list[str]:
    return _present(node, _ROLES[role])


def _ordered(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: (len(name), name))


def _joined(found: Iterable[Wording], delimiter: str, *, is_distinct: bool = False) -> Wording:
    found = list(found)
    texts = [each.text for each in found if each.text]
    unknown = next((each.unknown for each in found if each.unknown), "")
    return Wording(as_text(delimiter.join(dict.fromkeys(texts) if is_distinct else texts)), unknown)


def _is_joining(node: Node) -> bool:
    if node.kind.startswith("StringFunction"):
        return node.inputs.get("action") == "append"
    return _JOINING.search(node.kind) is not None and any(
        _PART.fullmatch(name) for name in node.inputs
    )


def _is_switch(node: Node) -> bool:
    return "switch" in node.kind.lower() or any(
        set(pair) <= node.inputs.keys() for pair in _CHOICES[:2]
    )


def _choice(graph: Graph, node: Node) -> str | None:
    """Return which of its inputs a switch hands on, where the graph says so."""
    pair = next((pair for pair in _CHOICES if not node.inputs.keys().isdisjoint(pair)), None)
    if pair:
        flag = graph.value(node, _FLAGS, lambda value: isinstance(value, int) and value in {0, 1})
        names = [] if flag is None else [pair[0 if flag else 1]]
    elif (
        at := graph.value(node, ("select", "Input", "input"), lambda value: type(value) is int)
    ) is not None:
        names = [f"{start}{at}" for start in _NUMBERED]
    else:
        names = [name for name in PASSING if graph.linked(node, name)]
    return next((name for name in names if name in node.inputs), None)
