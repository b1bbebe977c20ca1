"""Progress and outcome of a job: the lines below its headline, and the progress bar."""

from typing import Final

from markupsafe import Markup

from sd35.core.text import format_duration, waiting_text
from sd35.jobs.job import JobState
from sd35.jobs.record import JobStatus

__all__ = [
    "INTERRUPTED_MESSAGE",
    "detail",
    "outcome",
    "progress_bar",
]

INTERRUPTED_MESSAGE: Final = "The app closed while this image was being generated."


def detail(state: JobState) -> str:
    """Return the line below the headline; empty if there is nothing to add."""
    match state.status:
        case JobStatus.CONNECTING if state.waiting_event is not None:
            return waiting_text(state.waiting_event)
        case JobStatus.QUEUED_REMOTELY if state.queued_event is not None:
            eta = state.queued_event.eta_seconds
            return "" if eta is None else f"About {format_duration(eta)} left"
        # Before the first step there is no progress; the average of the Space's last runs helps.
        case JobStatus.RUNNING if state.progress is None and state.eta_seconds is not None:
            return f"Usually takes about {format_duration(state.eta_seconds)}"
        case JobStatus.RUNNING if state.space and not state.space.contract.is_generator:
            return "This Space has no live previews. The image appears when it's done."
        case _:
            return ""


def progress_bar(state: JobState) -> Markup:
    """Return the progress bar; one without a value where the Space doesn't report progress."""
    fraction = _progress_fraction(state)
    if fraction is None:
        return Markup('<div class="bar" role="progressbar" aria-label="Progress"></div>')
    return Markup(
        '<div class="bar" role="progressbar" aria-label="Progress" aria-valuemin="0" '
        'aria-valuemax="100" aria-valuenow="{0}"><i style="width:{0}%"></i></div>'
    ).format(round(100 * fraction))


def _progress_fraction(state: JobState) -> float | None:
    if state.status is JobStatus.DOWNLOADING:
        return 1.0
    progress = state.progress
    if state.status is not JobStatus.RUNNING or progress is None:
        return None
    # A Space may count beyond its own total.
    if progress.step is not None and progress.total:
        return min(1.0, progress.step / progress.total)
    return None if progress.fraction is None else min(1.0, progress.fraction)


def outcome(state: JobState) -> str:
    """Return one line about how a job without an image ended."""
    match state.status:
        case JobStatus.FAILED if state.error is not None:
            return state.error.happened
        case JobStatus.INTERRUPTED:
            return INTERRUPTED_MESSAGE
        case _:
            return state.cancel_reason or "Stopped"
