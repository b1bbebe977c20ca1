"""The grid of the library tab: pages of images and of unfinished jobs, as HTML.

Pure: state in, HTML out. Whatever this program hasn't written itself is escaped by `Markup.format`.
"""

import datetime as dt
from collections.abc import Iterable
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
from sd35.library.search import PicturePage
from sd35.ui.gallery.events import FIRST_PAGE, PagePosition
from sd35.ui.gallery.static import RETRY_BUTTON, empty_state, no_results
from sd35.ui.markup import EMPTY_HTML, concat

__all__ = [
    "alt_text",
    "day_name",
    "failed_job_page",
    "grid",
    "grid_item",
    "library_error",
    "no_library",
    "picture_page",
    "scan_in_progress",
    "with_query_key",
]

MAX_PROMPT_CHARACTERS: Final = 240  # in the grid and the list of jobs

MIN_ASPECT_RATIO: Final = 0.4  # a thinner item would be too small to click
MAX_ASPECT_RATIO: Final = 3.5

_STATUS_LABELS: Final = {
    JobStatus.FAILED: "Failed",
    JobStatus.CANCELLED: "Stopped",
    JobStatus.INTERRUPTED: "Interrupted",
}


def no_library() -> Markup:
    """Return the grid of an anonymous visitor, for whom nothing is saved."""
    hint = "Log in or open the full page."
    return grid("none", body=empty_state("Nothing is saved in this view", hint))


def library_error(error: SD35Error) -> Markup:
    """Return the grid of a library that can't be read."""
    hint = f"{error.happened} {error.remedy}".strip()
    body = empty_state("Can't open the library", hint, RETRY_BUTTON)
    return grid("none", body=body)


def scan_in_progress() -> Markup:
    """Return the grid during the first scan of a folder; assets/library.js polls it."""
    return grid("scanning", body=empty_state("Scanning…", "Images appear as they are found."))


def picture_page(
    page: PicturePage,
    query: Query,
    position: PagePosition,
    today: dt.date,
    message: Markup = EMPTY_HTML,
    size_bytes: int = 0,
) -> Markup:
    """Return a page of images by day, below a message; `size_bytes` of all of them, if known."""
    days = groupby(page.entries, key=lambda entry: entry.made_at.astimezone().date())
    body = concat(_day_section(day_name(day, today), entries) for day, entries in days)
    return grid(
        query.scope,
        position,
        summary=_page_summary(page, query, size_bytes),
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
) -> Markup:
    """Return a page of jobs without a result, below a message."""
    # Jobs aren't counted across pages.
    has_more = page.jobs and (page.older_cursor or position.older)
    count = f"{len(page.jobs)}+" if has_more else len(page.jobs)
    rows = concat(_job_row(job, today) for job in page.jobs)
    return grid(
        query.scope,
        position,
        summary=_count_html(count, "unfinished job"),
        problems=query.problems,
        message=message,
        body=Markup('<ul class="jobs">{}</ul>').format(rows) if rows else no_results(query),
        pager=_pager(None, page.older_cursor, is_first_page=not position.older),
    )


def with_query_key(grid_html: Markup, filter_name: object, text: object) -> Markup:
    """Mark a grid with the query that it answers: answers may arrive in another order."""
    return Markup('<div class="answer" data-query="{}|{}">{}</div>').format(
        filter_name, text or "", grid_html
    )


def alt_text(entry: Entry) -> str:
    """Return an image's prompt, or its file name without one."""
    return _short_prompt(entry.metadata.prompt) or PurePosixPath(entry.path).name


def day_name(day: dt.date, today: dt.date) -> str:
    """Return "Today", "Yesterday" or the date."""
    if day == today:
        return "Today"
    if day == today - dt.timedelta(days=1):
        return "Yesterday"
    return f"{day:%A}, {day:%B} {day.day}, {day.year}"


def _short_prompt(prompt: str) -> str:
    # Cut first: prompts of other programs may be megabytes long.
    text = " ".join(prompt[: 2 * MAX_PROMPT_CHARACTERS].split())
    if len(text) <= MAX_PROMPT_CHARACTERS:
        return text
    return f"{text[: MAX_PROMPT_CHARACTERS - 1]}…"


def grid(
    scope: str,
    position: PagePosition = FIRST_PAGE,
    *,
    body: Markup,
    summary: Markup = EMPTY_HTML,
    problems: Iterable[str] = (),
    message: Markup = EMPTY_HTML,
    pager: Markup = EMPTY_HTML,
) -> Markup:
    """Return the content of the grid component."""
    # Every part is there even if it is empty, in the same order: Gradio patches the page's DOM by
    # position, and would otherwise reuse an element for something else, which loses the focus.
    problem_items = concat(Markup("<li>{}</li>").format(problem) for problem in problems)
    return Markup(
        '<div class="grid" data-scope="{}" data-position="{}">'
        '<div class="summary" role="status">{}</div><ul class="problems" role="alert">{}</ul>'
        '<div class="notice">{}</div><div class="days">{}</div>{}</div>'
    ).format(scope, position, summary, problem_items, message, body, pager)


