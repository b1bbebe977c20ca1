"""Estimates of how many tokens the text encoders count in a prompt, and what they no longer read.

Stable Diffusion 3.5 reads a prompt with CLIP, up to 77 tokens, and with T5, up to 256. Their
vocabularies come with the model alone, so these numbers are estimates. Of fifty English prompts,
none was off by more than an eighth for CLIP and a fifth for T5; in other scripts, it may be half.
"""

import re
from dataclasses import dataclass
from typing import Final

__all__ = ["CLIP_LIMIT", "T5_LIMIT", "PromptTokens", "TokenEstimate", "estimate_tokens"]

CLIP_LIMIT: Final = 77  # with the two tokens that mark the begin and the end
T5_LIMIT: Final = 256  # of the Space, `max_sequence_length`; with one that marks the end

MAX_WORD_TOKENS: Final = 8  # a longer piece is no single word
MAX_CHARACTERS: Final = 20_000  # beyond, nothing is read by either

# As CLIP splits a text: contractions, words, single digits, and runs of other characters.
_PIECE: Final = re.compile(
    r"'(?:s|t|re|ve|m|ll|d)\b|(?P<word>[^\W\d_]+)|(?P<digit>\d)|[^\w\s]+|_+", re.IGNORECASE
)
_CJK: Final = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")

_FIRST_FOREIGN_LETTER: Final = "\u0370"  # Greek, after all kinds of Latin

# Tokens of English words by their length, as the true tokenizers count in English texts.
_CLIP_BY_LENGTH: Final = (0, 1, 1, 1, 1, 1.05, 1.05, 1.1, 1.2, 1.25, 1.35)
_T5_BY_LENGTH: Final = (0, 1.9, 1.2, 1.15, 1.15, 1.25, 1.35, 1.4, 1.45, 1.6, 1.8)


@dataclass(frozen=True, slots=True)
class TokenEstimate:
    """Estimated tokens of a prompt, with those that mark its begin and end.

    Attributes:
        end: index of the first character that is no longer read; `None` if all is read.
    """

    count: int
    limit: int
    end: int | None


@dataclass(frozen=True, slots=True)
class PromptTokens:
    """Estimates for both kinds of text encoders."""

    clip: TokenEstimate
    t5: TokenEstimate


def estimate_tokens(prompt: str) -> PromptTokens:
    """Return estimates of the tokens of a prompt."""
    clip = _Tally(CLIP_LIMIT, 2)
    t5 = _Tally(T5_LIMIT, 1)
    for piece in _PIECE.finditer(prompt[:MAX_CHARACTERS]):
        clip.add(_clip_tokens(piece), piece)
        t5.add(_t5_tokens(piece), piece)
    return PromptTokens(clip.result(), t5.result())


class _Tally:
    """Sum of the tokens of a prompt."""

    def __init__(self, limit: int, marks: int) -> None:
        self._limit = limit
        self._total = float(marks)
        self._end: int | None = None

    def add(self, tokens: float, piece: re.Match[str]) -> None:
        # Half a token is less than what an estimate can tell.
        room = self._limit + 0.5 - self._total
        self._total += tokens
        if self._end is None and tokens > room:
            # Japanese has no spaces: a sentence may be one piece, of which the begin is read.
            is_long = tokens > MAX_WORD_TOKENS
            self._end = piece.start() + (int(len(piece[0]) * room / tokens) if is_long else 0)

    def result(self) -> TokenEstimate:
        return TokenEstimate(round(self._total), self._limit, self._end)


def _clip_tokens(piece: re.Match[str]) -> float:
    word = piece["word"]
    if word is None:
        return 1.0 if piece[0].isascii() else 1.5 * len(piece[0])
    if word.isascii():
        return _english_tokens(word, _CLIP_BY_LENGTH, 6.0)
    if _CJK.match(word):
        return 1.9 * len(word)
    # CLIP knows few letters of other scripts, and takes the rest byte by byte.
    return max(1.0, (1.2 if word[0] >= _FIRST_FOREIGN_LETTER else 0.6) * len(word))


def _t5_tokens(piece: re.Match[str]) -> float:
    word = piece["word"]
    if word is None:
        return 0.65 if piece["digit"] else 1.0 * len(piece[0])
    if word.isascii():
        return _english_tokens(word, _T5_BY_LENGTH, 4.8)
    if _CJK.match(word):
        return 2.0  # a whole run of unknown letters is one token behind a space
    return 1 + (0.85 if word[0] >= _FIRST_FOREIGN_LETTER else 0.6) * len(word)


def _english_tokens(word: str, by_length: tuple[float, ...], letters_per_token: float) -> float:
    length = len(word)
    return by_length[length] if length < len(by_length) else length / letters_per_token
