"""AUTOMATIC1111 and the many tools that write its infotext."""

import re
from collections.abc import Mapping

from sd35.metadata.infotext import has_parameters, read_infotext
from sd35.metadata.model import GenerationMetadata
from sd35.metadata.parsing import parse_json_object
from sd35.metadata.png import INFOTEXT_KEY

__all__ = ["read_automatic1111"]

_COMMENT_KEYS = ("UserComment", "Comment", "ImageDescription")


def read_automatic1111(texts: Mapping[str, str]) -> GenerationMetadata | None:
    """Return the metadata in an infotext, under its own key or in a comment."""
    infotext = texts.get(INFOTEXT_KEY, "")
    if infotext.strip() and (has_parameters(infotext) or not _is_json_object(infotext)):
        return read_infotext(infotext)
    # A comment may be anything, such as a camera's: only parameters make it an infotext.
    comments = (texts.get(key, "") for key in _COMMENT_KEYS)
    comment = next(filter(has_parameters, comments), None)
    return None if comment is None else read_infotext(comment)


def _is_json_object(text: str) -> bool:
    """Return whether a text is a JSON object, even a truncated one.

    A prompt may begin with a brace, too: `{red|blue} fox` is a dynamic prompt.
    """
    return bool(parse_json_object(text)) or re.match(r'\s*\{\s*"', text) is not None
