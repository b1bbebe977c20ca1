"""The library's room: state → HTML. Pure. Everything that isn't ours is escaped by `Markup.format`."""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import PurePosixPath
from typing import Final

from markupsafe import Markup

from sd35.core.errors import SD35Error
from sd35.core.text import format_bytes, pluralize
from sd35.jobs.record import JobRecord, JobStatus
from sd35.jobs.repository import JobPage
from sd35.library.query import Query
from sd35.library.repository import Entry
from sd35.library.scanner import ScanResult
from sd35.library.search import PicturePage
from sd35.ui.gallery.events import FIRST_PAGE, PagePosition
from sd35.ui.gallery.static import RETRY_BUTTON, empty_state, no_results

__all__ = [
    "EMPTY_HTML",
    "action_error",
    "alt_text",
    "day_name",
    "deletion_summary",
    "failed_job_page",
    "library_error",
    "no_library",
    "picture_page",
    "removal_summary",
    "restore_summary",
    "scan_in_progress",
    "scan_summary",
    "tab_bar",
    "tag_summary",
    "trash_summary",
    "with_query_key",
    "with_request_id",
]

EMPTY_HTML: Final = Markup("")

MAX_FILE_NAMES: Final = 3
"""Files that can't be read, by name."""

_EMPTY_COUNT: Final = Markup('<span class="voice">Nothing</span>')
"""For who listens; who looks sees more of it."""

MAX_PROMPT_CHARACTERS: Final = 240
"""Characters of a prompt that are shown beside others."""

_STATUS_LABELS: Final = {
    JobStatus.FAILED: "Failed",
    JobStatus.CANCELLED: "Stopped",
    JobStatus.INTERRUPTED: "Interrupted",
}


def tab_bar() -> str:
    """The links between the two rooms; assets/library.js says which one is shown."""
    return (
        '<nav class="rooms" aria-label="Rooms"><a href="#create" aria-current="page">Create</a>'
        '<a href="#library">Library</a></nav>'
    )


def no_library() -> str:
    """The shelf of somebody who can't be told from others."""
    return _grid(
        "none",
        FIRST_PAGE,
        body=empty_state(
            "No library for you here",
            "What is made here isn’t kept for you: log in, or open the page itself, to have a library.",
        ),
    )


def with_query_key(grid_html: str, filter_name: object, text: object) -> str:
    """A shelf, and to which question it is the answer: answers may come in another order than they were asked for."""
    return Markup('<div class="answer" data-for="{}|{}">{}</div>').format(
        filter_name,
        text or "",
        Markup(grid_html),  # noqa: S704
    )  # ours


def with_request_id(viewer_html: str, request_id: int) -> str:
    """What is shown large, or nothing, and the number of the question that it is the answer to."""
    return Markup('<div data-ticket="{}">{}</div>').format(request_id, Markup(viewer_html))  # noqa: S704  # ours


def library_error(error: SD35Error) -> str:
    """The shelf where the library can't be read."""
    hint = f"{error.happened} {error.remedy}".strip()
    return _grid(
        "none", FIRST_PAGE, body=empty_state("The library can’t be read", hint, RETRY_BUTTON)
    )


def scan_in_progress() -> str:
    """The shelf while the folder is looked through for the first time; the browser asks again."""
    hint = "What is there already appears here as it is found."
    return _grid("looking", FIRST_PAGE, body=empty_state("Looking through the folder…", hint))


def action_error(error: SD35Error) -> Markup:
    """What stands against what was asked for."""
    return Markup('<p role="alert">{} {}</p>').format(error.happened, error.remedy)


def trash_summary(ids: Sequence[str], missing_count: int) -> Markup:
    """That pictures were put into the trash, and a way back; or that so many files aren't where they were."""
    if missing_count:
        return trash_summary(ids, 0) + Markup(
            '<p role="alert">{} not deleted: the file isn’t where it was.</p>'
        ).format(pluralize(missing_count, "picture"))
    if not ids:
        return EMPTY_HTML
    verb = "is" if len(ids) == 1 else "are"
    return Markup(
        '<p role="status">{} {} in the trash.</p><button type="button" data-do="restore" data-ids="{}">Undo</button>'
    ).format(pluralize(len(ids), "picture"), verb, " ".join(ids))


