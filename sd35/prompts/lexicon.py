"""The words and phrases of prompts, as suggestions while another prompt is typed."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

__all__ = ["find_phrases"]

MAX_PHRASES: Final = 1500  # and as many words

MAX_PROMPT_LENGTH: Final = 2000  # in characters: longer ones are read so far

MIN_WORD_LENGTH: Final = 4  # shorter ones are typed sooner than chosen
MAX_WORD_LENGTH: Final = 40
MIN_PHRASE_LENGTH: Final = 6
MAX_PHRASE_LENGTH: Final = 60

# Besides punctuation, the signs of templates and of weights.
_SEPARATOR: Final = re.compile(r"[,;:.!?\n|{}()\[\]<>\"“”$]+|\s-\s|__[^\s_].{0,80}?__")
_WORD: Final = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*")


def find_phrases(prompts: Iterable[str]) -> list[str]:
    """Return the phrases and words of prompts, the most used first.

    Of several that differ in case, the first one counts, so the newest prompt should come first.
    """
    phrase_counts: Counter[str] = Counter()
    word_counts: Counter[str] = Counter()
    spelling: dict[str, str] = {}
    for prompt in prompts:
        parts = [" ".join(part.split()) for part in _SEPARATOR.split(prompt[:MAX_PROMPT_LENGTH])]
        phrases = {part.casefold(): part for part in parts if _is_phrase(part)}
        words_by_key = {word.casefold(): word for word in _find_words(parts)}
        phrase_counts.update(phrases.keys())
        word_counts.update(words_by_key.keys())
        for key, text in (*words_by_key.items(), *phrases.items()):
            spelling.setdefault(key, text)
    counts = Counter(dict(word_counts.most_common(MAX_PHRASES)))
    counts |= Counter(dict(phrase_counts.most_common(MAX_PHRASES)))
    return [spelling[key] for key, _ in counts.most_common()]


def _is_phrase(text: str) -> bool:
    return " " in text and MIN_PHRASE_LENGTH <= len(text) <= MAX_PHRASE_LENGTH


def _find_words(parts: Iterable[str]) -> Iterator[str]:
    for word in _WORD.findall("\n".join(parts)):
        if MIN_WORD_LENGTH <= len(word) <= MAX_WORD_LENGTH:
            yield word
