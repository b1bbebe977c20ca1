"""What a visitor has asked for → HTML: the queue, and the newest pictures. Pure; all that isn't ours is escaped.

A button says with `data-do` what it does, and with `data-id` to what.
"""

import time
from collections.abc import Sequence

from markupsafe import Markup

from sd35.jobs.job import Job
from sd35.jobs.queues import VisitorQueue
from sd35.jobs.status_text import headline
from sd35.library.repository import Entry
from sd35.ui.create import job_view

__all__ = ["button", "queue_panel", "recent_pictures"]

MAX_PROMPT_CHARACTERS = 160
MAX_PENDING_ROWS = 50


def queue_panel(visitor_queue: VisitorQueue, focused_job: Job | None) -> str:
    """The queue, as soon as there is more to say than what the focused job's own panel says."""
    open_jobs, failed_jobs = (
        visitor_queue.open_jobs,
        [job for job in visitor_queue.failed_jobs if job is not focused_job],
    )
    is_visible = (
        failed_jobs or len(open_jobs) > 1 or any(job is not focused_job for job in open_jobs)
    )
    head = _queue_header(visitor_queue, len(failed_jobs))
    body = (
        Markup("{}{}{}").format(
            head,
            _pause_notice(visitor_queue, focused_job),
            _job_rows(visitor_queue, failed_jobs, focused_job),
        )
        if is_visible
        else ""
    )
    remaining = sum(not job.state.value.is_held for job in open_jobs)
    return Markup(
        '<div class="queue" data-left="{}" data-done="{}" data-bad="{}" data-now="{}">{}</div>'
    ).format(
        remaining, visitor_queue.completed_count, visitor_queue.failed_count, int(time.time()), body
    )


def button(
    action: str, text: str, job_id: str = "", label: str = "", css_class: str = ""
) -> Markup:
    """A button that does something; `label` says it to those who don't see where it is."""
    return Markup(
        '<button type="button" class="{}" data-do="{}" data-id="{}"{}>{}</button>'
    ).format(
        css_class,
        action,
        job_id,
        Markup(' aria-label="{0}" title="{0}"').format(label) if label else "",
        text,
    )


def _queue_header(visitor_queue: VisitorQueue, failed_count: int) -> Markup:
    running_count, pending_count = len(visitor_queue.running_jobs), len(visitor_queue.pending_jobs)
    held_count = sum(job.state.value.is_held for job in visitor_queue.pending_jobs)
    counts = (
        [f"{running_count} running"] * bool(running_count)
        + [f"{pending_count} waiting"] * bool(pending_count)
        + [f"{failed_count} not made"] * bool(failed_count)
    )
    buttons = Markup("")
    if held_count:
        buttons += button("go-on", "Go on")
    if pending_count:
        buttons += button("stop-rest", "Stop the rest")
    if running_count and pending_count:
        buttons += button("stop-all", "Stop all")
    if failed_count:
        buttons += (button("retry-all", "Run all again") if failed_count > 1 else "") + button(
            "dismiss-all", "Clear"
        )
    return Markup(
        '<div class="queue-head"><h2>Queue</h2><span>{}</span><div class="does">{}</div></div>'
    ).format(" · ".join(counts), buttons)


def _pause_notice(visitor_queue: VisitorQueue, focused_job: Job | None) -> Markup:
    """Why nothing is begun, unless the panel of what is in focus says so."""
    if (
        visitor_queue.pause is None
        or not visitor_queue.pending_jobs
        or focused_job in visitor_queue.pending_jobs
    ):
        return Markup("")
    message = Markup("Paused: {}").format(job_view.error_message(visitor_queue.pause.quota_error))
    if visitor_queue.pause.resumes_at is not None:
        message += Markup(" It goes on by itself then.")
    return Markup('<p class="queue-pause" role="status">{} {}</p>').format(
        message, button("go-on", "Try now")
    )


def _job_rows(
    visitor_queue: VisitorQueue, failed_jobs: Sequence[Job], focused_job: Job | None
) -> Markup:
    rows = [_running_row(job, focused_job) for job in visitor_queue.running_jobs]
    pending_jobs = visitor_queue.pending_jobs
    rows += [
        _pending_row(job, index, len(pending_jobs))
        for index, job in enumerate(pending_jobs[:MAX_PENDING_ROWS])
    ]
    if len(pending_jobs) > MAX_PENDING_ROWS:
        rows.append(
            Markup('<li class="more">and {} more wait</li>').format(
                len(pending_jobs) - MAX_PENDING_ROWS
            )
        )
    rows += [_failed_row(job) for job in failed_jobs]
    return Markup("<ol>{}</ol>").format(Markup("").join(rows))


def _job_row(job: Job, kind: str, description: str, buttons: Markup) -> Markup:
    prompt = job.state.value.request.prompt[:MAX_PROMPT_CHARACTERS]
    return Markup(
        '<li data-kind="{}" data-job="{}"><button type="button" class="what" data-do="look" data-id="{}">'
        "<b>{}</b><span>{}</span></button>{}</li>"
    ).format(
        kind,
        job.id,
        job.id,
        prompt,
        description,
        Markup('<div class="does">{}</div>').format(buttons),
    )


def _running_row(job: Job, focused_job: Job | None) -> Markup:
    return _job_row(
        job, "running" if job is not focused_job else "focused", headline(job.state.value),
        button("stop", "■", job.id, "Stop this one"),
    )  # fmt: skip


def _pending_row(job: Job, index: int, pending_count: int) -> Markup:
    state = job.state.value
    description = f"Seed {state.request.seed}, {state.request.width} × {state.request.height}"
    if state.is_held:
        description = f"Waits until you let it go on. {description}"
    buttons = Markup("")
    if index > 1:
        buttons += button("first", "⤒", job.id, "Before all others")
    if index > 0:
        buttons += button("up", "↑", job.id, "Sooner")
    if index < pending_count - 1:
        buttons += button("down", "↓", job.id, "Later")
    return _job_row(
        job,
        "held" if state.is_held else "waiting",
        description,
        buttons + button("stop", "✕", job.id, "Remove"),
    )


def _failed_row(job: Job) -> Markup:
    buttons = button("again", "Run again", job.id, "Run again, with the same seed") + button(
        "dismiss", "✕", job.id, "Clear"
    )
    return _job_row(job, job.state.value.status.value, job_view.outcome(job.state.value), buttons)


def recent_pictures(entries: Sequence[Entry]) -> str:
    """The newest pictures, as a strip to click at."""
    if not entries:
        return ""
    thumbnails = Markup("").join(
        Markup(
            '<button type="button" data-do="look" data-id="{0}" title="{1}"><img src="studio/thumbnail/{0}?v={2}" '
            'alt="{1}" loading="lazy" decoding="async"></button>'
        ).format(entry.id, entry.record.prompt[:MAX_PROMPT_CHARACTERS], entry.size_bytes)
        for entry in entries
    )
    return Markup(
        '<div class="recent" role="group" aria-label="The newest pictures">{}<a href="#library">All</a></div>'
    ).format(thumbnails)
