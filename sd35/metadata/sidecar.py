"""Files beside an image that hold its settings: an infotext, JSON, or lines of names and values."""

from typing import Final

from sd35.metadata.budget import Budget, BudgetExceededError
from sd35.metadata.infotext import has_parameters
from sd35.metadata.model import GenerationMetadata
from sd35.metadata.parsing import decode_text
from sd35.metadata.readers import read_tool_metadata
from sd35.metadata.readers.json_settings import metadata_from_lines

__all__ = ["MAX_SIDECAR_BYTES", "read_sidecar", "sidecar_paths"]

MAX_SIDECAR_BYTES: Final = 1 << 20
_SUFFIXES: Final = (".txt", ".json", ".TXT", ".JSON")

_BYTE_ORDER_MARKS: Final = (
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
)


def sidecar_paths(path: str) -> list[str]:
    """Return where the settings of the image at a path may be, with slashes."""
    stem, _, _ = path.rpartition(".")
    return [f"{name}{suffix}" for name in (stem, path) for suffix in _SUFFIXES]


def read_sidecar(data: bytes) -> GenerationMetadata | None:
    """Return the metadata in a file beside an image; `None` for anything else, such as a caption.

    A caption, which describes an image for training, isn't a prompt.
    """
    encodings = [encoding for mark, encoding in _BYTE_ORDER_MARKS if data.startswith(mark)]
    text = data.decode(encodings[0], "replace") if encodings else decode_text(data)
    budget = Budget()
    try:
        budget.spend_on_json(text)
        if text.lstrip()[:1] == "{":
            return _read_json(text, budget)
        if has_parameters(text, budget):
            return read_tool_metadata({"parameters": text}, budget)
    except BudgetExceededError:
        return None
    metadata = metadata_from_lines(text)  # of Easy Diffusion
    return metadata and metadata.truncated()


def _read_json(text: str, budget: Budget) -> GenerationMetadata | None:
    """Return the metadata in JSON that a tool would write into the image, or in ComfyUI's graph."""
    texts = dict.fromkeys(("parameters", "prompt", "workflow"), text)
    return read_tool_metadata(texts, budget)
