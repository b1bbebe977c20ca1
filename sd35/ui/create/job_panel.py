"""The panel below the image: what the job in focus is doing, or how it ended."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from markupsafe import Markup

from sd35.core.errors import SD35Error
from sd35.core.text import format_bytes, format_duration, format_elapsed, waiting_text
from sd35.jobs.job import CANCELLABLE_STATUSES, JobState
from sd35.jobs.record import JobStatus
from sd35.jobs.status_text import headline
from sd35.ui.markup import EMPTY_HTML, action_button, concat, error_message, facts, ways_on

__all__ = [
    "HELD_MESSAGE",
    "INTERRUPTED_MESSAGE",
    "ImageActions",
    "idle_panel",
    "job_panel",
    "marked_prompt",
    "missing_panel",
    "panel",
    "progress_bar",
    "progress_fraction",
    "rejection_panel",
]

MAX_NOTICES: Final = 3

INTERRUPTED_MESSAGE: Final = "The app closed while this image was being generated."

HELD_MESSAGE: Final = Markup("Queued before the app restarted or while no page was open.")

FOLLOWED_MESSAGE: Final = (
    "This Space can't cancel a running job. The image will be saved when it's done; until then,"
    " your next job may have to wait at the Space."
)

_BUTTONS: Final = Markup('<p class="buttons">{}</p>')

# Unlike the attribute of a `details`, an open popover stays open when Gradio changes the panel.
_MENU: Final = Markup(
    '<button type="button" class="secondary-button" popovertarget="menu-{0}" aria-haspopup="menu">'
    '{1} <i aria-hidden="true">▾</i></button><div id="menu-{0}" class="menu" popover>{2}</div>'
)


@dataclass(frozen=True, slots=True)
class ImageActions:
    """What a visitor can do with an image.

    Attributes:
        has_library: whether the image belongs to somebody who has a library.
        is_starred: whether the image is starred there.
        can_save_style: whether the visitor may have styles of their own.
    """

    has_library: bool = True
    is_starred: bool = False
    can_save_style: bool = False


DEFAULT_ACTIONS: Final = ImageActions()

# assets/styles.js answers its press.
_STYLE_BUTTON: Final = Markup(
    '<button type="button" class="secondary-button" data-save-style="{}">Save as style…</button>'
)


def idle_panel() -> str:
    """Return the panel before the first image."""
    hint = Markup(
        '<p class="hint">Describe an image and press Generate <span class="keys">'
        '<kbd data-key="ctrl">Ctrl</kbd> <kbd>Enter</kbd></span></p>'
    )
    return panel("idle", hint)


def missing_panel() -> str:
    """Return the panel for a job that doesn't exist or belongs to another visitor."""
    return panel("idle", Markup('<p class="hint">That image is no longer available.</p>'))


def rejection_panel(reason: str | Markup) -> str:
    """Return the panel for a request that was not accepted."""
    body = Markup('<p class="headline">Not started</p><p role="alert">{}</p>').format(reason)
    return panel("failed", body)


def job_panel(
    job_id: str,
    state: JobState,
    pause_error: SD35Error | None = None,
    prompt: Sequence[tuple[str, bool]] = (),
    actions: ImageActions = DEFAULT_ACTIONS,
) -> str:
    """Return the panel of a job.

    Args:
        job_id: id of the job.
        state: its state.
        pause_error: why the visitor's whole queue is paused.
        prompt: the pieces of the prompt, and whether each differs within the set.
        actions: what can be done with a finished image.
    """
    # The state of a job that was queued after the quota was used up has no such error.
    if pause_error is not None and state.status is JobStatus.PENDING and state.pause_error is None:
        state = replace(state, pause_error=pause_error)
    match state.status:
        case JobStatus.COMPLETED:
            body = _completed_body(state, prompt)
        case JobStatus.FAILED | JobStatus.CANCELLED | JobStatus.INTERRUPTED:
            body = _ended_body(job_id, state)
        case JobStatus.PENDING if state.is_held or state.pause_error is not None:
            body = _paused_body(job_id, state)
        case _:
            body = _active_body(job_id, state)
    name = state.status.name.lower() if state.status.is_final else "running"
    html = panel(name, body, job_id=job_id)
    if state.status is not JobStatus.COMPLETED:
        return html
    return html + _result_buttons(job_id, state, actions)


