"""The library's room: state → HTML. Pure. Everything that isn't ours is escaped by `Markup.format`."""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import PurePosixPath
from typing import Final

from markupsafe import Markup

from sd35.core.errors import SD35Error
from sd35.jobs.repository import JobPage, JobRecord, Stage
from sd35.library.query import Query
from sd35.library.repository import Entry
from sd35.library.scanner import Changes
from sd35.library.search import Page
from sd35.ui.create.job_view import amount
from sd35.ui.gallery.events import BEGINNING, Place
from sd35.ui.gallery.static import TRY_AGAIN, empty, nothing

__all__ = [
    "NOTHING",
    "answer",
    "broken",
    "day_name",
    "failed",
    "forgotten",
    "gone_for_ever",
    "in_trash",
    "looked",
    "looking",
    "marked",
    "no_library",
    "numbered",
    "out_of_trash",
    "pictures",
    "plural",
    "refused",
    "rooms_nav",
    "words_of",
]

NOTHING: Final = Markup("")

MAX_NAMED: Final = 3
"""Files that can't be read, by name."""

_NONE: Final = Markup('<span class="voice">Nothing</span>')
"""For who listens; who looks sees more of it."""

SHOWN_WORDS: Final = 240
"""Characters of a prompt that are shown beside others."""

_STAGES: Final = {
    Stage.FAILED: "Failed",
    Stage.STOPPED: "Stopped",
    Stage.INTERRUPTED: "Interrupted",
}


def rooms_nav() -> str:
    """The links between the two rooms; assets/library.js says which one is shown."""
    return (
        '<nav class="rooms" aria-label="Rooms"><a href="#create" aria-current="page">Create</a>'
        '<a href="#library">Library</a></nav>'
    )


def no_library() -> str:
    """The shelf of somebody who can't be told from others."""
    return _shelf(
        "none",
        BEGINNING,
        body=empty(
            "No library for you here",
            "What is made here isn’t kept for you: log in, or open the page itself, to have a library.",
        ),
    )


def answer(shelf: str, show: object, text: object) -> str:
    """A shelf, and to which question it is the answer: answers may come in another order than they were asked for."""
    return Markup('<div class="answer" data-for="{}|{}">{}</div>').format(
        show, text or "", Markup(shelf)  # noqa: S704
    )  # ours


def numbered(viewer: str, ticket: int) -> str:
    """What is shown large, or nothing, and the number of the question that it is the answer to."""
    return Markup('<div data-ticket="{}">{}</div>').format(ticket, Markup(viewer))  # noqa: S704  # ours


def broken(error: SD35Error) -> str:
    """The shelf where the library can't be read."""
    hint = f"{error.happened} {error.remedy}".strip()
    return _shelf("none", BEGINNING, body=empty("The library can’t be read", hint, TRY_AGAIN))


def looking() -> str:
    """The shelf while the folder is looked through for the first time; the browser asks again."""
    hint = "What is there already appears here as it is found."
    return _shelf("looking", BEGINNING, body=empty("Looking through the folder…", hint))


def refused(error: SD35Error) -> Markup:
    """What stands against what was asked for."""
    return Markup('<p role="alert">{} {}</p>').format(error.happened, error.remedy)


def in_trash(ids: Sequence[str], elsewhere: int) -> Markup:
    """That pictures were put into the trash, and a way back; or that so many files aren't where they were."""
    if elsewhere:
        return in_trash(ids, 0) + Markup(
            '<p role="alert">{} not deleted: the file isn’t where it was.</p>'
        ).format(plural(elsewhere, "picture"))
    if not ids:
        return NOTHING
    are = "is" if len(ids) == 1 else "are"
    return Markup(
        '<p role="status">{} {} in the trash.</p><button type="button" data-do="restore" data-ids="{}">Undo</button>'
    ).format(plural(len(ids), "picture"), are, " ".join(ids))


def out_of_trash(ids: Sequence[str]) -> Markup:
    """That pictures are back."""
    are = "is" if len(ids) == 1 else "are"
    return Markup('<p role="status">{} {} back.</p>').format(plural(len(ids), "picture"), are)


def looked(changes: Changes | None) -> Markup:
    """What has changed in the folder; `None` where nobody looked."""
    if changes is None:
        return NOTHING
    counts = {
        name: count for name, count in asdict(changes).items() if name != "unreadable" and count
    }
    found = ", ".join(f"{count:,} {name}" for name, count in counts.items()) or "Nothing new"
    said = Markup('<p role="status">{}.</p>').format(found)
    if changes.unreadable:
        some = ", ".join(changes.unreadable[:MAX_NAMED]) + (
            "…" if len(changes.unreadable) > MAX_NAMED else ""
        )
        said += Markup('<p role="alert">Can’t be read as a picture: {}</p>').format(some)
    return said


def marked(tagged: int, lost: int) -> Markup:
    """That pictures were tagged, where that can't be seen; and that files are gone, which can't be written to."""
    said = (
        Markup('<p role="status">{} tagged.</p>').format(plural(tagged, "picture"))
        if tagged
        else NOTHING
    )
    if lost:
        said += Markup('<p role="alert">{} not changed: the file is gone.</p>').format(
            plural(lost, "picture")
        )
    return said


def forgotten(count: int) -> Markup:
    """That nothing is known any more of pictures whose files are gone."""
    return Markup('<p role="status">{} forgotten.</p>').format(plural(count, "picture"))


def gone_for_ever(count: int) -> Markup:
    """That there is nothing in the trash any more."""
    return Markup('<p role="status">{} deleted for ever.</p>').format(plural(count, "picture"))


