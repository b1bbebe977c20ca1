"""Access tokens as people copy them: with blanks, quotes or the name of a header around them."""

import re
from typing import Final

from sd35.core.quotes import strip_quotes

__all__ = ["clean_token"]

_HEADER_PATTERN: Final = re.compile(
    r"(?:(?:X-HF-)?Authorization\s*:\s*)?Bearer(?:\s+|:\s*|\Z)|(?:X-HF-)?Authorization\s*:",
    re.IGNORECASE,
)


def clean_token(text: str | None) -> str | None:
    """Return a token without what was copied with it; `None` if nothing remains."""
    token = text or ""
    # Again, as they come in any order: '"Bearer hf_…"\n', "Bearer 'hf_…'".
    while True:
        stripped_token = strip_quotes(token)
        if header_match := _HEADER_PATTERN.match(stripped_token):
            stripped_token = stripped_token[header_match.end() :]
        if stripped_token == token:
            return token or None
        token = stripped_token
