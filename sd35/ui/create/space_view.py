"""The connection to the Space as HTML: status line, banner and size hints."""

import re
from typing import Any

import orjson
from markupsafe import Markup

from sd35.core.limits import PUBLIC_LIMITS, Limits
from sd35.core.model_info import ModelInfo
from sd35.core.sizes import ASPECT_RATIOS, SizeUnavailableError, size_for
from sd35.core.space_ref import LOCAL, local_model
from sd35.core.text import waiting_text
from sd35.jobs.space_connection import ConnectionState
from sd35.ui.create.form import CUSTOM_SIZE, SLIDER_FIELDS, unavailable_ratios
from sd35.ui.markup import error_message, facts

__all__ = ["banner", "default_values", "limits_text", "size_hints", "status_line", "target_names"]

_RECONNECT_BUTTON = Markup(
    '<button type="button" id="reconnect" class="secondary-button">Try again</button>'
)

_SIZES = (*ASPECT_RATIOS, CUSTOM_SIZE)


def status_line(connection: ConnectionState) -> str:
    """Return one line with the Space's name, status and features."""
    if connection.space is None:
        if connection.waiting_event is not None:
            text = waiting_text(connection.waiting_event)
            return _status("waiting", *target_names(connection.target), text)
        if connection.error:
            is_local = local_model(connection.target) is not None
            text = "not running" if is_local else "offline"
            return _status("failed", *target_names(connection.target), text)
        return _status("waiting", *target_names(connection.target), "connecting…")
    contract = connection.space.contract
    features = (
        "live previews" if contract.is_generator else "no previews",
        _size_range(contract.limits),
    )
    limits = limits_text(connection)
    if contract.is_demo:
        return _status("demo", "Demo Space", "offline sketches", *features, limits=limits)
    model = _model_facts(contract.model_info)
    return _status("ready", connection.space.name, "ready", *model, *features, limits=limits)


def target_names(target: str) -> tuple[str, ...]:
    """Return the name of a Space that isn't connected; of a local one also that of its model."""
    model = local_model(target)
    # A folder's path would fill the line.
    return (target,) if model is None else (LOCAL, re.split(r"[/\\]", model.rstrip("/\\"))[-1])


def _model_facts(info: ModelInfo) -> tuple[str, ...]:
    """Return what a Space of ours says of its model: its name, and how it runs."""
    name = info.name.rpartition("/")[2]
    details = " on ".join(filter(None, (info.precision, info.device)))
    return tuple(filter(None, (name, details, info.options)))


def _status(kind: str, name: str, *texts: str, limits: str = "") -> str:
    # connection.js compares the limits with those that the fields have.
    return Markup(
        '<p class="status" data-state="{}" data-limits="{}"><i></i><b><button type="button" '
        'id="space-name" aria-haspopup="dialog" title="Change the Space">{}</button></b>{}</p>'
    ).format(kind, limits, name, facts(texts))


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
            "</div>{}"
        ).format(error_message(connection.error), _RECONNECT_BUTTON)
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
