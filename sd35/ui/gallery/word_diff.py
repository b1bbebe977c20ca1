"""Words that texts have in common, and words that differ. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import groupby, islice
from typing import Final

__all__ = ["Segment", "diff_words"]

# `difflib` takes up to cubic time for texts that repeat a few words: 70 ms for a pair of these.
MAX_WORDS: Final = 1000

# Chinese, Japanese and Korean have no spaces between words, so each character counts as one.
_CJK: Final = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
_PUNCTUATION: Final = r",.;:!?()\[\]{}<>|\"“”、。，"
# A number keeps its point: in `(word:1.3)` the weight is one word.
_WORD: Final = re.compile(
    rf"(?:\d+(?:\.\d+)?(?![^\s{_PUNCTUATION}{_CJK}])|[{_CJK}]|[{_PUNCTUATION}]"
    rf"|[^\s{_PUNCTUATION}{_CJK}]+)\s*"
)


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a text, with the space after it, that is in all texts or isn't."""

    text: str
    is_common: bool


def diff_words(texts: Sequence[str]) -> list[list[Segment]]:
    """Return the segments of each text, in order; together they are the text.

    Of a text with more than `MAX_WORDS` words, the rest is left out, with an ellipsis in its place.
    """
    tokens = [_split(text) for text in texts]
    common = _common_indices([[token.strip() for token in text] for text in tokens])
    return [_segments(text, indices) for text, indices in zip(tokens, common, strict=True)]


def _segments(tokens: Sequence[str], common_indices: set[int]) -> list[Segment]:
    """Join neighboring words that are all common, or all not."""
    runs = groupby(enumerate(tokens), key=lambda token: token[0] in common_indices)
    return [Segment("".join(token for _, token in run), is_common) for is_common, run in runs]


def _split(text: str) -> list[str]:
    matches = _WORD.finditer(text.lstrip())
    tokens = [match[0] for match in islice(matches, MAX_WORDS + 1)]
    return [*tokens[:MAX_WORDS], "…"] if len(tokens) > MAX_WORDS else tokens


def _common_indices(texts: Sequence[Sequence[str]]) -> list[set[int]]:
    """Return, for each text, the indices of the words that all texts have, in the same order."""
    first, *others = texts
    common = list(range(len(first)))
    matches = []  # for each other text: its index of each common word of the first one
    for other in others:
        matcher = SequenceMatcher(None, [first[index] for index in common], other, autojunk=False)
        match = {
            common[block.a + offset]: block.b + offset
            for block in matcher.get_matching_blocks()
            for offset in range(block.size)
        }
        matches.append(match)
        common = list(match)
    return [set(common), *({match[index] for index in common} for match in matches)]
