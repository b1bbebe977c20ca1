"""Where a request comes from: the sources of its prompt, and the set of images that it is in."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from sd35.core.request import GenerationRequest

__all__ = [
    "BASE_PROMPT_NAME",
    "MAX_SET_SIZE",
    "NO_ORIGIN",
    "TEMPLATE_NAME",
    "PlannedRequest",
    "RequestOrigin",
    "as_set",
    "origin_from_json",
    "source_prompt",
]

MAX_SET_SIZE: Final = 500

TEMPLATE_NAME: Final = "Template"  # in records, as is the next
BASE_PROMPT_NAME: Final = "Base prompt"

_MAX_PAIRS: Final = 10
_MAX_CHARACTERS: Final = 20_000


@dataclass(frozen=True, slots=True)
class RequestOrigin:
    """Origin of a request.

    Attributes:
        prompt_sources: a template and styles that the prompt was made from, as names and values.
        axes: of a cell of a grid, the name and value of its column, then of its row.
        set_id: the set of images that were requested together; empty for a single image.
        set_index: place in the set, from 0.
        set_size: number of images in the set.
    """

    prompt_sources: tuple[tuple[str, str], ...] = ()
    axes: tuple[tuple[str, str], ...] = ()
    set_id: str = ""
    set_index: int = 0
    set_size: int = 1

    def to_json(self) -> str:
        """Return the origin as JSON, which `origin_from_json` reads back."""
        return json.dumps(asdict(self))


NO_ORIGIN: Final = RequestOrigin()


@dataclass(frozen=True, slots=True)
class PlannedRequest:
    """A request that is to be submitted, and its origin."""

    request: GenerationRequest
    origin: RequestOrigin = NO_ORIGIN


def source_prompt(sources: Iterable[tuple[str, str]]) -> str:
    """Return what a prompt was made from: its template, or else the prompt without its styles.

    It is empty if there is neither: then the prompt itself was typed.
    """
    values = dict(sources)
    return values.get(TEMPLATE_NAME) or values.get(BASE_PROMPT_NAME) or ""


def as_set(planned_requests: Sequence[PlannedRequest], set_id: str) -> list[PlannedRequest]:
    """Return the requests as members of one set; a single one isn't a set, and keeps its own."""
    count = len(planned_requests)
    if count == 1:
        return list(planned_requests)
    return [
        replace(
            planned,
            origin=replace(planned.origin, set_id=set_id, set_index=index, set_size=count),
        )
        for index, planned in enumerate(planned_requests)
    ]


def origin_from_json(text: object) -> RequestOrigin:
    """Return the origin in a text, without invalid values."""
    try:
        payload = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        payload = None
    if not isinstance(payload, dict):
        return NO_ORIGIN
    set_id = payload.get("set_id")
    return RequestOrigin(
        prompt_sources=_parse_pairs(payload.get("prompt_sources")),
        axes=_parse_pairs(payload.get("axes"))[:2],
        set_id=set_id[:64] if isinstance(set_id, str) else "",
        set_index=_parse_count(payload.get("set_index"), 0),
        set_size=_parse_count(payload.get("set_size"), 1),
    )


def _parse_pairs(value: Any) -> tuple[tuple[str, str], ...]:  # noqa: ANN401  # anything in JSON
    pairs = value[:_MAX_PAIRS] if isinstance(value, list) else []
    return tuple(
        (pair[0][:_MAX_CHARACTERS], pair[1][:_MAX_CHARACTERS])
        for pair in pairs
        if isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, str) for part in pair)
    )


def _parse_count(value: object, default: int) -> int:
    is_count = type(value) is int and 0 <= value <= MAX_SET_SIZE
    return value if is_count else default  # type: ignore[return-value]  # an int, by `type`
