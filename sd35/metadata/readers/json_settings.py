"""Tools that write a flat JSON object of settings: Spaces, RuinedFooocus, Easy Diffusion, others.

The names are compared without case and punctuation: `negative_prompt` is `Negative Prompt`.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import islice, zip_longest
from typing import Any, Final

from sd35.metadata.civitai import read_civitai_resources
from sd35.metadata.model import GenerationMetadata
from sd35.metadata.parsing import (
    format_value,
    parse_int,
    parse_list,
    parse_number,
    parse_size,
    parse_text,
)
from sd35.metadata.readers.json_fields import (
    MAX_LORAS,
    FieldMapping,
    format_lora,
    metadata_from_fields,
)
from sd35.metadata.tool_texts import ToolTexts

__all__ = ["metadata_from_lines", "metadata_from_settings", "read_json_settings"]

_KEYS: Final = (
    *("parameters-json", "parameters", "metadata", "generation_data", "Nmkdiffusers"),
    *("UserComment", "Comment", "ImageDescription", "Description"),
)
_MAX_KEYS: Final = 300

# By our name, other tools' names for it, best first.
_ALIASES: Final = {
    "prompt": ("prompt", "positiveprompt", "positive", "includeinimage"),
    "negative_prompt": (
        *("negativeprompt", "negative", "negprompt", "promptneg", "uc", "excludefromimage"),
    ),
    "steps": ("steps", "numinferencesteps", "inferencesteps", "samplingsteps", "numsteps"),
    "cfg_scale": ("guidancescale", "cfgscale", "cfg", "guidance", "scale", "scaletxt", "txtcfg"),
    "seed": ("seed",),
    "width": ("width",),
    "height": ("height",),
    "size": ("resolution", "size"),
    "model": (
        *("model", "modelname", "basemodel", "basemodelname", "checkpoint", "diffusionmodel"),
        *("usestablediffusionmodel", "stablediffusionmodel", "sdmodelname", "sdmodelcheckpoint"),
        *("modelid", "imagemodel"),
    ),
    "sampler": ("sampler", "samplername", "ksamplername", "method"),
    "scheduler": ("scheduler", "schedulertype", "noiseschedule", "schedule"),
    "date": ("datetime", "createddate", "createdat", "date", "timestamp"),
    "tool": ("software", "generator", "app", "tool"),
    "version": ("version", "appversion"),
    "loras": ("loras", "lora", "uselora", "useloramodel", "loramodel"),
    "lora_weights": ("loraweights", "loraalpha", "lorastrength"),
    "resources": ("civitairesources", "resources"),
}
_LORA_NAMES: Final = ("name", "modelFileName", "model", "file")
_LORA_WEIGHTS: Final = ("weight", "strength", "multiplier", "scale")
# Objects of settings: stable-diffusion.cpp has `{"prompt": {"positive": …}, "sampling": {…}}`.
_GROUPS: Final = frozenset(
    {"prompt", "parameters", "params", "settings", "options", "config", "meta", "metadata"}
    | {"generation", "request", "input", "sampling", "guidance", "models"}
)
_MAX_DEPTH: Final = 2
# What else may stand beside a prompt, or is known from the image itself.
_SETTINGS: Final = ("steps", "cfg_scale", "seed", "width", "size", "sampler")
_MIN_SETTINGS: Final = 2
_HIDDEN: Final = frozenset(
    {"size", "date", "tool", "version", "loras", "lora_weights", "resources"}
)

_LINE: Final = re.compile(r"([A-Za-z][\w ]{1,40}): *(.*)")
_LINE_END: Final = re.compile(r"\n|; ")
_PUNCTUATION: Final = re.compile(r"[^a-z0-9]+")
_TAGGED_LORA: Final = re.compile(r"<(?:lora:)?([^<>:]{1,300}):([^<>]{0,20})>")
# RuinedFooocus puts the weight before the name.
_PACKED_LORA: Final = re.compile(r"(-?\d+(?:\.\d+)?) - ([^'\"\]\[]{1,300})")


def read_json_settings(texts: ToolTexts) -> GenerationMetadata | None:
    """Return the metadata in a JSON object with a prompt and other settings."""
    for key in _KEYS:
        values = texts.json_object(texts.get(key, ""))
        tool = "Stability Matrix" if key == "parameters-json" else ""
        metadata = metadata_from_settings(values, tool)
        if metadata is not None:
            return metadata
    # Mochi Diffusion writes one line.
    metadata = metadata_from_lines(texts.get("ImageDescription", ""))
    # Easy Diffusion and scripts of Diffusers write each setting as a text of its own.
    if metadata is None and not texts.json_object(texts.get("prompt", "")):
        metadata = metadata_from_settings({key: texts[key] for key in texts if key.islower()})
    return metadata


def metadata_from_lines(text: str) -> GenerationMetadata | None:
    """Return metadata from lines such as `Steps: 20`; `None` if they aren't those of an image."""
    lines = (_LINE.fullmatch(line.strip()) for line in _LINE_END.split(text, maxsplit=_MAX_KEYS))
    return metadata_from_settings({match[1]: match[2] for match in lines if match})


