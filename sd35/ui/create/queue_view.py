"""The queue of a visitor and the recent images as HTML."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from sd35.core.text import format_estimate
from sd35.jobs.job import Job, JobState
from sd35.jobs.queues import VisitorQueue
from sd35.jobs.record import JobStatus
from sd35.jobs.status_text import status_line
from sd35.library.repository import Entry
from sd35.ui.create.job_panel import INTERRUPTED_MESSAGE
from sd35.ui.create.space_view import pause_text
from sd35.ui.markup import EMPTY_HTML, action_button, concat, error_message, ways_on

__all__ = ["QueueTimes", "queue_panel", "recent_pictures"]

# All rows are sent with each update, up to ten times a second.
MAX_PROMPT_CHARACTERS = 160
MAX_PENDING_ROWS = 50


@dataclass(frozen=True, slots=True)
class QueueTimes:
    """Estimates of the seconds until all jobs are finished, and until each of them is."""

    total: float | None = None
    remaining: Callable[[Job], float | None] = lambda _: None


def queue_panel(
    visitor_queue: VisitorQueue,
    focused_job: Job | None,
    limits_text: str = "",
    times: QueueTimes = QueueTimes(),  # immutable
) -> str:
    """Return the queue; without rows if there is only the focused job, which has a panel.

    `limits_text` tells the page that the Space is another one than its status line says.
    """
    open_jobs = visitor_queue.open_jobs
    failed_jobs = [job for job in visitor_queue.failed_jobs if job is not focused_job]
    followed_jobs = [job for job in visitor_queue.followed_jobs if job is not focused_job]
    body = EMPTY_HTML
    if failed_jobs or followed_jobs or any(job is not focused_job for job in open_jobs):
        body = concat(
            (
                _header(visitor_queue, len(failed_jobs), times.total),
                _pause_notice(visitor_queue, focused_job),
                _rows(visitor_queue, followed_jobs, failed_jobs, focused_job, times),
            )
        )
    # page.js reads the counts for title and notifications; connection.js reads whether there will
    # be changes, the Space's limits, and the time, to detect a dead stream.
    return Markup(
        '<div class="queue" data-active="{}" data-remaining="{}" data-completed="{}" '
        'data-failed="{}" data-time="{}" data-limits="{}" data-pause="{}">{}</div>'
    ).format(
        str(visitor_queue.is_active).lower(),
        sum(not job.state.value.is_held for job in open_jobs),
        visitor_queue.completed_count,
        visitor_queue.failed_count,
        int(time.time()),
        limits_text,
        pause_text(visitor_queue.pause_error),
        body,
    )


def _header(visitor_queue: VisitorQueue, failed_count: int, seconds: float | None) -> Markup:
    running_count = len(visitor_queue.running_jobs)
    pending_count = len(visitor_queue.pending_jobs)
    waiting_count = sum(job.state.value.is_waiting for job in visitor_queue.running_jobs)
    counts = (
        (running_count - waiting_count, "running"),
        (waiting_count, "waiting"),
        (pending_count, "queued"),
        (failed_count, "failed"),
    )
    texts = [f"{count} {name}" for count, name in counts if count]
    if seconds is not None and running_count + pending_count > 1:
        texts.append(f"{format_estimate(seconds)} for all")
    buttons = []
    if any(job.state.value.is_held for job in visitor_queue.pending_jobs):
        buttons.append(action_button("resume", "Resume"))
    if pending_count:
        buttons.append(action_button("clear-queue", "Clear queue"))
    if running_count and pending_count:
        buttons.append(action_button("stop-all", "Stop everything"))
    if failed_count > 1:
        buttons.append(action_button("retry-all", "Retry all"))
    if failed_count:
        buttons.append(action_button("dismiss-all", "Dismiss failed"))
    return Markup(
        '<div class="queue-head"><h2>Queue</h2><span>{}</span><div class="buttons">{}</div></div>'
    ).format(" · ".join(texts), concat(buttons))


def _pause_notice(visitor_queue: VisitorQueue, focused_job: Job | None) -> Markup:
    pause_error = visitor_queue.pause_error
    pending_jobs = visitor_queue.pending_jobs
    # A pending job in focus says the same in its own panel.
    if pause_error is None or not pending_jobs or focused_job in pending_jobs:
        return EMPTY_HTML
    return Markup(
        '<div class="queue-pause" role="status">{}<p class="buttons">{}{}</p></div>'
    ).format(
        error_message(pause_error, resumes=pause_error.retry_at is not None),
        ways_on(pause_error),
        action_button("resume", "Try now"),
    )


def _rows(
    visitor_queue: VisitorQueue,
    followed_jobs: Sequence[Job],
    failed_jobs: Sequence[Job],
    focused_job: Job | None,
    times: QueueTimes,
) -> Markup:
    pending_jobs = visitor_queue.pending_jobs
    rows = [_running_row(job, focused_job) for job in visitor_queue.running_jobs]
    rows += [
        _pending_row(job, index, len(pending_jobs), times.remaining(job))
        for index, job in enumerate(pending_jobs[:MAX_PENDING_ROWS])
    ]
    hidden_count = len(pending_jobs) - MAX_PENDING_ROWS
    if hidden_count > 0:
        rows.append(Markup('<li class="more">{} more queued</li>').format(hidden_count))
    rows += [_followed_row(job) for job in followed_jobs]
    rows += [_failed_row(job) for job in failed_jobs]
    return Markup("<ol>{}</ol>").format(concat(rows))


def _row(job: Job, kind: str, description: str, *buttons: Markup) -> Markup:
    return Markup(
        '<li data-kind="{0}" data-job="{1}"><button type="button" class="job-title" '
        'data-action="select" data-id="{1}"><b>{2}</b><span>{3}</span></button>'
        '<div class="buttons">{4}</div></li>'
    ).format(
        kind,
        job.id,
        job.state.value.request.prompt[:MAX_PROMPT_CHARACTERS],
        description,
        concat(buttons),
    )


def _running_row(job: Job, focused_job: Job | None) -> Markup:
    kind = "focused" if job is focused_job else "running"
    stop_button = action_button("stop", "■", job.id, "Stop this job")
    return _row(job, kind, status_line(job.state.value), stop_button)


def _pending_row(job: Job, index: int, pending_count: int, seconds: float | None) -> Markup:
    state = job.state.value
    description = f"Seed {state.request.seed}, {state.request.width} × {state.request.height}"
    if state.is_held:
        description = f"Paused · {description}"
    if seconds is not None:  # first, as the rail has no room for all of the line
        description = f"{format_estimate(seconds).capitalize()} left · {description}"
    buttons = []
    if index > 1:
        buttons.append(action_button("move-to-top", "⤒", job.id, "Move to top"))
    if index > 0:
        buttons.append(action_button("move-up", "↑", job.id, "Move up"))
    if index < pending_count - 1:
        buttons.append(action_button("move-down", "↓", job.id, "Move down"))
    buttons.append(action_button("stop", "✕", job.id, "Remove"))
    return _row(job, "held" if state.is_held else "pending", description, *buttons)


def _followed_row(job: Job) -> Markup:
    keep_waiting_button = action_button("keep-waiting", "Keep waiting", job.id)
    return _row(job, "followed", "Stopped, but the Space is still generating", keep_waiting_button)


def _failed_row(job: Job) -> Markup:
    state = job.state.value
    return _row(
        job,
        state.status.name.lower(),
        _outcome(state),
        action_button("retry", "Retry", job.id, "Retry with the same seed"),
        action_button("dismiss", "✕", job.id, "Dismiss"),
    )


def _outcome(state: JobState) -> str:
    """Return one line about how a job without an image ended."""
    match state.status:
        case JobStatus.FAILED | JobStatus.INTERRUPTED if state.error is not None:
            return state.error.happened
        case JobStatus.INTERRUPTED:
            return INTERRUPTED_MESSAGE
        case _:
            return state.cancel_reason or "Stopped"


def recent_pictures(entries: Sequence[Entry], shown_ids: Collection[str] = ()) -> str:
    """Return the recent images as thumbnails, and mark those that are on the stage."""
    if not entries:
        return ""
    # The size is in the URL so that the browser reloads a file that was replaced.
    thumbnails = concat(
        Markup(
            '<button type="button" data-action="select" data-id="{0}" title="{1}"{3}>'
            '<img src="studio/thumbnail/{0}?v={2}" alt="{1}" loading="lazy" decoding="async">'
            "</button>"
        ).format(
            entry.id,
            entry.metadata.prompt[:MAX_PROMPT_CHARACTERS],
            entry.size_bytes,
            Markup(' aria-current="true"') if entry.id in shown_ids else "",
        )
        for entry in entries
    )
    return Markup(
        '<div class="recent-head"><h2>Recent</h2><a href="#library">View all</a></div>'
        '<div class="recent" role="group" aria-label="Recent">{}</div>'
    ).format(thumbnails)
