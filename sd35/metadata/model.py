"""What is known of a picture: with what it was made, by whom, when, and what became of it. Pure.

A record of ours goes into the picture's file as JSON, and comes back as it was. What is read of a
file may have been written by anybody: every value is checked.
"""

import datetime as dt
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

__all__ = ["THIS_TOOL", "GenerationMetadata", "metadata_from_json", "new_id"]

THIS_TOOL: Final = "SD 3.5 Studio"
"""The tool that wrote a record, where it was this program."""

FORMAT_VERSION: Final = 1

MAX_TEXT_LENGTH: Final = 100_000
MAX_EXTRA: Final = 200
MAX_TAGS: Final = 100
MAX_NUMBER: Final = 1e15


def new_id() -> str:
    """Return a name for something new, that can't be guessed."""
    return secrets.token_urlsafe(16)


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationMetadata:
    """A picture's record. `None` and empty: not known.

    Attributes:
        id: of the picture here; empty where another tool wrote the record.
        prompt: what was to be seen.
        negative_prompt: what wasn't.
        width: that was asked for, in pixels, as is `height`.
        guidance_scale: how closely the prompt was followed.
        num_inference_steps: how many there were.
        seed: that was used.
        model: that made it, such as `stable-diffusion-3.5-large`.
        space: where it was made: `owner/name`, or an address.
        is_demo: it is the demo painter's, and not Stable Diffusion's.
        made_at: with its time zone.
        took_seconds: from when the Space began to the picture.
        tool: the program that wrote the record.
        versions: of programs, by name.
        others: what else a tool says of it that can't be asked for here, such as a sampler: pairs
            of name and value.
        is_starred: somebody likes it.
        tags: words that somebody has given it.

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
    others: tuple[tuple[str, str], ...] = ()
    is_starred: bool = False
    tags: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return the record as JSON, in ASCII; `read_record` returns the same record of it."""
        payload: dict[str, Any] = {"format": FORMAT_VERSION}
        for attribute in fields(self):
            value = getattr(self, attribute.name)
            if attribute.name == "tool" or not (
                value is None or value is False or value in ("", (), {})
            ):
                payload[attribute.name] = value
        if self.made_at is not None:
            payload["made_at"] = self.made_at.isoformat()
        if self.versions:
            payload["versions"] = dict(self.versions)
        return json.dumps(payload, separators=(",", ":"), allow_nan=False)


def metadata_from_json(text: str) -> GenerationMetadata | None:
    """Return the record that this JSON holds; `None` where it holds none. What isn't as it should be is left out."""
    try:
        payload = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(payload, dict) or not isinstance(payload.get("format"), int):
        return None
    return GenerationMetadata(
        id=_text(payload.get("id"))[:64],
        prompt=_text(payload.get("prompt")),
        negative_prompt=_text(payload.get("negative_prompt")),
        width=_integer(payload.get("width")),
        height=_integer(payload.get("height")),
        guidance_scale=_number(payload.get("guidance_scale")),
        num_inference_steps=_integer(payload.get("num_inference_steps")),
        seed=_integer(payload.get("seed")),
        model=_text(payload.get("model")),
        space=_text(payload.get("space")),
        is_demo=payload.get("is_demo") is True,
        made_at=_timestamp(payload.get("made_at")),
        took_seconds=_number(payload.get("took_seconds")),
        tool=_text(payload.get("tool")),
        versions=_versions(payload.get("versions")),
        others=_pairs(payload.get("others")),
        is_starred=payload.get("is_starred") is True,
        tags=_tags(payload.get("tags")),
    )


def _text(value: object) -> str:
    return value[:MAX_TEXT_LENGTH] if isinstance(value, str) else ""


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return (
        value if abs(value) < MAX_NUMBER else None
    )  # neither NaN nor infinity is less than anything


def _integer(value: object) -> int | None:
    number = _number(value)
    return int(number) if number is not None and number == int(number) else None


def _timestamp(value: object) -> dt.datetime | None:
    try:
        timestamp = dt.datetime.fromisoformat(_text(value))
        return (
            timestamp.astimezone(dt.UTC) if timestamp.tzinfo else timestamp.replace(tzinfo=dt.UTC)
        )
    except (ValueError, OverflowError):
        return None


def _versions(value: object) -> dict[str, str]:
    pairs = value.items() if isinstance(value, dict) else ()
    return {
        _text(name): _text(version)
        for name, version in list(pairs)[:MAX_TAGS]
        if isinstance(version, str)
    }


def _pairs(value: object) -> tuple[tuple[str, str], ...]:
    pairs = (
        pair
        for pair in (value if isinstance(value, list) else [])[:MAX_EXTRA]
        if isinstance(pair, list)
    )
    return tuple((_text(pair[0]), _text(pair[1])) for pair in pairs if len(pair) == 2)


def _tags(value: object) -> tuple[str, ...]:
    tags = (value if isinstance(value, list) else [])[:MAX_TAGS]
    return tuple(tag for tag in tags if isinstance(tag, str) and tag)
