"""The connection to the Space as HTML: status line, banner and size hint."""

from markupsafe import Markup

from sd35.core.limits import Limits
from sd35.core.sizes import SizeUnavailableError, size_for
from sd35.core.text import waiting_text
from sd35.jobs.space_connection import ConnectionState
from sd35.ui.create.form import CUSTOM_SIZE, unavailable_ratios
from sd35.ui.markup import EMPTY_HTML, concat, error_message, facts

__all__ = ["banner", "size_hint", "status_line"]


def status_line(connection: ConnectionState) -> str:
    """Return one line with the Space's name, status and features."""
    if connection.space is None:
        if connection.waiting_event is not None:
            return _status("waiting", connection.target, waiting_text(connection.waiting_event))
        if connection.error:
            return _status("failed", connection.target, "offline")
        return _status("waiting", connection.target, "connecting…")
    contract = connection.space.contract
    features = (
        "live previews" if contract.is_generator else "no previews",
        _size_range(contract.limits),
    )
    if contract.is_demo:
        return _status("demo", "Demo Space", "offline sketches", *features)
    return _status("ready", connection.space.name, "ready", *features)


def _status(kind: str, name: str, *texts: str) -> str:
    return Markup('<p class="status" data-state="{}"><i></i><b>{}</b>{}</p>').format(
        kind, name, facts(texts)
    )


def _size_range(limits: Limits) -> str:
    width = f"{limits.width.minimum:g}–{limits.width.maximum:g}"
    height = f"{limits.height.minimum:g}–{limits.height.maximum:g}"
    return f"{width} px per side" if width == height else f"{width} × {height} px"


def banner(connection: ConnectionState) -> str:
    """Return a warning that no real Space is connected, or nothing."""
    if connection.fallback_reason is not None:
        return Markup(
            '<div class="banner" role="status"><p><b>Demo mode: these are sketches, not Stable '
            "Diffusion.</b> {}</p></div>"
        ).format(error_message(connection.fallback_reason))
    if connection.error is not None:
        return Markup(
            '<div class="banner" data-kind="error" role="alert"><p><b>Not connected.</b> {}</p>'
            "</div>"
        ).format(error_message(connection.error))
    return ""


def size_hint(size: object, connection: ConnectionState) -> str:
    """Return the chosen size in pixels, and the aspect ratios that aren't available."""
    limits = connection.limits
    # Before a Space is connected the limits are only assumed: nothing is crossed out for them.
    ratios = unavailable_ratios(limits) if connection.space is not None else []
    # Gradio's Radio can't disable single choices, so their labels are crossed out by style rules.
    style_rules = concat(
        Markup('#size label:has([value="{}"]) {{opacity:.4; text-decoration:line-through}}').format(
            ratio
        )
        for ratio in ratios
    )
    return Markup('<style>{}</style><p class="size-hint">{}</p>{}').format(
        style_rules,
        _size_text(size, limits),
        # The text for an unavailable size says the same already.
        "" if size in ratios else _unavailable_hint(ratios, limits),
    )


def _size_text(size: object, limits: Limits) -> str:
    if size == CUSTOM_SIZE or not isinstance(size, str):
        return f"{_size_range(limits)}, in steps of 16"
    try:
        return f"{size_for(size, limits)} px"
    except SizeUnavailableError as error:
        return str(error)
    except ValueError:
        return "Choose a size."


def _unavailable_hint(ratios: list[str], limits: Limits) -> Markup:
    if not ratios:
        return EMPTY_HTML
    *first_ratios, last = ratios
    names = f"{', '.join(first_ratios)} and {last} aren't" if first_ratios else f"{last} isn't"
    return Markup(
        '<p class="size-hint" data-unavailable>{} available: this Space makes {}.</p>'
    ).format(names, _size_range(limits))
