"""What a picture is found by: words as the index keeps them, and as it is asked for them."""

import re
import unicodedata
from typing import Final

__all__ = ["fold", "fts_document", "fts_phrase", "sqlite_text"]

_UNSPACED_CHARS: Final = re.compile(
    r"([⺀-⿕々-〇〡-〩ぁ-ヿㄅ-ㆷㇰ-ㇿ㐀-䶿一-鿿가-힣豈-龎ｦ-ﾟ\U00020000-\U0003ffff])"
)
"""Letters of scripts that put no spaces between words: each of them is a word, and several in a row are a phrase."""

_GENERATED_NAME: Final = re.compile(r"[0-9]{6}-")
"""How a file's name begins that was made of its prompt, and so has no further word."""


def sqlite_text(text: str) -> str:
    """Return the text as SQLite can keep it: without NUL, and without halves of characters."""
    return text.replace("\0", " ").encode("utf-8", "replace").decode("utf-8")


def fts_document(prompt: str, tags: str, path: str) -> tuple[str, str]:
    """Return the two texts by which a picture is found: its prompt, and what else there is.

    Not its model: a large dog is no picture of a `…-large`.
    """
    name = path.rpartition("/")[2].rpartition(".")[0]
    return _space_cjk(prompt), _space_cjk(
        tags if _GENERATED_NAME.match(name) else f"{tags}\n{name}"
    )


def fts_phrase(text: str, *, is_prefix: bool = False) -> str:
    """Return what FTS5 is asked for, so that it finds the words of the text in a row, whatever letters they have."""
    phrase = _space_cjk(text).replace('"', " ")
    return f'"{phrase}"*' if is_prefix else f'"{phrase}"'


def fold(text: object) -> str:
    """Return the text as it is compared: without capitals, and without accents."""
    decomposed = unicodedata.normalize("NFKD", text.casefold() if isinstance(text, str) else "")
    return "".join(char for char in decomposed if not unicodedata.combining(char))


def _space_cjk(text: str) -> str:
    return _UNSPACED_CHARS.sub(r" \1 ", sqlite_text(text))
