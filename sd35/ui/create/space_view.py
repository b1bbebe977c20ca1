"""The connection to the Space as HTML: status line, banner and size hints."""

import re
from typing import Any, Final

import orjson
from markupsafe import Markup

from sd35.core.errors import QuotaError, SD35Error
from sd35.core.limits import PUBLIC_LIMITS, Limits
from sd35.core.model_info import ModelInfo
from sd35.core.sizes import ASPECT_RATIOS, SizeUnavailableError, size_for
from sd35.core.space_ref import LOCAL, PUBLIC_SPACE, local_model
from sd35.core.text import format_duration, waiting_text
from sd35.jobs.space_connection import ConnectionState, SpaceFacts
from sd35.ui.create.form import CUSTOM_SIZE, SLIDER_FIELDS, unavailable_ratios
from sd35.ui.create.space_access import MEDIUM_SPACE, NO_ACCESS, TURBO_SPACE, SpaceAccess
from sd35.ui.markup import EMPTY_HTML, error_message, facts, short_day_time, ways_on

__all__ = [
    "banner",
    "default_values",
    "features",
    "limits_text",
    "pause_text",
    "quota_text",
    "size_hints",
    "space_title",
    "status_line",
    "target_names",
]

FAMILY: Final = "SD 3.5"
SPACE_TITLES: Final = {
    PUBLIC_SPACE: f"{FAMILY} Large",
    TURBO_SPACE: f"{FAMILY} Large Turbo",
    MEDIUM_SPACE: f"{FAMILY} Medium",
}

_RECONNECT_BUTTON = Markup(
    '<button type="button" id="reconnect" class="secondary-button">Try again</button>'
)

_SIZES = (*ASPECT_RATIOS, CUSTOM_SIZE)


def status_line(connection: ConnectionState, access: SpaceAccess = NO_ACCESS) -> str:
    """Return the chip with the Space's name and state, and what is left of the GPU quota."""
    if connection.space is None:
        return _chip(connection, access, *_unconnected_state(connection))
    if connection.space.contract.is_demo:
        return _chip(connection, access, "demo", ("Demo Space", "offline sketches"))
    info = connection.space.contract.model_info
    names = (space_title(connection.space.name), info.name.rpartition("/")[2])
    quota = quota_text(access)
    return _chip(connection, access, "ready", tuple(filter(None, names)), quota or "ready")


def _unconnected_state(connection: ConnectionState) -> tuple[str, tuple[str, ...], str]:
    names = tuple(map(space_title, target_names(connection.target)))
    if connection.waiting_event is not None:
        return "waiting", names, waiting_text(connection.waiting_event)
    if connection.error is None:
        return "waiting", names, "connecting…"
    is_local = local_model(connection.target) is not None
    return "failed", names, "not running" if is_local else "offline"


def _chip(
    connection: ConnectionState,
    access: SpaceAccess,
    kind: str,
    names: tuple[str, ...],
    state: str = "",
) -> str:
    name, *details = names
    ways = [
        *(["turbo"] if access.turbo_helps else []),
        *(["token"] if access.can_add_token and access.uses_token else []),
        *(["change"] if access.can_remove_token and access.uses_token else []),
    ]
    # connection.js compares the limits with those that the fields have; space.js asks again for the
    # quota; space.css shows the ways on at a refusal.
    return Markup(
        '<p class="status" data-state="{}" data-limits="{}" data-ways="{}" data-quota="{}">'
        '<button type="button" id="space-name" aria-haspopup="dialog" title="{}"><i></i><b>{}</b>'
        "{}{}</button></p>"
    ).format(
        "paused" if kind == "ready" and access.refusal is not None else kind,
        limits_text(connection),
        " ".join(ways),
        _quota_state(access),
        " · ".join((*names, *space_features(connection))),
        _short_name(name),
        facts(details),
        Markup("<span>{}</span>").format(state) if state else EMPTY_HTML,
    )


def _quota_state(access: SpaceAccess) -> str:
    if access.is_looking_up:
        return "pending"
    return "" if access.quota is None else "known"


def _short_name(name: str) -> Markup:
    """Return a name of which space.css leaves out the family on phones."""
    family = f"{FAMILY} "
    if not name.startswith(family):
        return Markup.escape(name)
    return Markup('<span class="family">{}</span>{}').format(family, name.removeprefix(family))


def pause_text(error: SD35Error | None) -> str:
    """Return a text that changes with the refusal for which a queue is paused; empty without."""
    if not isinstance(error, QuotaError):
        return ""
    return "quota" if error.retry_at is None else error.retry_at.isoformat(timespec="seconds")


def quota_text(access: SpaceAccess) -> Markup:
    """Return what is left of the GPU quota, as far as it is known; empty if it isn't."""
    if access.refusal is not None and access.refusal.retry_at is not None:
        return Markup("quota resets {}").format(short_day_time(access.refusal.retry_at))
    if access.refusal is not None:
        return Markup("quota used up")
    quota = access.quota
    if quota is None:
        return EMPTY_HTML
    text = Markup("GPU time: {}").format(format_duration(quota.remaining_seconds))
    if quota.resets_at is None:
        return text
    return Markup("{} until {}").format(text, short_day_time(quota.resets_at))