def restore_summary(ids: Sequence[str]) -> Markup:
    """That pictures are back."""
    verb = "is" if len(ids) == 1 else "are"
    return Markup('<p role="status">{} {} back.</p>').format(pluralize(len(ids), "picture"), verb)


def scan_summary(changes: ScanResult | None) -> Markup:
    """What has changed in the folder; `None` where nobody looked."""
    if changes is None:
        return EMPTY_HTML
    counts = {
        name: count for name, count in asdict(changes).items() if name != "unreadable" and count
    }
    summary = ", ".join(f"{count:,} {name}" for name, count in counts.items()) or "Nothing new"
    message = Markup('<p role="status">{}.</p>').format(summary)
    if changes.unreadable:
        unreadable_files = ", ".join(changes.unreadable[:MAX_FILE_NAMES]) + (
            "…" if len(changes.unreadable) > MAX_FILE_NAMES else ""
        )
        message += Markup('<p role="alert">Can’t be read as a picture: {}</p>').format(
            unreadable_files
        )
    return message


def tag_summary(tagged_count: int, missing_count: int) -> Markup:
    """That pictures were tagged, where that can't be seen; and that files are gone, which can't be written to."""
    message = (
        Markup('<p role="status">{} tagged.</p>').format(pluralize(tagged_count, "picture"))
        if tagged_count
        else EMPTY_HTML
    )
    if missing_count:
        message += Markup('<p role="alert">{} not changed: the file is gone.</p>').format(
            pluralize(missing_count, "picture")
        )
    return message


def removal_summary(count: int) -> Markup:
    """That nothing is known any more of pictures whose files are gone."""
    return Markup('<p role="status">{} forgotten.</p>').format(pluralize(count, "picture"))


def deletion_summary(count: int) -> Markup:
    """That there is nothing in the trash any more."""
    return Markup('<p role="status">{} deleted for ever.</p>').format(pluralize(count, "picture"))


def picture_page(  # what a page of them is
    page: PicturePage,
    query: Query,
    position: PagePosition,
    today: dt.date,
    message: Markup = EMPTY_HTML,
    size_bytes: int = 0,
) -> str:
    """A page of pictures, by days, what was just done to them, and how much all of them take, if that is known."""
    days = groupby(page.entries, key=lambda entry: entry.made_at.astimezone().date())
    body = Markup("").join(_day_section(day_name(day, today), entries) for day, entries in days)
    count = page.count if page.is_count_exact else f"{page.count:,}+"
    summary = (
        Markup("<b>{}</b>").format(pluralize(count, "picture")) if page.count else _EMPTY_COUNT
    )
    if size_bytes:
        summary += Markup(" {}").format(format_bytes(size_bytes))
    if (
        query.scope == "shown"
        and not query.has_criteria
        and all(entry.owner == "" for entry in page.entries)
    ):
        summary += Markup(
            '<button type="button" data-do="look" class="plain">Look for new files</button>'
        )
    if query.scope == "trash" and page.count:
        summary += Markup(
            " What is here stays until you delete it."
            '<button type="button" data-do="ask-erase" class="plain">Delete all for ever…</button>'
        )
    return _grid(
        query.scope,
        position,
        summary=summary,
        problems=query.problems,
        message=message,
        body=body or no_results(query),
        pager=_pager(page.newer_cursor, page.older_cursor),
    )


def failed_job_page(
    page: JobPage,
    query: Query,
    position: PagePosition,
    today: dt.date,
    message: Markup = EMPTY_HTML,
) -> str:
    """A page of jobs that came to no picture."""
    rows = Markup("").join(_job_row(job, today) for job in page.jobs)
    count = f"{len(page.jobs)}{'+' if page.older_cursor or position.older else ''}"
    summary = Markup("<b>{}</b> came to no picture").format(count) if page.jobs else _EMPTY_COUNT
    return _grid(
        query.scope,
        position,
        summary=summary,
        problems=query.problems,
        message=message,
        body=Markup('<ul class="jobs">{}</ul>').format(rows) if page.jobs else no_results(query),
        pager=_pager(None, page.older_cursor, is_first_page=not position.older),
    )


def alt_text(entry: Entry) -> str:
    """What a picture is called: by its prompt, or else by its file's name."""
    prompt = " ".join(entry.record.prompt[: 2 * MAX_PROMPT_CHARACTERS].split())
    return _truncate(prompt) or PurePosixPath(entry.path).name


