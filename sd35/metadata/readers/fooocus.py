"""Fooocus: JSON where others write an infotext; it can write that too, which is read as such. Pure."""

import re
from collections.abc import Mapping
from typing import Any

from sd35.metadata.model import Record
from sd35.metadata.parsing import as_label
from sd35.metadata.readers.json_fields import Keys, find_object, lora, of_object

__all__ = ["read_fooocus"]

TOOL = "Fooocus"

_KEYS = Keys(
    guidance_scale="guidance_scale",
    model="base_model",
    ignored=frozenset(
        {"version", "resolution", "loras", "metadata_scheme"}
        | {"full_prompt", "full_negative_prompt", "prompt_expansion", "base_model_hash"}
    ),
)
_RESOLUTION = re.compile(r"\(?\s*(\d{1,6})\s*[,x×*]\s*(\d{1,6})\s*\)?", re.ASCII)
_COMBINED = re.compile(r"lora_(?:combined_)?\d+|.*_hash")


def read_fooocus(texts: Mapping[str, str]) -> Record | None:
    """Return what Fooocus says of a picture; `None` where it doesn't."""
    told = {name.lower().replace(" ", "_"): value for name, value in find_object(texts).items()}
    is_named = "fooocus" in (
        texts.get("fooocus_scheme"),
        texts.get("MakerNote"),
        told.get("metadata_scheme"),
    )
    if not told or not (is_named or {"base_model", "performance", "sharpness"} <= told.keys()):
        return None
    width, height = _size(as_label(told.get("resolution")))
    plain = {name: value for name, value in told.items() if not _COMBINED.fullmatch(name)}
    version = as_label(told.get("version")).removeprefix(TOOL).strip()
    return of_object(
        TOOL, version, {**plain, "width": width, "height": height}, _KEYS, _loras(told)
    )


def _size(text: str) -> tuple[int | None, int | None]:
    found = _RESOLUTION.fullmatch(text)
    return (int(found[1]), int(found[2])) if found else (None, None)


def _loras(told: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return them, each written as a name, a weight and a hash; or, formerly, as `name : weight` under its number."""
    written = told.get("loras")
    listed = (
        [each for each in written[:50] if isinstance(each, list) and each]
        if isinstance(written, list)
        else []
    )
    if listed:
        return [lora(each[0], each[1] if len(each) > 1 else None) for each in listed]
    combined = [
        as_label(value).rpartition(" : ")
        for name, value in told.items()
        if _COMBINED.fullmatch(name)
    ]
    return [lora(name, weight) for name, _, weight in combined[:50] if name]
