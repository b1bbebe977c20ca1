"""The connection to the Space → HTML: its state, what it makes, why it doesn't. Pure; what isn't ours is escaped."""

from markupsafe import Markup

from sd35.core.limits import Limits
from sd35.core.sizes import SizeUnavailableError, size_for
from sd35.core.text import waiting_text
from sd35.jobs.service import ConnectionState
from sd35.ui.create.form import CUSTOM_SIZE, unavailable_ratios
from sd35.ui.create.job_view import error_message

__all__ = ["banner", "size_hint", "status_line"]


def status_line(connection: ConnectionState) -> str:
    """One line that names the Space, its state, and what it can do."""
    if connection.space is None:
        kind, state = (
            ("failed", "not available") if connection.error else ("waiting", "connecting…")
        )
        if connection.waiting_event is not None:
            state = waiting_text(connection.waiting_event)
        return _status(kind, connection.target, Markup("<span>{}</span>").format(state))
    contract = connection.space.contract
    name = "Demo Space" if contract.is_demo else connection.space.name
    facts = [
        "the demo painter, not Stable Diffusion" if contract.is_demo else "ready",
        "live previews" if contract.is_generator else "no previews, steps only",
        _size_range(contract.limits),
    ]
    text = Markup("").join(Markup("<span>{}</span>").format(fact) for fact in facts)
    return _status("demo" if contract.is_demo else "ready", name, text)


def _status(kind: str, name: str, facts: Markup) -> str:
    return Markup('<p class="status" data-state="{}"><i></i><b>{}</b>{}</p>').format(
        kind, name, facts
    )


def _size_range(limits: Limits) -> str:
    width, height = limits.width, limits.height
    if (width.minimum, width.maximum) == (height.minimum, height.maximum):
        return f"{width.minimum:g}–{width.maximum:g} px a side"
    return f"{width.minimum:g}–{width.maximum:g} × {height.minimum:g}–{height.maximum:g} px"


def banner(connection: ConnectionState) -> str:
    """What nobody may overlook: that a demo painter stands in, or that there is no Space; else nothing."""
    if connection.fallback_reason is not None:
        return Markup(
            '<div class="banner" role="status"><p><b>These pictures come from a demo painter, not from Stable '
            "Diffusion.</b> {}</p></div>"
        ).format(_fallback_reason(connection))
    if connection.error is not None:
        return Markup(
            '<div class="banner" data-kind="error" role="alert"><p><b>No Space to make pictures.</b> {}</p></div>'
        ).format(error_message(connection.error))
    return ""


def _fallback_reason(connection: ConnectionState) -> str:
    assert connection.fallback_reason is not None
    return connection.fallback_reason.happened


def size_hint(size: object, connection: ConnectionState) -> str:
    """What the chosen size is in pixels, and which presets this Space can't meet, once it is known, and why."""
    limits = connection.limits
    reasons = unavailable_ratios(limits) if connection.space is not None else {}
    style_rules = Markup("").join(
        Markup('#size label:has([value="{}"]) {{opacity:.4; text-decoration:line-through}}').format(
            ratio
        )
        for ratio in reasons
    )
    return Markup('<style>{}</style><p class="size-hint">{}</p>{}').format(
        style_rules, _size_text(size, limits), _unavailable_hint(reasons, size)
    )


def _size_text(size: object, limits: Limits) -> str:
    if size == CUSTOM_SIZE or not isinstance(size, str):
        return f"Any size of {_size_range(limits)}, in multiples of 16."
    try:
        return f"{size_for(size, limits)} pixels"
    except SizeUnavailableError as error:
        return str(error)
    except ValueError:
        return "Choose a size."


def _unavailable_hint(reasons: dict[str, str], size: object) -> Markup:
    other_ratios = [ratio for ratio in reasons if ratio != size]
    if not other_ratios:
        return Markup("")
    reason = reasons[other_ratios[0]]
    return Markup('<p class="size-hint" data-unavailable>Not on this Space: {}. {}</p>').format(
        ", ".join(other_ratios), reason
    )
