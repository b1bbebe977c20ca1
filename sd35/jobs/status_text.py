"""One-line texts for the state of a job, shared by the page and by agents."""

from sd35.core.errors import QuotaError
from sd35.core.text import (
    local_queue_text,
    progress_text,
    queue_text,
    waiting_text,
    with_time_left,
)
from sd35.jobs.job import JobState
from sd35.jobs.record import JobStatus

__all__ = ["headline", "status_line"]


def status_line(state: JobState) -> str:
    """Return what an unfinished job is doing, and why it waits for the Space."""
    event = state.waiting_event
    if state.status is not JobStatus.CONNECTING or event is None:
        return headline(state)
    return waiting_text(event)


def headline(state: JobState) -> str:
    """Return what an unfinished job is doing, in a few words."""
    match state.status:
        case JobStatus.PENDING:
            text = _pending_text(state)
        case JobStatus.CONNECTING:
            action = "Connecting to" if state.waiting_event is None else "Waiting for"
            text = f"{action} the Space…"
        case JobStatus.QUEUED_REMOTELY:
            event = state.queued_event
            text = "Queued at the Space" if event is None else queue_text(event)
            text = with_time_left(text, state.remaining_seconds)
        case JobStatus.DOWNLOADING:
            text = "Downloading the image…"
        case JobStatus.CANCELLING:
            text = "Stopping…"
        case _:
            text = with_time_left(progress_text(state.progress), state.remaining_seconds)
    return text


def _pending_text(state: JobState) -> str:
    if isinstance(state.pause_error, QuotaError) and not state.is_held:
        return "Paused: GPU quota used up"
    if state.is_held or state.pause_error is not None:
        return "Paused"
    return local_queue_text(state.jobs_ahead, state.queue_length)