def panel(status: str, body: Markup, *, job_id: str = "") -> Markup:
    """Return a panel with a status for the page's scripts."""
    # It gets the focus of a button that is gone.
    return Markup('<div class="job" tabindex="-1" data-status="{}" data-job="{}">{}</div>').format(
        status, job_id, body
    )


def marked_prompt(pieces: Sequence[tuple[str, bool]]) -> Markup:
    """Return a prompt of which the pieces that differ within a set are bold."""
    text = "".join(piece for piece, _ in pieces).strip()
    html = concat(
        (Markup("<b>{}</b>") if is_different else Markup("{}")).format(piece)
        for piece, is_different in pieces
    )
    return Markup('<p class="prompt" title="{}">{}</p>').format(text, html)


def _result_buttons(job_id: str, state: JobState, actions: ImageActions) -> Markup:
    """Return the actions on an image, which are the same while it is being saved."""
    result = state.result
    has_seed = result is not None and result.seed is not None
    reuse_buttons = [
        _stage_button("reuse", "All settings", job_id, "all"),
        _stage_button("reuse", "Prompt only", job_id, "prompt"),
        *([_stage_button("reuse", "Seed only", job_id, "seed")] if has_seed else []),
        *([_STYLE_BUTTON.format(job_id)] if actions.can_save_style else []),
    ]
    vary_buttons = [
        _stage_button("vary", "New variation", job_id, "same"),
        *([_stage_button("vary", "4 with nearby seeds", job_id, "adjacent")] if has_seed else []),
    ]
    star = action_button(
        "unstar" if actions.is_starred else "star",
        "★" if actions.is_starred else "☆",
        job_id,
        "Remove the star" if actions.is_starred else "Star",
    )
    download = Markup(
        '<button type="button" id="download" class="secondary-button">Download</button>'
    )
    menus = concat(
        _MENU.format(name.lower(), name, concat(buttons))
        for name, buttons in (("Reuse", reuse_buttons), ("Vary", vary_buttons))
    )
    if not actions.has_library:
        return Markup('<div id="actions">{}{}</div>').format(menus, download)
    return Markup('<div id="actions">{}{}{}{}{}{}</div>').format(
        star,
        menus,
        _stage_button("compare", "Compare", job_id),
        download,
        action_button("trash", "Delete", job_id),
        Markup('<a class="secondary-button" href="#library/{}">Details</a>').format(job_id),
    )


def _stage_button(name: str, text: str, job_id: str, variant: str = "") -> Markup:
    """Return a button whose presses assets/stage.js answers."""
    return Markup(
        '<button type="button" class="secondary-button" data-stage="{}" data-job="{}" '
        'data-variant="{}">{}</button>'
    ).format(name, job_id, variant, text)


def _head(job_id: str, state: JobState) -> Markup:
    """Return the headline, with the button Stop while stopping has an effect."""
    time = Markup('<span class="time">{}</span>').format(format_duration(state.elapsed_seconds))
    is_paused = state.is_held or state.pause_error is not None
    button = EMPTY_HTML
    if state.status in CANCELLABLE_STATUSES:
        button = action_button("stop", "Stop", job_id)
    # The button's place among the elements is always the same: Gradio changes the elements that are
    # there, and a press would end on another one.
    return Markup(
        '<div class="job-head"><p class="headline">{}{}</p><div class="buttons">{}</div></div>'
    ).format(headline(state), EMPTY_HTML if is_paused else time, button)


def _active_body(job_id: str, state: JobState) -> Markup:
    second_line = _detail(state)
    notices = concat(
        Markup('<li data-level="{}">{}</li>').format(notice.level, notice.text)
        for notice in state.notices[-MAX_NOTICES:]
    )
    try_now = EMPTY_HTML
    if state.is_waiting:
        try_now = _BUTTONS.format(action_button("resume", "Try now", job_id))
    return Markup("{}{}{}{}{}").format(
        _head(job_id, state),
        progress_bar(progress_fraction(state)),
        Markup("<p>{}</p>").format(second_line) if second_line else "",
        Markup('<ul class="notices">{}</ul>').format(notices) if notices else "",
        try_now,
    )


def _detail(state: JobState) -> str:
    """Return the line below the headline; empty if there is nothing to add."""
    match state.status:
        case JobStatus.CONNECTING if state.waiting_event is not None:
            return waiting_text(state.waiting_event)
        case JobStatus.RUNNING if state.space and not state.space.contract.is_generator:
            return "This Space has no live previews. The image appears when it's done."
        case _:
            return ""


class Fraction(NamedTuple):
    """How far a run is, from 0 to 1, or `None`; and whether its time so far is all that says so."""

    value: float | None
    is_estimate: bool = False


