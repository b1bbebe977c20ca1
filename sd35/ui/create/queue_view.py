"""What a visitor has asked for → HTML: the queue, and the newest pictures. Pure; all that isn't ours is escaped.

A button says with `data-do` what it does, and with `data-id` to what.
"""

import time
from collections.abc import Sequence

from markupsafe import Markup

from sd35.jobs.job import Job
from sd35.jobs.queues import Board
from sd35.library.repository import Entry
from sd35.ui.create import job_view

__all__ = ["button", "queue", "recent"]

SHOWN_WORDS = 160
SHOWN_WAITING = 50


def queue(board: Board, focused: Job | None) -> str:
    """The queue, as soon as there is more to say than what the focused job's own panel says."""
    unfinished, troubles = board.unfinished, [job for job in board.troubles if job is not focused]
    is_worth_it = troubles or len(unfinished) > 1 or any(job is not focused for job in unfinished)
    head = _head(board, len(troubles))
    body = (
        Markup("{}{}{}").format(head, _pause(board, focused), _rows(board, troubles, focused))
        if is_worth_it
        else ""
    )
    left = sum(not job.state.value.is_held for job in unfinished)
    return Markup(
        '<div class="queue" data-left="{}" data-done="{}" data-bad="{}" data-now="{}">{}</div>'
    ).format(left, board.done, board.bad, int(time.time()), body)


def button(do: str, words: str, job_id: str = "", label: str = "", kind: str = "") -> Markup:
    """A button that does something; `label` says it to those who don't see where it is."""
    return Markup(
        '<button type="button" class="{}" data-do="{}" data-id="{}"{}>{}</button>'
    ).format(
        kind,
        do,
        job_id,
        Markup(' aria-label="{0}" title="{0}"').format(label) if label else "",
        words,
    )


def _head(board: Board, bad: int) -> Markup:
    running, waiting = len(board.running), len(board.waiting)
    held = sum(job.state.value.is_held for job in board.waiting)
    facts = (
        [f"{running} running"] * bool(running)
        + [f"{waiting} waiting"] * bool(waiting)
        + [f"{bad} not made"] * bool(bad)
    )
    does = Markup("")
    if held:
        does += button("go-on", "Go on")
    if waiting:
        does += button("stop-rest", "Stop the rest")
    if running and waiting:
        does += button("stop-all", "Stop all")
    if bad:
        does += (button("retry-all", "Run all again") if bad > 1 else "") + button(
            "dismiss-all", "Clear"
        )
    return Markup(
        '<div class="queue-head"><h2>Queue</h2><span>{}</span><div class="does">{}</div></div>'
    ).format(" · ".join(facts), does)


def _pause(board: Board, focused: Job | None) -> Markup:
    """Why nothing is begun, unless the panel of what is in focus says so."""
    if board.pause is None or not board.waiting or focused in board.waiting:
        return Markup("")
    words = Markup("Paused: {}").format(job_view.error(board.pause.refusal))
    if board.pause.until is not None:
        words += Markup(" It goes on by itself then.")
    return Markup('<p class="queue-pause" role="status">{} {}</p>').format(
        words, button("go-on", "Try now")
    )


def _rows(board: Board, troubles: Sequence[Job], focused: Job | None) -> Markup:
    rows = [_running(job, focused) for job in board.running]
    waiting = board.waiting
    rows += [
        _waiting(job, number, len(waiting)) for number, job in enumerate(waiting[:SHOWN_WAITING])
    ]
    if len(waiting) > SHOWN_WAITING:
        rows.append(
            Markup('<li class="more">and {} more wait</li>').format(len(waiting) - SHOWN_WAITING)
        )
    rows += [_trouble(job) for job in troubles]
    return Markup("<ol>{}</ol>").format(Markup("").join(rows))


def _row(job: Job, kind: str, said: str, does: Markup) -> Markup:
    words = job.state.value.request.prompt[:SHOWN_WORDS]
    return Markup(
        '<li data-kind="{}" data-job="{}"><button type="button" class="what" data-do="look" data-id="{}">'
        "<b>{}</b><span>{}</span></button>{}</li>"
    ).format(kind, job.id, job.id, words, said, Markup('<div class="does">{}</div>').format(does))


def _running(job: Job, focused: Job | None) -> Markup:
    return _row(
        job, "running" if job is not focused else "focused", job_view.headline(job.state.value),
        button("stop", "■", job.id, "Stop this one"),
    )  # fmt: skip


def _waiting(job: Job, number: int, count: int) -> Markup:
    state = job.state.value
    said = f"Seed {state.request.seed}, {state.request.width} × {state.request.height}"
    if state.is_held:
        said = f"Waits until you let it go on. {said}"
    does = Markup("")
    if number > 1:
        does += button("first", "⤒", job.id, "Before all others")
    if number > 0:
        does += button("up", "↑", job.id, "Sooner")
    if number < count - 1:
        does += button("down", "↓", job.id, "Later")
    return _row(
        job,
        "held" if state.is_held else "waiting",
        said,
        does + button("stop", "✕", job.id, "Remove"),
    )


def _trouble(job: Job) -> Markup:
    does = button("again", "Run again", job.id, "Run again, with the same seed") + button(
        "dismiss", "✕", job.id, "Clear"
    )
    return _row(job, job.state.value.phase.value, job_view.outcome(job.state.value), does)


def recent(entries: Sequence[Entry]) -> str:
    """The newest pictures, as a strip to click at."""
    if not entries:
        return ""
    pictures = Markup("").join(
        Markup(
            '<button type="button" data-do="look" data-id="{0}" title="{1}"><img src="studio/thumbnail/{0}?v={2}" '
            'alt="{1}" loading="lazy" decoding="async"></button>'
        ).format(entry.id, entry.record.prompt[:SHOWN_WORDS], entry.size_bytes)
        for entry in entries
    )
    return Markup(
        '<div class="recent" role="group" aria-label="The newest pictures">{}<a href="#library">All</a></div>'
    ).format(pictures)
