"""Resources of images that Civitai generated: a JSON list of the model, LoRAs and embeddings."""

from typing import Any, Final

from sd35.metadata.parsing import format_value, parse_list
from sd35.metadata.resources import format_resource

__all__ = ["read_civitai_resources"]

_MAX_RESOURCES: Final = 50
_MODEL_TYPES: Final = ("checkpoint", "model", "unet")
_TITLES: Final = {
    "lora": "LoRA",
    "lycoris": "LyCORIS",
    "locon": "LyCORIS",
    "dora": "LoRA",
    "embed": "Embedding",
    "embedding": "Embedding",
    "textualinversion": "Embedding",
    "hypernet": "Hypernetwork",
    "vae": "VAE",
    "upscaler": "Upscaler",
}


def read_civitai_resources(value: object) -> tuple[str, list[tuple[str, str]]]:
    """Return the model's name, and the other resources as pairs for `GenerationMetadata.extra`."""
    model = ""
    pairs: list[tuple[str, str]] = []
    for entry in parse_list(value, _MAX_RESOURCES):
        if not isinstance(entry, dict):
            continue
        kind, name = _kind_and_name(entry)
        version = format_value(entry.get("modelVersionName", entry.get("versionName")))
        if kind in _MODEL_TYPES and not model:
            model = name
            pairs += [("Model version", version)] if version else []
        elif name:
            title = _TITLES.get(kind, kind.capitalize() or "Resource")
            weight = format_value(entry.get("weight", entry.get("strength")))
            pairs.append(format_resource(title, f"{name}:{weight}" if weight else name))
    return model, pairs


def _kind_and_name(entry: dict[str, Any]) -> tuple[str, str]:
    """Return the type of a resource, and its name or else its number at Civitai."""
    # An identifier such as urn:air:sdxl:lora:civitai:210432@237061 tells both.
    air = format_value(entry.get("air")).split(":")
    kind = format_value(entry.get("type")) or (air[3] if len(air) > 3 else "")
    number = format_value(entry.get("modelVersionId")) or air[-1].rpartition("@")[2]
    # A colon would end the name before a weight.
    name = format_value(entry.get("modelName", entry.get("name"))).replace(":", " ")
    return kind.lower(), " ".join(name.split()) or (f"Civitai {number}" if number else "")
