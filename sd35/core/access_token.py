"""Access tokens as people copy them: with blanks, quotes or the name of a header around them."""

import re
from typing import Final

__all__ = ["clean_token"]

_QUOTES: Final = "\"'`\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u00ab\u00bb"
_INVISIBLE: Final = "\ufeff\u200b\u200c\u200d\u2060\0"

_HEADER_PATTERN: Final = re.compile(
    r"(?:(?:X-HF-)?Authorization\s*:\s*)?Bearer(?:\s+|:\s*|\Z)|(?:X-HF-)?Authorization\s*:",
    re.IGNORECASE,
)


def clean_token(text: str | None) -> str | None:
    """Return a token without what was copied with it; `None` if nothing remains."""
    token = text or ""
    # Again, as they come in any order: '"Bearer hf_…"\n', "Bearer 'hf_…'".
    while True:
        stripped_token = token.strip().strip(_QUOTES + _INVISIBLE)
        if header_match := _HEADER_PATTERN.match(stripped_token):
            stripped_token = stripped_token[header_match.end() :]
        if stripped_token == token:
            return token or None
        token = stripped_token
