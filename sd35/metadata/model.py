"""Metadata of an image: how, when and with which program it was made.

The metadata travels in the image file as JSON. A field's name is its JSON key, and files of every
earlier version must stay readable: a renamed field gets its old key in `_JSON_KEYS`.
"""

import datetime as dt
import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import islice
from typing import Any, Final

from sd35.core.seed import parse_seed
from sd35.metadata.parsing import (
    MAX_EXTRA,
    MAX_TEXT_LENGTH,
    MAX_VALUE_LENGTH,
    parse_int,
    parse_list,
    parse_number,
    parse_text,
)

__all__ = [
    "MAX_TAGS",
    "MAX_TAG_LENGTH",
    "THIS_TOOL",
    "GenerationMetadata",
    "metadata_from_json",
    "new_id",
]

THIS_TOOL: Final = "SD 3.5 Studio"  # `GenerationMetadata.tool` of images that this program made

MAX_TAGS: Final = 100
MAX_TAG_LENGTH: Final = 100  # in characters

_FORMAT_VERSION = 1
_MAX_ID_LENGTH = 64
_MAX_AXES = 2
_JSON_KEYS = {"extra": "others"}


def new_id() -> str:
    """Return a random ID that cannot be guessed."""
    return secrets.token_urlsafe(16)


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationMetadata:
    """Settings and provenance of one image; `None` or empty means unknown.

    Attributes:
        id: ID of the image in the library; empty if another tool wrote the metadata.
        width: requested width in pixels, as is `height`; the file may differ.
        space: `owner/name` or URL of the Space that made the image.
        is_demo: whether the demo painter made it, not Stable Diffusion.
        made_at: time of completion, with time zone.
        took_seconds: time from the start of the run to the image, without queueing.
        tool: program that made the image.
        versions: versions of the programs involved, by program name.
        extra: name and value pairs of settings that this program doesn't have, such as a sampler.
        set_id: the set of images that were requested together; empty for a single image.
        set_index: place in the set, from 0.
        set_size: number of images that were requested together.
        axes: of a cell of a grid, the name and value of its column, then of its row.
    """

    id: str = ""
    prompt: str = ""
    negative_prompt: str = ""
    width: int | None = None
    height: int | None = None
    guidance_scale: float | None = None
    num_inference_steps: int | None = None
    seed: int | None = None
    model: str = ""
    space: str = ""
    is_demo: bool = False
    made_at: dt.datetime | None = None
    took_seconds: float | None = None
    tool: str = THIS_TOOL
    versions: Mapping[str, str] = field(default_factory=dict)
    extra: tuple[tuple[str, str], ...] = ()
    set_id: str = ""
    set_index: int | None = None
    set_size: int | None = None
    axes: tuple[tuple[str, str], ...] = ()
    is_starred: bool = False
    tags: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return the metadata as ASCII JSON, which `metadata_from_json` reads back unchanged."""
        payload: dict[str, Any] = {"format": _FORMAT_VERSION}
        for attribute in fields(self):
            name = attribute.name
            value = getattr(self, attribute.name)
            is_unknown = value is None or value is False or value in ("", (), {})
            # An empty tool must be written too: a missing one would read as this program's.
            if name == "tool" or not is_unknown:
                payload[_JSON_KEYS.get(name, name)] = value
        if self.made_at is not None:
            payload["made_at"] = self.made_at.isoformat()
        if self.versions:
            payload["versions"] = dict(self.versions)
        return json.dumps(payload, separators=(",", ":"), allow_nan=False)

    def truncated(self) -> "GenerationMetadata":
        """Return the metadata within the limits of what is kept of a file's.

        That are `MAX_TEXT_LENGTH` characters for each prompt, as many for all of `extra` together,
        and little for everything else.
        """
        return replace(
            self,
            id=self.id[:_MAX_ID_LENGTH],
            prompt=self.prompt[:MAX_TEXT_LENGTH],
            negative_prompt=self.negative_prompt[:MAX_TEXT_LENGTH],
            model=self.model[:MAX_VALUE_LENGTH],
            space=self.space[:MAX_VALUE_LENGTH],
            tool=self.tool[:MAX_VALUE_LENGTH],
            versions=dict(_truncate_pairs(self.versions.items(), MAX_VALUE_LENGTH)),
            extra=tuple(_truncate_pairs(self.extra, MAX_TEXT_LENGTH)),
            set_id=self.set_id[:_MAX_ID_LENGTH],
            axes=tuple(_truncate_pairs(self.axes[:_MAX_AXES], MAX_TEXT_LENGTH)),
            tags=tuple(tag[:MAX_TAG_LENGTH] for tag in self.tags[:MAX_TAGS]),
        )


def _truncate_pairs(
    pairs: Iterable[tuple[str, str]], max_characters: int
) -> Iterator[tuple[str, str]]:
    """Yield the first pairs, with no more characters than this in all of them."""
    for name, value in islice(pairs, MAX_EXTRA):
        max_characters -= len(name) + len(value)
        if max_characters < 0:
            return
        yield name, value


def metadata_from_json(text: str) -> GenerationMetadata | None:
    """Return the metadata in a JSON text, without invalid values; `None` if there is none."""
    try:
        payload = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(payload, dict) or not isinstance(payload.get("format"), int):
        return None
    seed, extra = _parse_seed(payload)
    return GenerationMetadata(
        id=parse_text(payload.get("id"))[:_MAX_ID_LENGTH],
        prompt=parse_text(payload.get("prompt")),
        negative_prompt=parse_text(payload.get("negative_prompt")),
        width=parse_int(payload.get("width")),
        height=parse_int(payload.get("height")),
        guidance_scale=parse_number(payload.get("guidance_scale")),
        num_inference_steps=parse_int(payload.get("num_inference_steps")),
        seed=seed,
        model=parse_text(payload.get("model")),
        space=parse_text(payload.get("space")),
        is_demo=payload.get("is_demo") is True,
        made_at=_parse_time(payload.get("made_at")),
        took_seconds=parse_number(payload.get("took_seconds")),
        tool=parse_text(payload.get("tool")),
        versions=_parse_versions(payload.get("versions")),
        extra=extra,
        set_id=parse_text(payload.get("set_id"))[:_MAX_ID_LENGTH],
        set_index=parse_int(payload.get("set_index")),
        set_size=parse_int(payload.get("set_size")),
        axes=_parse_pairs(payload.get("axes"))[:_MAX_AXES],
        is_starred=payload.get("is_starred") is True,
        tags=_parse_tags(payload.get("tags")),
    )


def _parse_seed(payload: Mapping[str, Any]) -> tuple[int | None, tuple[tuple[str, str], ...]]:
    """Return the seed, and the settings without a field."""
    extra = _parse_pairs(payload.get(_JSON_KEYS["extra"]))
    seed = parse_seed(payload.get("seed"))
    if seed is not None:
        return seed, extra
    # Earlier versions kept a seed of more than 15 digits among the settings without a field.
    texts = dict(reversed(extra))
    seed = parse_seed(texts.get("Seed"))
    return seed, extra if seed is None else tuple(pair for pair in extra if pair[0] != "Seed")


def _parse_time(value: object) -> dt.datetime | None:
    try:
        time = dt.datetime.fromisoformat(parse_text(value))
        # Comparing times with and without a zone raises, so every time gets one.
        return time.astimezone(dt.UTC) if time.tzinfo else time.replace(tzinfo=dt.UTC)
    except (ValueError, OverflowError):
        return None


def _parse_versions(value: object) -> dict[str, str]:
    items = list(value.items()) if isinstance(value, dict) else []
    return {
        parse_text(name): parse_text(version)
        for name, version in items[:MAX_TAGS]
        if isinstance(version, str)
    }


def _parse_pairs(value: object) -> tuple[tuple[str, str], ...]:
    pairs = (item for item in parse_list(value, MAX_EXTRA) if isinstance(item, list))
    return tuple((parse_text(pair[0]), parse_text(pair[1])) for pair in pairs if len(pair) == 2)


def _parse_tags(value: object) -> tuple[str, ...]:
    return tuple(filter(None, map(parse_text, parse_list(value, MAX_TAGS))))
