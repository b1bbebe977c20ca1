"""State → HTML, and → what Gradio's components take. Pure. Everything that isn't ours is escaped by `Markup.format`."""

from dataclasses import replace
from typing import Any, Final

from markupsafe import Markup

from sd35.core.errors import QuotaError, SD35Error
from sd35.core.text import (
    format_bytes,
    format_duration,
    format_elapsed,
    format_local_time,
    waiting_text,
)
from sd35.jobs.job import JobState
from sd35.jobs.limits import RemainingQuota, UsageLimits
from sd35.jobs.record import JobStatus
from sd35.jobs.status_text import headline
from sd35.server.file_data import FILE_DATA_META, file_data
from sd35.ui.create.import_settings import AppliedSettings

__all__ = [
    "account_info",
    "applied_settings",
    "download_value",
    "drop_hint",
    "idle_panel",
    "image_value",
    "job_not_found",
    "job_panel",
    "no_settings_found",
    "outcome",
    "quota_info",
    "rejection_panel",
]


MAX_NOTICES = 3

MAX_IGNORED_ITEMS: Final = 8
MAX_IGNORED_CHARACTERS: Final = 120
"""Of what a picture says that can't be used here, so many lines are shown, each of at most so many characters."""

INTERRUPTED_MESSAGE: Final = "This program was ended while the picture was being made."

RETRY_BUTTON: Final = Markup(
    '<p class="does"><button type="button" data-do="again">Run again, with the same seed</button></p>'
)
RESUME_BUTTON: Final = Markup(
    '<p class="does"><button type="button" data-do="go-on">{}</button></p>'
)


def image_value(state: JobState) -> dict[str, Any] | None:
    """The output Image's value: the finished picture's file, else the preview's bytes as they came."""
    if state.result is not None:
        return file_data(state.result)
    if state.preview is None:
        return None
    return {
        "path": None,
        "url": state.preview.data_url,
        "orig_name": "preview.jpg",
        "meta": FILE_DATA_META,
    }


def download_value(state: JobState) -> dict[str, Any] | None:
    """The Download button's value: the picture's own bytes, under a name that says what it is."""
    return None if state.result is None else file_data(state.result)


def quota_info(remaining_quota: RemainingQuota | None, usage_limits: UsageLimits) -> str:
    """What a visitor may still ask for here, before it is reached; nothing where there are no limits."""
    if remaining_quota is None:
        return ""
    facts = []
    if remaining_quota.remaining is not None:
        facts.append(
            f"{remaining_quota.remaining} of {remaining_quota.limit} pictures left for this hour"
        )
    if usage_limits.max_concurrent is not None:
        facts.append(
            f"{usage_limits.max_concurrent} at a time here"
            if usage_limits.max_concurrent > 1
            else "one at a time here"
        )
    if remaining_quota.max_queued is not None:
        facts.append(f"up to {remaining_quota.max_queued} of yours may wait")
    spans = Markup("").join(Markup("<span>{}</span>").format(fact) for fact in facts)
    return (
        Markup('<p class="allowance" data-left="{}">{}</p>').format(
            remaining_quota.remaining, spans
        )
        if facts
        else ""
    )


def account_info(username: str | None, *, can_log_out: bool) -> str:
    """Who is logged in, with a way out."""
    if username is None:
        return ""
    log_out_link = Markup(' <a href="logout">Log out</a>') if can_log_out else ""
    return Markup('<p class="person">{}{}</p>').format(username, log_out_link)


def idle_panel() -> str:
    """The panel before the first picture."""
    return Markup(
        '<div class="job" data-phase="idle"><p class="hint">Describe a picture, then press Generate '
        "<kbd>Ctrl</kbd> <kbd>Enter</kbd></p></div>"
    )


def job_not_found() -> str:
    """The panel for a job that is no longer known."""
    return Markup(
        '<div class="job" data-phase="idle"><p class="hint">The last picture is no longer here.</p></div>'
    )


def drop_hint() -> str:
    """The way to a picture's settings, for who doesn't drop it on the page."""
    return Markup(
        '<p class="drop-hint"><label>Use the settings of a picture…<input type="file" '
        'accept="image/png,image/webp,image/jpeg"></label></p>'
    )


