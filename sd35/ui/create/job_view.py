"""State → HTML, and → what Gradio's components take. Pure. Everything that isn't ours is escaped by `Markup.format`."""

from dataclasses import replace
from typing import Any, Final

from markupsafe import Markup

from sd35.core.errors import QuotaError, SD35Error, clock
from sd35.core.events import Waiting
from sd35.jobs.job import JobState, Phase
from sd35.jobs.limits import Caps, Left
from sd35.server.file_data import FILE_DATA, file_data
from sd35.ui.create.import_settings import Recalled

__all__ = [
    "allowance",
    "amount",
    "download",
    "drop_hint",
    "headline",
    "idle",
    "image",
    "job",
    "lost_job",
    "nothing_in",
    "outcome",
    "person",
    "recalled",
    "refused",
    "waiting",
]


NOTICES_SHOWN = 3

UNUSED_SHOWN: Final = 8
UNUSED_CHARACTERS: Final = 120
"""Of what a picture says that can't be used here, so many lines are shown, each of at most so many characters."""

INTERRUPTED: Final = "This program was ended while the picture was being made."

AGAIN: Final = Markup(
    '<p class="does"><button type="button" data-do="again">Run again, with the same seed</button></p>'
)
GO_ON: Final = Markup('<p class="does"><button type="button" data-do="go-on">{}</button></p>')


def image(state: JobState) -> dict[str, Any] | None:
    """The output Image's value: the finished picture's file, else the preview's bytes as they came."""
    if state.made is not None:
        return file_data(state.made)
    if state.preview is None:
        return None
    return {
        "path": None,
        "url": state.preview.data_url,
        "orig_name": "preview.jpg",
        "meta": FILE_DATA,
    }


def download(state: JobState) -> dict[str, Any] | None:
    """The Download button's value: the picture's own bytes, under a name that says what it is."""
    return None if state.made is None else file_data(state.made)


def allowance(left: Left | None, caps: Caps) -> str:
    """What a visitor may still ask for here, before it is reached; nothing where there are no limits."""
    if left is None:
        return ""
    facts = []
    if left.pictures is not None:
        facts.append(f"{left.pictures} of {left.of} pictures left for this hour")
    if caps.at_once is not None:
        facts.append(f"{caps.at_once} at a time here" if caps.at_once > 1 else "one at a time here")
    if left.may_wait is not None:
        facts.append(f"up to {left.may_wait} of yours may wait")
    spans = Markup("").join(Markup("<span>{}</span>").format(fact) for fact in facts)
    return (
        Markup('<p class="allowance" data-left="{}">{}</p>').format(left.pictures, spans)
        if facts
        else ""
    )


def person(name: str | None, *, can_log_out: bool) -> str:
    """Who is logged in, with a way out."""
    if name is None:
        return ""
    out = Markup(' <a href="logout">Log out</a>') if can_log_out else ""
    return Markup('<p class="person">{}{}</p>').format(name, out)


def idle() -> str:
    """The panel before the first picture."""
    return Markup(
        '<div class="job" data-phase="idle"><p class="hint">Describe a picture, then press Generate '
        "<kbd>Ctrl</kbd> <kbd>Enter</kbd></p></div>"
    )


def lost_job() -> str:
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


def nothing_in(name: str) -> str:
    """What is said of a dropped picture that tells nothing of itself."""
    return Markup(
        '{}<p class="recalled" role="alert">{} doesn\'t say with what it was made.</p>'
    ).format(drop_hint(), name)


def recalled(name: str, tool: str, told: Recalled) -> str:
    """What was put into the form, of which picture, and what of it can't be used here."""
    unused = Markup("").join(
        Markup("<li>{}</li>").format(each[:UNUSED_CHARACTERS])
        for each in told.unused[:UNUSED_SHOWN]
    )
    more = len(told.unused) - UNUSED_SHOWN
    if more > 0:
        unused += Markup("<li>and {} more</li>").format(more)
    return Markup(
        '<div class="recalled" role="status"><p><b>{}</b>{}: {}.</p>{}<p class="does"><button type="button" '
        'data-event="undo">Undo</button><button type="button" data-event="clear">OK</button></p></div>'
    ).format(
        name,
        f" ({tool})" if tool else "",
        ", ".join(told.taken) or "nothing that can be used here",
        Markup("<p>Not used here:</p><ul>{}</ul>").format(unused) if unused else "",
    )


