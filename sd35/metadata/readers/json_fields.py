"""Records out of JSON objects that name one thing each: whose keys are known, and the rest told as it is. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sd35.metadata.model import MAX_EXTRA, GenerationMetadata
from sd35.metadata.parsing import (
    extract_loras,
    format_value,
    model_name,
    parse_int,
    parse_json_object,
    parse_number,
    parse_text,
)

__all__ = ["FieldMapping", "find_json_object", "format_lora", "metadata_from_fields"]

_COMMENT_TEXTS = ("parameters", "UserComment", "Comment", "ImageDescription")


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldMapping:
    """Under which keys a tool writes what a record knows, and which keys say nothing that isn't said elsewhere."""

    prompt: str = "prompt"
    negative_prompt: str = "negative_prompt"
    guidance_scale: str = "cfg_scale"
    steps: str = "steps"
    seed: str = "seed"
    model: str = "model"
    width: str = "width"
    height: str = "height"
    ignored_keys: frozenset[str] = frozenset()

    @property
    def all_keys(self) -> set[str]:
        """All of the keys."""
        mapped_keys = {
            self.prompt,
            self.negative_prompt,
            self.guidance_scale,
            self.steps,
            self.seed,
            self.model,
        }
        return {*mapped_keys, self.width, self.height, *self.ignored_keys}


def find_json_object(
    texts: Mapping[str, str], names: Iterable[str] = _COMMENT_TEXTS
) -> dict[str, Any]:
    """Return the first JSON object among the texts of these names; an empty one where there's none."""
    return next(
        (json_object for name in names if (json_object := parse_json_object(texts.get(name, "")))),
        {},
    )


def format_lora(name: object, weight: object) -> tuple[str, str]:
    """Return how a record tells of a LoRA, whoever loaded it."""
    number = parse_number(weight)
    return "LoRA", model_name(name) if number is None else f"{model_name(name)}:{number:g}"


def metadata_from_fields(
    tool: str,
    version: str,
    values: Mapping[str, Any],
    mapping: FieldMapping,
    loras: Iterable[tuple[str, str]] = (),
) -> GenerationMetadata:
    """Return the record that an object tells; what can't be asked for here is in `others`, by the tool's own names."""
    prompt, prompt_loras = extract_loras(parse_text(values.get(mapping.prompt)))
    seed = parse_int(values.get(mapping.seed))
    large_seed = (
        [("Seed", format_value(values[mapping.seed]))]
        if seed is None and format_value(values.get(mapping.seed))
        else []
    )
    labels = [
        (_humanize(name), format_value(value))
        for name, value in values.items()
        if _is_extra(name, value, mapping)
    ]
    extra = [
        *large_seed,
        *loras,
        *prompt_loras,
        *((name, value) for name, value in labels if value),
    ]
    return GenerationMetadata(
        prompt=prompt,
        negative_prompt=parse_text(values.get(mapping.negative_prompt)),
        width=parse_int(values.get(mapping.width)),
        height=parse_int(values.get(mapping.height)),
        guidance_scale=parse_number(values.get(mapping.guidance_scale)),
        num_inference_steps=parse_int(values.get(mapping.steps)),
        seed=None if seed == -1 else seed,
        model=model_name(values.get(mapping.model)),
        tool=tool,
        versions={tool: version} if version else {},
        others=tuple(extra[:MAX_EXTRA]),
    )


def _is_extra(name: str, value: object, mapping: FieldMapping) -> bool:
    return name not in mapping.all_keys and value is not False and value is not None


def _humanize(name: str) -> str:
    text = parse_text(name)[:100].replace("_", " ").strip()
    return text[:1].upper() + text[1:]
