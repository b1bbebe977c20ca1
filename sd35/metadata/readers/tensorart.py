"""TensorArt: ComfyUI's graph, and JSON with the prompts and the names of the models."""

from dataclasses import replace

from sd35.metadata.model import GenerationMetadata
from sd35.metadata.parsing import model_name, parse_text
from sd35.metadata.readers.comfyui import read_comfyui
from sd35.metadata.readers.json_settings import metadata_from_settings
from sd35.metadata.tool_texts import ToolTexts

__all__ = ["read_tensorart"]

_TOOL = "TensorArt"


def read_tensorart(texts: ToolTexts) -> GenerationMetadata | None:
    """Return the metadata that TensorArt wrote."""
    values = texts.json_object(texts.get("generation_data", "").strip("\0"))
    metadata = metadata_from_settings({**values, "loras": values.get("models")}, _TOOL)
    if metadata is None:
        return None
    base_model = values.get("baseModel")
    name = base_model.get("modelFileName") if isinstance(base_model, dict) else ""
    # The seed that was drawn is in the graph only, where files have numbers for names.
    graph_metadata = read_comfyui(texts)
    seed = metadata.seed if graph_metadata is None else graph_metadata.seed
    return replace(metadata, model=model_name(parse_text(name)) or metadata.model, seed=seed)
