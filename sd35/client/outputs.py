"""The image and the seed in the outputs of a run, in every form in which Gradio sends them. Pure.

A function may return a value; an update (`gr.update`, or a component in its place), which has the
value beside other properties; or `gr.skip()`, an update without a value, which leaves what is
shown. A gallery holds a list.
"""

import re
from typing import Final

from sd35.client.contract import Json
from sd35.core import seed
from sd35.core.events import RemotePicture

__all__ = ["find_picture", "is_skipped", "parse_seed"]

MAX_ADDRESS_CHARACTERS: Final = 4096

# Where a value may be: of an update, of a gallery's item, and of a component's description.
_VALUE_KEYS = ("value", "image", "props")

_SEED_TITLE: Final = re.compile(r"\A\s*(?:used )?seed(?: used)?\s*[:=]", re.IGNORECASE)


def find_picture(output: Json) -> RemotePicture | None:
    """Return the first image of an output, or `None`.

    An image is a FileData, or in older versions an address or a data URL.
    """
    match output:
        case str():
            return RemotePicture(output) if output and _is_address(output) else None
        case dict():
            url, path = (
                output[key] if _is_address(output.get(key)) else None for key in ("url", "path")
            )
            if url or path:
                return RemotePicture(url or "", path)
            values = [output[key] for key in _VALUE_KEYS if key in output]
        case list():
            values = output
        case _:
            return None
    return next((picture for value in values if (picture := find_picture(value))), None)


def _is_address(value: Json) -> bool:
    # A data URL holds the image; no other is as long.
    return isinstance(value, str) and (
        len(value) <= MAX_ADDRESS_CHARACTERS or value.startswith("data:")
    )


def is_skipped(output: Json) -> bool:
    """Return whether an output is an update that leaves the value as it was."""
    return isinstance(output, dict) and "__type__" in output and "value" not in output


def parse_seed(output: Json) -> int | None:
    """Return the seed of an output, or `None` if it isn't a possible one."""
    value = output.get("value") if isinstance(output, dict) else output
    return seed.parse_seed(_SEED_TITLE.sub("", value) if isinstance(value, str) else value)