def refused(reason: str | Markup) -> str:
    """The panel for a request that wasn't sent."""
    return _panel(
        "failed",
        Markup('<p class="headline">Nothing was sent.</p><p role="alert">{}</p>').format(reason),
        is_old=True,
    )


def outcome(state: JobState) -> str:
    """How a job that has no picture has ended, in one line."""
    match state.phase:
        case Phase.FAILED if state.error is not None:
            return state.error.happened
        case Phase.INTERRUPTED:
            return INTERRUPTED
        case _:
            return f"Stopped. {state.reason}".strip()


def job(state: JobState, pause: QuotaError | None = None) -> str:
    """The panel beside the output Image: what is going on, or what came of it; `pause` is why nothing is begun."""
    if pause is not None and state.phase is Phase.WAITING and state.refusal is None:
        state = replace(state, refusal=pause)
    match state.phase:
        case Phase.FINISHED:
            body = _finished(state)
        case Phase.FAILED:
            body = _failed(state)
        case Phase.STOPPED:
            body = _stopped(state)
        case Phase.INTERRUPTED:
            body = _interrupted(state)
        case _:
            body = _under_way(state)
    # Until this run has something to show, what is shown is of the one before.
    is_old = state.phase is not Phase.FINISHED and state.preview is None
    return _panel("running" if not state.phase.is_final else state.phase.value, body, is_old=is_old)


def _panel(phase: str, body: Markup, *, is_old: bool) -> str:
    return Markup('<div class="job" data-phase="{}" data-old="{}">{}</div>').format(
        phase, is_old, body
    )


def _under_way(state: JobState) -> Markup:
    notices = Markup("").join(
        Markup('<li data-level="{}">{}</li>').format(notice.level, notice.text)
        for notice in state.notices[-NOTICES_SHOWN:]
    )
    if state.phase is Phase.WAITING and (state.is_held or state.refusal is not None):
        return _put_off(state)
    return Markup('<p class="headline">{}<span class="time">{}</span></p>{}{}{}').format(
        headline(state),
        _clock(state.elapsed_seconds),
        _bar(state),
        Markup("<p>{}</p>").format(_detail(state)) if _detail(state) else "",
        Markup('<ul class="notices">{}</ul>').format(notices) if notices else "",
    )


def _put_off(state: JobState) -> Markup:
    """A job that won't have its turn soon: why, and how it would."""
    said, words = (
        Markup("It was asked for before this program was started, or was put off."),
        "Go on",
    )
    if state.refusal is not None:
        by_itself = (
            " It goes on by itself then." if state.refusal.retry_at and not state.is_held else ""
        )
        said, words = Markup("{}{}").format(error(state.refusal), by_itself), "Try now"
    return Markup('<p class="headline">{}</p><p role="alert">{}</p>{}').format(
        headline(state), said, GO_ON.format(words)
    )


def headline(state: JobState) -> str:
    """What is going on, in a few plain words."""
    match state.phase:
        case Phase.WAITING:
            return _place_here(state)
        case Phase.CONNECTING:
            return "Connecting to the Space…" if state.waiting is None else "Waiting for the Space…"
        case Phase.QUEUED:
            return _place(state)
        case Phase.FETCHING:
            return "Fetching the picture…"
        case Phase.STOPPING:
            return "Stopping…"
        case _:
            return _step(state)


def _place(state: JobState) -> str:
    if state.queued is None:
        return "In the queue…"
    if state.queued.rank == 0:
        return "Next in the queue"
    return f"Number {state.queued.rank + 1} of {max(state.queued.size, state.queued.rank + 1)} in the queue"


def _place_here(state: JobState) -> str:
    if state.is_held:
        return "Waits until you let it go on"
    if state.refusal is not None:
        return "Waits for the quota"
    if state.ahead == 0:
        return "Next in this studio's line" if state.in_line else "Waiting for its turn here…"
    return f"Number {state.ahead + 1} of {state.in_line} in this studio's line"


def _step(state: JobState) -> str:
    progress = state.progress
    if progress is None:
        return "The Space is working…"
    if progress.step is not None and progress.total:
        return f"Step {min(progress.step, progress.total)} of {progress.total}"
    return progress.description or "The Space is working…"


