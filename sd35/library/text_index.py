"""Text as the full-text index stores it, and search terms as FTS5 expressions."""

import re
import unicodedata
from typing import Final

__all__ = ["fold", "fts_document", "fts_phrase", "sqlite_text"]

# Chinese, Japanese and Korean put no spaces between words, so `unicode61` would take a whole
# sentence for one token, and 灯台 would not be found in 夜の灯台. With spaces around it each
# character is a separate token, and a word is a phrase of such tokens.
_CJK_CHARS: Final = re.compile(
    r"([⺀-⿕々-〇〡-〩ぁ-ヿㄅ-ㆷㇰ-ㇿ㐀-䶿一-鿿가-힣豈-龎ｦ-ﾟ\U00020000-\U0003ffff])"
)

# Beginning of a file name that was made from the prompt, and so adds no word to it.
_GENERATED_NAME: Final = re.compile(r"[0-9]{6}-")


def sqlite_text(text: str) -> str:
    """Return the text without what SQLite can't store."""
    # A NUL ends a string for FTS5 and for `instr`; sqlite3 raises UnicodeEncodeError at a lone
    # surrogate, which JSON metadata and file names can hold.
    return text.replace("\0", " ").encode("utf-8", "replace").decode("utf-8")


def fts_document(prompt: str, tags: str, path: str) -> tuple[str, str]:
    """Return the two texts of an image in the index: the prompt, and tags with the file name."""
    # Without the model's name: "large" should find large dogs, not every image of a `…-large`.
    name = path.rpartition("/")[2].rpartition(".")[0]
    others = tags if _GENERATED_NAME.match(name) else f"{tags}\n{name}"
    return _space_cjk(prompt), _space_cjk(others)


def fts_phrase(text: str, *, is_prefix: bool = False) -> str:
    """Return the FTS5 expression that matches the words of the text in a row."""
    # Within double quotes, nothing is an operator of FTS5 (AND, NEAR, *, ^, column:).
    phrase = _space_cjk(text).replace('"', " ")
    return f'"{phrase}"*' if is_prefix else f'"{phrase}"'


def fold(text: object) -> str:
    """Return the text without case and accents; "" for what isn't text, such as SQL NULL."""
    decomposed = unicodedata.normalize("NFKD", text.casefold() if isinstance(text, str) else "")
    return "".join(char for char in decomposed if not unicodedata.combining(char))


def _space_cjk(text: str) -> str:
    return _CJK_CHARS.sub(r" \1 ", sqlite_text(text))
