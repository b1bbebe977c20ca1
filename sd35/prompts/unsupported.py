"""Syntax of other programs in a prompt that Stable Diffusion 3.5's pipeline takes for words."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

__all__ = ["SyntaxKind", "UnsupportedSyntax", "find_unsupported", "without_unsupported"]

# Only the innermost brackets, again and again: a pattern can't match nested ones.
MAX_LAYERS: Final = 10

_PATTERN: Final = re.compile(
    r"""
    <(?P<extra>lora|lyco|hypernet|embedding|ti):(?P<name>[^<>]{1,300})>
    | (?<!\\)\((?P<weighted>[^()\[\]<>]{1,2000}?):\s*(?P<weight>[-+]?\d{0,4}\.?\d{1,6})\s*\)
    | (?<!\\)\(\((?P<strong>[^()]{1,2000})\)\)
    | (?<!\\)\[(?P<weak>[^()\[\]<>]{1,2000})(?<!\\)\]
    """,
    re.VERBOSE | re.IGNORECASE,
)


class SyntaxKind(Enum):
    """Kind of syntax, with the end of a sentence that begins with the syntax and `is`."""

    WEIGHT = "a weight, which has no effect in Stable Diffusion 3.5"
    BRACKETS = "emphasis in brackets, which has no effect in Stable Diffusion 3.5"
    LORA = "an addition to the model, which no prompt can load here"


@dataclass(frozen=True, slots=True)
class UnsupportedSyntax:
    """Syntax that has no effect.

    Attributes:
        start: index of the first character, as `end` is that of the one after the last.
        text: the syntax as it stands in the prompt.
        replacement: the words in it.
    """

    kind: SyntaxKind
    start: int
    end: int
    text: str
    replacement: str


def find_unsupported(prompt: str) -> list[UnsupportedSyntax]:
    """Return the syntax in a prompt that has no effect, in order."""
    return [_describe(match) for match in _PATTERN.finditer(prompt)]


def without_unsupported(prompt: str) -> str:
    """Return a prompt with the words alone."""
    for _ in range(MAX_LAYERS):
        parts = list(_replace(prompt))
        if len(parts) == 1:
            break
        prompt = "".join(parts)
    return prompt


def _replace(prompt: str) -> Iterator[str]:
    position = 0
    for syntax in find_unsupported(prompt):
        yield prompt[position : syntax.start]
        yield syntax.replacement
        position = syntax.end
    yield prompt[position:]


def _describe(match: re.Match[str]) -> UnsupportedSyntax:
    if match["extra"] is not None:
        kind, replacement = SyntaxKind.LORA, ""
    elif match["weighted"] is not None:
        kind, replacement = SyntaxKind.WEIGHT, match["weighted"]
    else:
        kind, replacement = SyntaxKind.BRACKETS, match["strong"] or match["weak"]
    return UnsupportedSyntax(kind, match.start(), match.end(), match[0], replacement)