def space_title(name: str) -> str:
    """Return the short name of one of Stability AI's Spaces; any other name as it is."""
    return SPACE_TITLES.get(name, name)


def space_features(connection: ConnectionState) -> tuple[str, ...]:
    """Return what a connected Space says it can do, and how it runs; empty without one."""
    if connection.space is None:
        return ()
    space = connection.space
    return (*_run_facts(space.contract.model_info), *features(SpaceFacts.of(space)))


def features(space_facts: SpaceFacts) -> tuple[str, ...]:
    """Return what a Space has said it can do."""
    steps = space_facts.limits.num_inference_steps
    return (
        "live previews" if space_facts.has_previews else "no previews",
        _size_range(space_facts.limits),
        *([f"{steps.default:g} steps by default"] if steps is not None else []),
    )


def target_names(target: str) -> tuple[str, ...]:
    """Return the name of a Space that isn't connected; of a local one also that of its model."""
    model = local_model(target)
    # A folder's path would fill the line.
    return (target,) if model is None else (LOCAL, re.split(r"[/\\]", model.rstrip("/\\"))[-1])


def _run_facts(info: ModelInfo) -> tuple[str, ...]:
    """Return how a Space of ours says it runs its model."""
    details = " on ".join(filter(None, (info.precision, info.device)))
    return tuple(filter(None, (details, info.options)))


def limits_text(connection: ConnectionState) -> str:
    """Return a text that is the same for the same Space with the same limits; empty without one."""
    return "" if connection.space is None else f"{connection.target}: {connection.limits}"


def _size_range(limits: Limits) -> str:
    width = f"{limits.width.minimum:g}–{limits.width.maximum:g}"
    height = f"{limits.height.minimum:g}–{limits.height.maximum:g}"
    sides = f"{width} px per side" if width == height else f"{width} × {height} px"
    if not limits.max_pixels:
        return sides
    return f"{sides}, up to {limits.max_pixels / 1e6:.1f} megapixels"


def banner(connection: ConnectionState) -> str:
    """Return the warnings about the connection, or nothing."""
    if connection.fallback_reason is not None:
        return Markup(
            '<div class="banner" role="status"><p><b>Demo mode: these are sketches, not Stable '
            "Diffusion.</b></p><details><summary>Details</summary>{}</details></div>{}"
        ).format(error_message(connection.fallback_reason), _RECONNECT_BUTTON)
    if connection.error is not None:
        return Markup(
            '<div class="banner" data-kind="error" role="alert"><p><b>Not connected.</b> {}</p>'
            '</div><div class="buttons">{}{}</div>'
        ).format(error_message(connection.error), ways_on(connection.error), _RECONNECT_BUTTON)
    if connection.space is not None and connection.space.warnings:
        return Markup('<div class="banner" role="status"><p>{}</p></div>').format(
            " ".join(connection.space.warnings)
        )
    return ""


def size_hints(connection: ConnectionState) -> str:
    """Return, as JSON, each size in pixels, those that aren't available, and the defaults.

    assets/form.js shows them: a choice of a size, or an emptied number, needs no answer from the
    server, which could come after the visitor's next input.
    """
    limits = connection.limits
    # Before a Space is connected the limits are only assumed: nothing is crossed out for them.
    ratios = unavailable_ratios(limits) if connection.space is not None else []
    hints = {
        "sizes": {size: _size_hint(size, limits) for size in _SIZES},
        "unavailable": ratios,
        "note": _unavailable_note(ratios, limits),
        "defaults": _defaults(limits),
        "multiple": limits.size_multiple,
        "maxPixels": limits.max_pixels,
    }
    return orjson.dumps(hints).decode()


def default_values(hints: object) -> dict[str, float]:
    """Return the defaults in a text of `size_hints`; none if a page has sent another text."""
    try:
        defaults = orjson.loads(hints)["defaults"] if isinstance(hints, str) else None
    except (ValueError, TypeError, KeyError):
        defaults = None
    items = defaults.items() if isinstance(defaults, dict) else ()
    return {name: value for name, value in items if isinstance(value, int | float)}


def _defaults(limits: Limits) -> dict[str, float]:
    ranges = (
        (name, getattr(limits, name) or getattr(PUBLIC_LIMITS, name)) for name in SLIDER_FIELDS
    )
    return {name: value_range.default for name, value_range in ranges}


def _size_hint(size: str, limits: Limits) -> dict[str, Any]:
    if size == CUSTOM_SIZE:
        return {"text": f"{_size_range(limits)}, in steps of {limits.size_multiple}"}
    try:
        sides = size_for(size, limits)
    except SizeUnavailableError as error:
        return {"text": str(error)}
    return {"text": f"{sides} px", "sides": [sides.width, sides.height]}


def _unavailable_note(ratios: list[str], limits: Limits) -> str:
    if not ratios:
        return ""
    *first_ratios, last = ratios
    names = f"{', '.join(first_ratios)} and {last} aren't" if first_ratios else f"{last} isn't"
    return f"{names} available: this Space makes {_size_range(limits)}."
