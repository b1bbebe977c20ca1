"""What a condition of ComfyUI's was made of: the prompt's text, out of the nodes that write and join it. Pure.

A text that nobody wrote into the graph, because a node works it out while it runs, isn't known.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from sd35.metadata.parsing import parse_number, parse_text
from sd35.metadata.readers.comfyui_graph import PASS_THROUGH, Graph, Node

__all__ = ["PromptResolver", "ResolvedText"]

MAX_DEPTH = 40
"""Nodes between a sampler and a text, one behind another."""

MAX_VISITS = 300
"""Nodes that are asked for one prompt; each is asked once."""

_ROLE_INPUTS = {
    "positive": ("positive", "text_positive", "positive_prompt"),
    "negative": ("negative", "text_negative", "negative_prompt"),
}
_TEXT_INPUTS = ("populated_text", "text", "t5xxl", "clip_g", "clip_l", "text_g", "text_l", "prompt")
_VALUE_INPUTS = (
    *_TEXT_INPUTS,
    "value",
    "string",
    "String",
    "Text",
    "source",
    "anything",
    *PASS_THROUGH,
)
_OUTPUT_INPUTS = ("result", "populated_text", "text_0", "preview_text")
_ENCODER_NAMES = {
    "t5xxl": "T5",
    "clip_g": "CLIP-G",
    "text_g": "CLIP-G",
    "clip_l": "CLIP-L",
    "text_l": "CLIP-L",
}
_NEUTRAL_INPUTS = frozenset(
    {*_VALUE_INPUTS, *_OUTPUT_INPUTS, *(name for names in _ROLE_INPUTS.values() for name in names)}
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

_PART_INPUT_PATTERN = re.compile(r"(?:string|text|prompt)(?:_[a-z]|_?\d{1,3})")
_JOIN_NODE_PATTERN = re.compile(r"concat|join|append", re.IGNORECASE)
_COMPUTING_NODE_PATTERN = re.compile(
    r"ollama|llm|gpt|gemini|claude|deepseek|florence|llava|vision|vlm|chat|caption|interrogat|tagger|translat"
    r"|random|replace|generat|enhanc|rewrite",
    re.IGNORECASE,
)

_SWITCH_PAIRS = (
    ("on_true", "on_false"),
    ("tt_value", "ff_value"),
    ("text_a", "text_b"),
    ("conditioning_a", "conditioning_b"),
)
_SWITCH_FLAGS = ("boolean", "switch", "cond", "condition", "boolean_number")
_NUMBERED_PREFIXES = ("input", "text", "conditioning")


@dataclass(frozen=True, slots=True)
class ResolvedText:
    """A text as far as it is known, and what kind of node works out the rest of it; empty where nothing is left."""

    text: str = ""
    computed_by: str = ""


class PromptResolver:
    """What a sampler is given in one role, positive or negative.

    Attributes:
        wording: of the prompt.
        encoders: texts that were for one text encoder only, by its name.
        guidance: of Flux, which isn't the guidance scale.

    """

    def __init__(self, graph: Graph, start: Node | None, role: str) -> None:
        self._graph = graph
        self._role = role
        self._resolved_nodes: dict[str, ResolvedText] = {}
        self.encoders: dict[str, str] = {}
        self.guidance: float | None = None
        self.resolved_text = self._resolve(start, 0) if start else ResolvedText()

    def _resolve(self, node: Node, depth: int, *, is_string: bool = False) -> ResolvedText:
        """Return what the node says; nothing if it is asked a second time before it has answered."""
        if node.name not in self._resolved_nodes:
            if depth > MAX_DEPTH or len(self._resolved_nodes) >= MAX_VISITS:
                return ResolvedText(computed_by=node.class_type)
            self._resolved_nodes[node.name] = ResolvedText()
            self._resolved_nodes[node.name] = (
                self._resolve_string(node, depth)
                if is_string
                else self._resolve_conditioning(node, depth)
            )
        return self._resolved_nodes[node.name]

    def _resolve_conditioning(self, node: Node, depth: int) -> ResolvedText:
        if node.class_type == "ConditioningZeroOut":
            return ResolvedText()
        if self.guidance is None:
            self.guidance = parse_number(
                self._graph.find_value(
                    node, ["guidance"], lambda value: parse_number(value) is not None
                )
            )
        if _is_switch(node):
            return self._resolve_switch(node, depth, is_string=False)
        role_inputs = _role_inputs(node, self._role)
        if role_inputs:
            return self._resolve_input(node, role_inputs[0], depth, is_string=False)
        texts_by_input = {
            name: self._resolve_input(node, name, depth, is_string=True)
            for name in _present_inputs(node, _TEXT_INPUTS)
        }
        if texts_by_input:
            return self._resolve_encoder(texts_by_input)
        names = [
            name for name in node.inputs if name.startswith("conditioning")
        ] or self._pass_through_inputs(node)
        resolved_texts = [
            self._resolve_input(node, name, depth, is_string=False) for name in _sort_inputs(names)
        ]
        return (
            _join_texts(resolved_texts, ", ", is_distinct=True)
            if names
            else ResolvedText(computed_by=node.class_type)
        )

    def _resolve_encoder(self, texts_by_input: dict[str, ResolvedText]) -> ResolvedText:
        """Return the first text that an encoder was given, and remember those of others that differ from it."""
        first = next(
            (
                encoder_text
                for encoder_text in texts_by_input.values()
                if encoder_text != ResolvedText()
            ),
            ResolvedText(),
        )
        for name, encoder_text in texts_by_input.items():
            if name in _ENCODER_NAMES and encoder_text.text and encoder_text.text != first.text:
                self.encoders.setdefault(_ENCODER_NAMES[name], encoder_text.text)
        return first

    def _resolve_string(self, node: Node, depth: int) -> ResolvedText:
        """Return a text that goes to an encoder: written down, joined, chosen, or what a run has left in the node."""
        if _is_switch(node):
            result = self._resolve_switch(node, depth, is_string=True)
        elif _is_join(node):
            result = self._resolve_concatenation(node, depth)
        else:
            result = self._resolve_pass_through(node, depth)
        last_output = next(
            (
                text
                for name in _OUTPUT_INPUTS
                if (text := parse_text(node.inputs.get(name))).strip()
            ),
            "",
        )
        return ResolvedText(last_output) if result.computed_by and last_output else result

    def _resolve_pass_through(self, node: Node, depth: int) -> ResolvedText:
        """Return the text of a node that does no more than hold it, or hand it on."""
        if (
            _COMPUTING_NODE_PATTERN.search(node.class_type)
            or not node.inputs.keys() <= _NEUTRAL_INPUTS
        ):
            return ResolvedText(computed_by=node.class_type)
        other_role = "negative" if self._role == "positive" else "positive"
        names = [
            *_role_inputs(node, self._role),
            *_present_inputs(node, _VALUE_INPUTS),
            *_role_inputs(node, other_role),
        ]
        return (
            self._resolve_input(node, names[0], depth, is_string=True)
            if names
            else ResolvedText(computed_by=node.class_type)
        )

    def _resolve_concatenation(self, node: Node, depth: int) -> ResolvedText:
        names = _sort_inputs(name for name in node.inputs if _PART_INPUT_PATTERN.fullmatch(name))
        parts = [self._resolve_input(node, name, depth, is_string=True) for name in names]
        is_tidied = node.inputs.get("tidy_tags") == "yes"
        if is_tidied or node.inputs.get("clean_whitespace") == "true":
            strip_chars = " ,\n" if is_tidied else None
            parts = [ResolvedText(part.text.strip(strip_chars), part.computed_by) for part in parts]
        delimiter = node.inputs.get(
            "delimiter", node.inputs.get("separator", ", " if is_tidied else "")
        )
        return _join_texts(parts, parse_text(delimiter).replace("\\n", "\n"))

    def _resolve_switch(self, node: Node, depth: int, *, is_string: bool) -> ResolvedText:
        name = _selected_input(self._graph, node)
        return (
            self._resolve_input(node, name, depth, is_string=is_string)
            if name
            else ResolvedText(computed_by=node.class_type)
        )

    def _resolve_input(self, node: Node, name: str, depth: int, *, is_string: bool) -> ResolvedText:
        """Return what an input says: a text, or what comes from another node."""
        linked_node = self._graph.linked_node(node, name)
        if linked_node:
            return self._resolve(linked_node, depth + 1, is_string=is_string)
        text = parse_text(node.inputs[name])
        return ResolvedText(text if text.strip() else "")

    def _pass_through_inputs(self, node: Node) -> list[str]:
        return [name for name in PASS_THROUGH if self._graph.linked_node(node, name)][:1]


def _present_inputs(node: Node, names: Iterable[str]) -> list[str]:
    return [name for name in names if node.inputs.get(name) is not None]


def _role_inputs(node: Node, role: str) -> list[str]:
    return _present_inputs(node, _ROLE_INPUTS[role])


def _sort_inputs(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: (len(name), name))


def _join_texts(
    parts: Iterable[ResolvedText], delimiter: str, *, is_distinct: bool = False
) -> ResolvedText:
    parts = list(parts)
    texts = [part.text for part in parts if part.text]
    unknown = next((part.computed_by for part in parts if part.computed_by), "")
    return ResolvedText(
        parse_text(delimiter.join(dict.fromkeys(texts) if is_distinct else texts)), unknown
    )


def _is_join(node: Node) -> bool:
    if node.class_type.startswith("StringFunction"):
        return node.inputs.get("action") == "append"
    return _JOIN_NODE_PATTERN.search(node.class_type) is not None and any(
        _PART_INPUT_PATTERN.fullmatch(name) for name in node.inputs
    )


def _is_switch(node: Node) -> bool:
    return "switch" in node.class_type.lower() or any(
        set(pair) <= node.inputs.keys() for pair in _SWITCH_PAIRS[:2]
    )


def _selected_input(graph: Graph, node: Node) -> str | None:
    """Return which of its inputs a switch hands on, where the graph says so."""
    pair = next((pair for pair in _SWITCH_PAIRS if not node.inputs.keys().isdisjoint(pair)), None)
    if pair:
        flag = graph.find_value(
            node, _SWITCH_FLAGS, lambda value: isinstance(value, int) and value in {0, 1}
        )
        names = [] if flag is None else [pair[0 if flag else 1]]
    elif (
        index := graph.find_value(
            node, ("select", "Input", "input"), lambda value: type(value) is int
        )
    ) is not None:
        names = [f"{prefix}{index}" for prefix in _NUMBERED_PREFIXES]
    else:
        names = [name for name in PASS_THROUGH if graph.linked_node(node, name)]
    return next((name for name in names if name in node.inputs), None)
