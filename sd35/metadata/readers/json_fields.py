"""Records out of JSON objects that name one thing each: whose keys are known, and the rest told as it is. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sd35.metadata.model import MAX_OTHERS, Record
from sd35.metadata.parsing import (
    as_label,
    as_name,
    as_number,
    as_text,
    as_whole,
    read_object,
    take_loras,
)

__all__ = ["Keys", "find_object", "lora", "of_object"]

_COMMENTS = ("parameters", "UserComment", "Comment", "ImageDescription")


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Under which keys a tool writes what a record knows, and which keys say nothing that isn't said elsewhere."""

    prompt: str = "prompt"
    negative_prompt: str = "negative_prompt"
    guidance_scale: str = "cfg_scale"
    steps: str = "steps"
    seed: str = "seed"
    model: str = "model"
    width: str = "width"
    height: str = "height"
    ignored: frozenset[str] = frozenset()

    @property
    def known(self) -> set[str]:
        """All of the keys."""
        named = {
            self.prompt,
            self.negative_prompt,
            self.guidance_scale,
            self.steps,
            self.seed,
            self.model,
        }
        return {*named, self.width, self.height, *self.ignored}


def find_object(texts: Mapping[str, str], names: Iterable[str] = _COMMENTS) -> dict[str, Any]:
    """Return the first JSON object among the texts of these names; an empty one where there's none."""
    return next((found for name in names if (found := read_object(texts.get(name, "")))), {})


def lora(name: object, weight: object) -> tuple[str, str]:
    """Return how a record tells of a LoRA, whoever loaded it."""
    number = as_number(weight)
    return "LoRA", as_name(name) if number is None else f"{as_name(name)}:{number:g}"


def of_object(
    tool: str,
    version: str,
    told: Mapping[str, Any],
    keys: Keys,
    loras: Iterable[tuple[str, str]] = (),
) -> Record:
    """Return the record that an object tells; what can't be asked for here is in `others`, by the tool's own names."""
    prompt, ordered = take_loras(as_text(told.get(keys.prompt)))
    seed = as_whole(told.get(keys.seed))
    too_large = (
        [("Seed", as_label(told[keys.seed]))]
        if seed is None and as_label(told.get(keys.seed))
        else []
    )
    rest = [
        (_title(name), as_label(value))
        for name, value in told.items()
        if _is_worth(name, value, keys)
    ]
    others = [*too_large, *loras, *ordered, *((name, value) for name, value in rest if value)]
    return Record(
        prompt=prompt,
        negative_prompt=as_text(told.get(keys.negative_prompt)),
        width=as_whole(told.get(keys.width)),
        height=as_whole(told.get(keys.height)),
        guidance_scale=as_number(told.get(keys.guidance_scale)),
        num_inference_steps=as_whole(told.get(keys.steps)),
        seed=None if seed == -1 else seed,
        model=as_name(told.get(keys.model)),
        tool=tool,
        versions={tool: version} if version else {},
        others=tuple(others[:MAX_OTHERS]),
    )


def _is_worth(name: str, value: object, keys: Keys) -> bool:
    return name not in keys.known and value is not False and value is not None


def _title(name: str) -> str:
    words = as_text(name)[:100].replace("_", " ").strip()
    return words[:1].upper() + words[1:]
