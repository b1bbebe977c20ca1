"""One picture of the library, or two beside each other: state → HTML. Pure. What isn't ours is escaped."""

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Final

from markupsafe import Markup

from sd35.library.repository import Entry
from sd35.metadata.infotext import write_infotext
from sd35.metadata.model import OURS
from sd35.ui.create.job_view import amount
from sd35.ui.gallery.view import NOTHING, day_name, words_of

__all__ = ["compare", "no_picture", "picture"]

_CLOSE: Final = Markup(
    '<button type="button" class="icon" data-do="close" aria-label="Close">✕</button>'
)

_DEMO: Final = "demo painter, not Stable Diffusion"


def picture(
    entry: Entry, beside: tuple[str | None, str | None], today: dt.date, said: Markup = NOTHING
) -> str:
    """A picture, large, with all that is known of it and what can be done with it, and what was just done.

    Args:
        entry: the picture.
        beside: the ids of the next newer and the next older one.
        today: as people call it.
        said: as HTML.

    """
    record = entry.record
    return Markup(
        '<dialog class="viewer" open aria-label="{words}" data-id="{id}" data-infotext="{infotext}" {trash}>'
        '<div class="stage">{shown}{newer}{older}</div><div class="about"><div class="top">'
        '<p class="when">{when}</p>{star}{close}</div><div class="said">{said}</div>'
        "{words_html}{demo}{does}{tags}<dl>{facts}</dl></div></dialog>"
    ).format(
        id=entry.id,
        words=words_of(entry),
        infotext=write_infotext(record, entry.width, entry.height),
        trash=Markup("data-trashed") if entry.is_trashed else "",
        shown=_shown(entry),
        said=said,
        newer=_arrow("newer", beside[0], "‹", "The newer one"),
        older=_arrow("older", beside[1], "›", "The older one"),
        when=_when(entry, today),
        star=_star(is_starred=record.is_starred),
        close=_CLOSE,
        words_html=_words(entry),
        demo=Markup('<p class="badge">{}</p>').format(_DEMO) if record.is_demo else "",
        does=_restoring() if entry.is_trashed else _doing(entry),
        tags=_tags(record.tags),
        facts=_rows(_facts(entry)),
    )


def compare(first: Entry, second: Entry) -> str:
    """Two pictures, one over the other, with what differs in how they were made."""
    rows = [
        (name, one, other)
        for (name, one), (_, other) in zip(_settings(first), _settings(second), strict=True)
        if one != other
    ]
    table = Markup("").join(
        Markup('<tr><th scope="row">{}</th><td>{}</td><td>{}</td></tr>').format(*row)
        for row in rows
    )
    body = Markup(
        "<table><thead><tr><td></td><th scope=col>Left</th><th scope=col>Right</th></tr></thead>"
        "<tbody>{}</tbody></table>"
        '<p class="same">All else is the same.</p>'
    ).format(table)
    return Markup(
        '<dialog class="viewer comparing" open aria-label="Two pictures compared" data-pair="{0},{1}">'
        '<div class="stage"><div class="both"><img src="studio/picture/{1}" alt="Right: {3}">'
        '<img class="over" src="studio/picture/{0}" alt="Left: {2}"><i aria-hidden="true"></i>'
        '<input type="range" min="0" max="100" step="1" value="50" aria-label="How much of the left picture is shown">'
        '</div></div><div class="about"><div class="top"><p class="when">Compare</p>{4}</div>{5}</div></dialog>'
    ).format(first.id, second.id, words_of(first), words_of(second), _CLOSE, body)


def no_picture(ids: Sequence[str]) -> str:
    """What is shown where no such picture is, or one of two isn't."""
    return Markup(
        '<dialog class="viewer" open aria-label="No such picture" data-{}="{}"><div class="stage">'
        '<div class="empty-room"><i></i><h2>There is no such picture here</h2>'
        "<p>It was deleted, or belongs to somebody else.</p></div></div>"
        '<div class="about"><div class="top"><p class="when"></p>{}</div></div></dialog>'
    ).format("pair" if len(ids) > 1 else "id", ",".join(ids[:2]), _CLOSE)


def _shown(entry: Entry) -> Markup:
    if entry.is_missing:
        return Markup(
            '<div class="empty-room"><i></i><h2>The file is gone</h2><p>It was moved or deleted outside of this '
            "program: <code>{}</code>. What is known of the picture is still here.</p></div>"
        ).format(entry.path)
    return Markup(
        '<img class="whole" src="studio/picture/{}?v={}" width="{}" height="{}" alt="{}">'
    ).format(entry.id, entry.size_bytes, entry.width, entry.height, words_of(entry))


