"""AUTOMATIC1111 and the many tools that write its infotext."""

import re

from sd35.metadata.infotext import has_parameters, read_infotext
from sd35.metadata.model import GenerationMetadata
from sd35.metadata.png import INFOTEXT_KEY
from sd35.metadata.readers.comfyui_texts import is_graph
from sd35.metadata.tool_texts import ToolTexts

__all__ = ["read_automatic1111"]

_COMMENT_KEYS = ("UserComment", "Comment", "ImageDescription")


def read_automatic1111(texts: ToolTexts) -> GenerationMetadata | None:
    """Return the metadata in an infotext, under its own key or in a comment."""
    infotext = texts.get(INFOTEXT_KEY, "")
    is_blank = not infotext or infotext.isspace()
    if not is_blank and (_has_parameters(texts, infotext) or not _is_json_object(texts, infotext)):
        return read_infotext(infotext, texts.budget)
    # A comment may be anything, such as a camera's: only parameters make it an infotext.
    for comment in (texts.get(key, "") for key in _COMMENT_KEYS):
        if _has_parameters(texts, comment):
            return read_infotext(comment, texts.budget)
    return None


def _has_parameters(texts: ToolTexts, text: str) -> bool:
    return has_parameters(text, texts.budget) and not is_graph(texts, text)


def _is_json_object(texts: ToolTexts, text: str) -> bool:
    """Return whether a text is a JSON object, even a truncated one.

    A prompt may begin with a brace, too: `{red|blue} fox` is a dynamic prompt.
    """
    return bool(texts.json_object(text)) or re.match(r'\s*\{\s*"', text) is not None
