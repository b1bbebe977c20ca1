"""ComfyUI prompts: following a sampler's conditioning back to the texts that were joined into it.

A text that a node computes when the graph runs, such as a language model's, isn't in the file. It
is better to say so than to take the instruction to the model for the prompt.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sd35.metadata.parsing import MAX_TEXT_LENGTH, join_texts, parse_number, parse_text
from sd35.metadata.readers.comfyui_graph import PASS_THROUGH, Graph, Node, is_text

__all__ = ["ROLE_INPUTS", "PromptResolver"]

_MAX_DEPTH = 40  # nodes between a sampler and a text
_MAX_VISITS = 300  # nodes for one prompt

ROLE_INPUTS = {
    "positive": (
        *("positive", "text_positive", "positive_prompt", "optional_positive", "base_positive"),
        "pos",
    ),
    "negative": (
        *("negative", "text_negative", "negative_prompt", "optional_negative", "base_negative"),
        *("neg", "uncond"),
    ),
}
_TEXT_INPUTS = (
    *("populated_text", "text", "t5xxl", "clip_g", "clip_l", "text_g", "text_l", "prompt"),
    *("user_prompt", "bert", "mt5xl"),
)
_VALUE_INPUTS = (
    *(*_TEXT_INPUTS, "value", "string", "String", "Text", "source", "anything"),
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
    {*_VALUE_INPUTS, *_OUTPUT_INPUTS, *(name for names in ROLE_INPUTS.values() for name in names)}
    | {"style", "log_prompt", "strip_newlines", "control_after_generate", "title"}
    | {"preview_markdown", "previewMode", "print_to_console", "console_title"}
    | {"token_normalization", "weight_interpretation", "speak_and_recognation"}
)

_PART_INPUT_PATTERN = re.compile(r"(?:string|text|prompt)(?:_[a-z]|_?\d{1,3})")
_JOIN_NODE_PATTERN = re.compile(r"concat|join|append", re.IGNORECASE)
_COMPUTING_NODE_PATTERN = re.compile(
    r"ollama|llm|gpt|gemini|claude|deepseek|florence|llava|vision|vlm|chat|caption|interrogat"
    r"|tagger|translat|random|replace|generat|enhanc|rewrite",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class ResolvedText:
    """Text as far as the file holds it, and the type of the node that computes the rest, if any."""

    text: str = ""
    computed_by: str = ""


class PromptResolver:
    """Resolver of the prompt that a sampler gets in one role, `positive` or `negative`.

    Attributes:
        resolved_text: the prompt.
        encoders: different texts for single text encoders, by encoder.
        guidance: Flux's distilled guidance, which isn't the guidance scale.
        has_source: whether the sampler gets anything in this role.
    """

    def __init__(self, graph: Graph, start: Node | None, role: str) -> None:
        self._graph = graph
        self._role = role
        self._resolved_nodes: dict[str, ResolvedText] = {}
        self.encoders: dict[str, str] = {}
        self.guidance: float | None = None
        self.has_source = start is not None
        self.resolved_text = self._resolve(start, 0) if start else ResolvedText()

    def _resolve(self, node: Node, depth: int, *, is_string: bool = False) -> ResolvedText:
        if node.name not in self._resolved_nodes:
            if depth > _MAX_DEPTH or len(self._resolved_nodes) >= _MAX_VISITS:
                return ResolvedText(computed_by=node.class_type)
            self._graph.budget.spend(1 + len(node.inputs))
            # A node in a cycle finds this empty text, instead of recursing forever.
            self._resolved_nodes[node.name] = ResolvedText()
            resolve = self._resolve_string if is_string else self._resolve_conditioning
            self._resolved_nodes[node.name] = resolve(node, depth)
        return self._resolved_nodes[node.name]

    def _resolve_conditioning(self, node: Node, depth: int) -> ResolvedText:
        # It replaces the prompt by zeros, whatever comes in.
        if node.class_type == "ConditioningZeroOut":
            return ResolvedText()
        if self.guidance is None:
            guidance = self._graph.find_value(
                node, ["guidance"], lambda value: parse_number(value) is not None
            )
            self.guidance = parse_number(guidance)
        if node.is_switch:
            return self._resolve_switch(node, depth, is_string=False)
        role_input = _role_input(node, self._role)
        if role_input:
            return self._resolve_input(node, role_input, depth, is_string=False)
        # A node with a text of its own, too, adds something to the prompt, such as a place.
        names = [name for name in node.links if name.startswith("cond")]
        texts_by_input = {
            name: self._resolve_input(node, name, depth, is_string=True)
            for name in _present_inputs(node, () if names else _TEXT_INPUTS)
        }
        if texts_by_input:
            return self._resolve_encoder(texts_by_input)
        if not names:
            names = [name for name in node.passed_links if self._graph.linked_node(node, name)][:1]
        if not names:
            return self._resolve_string(node, depth)
        texts = [
            self._resolve_input(node, name, depth, is_string=False) for name in _sort_inputs(names)
        ]
        # Conditionings of one prompt are often split by time or region, and joined again.
        return self._join(list(dict.fromkeys(texts)), ", ")

    def _resolve_encoder(self, texts_by_input: dict[str, ResolvedText]) -> ResolvedText:
        """Return the first text of an encoder, and note different ones in `encoders`."""
        empty = ResolvedText()
        first = next((text for text in texts_by_input.values() if text != empty), empty)
        for name, resolved in texts_by_input.items():
            if name in _ENCODER_NAMES and resolved.text and resolved.text != first.text:
                self.encoders.setdefault(_ENCODER_NAMES[name], resolved.text)
        return first

    def _resolve_string(self, node: Node, depth: int) -> ResolvedText:
        if node.is_switch:
            result = self._resolve_switch(node, depth, is_string=True)
        elif _is_join(node):
            result = self._resolve_concatenation(node, depth)
        else:
            result = self._resolve_pass_through(node, depth)
        if not result.computed_by:
            return result
        # Some nodes store their last output as an input, to display it: what they computed then.
        outputs = (parse_text(node.inputs.get(name)) for name in _OUTPUT_INPUTS)
        output = next(filter(str.strip, outputs), "")
        return ResolvedText(output) if output else result

    def _resolve_pass_through(self, node: Node, depth: int) -> ResolvedText:
        """Return the text of a node that only holds it or passes it on."""
        # An unknown input may change the text, so only nodes without any are trusted.
        is_computing = _COMPUTING_NODE_PATTERN.search(node.class_type) is not None
        if is_computing or not node.inputs.keys() <= _NEUTRAL_INPUTS:
            return ResolvedText(computed_by=node.class_type)
        # A node with texts for both roles has two outputs; the role says which one is meant.
        other_role = "negative" if self._role == "positive" else "positive"
        names = [
            *_present_inputs(node, ROLE_INPUTS[self._role]),
            *_present_inputs(node, _VALUE_INPUTS),
            *_present_inputs(node, ROLE_INPUTS[other_role]),
        ]
        if not names:
            return ResolvedText(computed_by=node.class_type)
        return self._resolve_input(node, names[0], depth, is_string=True)

    def _resolve_concatenation(self, node: Node, depth: int) -> ResolvedText:
        names = _sort_inputs(name for name in node.inputs if _PART_INPUT_PATTERN.fullmatch(name))
        parts = [self._resolve_input(node, name, depth, is_string=True) for name in names]
        is_tidied = node.inputs.get("tidy_tags") == "yes"
        strip_chars: str | None = ""
        if is_tidied:
            strip_chars = " ,\n"
        elif node.inputs.get("clean_whitespace") == "true":
            strip_chars = None  # any white space
        default = ", " if is_tidied else ""
        delimiter = node.inputs.get("delimiter", node.inputs.get("separator", default))
        return self._join(parts, parse_text(delimiter).replace("\\n", "\n"), strip_chars)

    def _join(
        self, parts: list[ResolvedText], delimiter: str, strip_chars: str | None = ""
    ) -> ResolvedText:
        """Return the texts of these parts as one, without what is beyond `MAX_TEXT_LENGTH`."""
        budget = self._graph.budget

        def stripped_texts() -> Iterator[str]:
            for part in parts:
                budget.spend_on_text(len(part.text))
                yield part.text.strip(strip_chars)

        # Nodes that join a text with itself double it at each step.
        text = join_texts(filter(None, stripped_texts()), delimiter, MAX_TEXT_LENGTH)
        computed_by = next((part.computed_by for part in parts if part.computed_by), "")
        budget.spend_on_text(len(text))
        return ResolvedText(text, computed_by)

    def _resolve_switch(self, node: Node, depth: int, *, is_string: bool) -> ResolvedText:
        name = self._graph.selected_input(node)
        if not name:
            return ResolvedText(computed_by=node.class_type)
        return self._resolve_input(node, name, depth, is_string=is_string)

    def _resolve_input(self, node: Node, name: str, depth: int, *, is_string: bool) -> ResolvedText:
        linked_node = self._graph.linked_node(node, name)
        if linked_node:
            return self._resolve(linked_node, depth + 1, is_string=is_string)
        text = parse_text(node.inputs[name])
        return ResolvedText("" if text.isspace() else text)


def _present_inputs(node: Node, names: Iterable[str]) -> list[str]:
    return [name for name in names if node.inputs.get(name) is not None]


def _role_input(node: Node, role: str) -> str | None:
    """Return the input for a role, unless it is blank and a pipe provides the prompt."""
    names = _present_inputs(node, ROLE_INPUTS[role])
    filled_names = (name for name in names if name in node.links or is_text(node.inputs[name]))
    return next(filled_names, names[0] if names and not node.pipes else None)


def _sort_inputs(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: (len(name), name))  # text_2 before text_10


def _is_join(node: Node) -> bool:
    if node.class_type.startswith("StringFunction"):
        return node.inputs.get("action") == "append"
    return _JOIN_NODE_PATTERN.search(node.class_type) is not None and any(
        _PART_INPUT_PATTERN.fullmatch(name) for name in node.inputs
    )