def no_settings_found(name: str) -> str:
    """What is said of a dropped picture that tells nothing of itself."""
    return Markup(
        '{}<p class="recalled" role="alert">{} doesn\'t say with what it was made.</p>'
    ).format(drop_hint(), name)


def applied_settings(name: str, tool: str, settings: AppliedSettings) -> str:
    """What was put into the form, of which picture, and what of it can't be used here."""
    ignored_items = Markup("").join(
        Markup("<li>{}</li>").format(item[:MAX_IGNORED_CHARACTERS])
        for item in settings.ignored[:MAX_IGNORED_ITEMS]
    )
    hidden_count = len(settings.ignored) - MAX_IGNORED_ITEMS
    if hidden_count > 0:
        ignored_items += Markup("<li>and {} more</li>").format(hidden_count)
    return Markup(
        '<div class="recalled" role="status"><p><b>{}</b>{}: {}.</p>{}<p class="does"><button type="button" '
        'data-event="undo">Undo</button><button type="button" data-event="clear">OK</button></p></div>'
    ).format(
        name,
        f" ({tool})" if tool else "",
        ", ".join(settings.applied) or "nothing that can be used here",
        Markup("<p>Not used here:</p><ul>{}</ul>").format(ignored_items) if ignored_items else "",
    )


def rejection_panel(reason: str | Markup) -> str:
    """The panel for a request that wasn't sent."""
    return _panel(
        "failed",
        Markup('<p class="headline">Nothing was sent.</p><p role="alert">{}</p>').format(reason),
        is_stale=True,
    )


def outcome(state: JobState) -> str:
    """How a job that has no picture has ended, in one line."""
    match state.status:
        case JobStatus.FAILED if state.error is not None:
            return state.error.happened
        case JobStatus.INTERRUPTED:
            return INTERRUPTED_MESSAGE
        case _:
            return f"Stopped. {state.cancel_reason}".strip()


def job_panel(state: JobState, quota_error: QuotaError | None = None) -> str:
    """The panel beside the output Image: what is going on, or what came of it; `pause` is why nothing is begun."""
    if quota_error is not None and state.status is JobStatus.PENDING and state.quota_error is None:
        state = replace(state, quota_error=quota_error)
    match state.status:
        case JobStatus.COMPLETED:
            body = _completed_body(state)
        case JobStatus.FAILED:
            body = _failed_body(state)
        case JobStatus.CANCELLED:
            body = _cancelled_body(state)
        case JobStatus.INTERRUPTED:
            body = _interrupted_body(state)
        case _:
            body = _active_body(state)
    # Until this run has something to show, what is shown is of the one before.
    is_stale = state.status is not JobStatus.COMPLETED and state.preview is None
    return _panel(
        "running" if not state.status.is_final else state.status.value, body, is_stale=is_stale
    )


def _panel(status: str, body: Markup, *, is_stale: bool) -> str:
    return Markup('<div class="job" data-phase="{}" data-old="{}">{}</div>').format(
        status, is_stale, body
    )


def _active_body(state: JobState) -> Markup:
    notices = Markup("").join(
        Markup('<li data-level="{}">{}</li>').format(notice.level, notice.text)
        for notice in state.notices[-MAX_NOTICES:]
    )
    if state.status is JobStatus.PENDING and (state.is_held or state.quota_error is not None):
        return _on_hold_body(state)
    return Markup('<p class="headline">{}<span class="time">{}</span></p>{}{}{}').format(
        headline(state),
        format_duration(state.elapsed_seconds),
        _progress_bar(state),
        Markup("<p>{}</p>").format(_detail(state)) if _detail(state) else "",
        Markup('<ul class="notices">{}</ul>').format(notices) if notices else "",
    )


def _on_hold_body(state: JobState) -> Markup:
    """A job that won't have its turn soon: why, and how it would."""
    message, button_text = (
        Markup("It was asked for before this program was started, or was put off."),
        "Go on",
    )
    if state.quota_error is not None:
        resume_hint = (
            " It goes on by itself then."
            if state.quota_error.retry_at and not state.is_held
            else ""
        )
        message, button_text = (
            Markup("{}{}").format(error_message(state.quota_error), resume_hint),
            "Try now",
        )
    return Markup('<p class="headline">{}</p><p role="alert">{}</p>{}').format(
        headline(state), message, RESUME_BUTTON.format(button_text)
    )