def progress_bar(fraction: Fraction) -> Markup:
    """Return a progress bar; without a value if there is no fraction."""
    if fraction.value is None:
        return Markup('<div class="bar" role="progressbar" aria-label="Progress"></div>')
    return Markup(
        '<div class="bar" role="progressbar" aria-label="{}" aria-valuemin="0" '
        'aria-valuemax="100" aria-valuenow="{}"{}><i style="width:{}%"></i></div>'
    ).format(
        "Estimated progress" if fraction.is_estimate else "Progress",
        round(100 * fraction.value),
        Markup(" data-estimate") if fraction.is_estimate else "",
        round(100 * fraction.value),
    )


def progress_fraction(state: JobState) -> Fraction:
    """Return how far a run is: as its Space says, or else as its remaining time lets expect."""
    value = _reported_fraction(state)
    if value is not None:
        return Fraction(value)
    return Fraction(state.estimated_fraction, is_estimate=True)


def _reported_fraction(state: JobState) -> float | None:
    if state.status is JobStatus.DOWNLOADING:
        return 1.0
    if state.status is JobStatus.CONNECTING and state.waiting_event is not None:
        return state.waiting_event.fraction
    progress = state.progress
    if state.status is not JobStatus.RUNNING or progress is None:
        return None
    # A Space may count beyond its own total.
    if progress.step is not None and progress.total:
        return min(1.0, progress.step / progress.total)
    return None if progress.fraction is None else min(1.0, progress.fraction)


def _paused_body(job_id: str, state: JobState) -> Markup:
    if state.pause_error is None:
        message = HELD_MESSAGE
        button = action_button("resume", "Resume")
    else:
        message = error_message(state.pause_error, resumes=not state.is_held)
        button = action_button("resume", "Try now")
    return Markup('{}<div role="alert">{}</div>{}').format(
        _head(job_id, state), message, _BUTTONS.format(ways_on(state.pause_error) + button)
    )


def _completed_body(state: JobState, prompt: Sequence[tuple[str, bool]]) -> Markup:
    result = state.result
    assert result is not None
    request = state.request
    save_warning = EMPTY_HTML
    if result.save_error:
        # With this attribute page.js keeps asking whether the retry has succeeded.
        retry_attribute = Markup(" data-saving") if result.is_unsaved else ""
        save_warning = Markup('<p role="alert"{}>{} Download it now to be safe.</p>').format(
            retry_attribute, result.save_error
        )
    seed = EMPTY_HTML
    if result.seed is not None:
        seed = Markup('<span data-seed="{0}">Seed <code>{0}</code></span>').format(result.seed)
    details = [
        f"{result.width} × {result.height}",
        f"{request.num_inference_steps} steps",
        f"{result.format} {format_bytes(result.size_bytes)}",
        format_elapsed(state.elapsed_seconds),
    ]
    if result.is_demo:
        details.append("demo sketch")
    if result.is_saving:
        details.append("saving…")
    if state.is_late:
        details.append("finished after you stopped waiting")
    return Markup('{}<p class="facts">{}{}</p>{}').format(
        marked_prompt(prompt or ((request.prompt, False),)), seed, facts(details), save_warning
    )


def _ended_body(job_id: str, state: JobState) -> Markup:
    # Empty if the job never reached the Space, or the program crashed while the job ran.
    outcome = "" if state.cancel_outcome is None else state.cancel_outcome.message
    title = "Interrupted"
    message = f"{INTERRUPTED_MESSAGE} {outcome}".strip()
    role = "note"
    if state.error is not None:
        message = error_message(state.error)
        role = "alert"
    if state.status is JobStatus.CANCELLED:
        title = "Stopped waiting" if state.is_followed else "Stopped"
        outcome = FOLLOWED_MESSAGE if state.is_followed else outcome
        message = f"{state.cancel_reason} {outcome or 'Cancelled before it was sent.'}".strip()
    elif state.status is JobStatus.FAILED:
        title = "Generation failed"
    # A retry keeps the seed; pressing Generate again draws another one.
    button = action_button("retry", "Retry", job_id, "Retry with the same seed")
    if state.is_followed:  # its image may still come: a retry would make the same one
        button = action_button("keep-waiting", "Keep waiting", job_id)
    return Markup('<p class="headline">{}</p><div role="{}">{}</div>{}').format(
        title, role, message, _BUTTONS.format(ways_on(state.error) + button)
    )