def day_name(day: dt.date, today: dt.date) -> str:
    """A day as people call it."""
    if day == today:
        return "Today"
    if day == today - dt.timedelta(days=1):
        return "Yesterday"
    return f"{day:%A} {day.day} {day:%B} {day.year}"


def _truncate(text: str) -> str:
    return text if len(text) <= MAX_PROMPT_CHARACTERS else f"{text[: MAX_PROMPT_CHARACTERS - 1]}…"


def _grid(
    scope: str,
    position: PagePosition,
    *,
    body: Markup,
    summary: Markup = EMPTY_HTML,
    problems: Iterable[str] = (),
    message: Markup = EMPTY_HTML,
    pager: Markup = EMPTY_HTML,
) -> str:
    """All of it. The parts are always there, in this order: Gradio changes what has changed, and nothing is lost."""
    problem_items = Markup("").join(Markup("<li>{}</li>").format(problem) for problem in problems)
    return Markup(
        '<div class="shelf" data-place="{}" data-at="{}"><div class="found" role="status">{}</div>'
        '<ul class="problems" role="alert">{}</ul><div class="said">{}</div><div class="days">{}</div>{}</div>'
    ).format(scope, position, summary, problem_items, message, body, pager)


def _day_section(name: str, entries: Iterable[Entry]) -> Markup:
    items = Markup("").join(map(_grid_item, entries))
    return Markup('<section><h2>{}</h2><ul class="grid">{}</ul></section>').format(name, items)


def _grid_item(entry: Entry) -> Markup:
    is_starred = entry.record.is_starred
    return Markup(
        '<li class="item{gone}" data-id="{id}" style="--ratio:{ratio}">'
        '<button type="button" class="open" data-do="open"><img src="studio/thumbnail/{id}?v={version}" loading="lazy" '
        'decoding="async" width="{width}" height="{height}" alt="{words}"></button>'
        '<span class="caption" aria-hidden="true">{words}</span>'
        '<label class="pick"><input type="checkbox" aria-label="Select: {words}"></label>'
        '<button type="button" class="star" data-do="star" aria-pressed="{starred}" aria-label="Star: {words}">'
        '<span aria-hidden="true">{mark}</span></button></li>'
    ).format(
        gone=" is-missing" if entry.is_missing else "",
        id=entry.id,
        version=entry.size_bytes,  # of what a browser may keep for good
        ratio=_aspect_ratio(entry),
        width=entry.width,
        height=entry.height,
        words=alt_text(entry),
        starred="true" if is_starred else "false",
        mark="★" if is_starred else "☆",
    )


def _aspect_ratio(entry: Entry) -> str:
    """Width by height, such that nothing is too thin to be hit."""
    return f"{min(3.5, max(0.4, entry.width / max(1, entry.height))):.4g}"


def _pager(newer: str | None, older: str | None, *, is_first_page: bool = True) -> Markup:
    links = [
        *([("", "Newest")] if newer or not is_first_page else []),
        *([(f"newer:{newer}", "← Newer")] if newer else []),
        *([(f"older:{older}", "Older →")] if older else []),
    ]
    buttons = Markup("").join(
        Markup('<button type="button" data-do="page" data-to="{}">{}</button>').format(*link)
        for link in links
    )
    return Markup('<nav class="pager" aria-label="Pages">{}</nav>').format(buttons)


def _job_row(job: JobRecord, today: dt.date) -> Markup:
    created_at = dt.datetime.fromtimestamp(job.created_at).astimezone()
    created_text = f"{day_name(created_at.date(), today)}, {created_at:%H:%M}"
    reason = f"{job.error_message} {job.error_remedy}".strip()
    if job.status is JobStatus.INTERRUPTED and not reason:
        reason = "The program ended while it ran."
    return Markup(
        '<li class="job-row" data-id="{}" data-stage="{}"><p class="words">{}</p>'
        '<p class="why"><b>{}</b><span>{}</span>{}</p><p class="does">'
        '<button type="button" data-do="retry">Run again</button>'
        '<button type="button" data-do="form">To the form</button></p></li>'
    ).format(
        job.id,
        job.status.value,
        _truncate(" ".join(job.request.prompt[: 2 * MAX_PROMPT_CHARACTERS].split())),
        _STATUS_LABELS.get(job.status, job.status.value),
        created_text,
        Markup("<span>{}</span>").format(reason) if reason else "",
    )
