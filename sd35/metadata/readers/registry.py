"""Whose texts these are, and what they say. Pure."""

import re
from collections.abc import Callable, Iterator, Mapping

from sd35.metadata.infotext import has_parameters, read_infotext
from sd35.metadata.model import GenerationMetadata
from sd35.metadata.parsing import parse_json_object
from sd35.metadata.png import INFOTEXT_KEY
from sd35.metadata.readers.comfyui import read_comfyui
from sd35.metadata.readers.fooocus import read_fooocus
from sd35.metadata.readers.invokeai import read_invokeai
from sd35.metadata.readers.swarmui import read_swarmui

__all__ = ["read_foreign"]

_Reader = Callable[[Mapping[str, str]], GenerationMetadata | None]


def read_foreign(texts: Mapping[str, str]) -> GenerationMetadata | None:
    """Return what another program says of a picture in the texts of its file; `None` where it is nothing known."""
    return next(_iter_records(texts), None)


def _iter_records(texts: Mapping[str, str]) -> Iterator[GenerationMetadata]:
    readers: tuple[_Reader, ...] = (
        read_swarmui,
        read_fooocus,
        _read_infotext,
        read_invokeai,
        read_comfyui,
    )
    for reader in readers:
        record = reader(texts)
        if record is not None:
            yield record


def _read_infotext(texts: Mapping[str, str]) -> GenerationMetadata | None:
    """Return what an infotext says; in a comment it must have parameters, for a comment may be anything."""
    infotext = texts.get(INFOTEXT_KEY, "")
    if infotext.strip() and (has_parameters(infotext) or not _is_json_object(infotext)):
        return read_infotext(infotext)
    for name in ("UserComment", "Comment", "ImageDescription"):
        if has_parameters(texts.get(name, "")):
            return read_infotext(texts[name])
    return None


def _is_json_object(text: str) -> bool:
    """Whether it is an object in JSON, or what is left of one; a prompt may begin with such a bracket, too."""
    return bool(parse_json_object(text)) or re.match(r'\s*\{\s*"', text) is not None