def metadata_from_settings(values: Mapping[str, Any], tool: str = "") -> GenerationMetadata | None:
    """Return metadata from settings by any names; `None` if they aren't those of an image."""
    values = _flatten(values, _MAX_DEPTH)
    names = {_PUNCTUATION.sub("", key.lower()): key for key in values}
    keys = {
        field: next((names[alias] for alias in aliases if alias in names), "")
        for field, aliases in _ALIASES.items()
    }
    fields = {field: _name_or_value(values.get(key)) for field, key in keys.items() if key}
    count = sum(format_value(fields.get(field)) != "" for field in _SETTINGS)
    if not isinstance(fields.get("prompt"), str) or count < _MIN_SETTINGS:
        return None
    size = parse_size(format_value(fields.get("size")).strip())
    if size[0] is not None and parse_int(fields.get("width")) is None:
        fields |= {"width": size[0], "height": size[1]}
    model, resources = read_civitai_resources(values.get(keys["resources"]))
    pairs = [*_loras(values.get(keys["loras"]), values.get(keys["lora_weights"])), *resources]
    fields |= {
        "model": format_value(fields.get("model")) or model,
        "prompt": parse_text(fields["prompt"]).strip(),
        "negative_prompt": parse_text(fields.get("negative_prompt")).strip(),
    }
    used_keys = set(keys.values())
    others = {key: value for key, value in values.items() if key not in used_keys}
    return metadata_from_fields(
        tool or _tool_name(fields, names),
        format_value(fields.get("version")),
        {**{key: value for key, value in fields.items() if key not in _HIDDEN}, **others},
        FieldMapping(),
        pairs,
        fields.get("date"),
    )


def _flatten(values: Mapping[str, Any], depth: int) -> dict[str, Any]:
    """Return the first settings, with those of groups among them."""
    nested_values: dict[str, Any] = {}
    own_values: dict[str, Any] = {}
    for key, value in islice(values.items(), _MAX_KEYS):
        if depth and isinstance(value, dict) and _PUNCTUATION.sub("", key.lower()) in _GROUPS:
            nested_values |= _flatten(value, depth - 1)
        else:
            own_values[key] = value
    return {**nested_values, **own_values}


def _name_or_value(value: object) -> object:
    """Return the name of an object that describes a model, or any other value itself."""
    if not isinstance(value, dict):
        return value
    names = (format_value(value.get(key)) for key in ("Model", "name", "model_name"))
    return next(filter(None, names), None)


def _tool_name(fields: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """Return the tool by what it says of itself, or else by names that only it has."""
    if names.keys() & {"usestablediffusionmodel", "stablediffusionmodel"}:
        return "Easy Diffusion"
    default = "Hugging Face Space" if "numinferencesteps" in names else ""
    return parse_text(fields.get("tool")) or default


def _loras(value: object, weights: object) -> Iterator[tuple[str, str]]:
    """Yield LoRAs from any of the forms in which tools list them."""
    if isinstance(value, dict):
        yield from (format_lora(name, weight) for name, weight in islice(value.items(), MAX_LORAS))
    elif isinstance(value, list):
        entries = value[:MAX_LORAS]
        entry_weights = parse_list(weights, len(entries)) or [weights] * len(entries)
        for entry, weight in zip_longest(entries, entry_weights):
            yield from _lora_from_entry(entry, weight)
    else:
        yield from _lora_from_text(format_value(value), weights)


def _lora_from_entry(entry: object, weight: object) -> Iterator[tuple[str, str]]:
    if isinstance(entry, dict):
        names = [entry[key] for key in _LORA_NAMES if entry.get(key)]
        weights = [entry[key] for key in _LORA_WEIGHTS if key in entry]
        if names:
            yield format_lora(names[0], weights[0] if weights else weight)
    elif isinstance(entry, list):
        text = format_value(entry)
        packed = _PACKED_LORA.search(text)
        if packed:
            yield format_lora(packed[2], packed[1])
        elif entry:
            yield format_lora(entry[0], entry[1] if len(entry) > 1 else None)
    else:
        yield from _lora_from_text(format_value(entry), weight)


def _lora_from_text(text: str, weight: object) -> Iterator[tuple[str, str]]:
    tagged = _TAGGED_LORA.findall(text)
    packed = [(name, number) for number, name in _PACKED_LORA.findall(text)]
    pairs = [*tagged, *packed] or [(text, parse_number(weight))]
    yield from (
        format_lora(name, number) for name, number in pairs[:MAX_LORAS] if name not in {"", "None"}
    )
