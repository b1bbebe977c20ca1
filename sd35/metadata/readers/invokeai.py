"""InvokeAI: JSON under `invokeai_metadata`; of versions 1 and 2, `sd-metadata` or a command."""

import re
from collections.abc import Mapping
from typing import Any

from sd35.metadata.model import GenerationMetadata
from sd35.metadata.parsing import format_value, parse_list, parse_text
from sd35.metadata.readers.json_fields import (
    MAX_LORAS,
    FieldMapping,
    find_json_object,
    format_lora,
    metadata_from_fields,
)
from sd35.metadata.tool_texts import ToolTexts

__all__ = ["read_invokeai"]

_FIELD_MAPPING = FieldMapping(
    prompt="positive_prompt",
    ignored_keys=frozenset(
        {"app_version", "loras", "model_hash", "app_id", "variations", "model_weights", "model_id"}
        | {"id", "is_intermediate", "session_id"}
    ),
)
_NEGATIVE_PATTERN = re.compile(r"\[([^\[\]]{0,20000})\]")
_EMPTY_ITEM = re.compile(r",\s*(?=,)")

# A command quotes its prompt, which may hold quotes; version 1.15 forgot the last one.
_QUOTED_PROMPT = re.compile(r'"(.*)"\s*(?=-|$)', re.DOTALL)
_FIRST_SWITCH = re.compile(r"\s-(?:[sSWHCb] ?\d|A ?k_)")
_SWITCH = re.compile(r"--?([A-Za-z_]+)(.*)", re.DOTALL)
_SWITCH_KEYS = {
    "s": "steps",
    "S": "seed",
    "W": "width",
    "H": "height",
    "C": "cfg_scale",
    "A": "sampler",
    "m": "sampler",
    "G": "face_restoration",
    "U": "upscale",
    "v": "variation_amount",
    "V": "variation_seeds",
    "perlin": "perlin",
    "threshold": "threshold",
}
_MAX_SWITCHES = 200
_MAX_PROMPTS = 50  # with weights of their own
_MAX_IMAGES = 10  # only the first is read


def read_invokeai(texts: ToolTexts) -> GenerationMetadata | None:
    """Return the metadata that InvokeAI wrote."""
    values = (
        find_json_object(texts, ["invokeai_metadata"])
        or _read_node(texts)
        or _convert_version_2(_read_sd_metadata(texts))
        or _convert_version_2({"image": _parse_command(texts)})
    )
    if not values:
        return None
    loras = [
        format_lora(_name_or_value(entry.get("model", entry.get("lora"))), entry.get("weight"))
        for entry in parse_list(values.get("loras"), MAX_LORAS)
        if isinstance(entry, dict)
    ]
    fields = {key: _name_or_value(value) for key, value in values.items()}
    version = format_value(values.get("app_version"))
    return metadata_from_fields("InvokeAI", version, fields, _FIELD_MAPPING, loras)


def _name_or_value(value: object) -> object:
    """Return the name of an object that describes a model, or any other value itself."""
    if not isinstance(value, dict):
        return value
    return parse_text(value.get("name")) or parse_text(value.get("model_name")) or None


def _read_node(texts: ToolTexts) -> dict[str, Any]:
    """Return the values of the node that made an image, as previews of version 3 wrote them."""
    node = texts.json_object(texts.get("invokeai", "")).get("node")
    return _convert_version_2({"image": node}) if isinstance(node, dict) else {}


def _read_sd_metadata(texts: ToolTexts) -> dict[str, Any]:
    """Return the object under `sd-metadata`; a list of images as an object with it."""
    text = texts.get("sd-metadata", "").strip()
    return texts.json_object(f'{{"images":{text}}}' if text[:1] == "[" else text)


def _parse_command(texts: ToolTexts) -> dict[str, Any]:
    """Return the values of a command such as `"a fox" -s 50 -S 123 -W 512 -H 512 -A k_lms`."""
    text = texts.get("Dream", "").strip()
    texts.budget.spend_on_text(10 * len(text))
    match = _QUOTED_PROMPT.match(text) or _FIRST_SWITCH.search(text)
    if match is None:
        return {}
    prompt = match[1] if match.re is _QUOTED_PROMPT else text[: match.start()].removeprefix('"')
    arguments = text[match.end() if match.re is _QUOTED_PROMPT else match.start() :].split()
    values: dict[str, Any] = {}
    for argument, next_argument in zip(
        arguments[:_MAX_SWITCHES], [*arguments[1:], ""], strict=False
    ):
        key, value = _parse_switch(argument, next_argument)
        if key in _SWITCH_KEYS:
            values.setdefault(_SWITCH_KEYS[key], value)
    # Commands that begin with ! change an image that exists.
    return {"prompt": "" if prompt.startswith("!") else prompt, **values} if values else {}


def _parse_switch(argument: str, next_argument: str) -> tuple[str, str]:
    """Return a switch and its value, which may be in the same argument or the next one."""
    match = _SWITCH.fullmatch(argument)
    if match is None:
        return "", ""
    name, value = match.groups()
    if name[0] in "Am" and not argument.startswith("--"):
        name, value = name[0], f"{name[1:]}{value}"
    return name, value or next_argument


def _convert_version_2(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return version 2's metadata in the form of version 3; empty if it is anything else."""
    image = _first_image(values)
    if "image" in image or "images" in image:  # a list of whole records
        values, image = image, _first_image(image)
    if not image:
        return {}
    # Version 2 had no separate negative prompt: it stood in square brackets in the prompt.
    prompt = _join_prompts(image.get("prompt"))
    negatives = [negative.strip() for negative in _NEGATIVE_PATTERN.findall(prompt)]
    positive = _NEGATIVE_PATTERN.sub("", prompt)
    if negatives:
        positive = _EMPTY_ITEM.sub("", positive).strip(" ,\n")
    model = values.get("model_weights") or values.get("model_id") or image.get("model")
    top_keys = values.keys() - {"image", "images", "model"}
    return {
        **{key: value for key, value in values.items() if key in top_keys},
        **{key: value for key, value in image.items() if key not in {"prompt", "model"}},
        "model": model,
        "positive_prompt": positive.strip(),
        "negative_prompt": ", ".join(filter(None, negatives)) or image.get("negative_prompt"),
    }


def _first_image(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of an image, or of the first one of a list."""
    image = values.get("image") or values.get("images")
    images = image[:_MAX_IMAGES] if isinstance(image, list) else [image]
    return next((item for item in images if isinstance(item, dict)), {})


def _join_prompts(value: object) -> str:
    """Return a prompt, or the texts of several with weights."""
    entries = parse_list(value, _MAX_PROMPTS) or [value]
    texts = (
        parse_text(entry.get("prompt") if isinstance(entry, dict) else entry) for entry in entries
    )
    return ", ".join(filter(None, texts))