def _arrow(way: str, id_: str | None, mark: str, label: str) -> Markup:
    hidden = Markup("hidden") if id_ is None else ""
    return Markup(
        '<button type="button" class="arrow {}" data-do="open" data-id="{}" aria-label="{}" {}>{}</button>'
    ).format(way, id_ or "", label, hidden, mark)


def _when(entry: Entry, today: dt.date) -> Markup:
    here = entry.made_at.astimezone()
    return Markup("{}, {:%H:%M}").format(day_name(here.date(), today), here)


def _star(*, is_starred: bool) -> Markup:
    return Markup(
        '<button type="button" class="icon star" data-do="star" aria-pressed="{}" aria-label="Star" title="S">'
        '<span aria-hidden="true">{}</span></button>'
    ).format("true" if is_starred else "false", "★" if is_starred else "☆")


def _words(entry: Entry) -> Markup:
    record = entry.record
    without = NOTHING
    if record.negative_prompt:
        without = Markup('<p class="negative"><b>Without</b> {}</p>').format(record.negative_prompt)
    return Markup('<p class="prompt">{}</p>{}').format(record.prompt or words_of(entry), without)


def _doing(entry: Entry) -> Markup:
    return Markup(
        '<div class="doing"><div role="group" aria-label="Use again">'
        '<button type="button" class="main" data-do="form" data-what="all">Use all settings</button>'
        '<button type="button" data-do="form" data-what="prompt">Prompt only</button>'
        '<button type="button" data-do="form" data-what="seed" {no_seed}>Seed only</button></div>'
        '<div role="group" aria-label="Vary">'
        '<button type="button" data-do="retry" data-what="same">Same with a new seed</button>'
        '<button type="button" data-do="retry" data-what="neighbours" {no_seed}>Four neighbours</button></div>'
        '<div role="group" aria-label="This picture">'
        '<a href="studio/picture/{id}?download" download {no_file}>Download</a>'
        '<button type="button" data-do="copy"><span aria-live="polite">Copy settings</span></button>'
        '<button type="button" data-do="choose">Compare with…</button>'
        '<button type="button" data-do="trash" title="Delete" {no_file}>Delete</button>'
        '<button type="button" data-do="forget" {has_file}>Forget it</button></div></div>'
    ).format(
        id=entry.id,
        no_seed=Markup("disabled") if entry.record.seed is None else "",
        no_file=Markup("hidden") if entry.is_missing else "",
        has_file="" if entry.is_missing else Markup("hidden"),
    )


def _restoring() -> Markup:
    return Markup(
        '<p class="same">This picture is in the trash.</p><div class="doing"><div role="group">'
        '<button type="button" class="main" data-do="restore">Restore</button>'
        '<button type="button" data-do="copy"><span aria-live="polite">Copy settings</span></button></div></div>'
    )


def _tags(tags: tuple[str, ...]) -> Markup:
    return Markup(
        '<form class="tags"><label>Tags <input name="words" maxlength="2000" autocomplete="off" value="{}" '
        'placeholder="sea, dusk"></label></form>'
    ).format(", ".join(tags))


def _rows(facts: Iterator[tuple[str, str]]) -> Markup:
    return Markup("").join(
        Markup("<div><dt>{}</dt><dd>{}</dd></div>").format(name, value)
        for name, value in facts
        if value
    )


def _facts(entry: Entry) -> Iterator[tuple[str, str]]:
    record = entry.record
    yield from _settings(entry)[2:]
    yield "Took", "" if record.took_seconds is None else f"{record.took_seconds:.1f} s"
    yield "Tool", "" if record.tool == OURS else record.tool
    yield "Versions", ", ".join(f"{name} {version}" for name, version in record.versions.items())
    yield from record.others
    yield "File", entry.path
    yield "Format", f"{entry.format}, {amount(entry.size_bytes)}"


def _settings(entry: Entry) -> list[tuple[str, str]]:
    """With what a picture was made: always the same names, in the same order."""
    record = entry.record
    return [
        ("Prompt", record.prompt),
        ("Negative prompt", record.negative_prompt),
        ("Seed", "" if record.seed is None else str(record.seed)),
        ("Size", f"{entry.width} × {entry.height}"),
        ("Steps", "" if record.num_inference_steps is None else str(record.num_inference_steps)),
        ("Guidance scale", "" if record.guidance_scale is None else f"{record.guidance_scale:g}"),
        ("Model", _DEMO if record.is_demo else record.model),
        ("Space", record.space),
    ]