def _page_summary(page: PicturePage, query: Query, size_bytes: int) -> Markup:
    count = page.count if page.is_count_exact else f"{page.count:,}+"
    summary = _count_html(count, "image")
    if size_bytes:
        summary += Markup("<span>{}</span>").format(format_bytes(size_bytes))
    # An empty owner is the local user, the only one who can put files into the folder.
    is_local = all(entry.owner == "" for entry in page.entries)
    if query.scope == "shown" and not query.has_criteria and is_local:
        summary += Markup(
            '<button type="button" data-action="rescan" class="plain">Rescan folder</button>'
        )
    if query.scope == "trash" and page.count:
        summary += Markup(
            "<span>Deleted images stay here until you empty the trash.</span>"
            '<button type="button" data-action="ask-empty-trash" data-count="{}" class="plain">'
            "Empty trash…</button>"
        ).format(pluralize(count, "image"))
    return summary


def _count_html(count: int | str, noun: str) -> Markup:
    # The empty state shows that there is nothing: then the count is for screen readers alone.
    template = Markup("<b>{}</b>") if count else Markup('<span class="visually-hidden">{}</span>')
    return template.format(pluralize(count, noun))


def _day_section(name: str, entries: Iterable[Entry]) -> Markup:
    items = concat(map(grid_item, entries))
    return Markup('<section><h2>{}</h2><ul class="items">{}</ul></section>').format(name, items)


def grid_item(entry: Entry, tag: str = "li") -> Markup:
    """Return an image of the grid as an element with this tag."""
    is_starred = entry.metadata.is_starred
    ratio = entry.width / max(1, entry.height)
    return Markup(
        '<{tag} class="item{missing}" data-id="{id}" style="--ratio:{ratio:.4g}">'
        '<button type="button" class="open" data-action="open">'
        '<img src="studio/thumbnail/{id}?v={version}" loading="lazy" decoding="async" '
        'width="{width}" height="{height}" alt="{alt}"></button>'
        '<span class="caption" aria-hidden="true">{alt}</span>'
        '<label class="pick"><input type="checkbox" aria-label="Select: {alt}"></label>'
        '<button type="button" class="star" data-action="star" aria-pressed="{starred}" '
        'aria-label="Star: {alt}"><span aria-hidden="true">{symbol}</span></button></{tag}>'
    ).format(
        tag=tag,
        missing=" is-missing" if entry.is_missing else "",
        id=entry.id,
        # Thumbnails are served as immutable, so an edited file needs another URL.
        version=entry.size_bytes,
        ratio=min(MAX_ASPECT_RATIO, max(MIN_ASPECT_RATIO, ratio)),
        width=entry.width,
        height=entry.height,
        alt=alt_text(entry),
        starred="true" if is_starred else "false",
        symbol="★" if is_starred else "☆",
    )


def _pager(newer: str | None, older: str | None, *, is_first_page: bool = True) -> Markup:
    links = []
    if newer or not is_first_page:
        links.append(("", "Newest"))
    if newer:
        links.append((f"newer:{newer}", "← Newer"))
    if older:
        links.append((f"older:{older}", "Older →"))
    buttons = concat(
        Markup('<button type="button" data-action="page" data-to="{}">{}</button>').format(*link)
        for link in links
    )
    return Markup('<nav class="pager" aria-label="Pages">{}</nav>').format(buttons)


def _job_row(job: JobRecord, today: dt.date) -> Markup:
    created_at = dt.datetime.fromtimestamp(job.created_at).astimezone()
    reason = f"{job.error_message} {job.error_remedy}".strip()
    if job.status is JobStatus.INTERRUPTED and not reason:
        reason = "The app closed during this job."
    return Markup(
        '<li class="job-row" data-id="{}" data-status="{}"><p class="prompt">{}</p>'
        '<p class="reason"><b>{}</b><span>{}, {:%H:%M}</span>{}</p><p class="buttons">'
        '<button type="button" data-action="retry">Retry</button>'
        '<button type="button" data-action="import">Edit</button></p></li>'
    ).format(
        job.id,
        job.status.value,
        _short_prompt(job.request.prompt),
        _STATUS_LABELS.get(job.status, job.status.value),
        day_name(created_at.date(), today),
        created_at,
        Markup("<span>{}</span>").format(reason) if reason else "",
    )