def _detail(state: JobState) -> str:
    if state.status is JobStatus.CONNECTING and state.waiting_event is not None:
        return waiting_text(state.waiting_event)
    if (
        state.status is JobStatus.QUEUED_REMOTELY
        and state.queued_event is not None
        and state.queued_event.eta_seconds is not None
    ):
        return (
            f"About {format_duration(state.queued_event.eta_seconds)} to go, the Space estimates."
        )
    if (
        state.status is JobStatus.RUNNING
        and state.eta_seconds is not None
        and state.progress is None
    ):
        return f"A run takes about {format_duration(state.eta_seconds)} there."
    if (
        state.space is not None
        and state.status is JobStatus.RUNNING
        and not state.space.contract.is_generator
    ):
        return "This Space sends no previews: the picture comes at the end."
    return ""


def _progress_bar(state: JobState) -> Markup:
    fraction = _progress_fraction(state)
    if fraction is None:
        return Markup('<div class="bar" role="progressbar" aria-label="Progress"></div>')
    return Markup(
        '<div class="bar" role="progressbar" aria-label="Progress" aria-valuemin="0" aria-valuemax="100" '
        'aria-valuenow="{0}"><i style="width:{0}%"></i></div>'
    ).format(round(100 * fraction))


def _progress_fraction(state: JobState) -> float | None:
    if state.status is JobStatus.DOWNLOADING:
        return 1.0
    if state.status is not JobStatus.RUNNING or state.progress is None:
        return None
    if state.progress.step is not None and state.progress.total:
        return min(1.0, state.progress.step / state.progress.total)
    return None if state.progress.fraction is None else min(1.0, state.progress.fraction)


def _completed_body(state: JobState) -> Markup:
    assert state.result is not None
    result = state.result
    facts = (
        f"{result.width} × {result.height}",
        f"{result.format} {format_bytes(result.size_bytes)}",
        format_elapsed(state.elapsed_seconds),
        *(("demo painter",) if result.is_demo else ()),
    )
    seed_html = Markup('<p class="headline" data-seed="{0}">Seed <code>{0}</code></p>').format(
        result.seed
    )
    if result.seed is None:
        seed_html = Markup('<p class="headline">Finished</p>')
    save_warning = Markup("")
    if result.save_error:
        retry_attribute = Markup(" data-promised") if result.will_retry_save else ""
        save_warning = Markup('<p role="alert"{}>{} Download it now.</p>').format(
            retry_attribute, result.save_error
        )
    return Markup('{}<p class="facts">{}</p>{}').format(
        seed_html,
        Markup("").join(Markup("<span>{}</span>").format(fact) for fact in facts),
        save_warning,
    )


def _failed_body(state: JobState) -> Markup:
    assert state.error is not None
    return Markup('<p class="headline">No picture</p><p role="alert">{}</p>{}').format(
        error_message(state.error), RETRY_BUTTON
    )


def error_message(error: SD35Error) -> Markup:
    """What happened and what to do; a time is shown by the browser's own clock."""
    retry_text = Markup("")
    if error.retry_at is not None:
        retry_text = Markup(' Come back at <time datetime="{}">{}</time>.').format(
            error.retry_at.isoformat(timespec="seconds"), format_local_time(error.retry_at)
        )
    return Markup("{}{} {}").format(error.happened, retry_text, error.remedy)


def _cancelled_body(state: JobState) -> Markup:
    message = (
        "Nothing had been sent yet."
        if state.cancel_outcome is None
        else state.cancel_outcome.message
    )
    return Markup('<p class="headline">Stopped</p><p>{}</p>{}').format(
        f"{state.cancel_reason} {message}".strip(), RETRY_BUTTON
    )


def _interrupted_body(state: JobState) -> Markup:
    message = (
        INTERRUPTED_MESSAGE
        if state.cancel_outcome is None
        else f"{INTERRUPTED_MESSAGE} {state.cancel_outcome.message}"
    )
    return Markup('<p class="headline">Interrupted</p><p>{}</p>{}').format(message, RETRY_BUTTON)
