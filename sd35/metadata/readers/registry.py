"""Whose texts these are, and what they say. Pure."""

import re
from collections.abc import Callable, Iterator, Mapping

from sd35.metadata.infotext import has_parameters, read_infotext
from sd35.metadata.model import Record
from sd35.metadata.parsing import read_object
from sd35.metadata.png import INFOTEXT_KEY
from sd35.metadata.readers.comfyui import read_comfyui
from sd35.metadata.readers.fooocus import read_fooocus
from sd35.metadata.readers.invokeai import read_invokeai
from sd35.metadata.readers.swarmui import read_swarmui

__all__ = ["read_foreign"]

_Reader = Callable[[Mapping[str, str]], Record | None]


def read_foreign(texts: Mapping[str, str]) -> Record | None:
    """Return what another program says of a picture in the texts of its file; `None` where it is nothing known."""
    return next(_found(texts), None)


def _found(texts: Mapping[str, str]) -> Iterator[Record]:
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


def _read_infotext(texts: Mapping[str, str]) -> Record | None:
    """Return what an infotext says; in a comment it must have parameters, for a comment may be anything."""
    written = texts.get(INFOTEXT_KEY, "")
    if written.strip() and (has_parameters(written) or not _is_object(written)):
        return read_infotext(written)
    for name in ("UserComment", "Comment", "ImageDescription"):
        if has_parameters(texts.get(name, "")):
            return read_infotext(texts[name])
    return None


def _is_object(text: str) -> bool:
    """Whether it is an object in JSON, or what is left of one; a prompt may begin with such a bracket, too."""
    return bool(read_object(text)) or re.match(r'\s*\{\s*"', text) is not None