def pictures(  # what a page of them is
    page: Page,
    query: Query,
    place: Place,
    today: dt.date,
    said: Markup = NOTHING,
    size_bytes: int = 0,
) -> str:
    """A page of pictures, by days, what was just done to them, and how much all of them take, if that is known."""
    days = groupby(page.entries, key=lambda entry: entry.made_at.astimezone().date())
    body = Markup("").join(_day(day_name(day, today), entries) for day, entries in days)
    count = page.count if page.is_count_exact else f"{page.count:,}+"
    found = Markup("<b>{}</b>").format(plural(count, "picture")) if page.count else _NONE
    if size_bytes:
        found += Markup(" {}").format(amount(size_bytes))
    if (
        query.place == "shown"
        and not query.is_search
        and all(entry.owner == "" for entry in page.entries)
    ):
        found += Markup(
            '<button type="button" data-do="look" class="plain">Look for new files</button>'
        )
    if query.place == "trash" and page.count:
        found += Markup(
            " What is here stays until you delete it."
            '<button type="button" data-do="ask-erase" class="plain">Delete all for ever…</button>'
        )
    return _shelf(
        query.place,
        place,
        found=found,
        problems=query.problems,
        said=said,
        body=body or nothing(query),
        pager=_pager(page.newer, page.older),
    )


def failed(
    page: JobPage, query: Query, place: Place, today: dt.date, said: Markup = NOTHING
) -> str:
    """A page of jobs that came to no picture."""
    rows = Markup("").join(_job(job, today) for job in page.jobs)
    count = f"{len(page.jobs)}{'+' if page.older or place.older else ''}"
    found = Markup("<b>{}</b> came to no picture").format(count) if page.jobs else _NONE
    return _shelf(
        query.place,
        place,
        found=found,
        problems=query.problems,
        said=said,
        body=Markup('<ul class="jobs">{}</ul>').format(rows) if page.jobs else nothing(query),
        pager=_pager(None, page.older, is_first=not place.older),
    )


def plural(count: int | str, thing: str) -> str:
    """A number of things, in words; of `count` that is text, many."""
    shown = f"{count:,}" if isinstance(count, int) else count
    return f"{shown} {thing}{'' if count == 1 else 's'}"


def words_of(entry: Entry) -> str:
    """What a picture is called: by its prompt, or else by its file's name."""
    words = " ".join(entry.record.prompt[: 2 * SHOWN_WORDS].split())
    return _short(words) or PurePosixPath(entry.path).name


def day_name(day: dt.date, today: dt.date) -> str:
    """A day as people call it."""
    if day == today:
        return "Today"
    if day == today - dt.timedelta(days=1):
        return "Yesterday"
    return f"{day:%A} {day.day} {day:%B} {day.year}"


def _short(words: str) -> str:
    return words if len(words) <= SHOWN_WORDS else f"{words[: SHOWN_WORDS - 1]}…"


def _shelf(
    shown: str,
    place: Place,
    *,
    body: Markup,
    found: Markup = NOTHING,
    problems: Iterable[str] = (),
    said: Markup = NOTHING,
    pager: Markup = NOTHING,
) -> str:
    """All of it. The parts are always there, in this order: Gradio changes what has changed, and nothing is lost."""
    told = Markup("").join(Markup("<li>{}</li>").format(problem) for problem in problems)
    return Markup(
        '<div class="shelf" data-place="{}" data-at="{}"><div class="found" role="status">{}</div>'
        '<ul class="problems" role="alert">{}</ul><div class="said">{}</div><div class="days">{}</div>{}</div>'
    ).format(shown, place, found, told, said, body, pager)


def _day(name: str, entries: Iterable[Entry]) -> Markup:
    items = Markup("").join(map(_item, entries))
    return Markup('<section><h2>{}</h2><ul class="grid">{}</ul></section>').format(name, items)


def _item(entry: Entry) -> Markup:
    starred = entry.record.is_starred
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
        ratio=_ratio(entry),
        width=entry.width,
        height=entry.height,
        words=words_of(entry),
        starred="true" if starred else "false",
        mark="★" if starred else "☆",
    )


def _ratio(entry: Entry) -> str:
    """Width by height, such that nothing is too thin to be hit."""
    return f"{min(3.5, max(0.4, entry.width / max(1, entry.height))):.4g}"


def _pager(newer: str | None, older: str | None, *, is_first: bool = True) -> Markup:
    ways = [
        *([("", "Newest")] if newer or not is_first else []),
        *([(f"newer:{newer}", "← Newer")] if newer else []),
        *([(f"older:{older}", "Older →")] if older else []),
    ]
    buttons = Markup("").join(
        Markup('<button type="button" data-do="page" data-to="{}">{}</button>').format(*way)
        for way in ways
    )
    return Markup('<nav class="pager" aria-label="Pages">{}</nav>').format(buttons)


def _job(job: JobRecord, today: dt.date) -> Markup:
    made_at = dt.datetime.fromtimestamp(job.created_at).astimezone()
    when = f"{day_name(made_at.date(), today)}, {made_at:%H:%M}"
    why = f"{job.error_happened} {job.error_remedy}".strip()
    if job.stage is Stage.INTERRUPTED and not why:
        why = "The program ended while it ran."
    return Markup(
        '<li class="job-row" data-id="{}" data-stage="{}"><p class="words">{}</p>'
        '<p class="why"><b>{}</b><span>{}</span>{}</p><p class="does">'
        '<button type="button" data-do="retry">Run again</button>'
        '<button type="button" data-do="form">To the form</button></p></li>'
    ).format(
        job.id,
        job.stage.value,
        _short(" ".join(job.request.prompt[: 2 * SHOWN_WORDS].split())),
        _STAGES.get(job.stage, job.stage.value),
        when,
        Markup("<span>{}</span>").format(why) if why else "",
    )
