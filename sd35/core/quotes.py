"""Quotes that come along when people copy a value, from a shell, a document or a chat."""

import string
from typing import Final

__all__ = ["strip_quotes"]

_QUOTES: Final = "\"'`\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u00ab\u00bb"
_INVISIBLE: Final = "\ufeff\u200b\u200c\u200d\u2060\u00a0\0"


def strip_quotes(text: str) -> str:
    """Return a text without the quotes, blanks and invisible characters around it."""
    return text.strip(string.whitespace + _QUOTES + _INVISIBLE)