def waiting(news: Waiting) -> str:
    """What a Space is waited for, how long so far, and at most."""
    if news.waited_seconds < 1:
        return news.reason
    limit = f" of at most {_clock(news.limit_seconds)}" if news.limit_seconds else ""
    return f"{news.reason} Waited {_clock(news.waited_seconds)}{limit}."


def _detail(state: JobState) -> str:
    if state.phase is Phase.CONNECTING and state.waiting is not None:
        return waiting(state.waiting)
    if (
        state.phase is Phase.QUEUED
        and state.queued is not None
        and state.queued.eta_seconds is not None
    ):
        return f"About {_clock(state.queued.eta_seconds)} to go, the Space estimates."
    if state.phase is Phase.RUNNING and state.eta_seconds is not None and state.progress is None:
        return f"A run takes about {_clock(state.eta_seconds)} there."
    if (
        state.space is not None
        and state.phase is Phase.RUNNING
        and not state.space.contract.is_generator
    ):
        return "This Space sends no previews: the picture comes at the end."
    return ""


def _bar(state: JobState) -> Markup:
    done = _fraction(state)
    if done is None:
        return Markup('<div class="bar" role="progressbar" aria-label="Progress"></div>')
    return Markup(
        '<div class="bar" role="progressbar" aria-label="Progress" aria-valuemin="0" aria-valuemax="100" '
        'aria-valuenow="{0}"><i style="width:{0}%"></i></div>'
    ).format(round(100 * done))


def _fraction(state: JobState) -> float | None:
    if state.phase is Phase.FETCHING:
        return 1.0
    if state.phase is not Phase.RUNNING or state.progress is None:
        return None
    if state.progress.step is not None and state.progress.total:
        return min(1.0, state.progress.step / state.progress.total)
    return None if state.progress.fraction is None else min(1.0, state.progress.fraction)


def _finished(state: JobState) -> Markup:
    assert state.made is not None
    made = state.made
    facts = (
        f"{made.width} × {made.height}",
        f"{made.format} {amount(made.size_bytes)}",
        f"{_seconds(state.elapsed_seconds)}",
        *(("demo painter",) if made.is_demo else ()),
    )
    seed = Markup('<p class="headline" data-seed="{0}">Seed <code>{0}</code></p>').format(made.seed)
    if made.seed is None:
        seed = Markup('<p class="headline">Finished</p>')
    unwritten = Markup("")
    if made.unwritten:
        promise = Markup(" data-promised") if made.is_promised else ""
        unwritten = Markup('<p role="alert"{}>{} Download it now.</p>').format(
            promise, made.unwritten
        )
    return Markup('{}<p class="facts">{}</p>{}').format(
        seed, Markup("").join(Markup("<span>{}</span>").format(fact) for fact in facts), unwritten
    )


def _failed(state: JobState) -> Markup:
    assert state.error is not None
    return Markup('<p class="headline">No picture</p><p role="alert">{}</p>{}').format(
        error(state.error), AGAIN
    )


def error(problem: SD35Error) -> Markup:
    """What happened and what to do; a time is shown by the browser's own clock."""
    when = Markup("")
    if problem.retry_at is not None:
        when = Markup(' Come back at <time datetime="{}">{}</time>.').format(
            problem.retry_at.isoformat(timespec="seconds"), clock(problem.retry_at)
        )
    return Markup("{}{} {}").format(problem.happened, when, problem.remedy)


def _stopped(state: JobState) -> Markup:
    said = "Nothing had been sent yet." if state.stopped is None else state.stopped.sentence
    return Markup('<p class="headline">Stopped</p><p>{}</p>{}').format(
        f"{state.reason} {said}".strip(), AGAIN
    )


def _interrupted(state: JobState) -> Markup:
    said = INTERRUPTED if state.stopped is None else f"{INTERRUPTED} {state.stopped.sentence}"
    return Markup('<p class="headline">Interrupted</p><p>{}</p>{}').format(said, AGAIN)


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60}:{whole % 60:02d} min"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else _clock(seconds)


def amount(count: int) -> str:
    """So many bytes, as people say it."""
    if count < 1000:
        return f"{count} bytes"
    unit, name = next(
        (unit, name) for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "KB")) if count >= unit
    )
    return f"{count / unit:.0f} {name}" if name == "KB" else f"{count / unit:.1f} {name}"
