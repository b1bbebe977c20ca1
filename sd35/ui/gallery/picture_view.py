"""One picture of the library, or two beside each other: state → HTML. Pure. What isn't ours is escaped."""

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Final

from markupsafe import Markup

from sd35.core.text import format_bytes
from sd35.library.repository import Entry
from sd35.metadata.infotext import write_infotext
from sd35.metadata.model import THIS_TOOL
from sd35.ui.gallery.view import EMPTY_HTML, alt_text, day_name

__all__ = ["compare_dialog", "not_found_dialog", "picture_dialog"]

_CLOSE_BUTTON: Final = Markup(
    '<button type="button" class="icon" data-do="close" aria-label="Close">✕</button>'
)

_DEMO_LABEL: Final = "demo painter, not Stable Diffusion"


def picture_dialog(  # noqa: D417
    entry: Entry,
    adjacent_ids: tuple[str | None, str | None],
    today: dt.date,
    message: Markup = EMPTY_HTML,
) -> str:
    """A picture, large, with all that is known of it and what can be done with it, and what was just done.

    Args:
        entry: the picture.
        beside: the ids of the next newer and the next older one.
        today: as people call it.
        said: as HTML.

    """
    metadata = entry.record
    return Markup(
        '<dialog class="viewer" open aria-label="{words}" data-id="{id}" data-infotext="{infotext}" {trash}>'
        '<div class="stage">{shown}{newer}{older}</div><div class="about"><div class="top">'
        '<p class="when">{when}</p>{star}{close}</div><div class="said">{said}</div>'
        "{words_html}{demo}{does}{tags}<dl>{facts}</dl></div></dialog>"
    ).format(
        id=entry.id,
        words=alt_text(entry),
        infotext=write_infotext(metadata, entry.width, entry.height),
        trash=Markup("data-trashed") if entry.is_trashed else "",
        shown=_image_html(entry),
        said=message,
        newer=_arrow_button("newer", adjacent_ids[0], "‹", "The newer one"),
        older=_arrow_button("older", adjacent_ids[1], "›", "The older one"),
        when=_creation_time(entry, today),
        star=_star_button(is_starred=metadata.is_starred),
        close=_CLOSE_BUTTON,
        words_html=_prompt_html(entry),
        demo=Markup('<p class="badge">{}</p>').format(_DEMO_LABEL) if metadata.is_demo else "",
        does=_trash_buttons() if entry.is_trashed else _action_buttons(entry),
        tags=_tag_form(metadata.tags),
        facts=_detail_rows(_details(entry)),
    )


def compare_dialog(first: Entry, second: Entry) -> str:
    """Two pictures, one over the other, with what differs in how they were made."""
    rows = [
        (name, left_value, right_value)
        for (name, left_value), (_, right_value) in zip(
            _generation_settings(first), _generation_settings(second), strict=True
        )
        if left_value != right_value
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
    ).format(first.id, second.id, alt_text(first), alt_text(second), _CLOSE_BUTTON, body)


def not_found_dialog(ids: Sequence[str]) -> str:
    """What is shown where no such picture is, or one of two isn't."""
    return Markup(
        '<dialog class="viewer" open aria-label="No such picture" data-{}="{}"><div class="stage">'
        '<div class="empty-room"><i></i><h2>There is no such picture here</h2>'
        "<p>It was deleted, or belongs to somebody else.</p></div></div>"
        '<div class="about"><div class="top"><p class="when"></p>{}</div></div></dialog>'
    ).format("pair" if len(ids) > 1 else "id", ",".join(ids[:2]), _CLOSE_BUTTON)


def _image_html(entry: Entry) -> Markup:
    if entry.is_missing:
        return Markup(
            '<div class="empty-room"><i></i><h2>The file is gone</h2><p>It was moved or deleted outside of this '
            "program: <code>{}</code>. What is known of the picture is still here.</p></div>"
        ).format(entry.path)
    return Markup(
        '<img class="whole" src="studio/picture/{}?v={}" width="{}" height="{}" alt="{}">'
    ).format(entry.id, entry.size_bytes, entry.width, entry.height, alt_text(entry))


def _arrow_button(direction: str, id_: str | None, symbol: str, label: str) -> Markup:
    hidden = Markup("hidden") if id_ is None else ""
    return Markup(
        '<button type="button" class="arrow {}" data-do="open" data-id="{}" aria-label="{}" {}>{}</button>'
    ).format(direction, id_ or "", label, hidden, symbol)


def _creation_time(entry: Entry, today: dt.date) -> Markup:
    local_time = entry.made_at.astimezone()
    return Markup("{}, {:%H:%M}").format(day_name(local_time.date(), today), local_time)


def _star_button(*, is_starred: bool) -> Markup:
    return Markup(
        '<button type="button" class="icon star" data-do="star" aria-pressed="{}" aria-label="Star" title="S">'
        '<span aria-hidden="true">{}</span></button>'
    ).format("true" if is_starred else "false", "★" if is_starred else "☆")


def _prompt_html(entry: Entry) -> Markup:
    metadata = entry.record
    negative_html = EMPTY_HTML
    if metadata.negative_prompt:
        negative_html = Markup('<p class="negative"><b>Without</b> {}</p>').format(
            metadata.negative_prompt
        )
    return Markup('<p class="prompt">{}</p>{}').format(
        metadata.prompt or alt_text(entry), negative_html
    )


def _action_buttons(entry: Entry) -> Markup:
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


def _trash_buttons() -> Markup:
    return Markup(
        '<p class="same">This picture is in the trash.</p><div class="doing"><div role="group">'
        '<button type="button" class="main" data-do="restore">Restore</button>'
        '<button type="button" data-do="copy"><span aria-live="polite">Copy settings</span></button></div></div>'
    )


def _tag_form(tags: tuple[str, ...]) -> Markup:
    return Markup(
        '<form class="tags"><label>Tags <input name="words" maxlength="2000" autocomplete="off" value="{}" '
        'placeholder="sea, dusk"></label></form>'
    ).format(", ".join(tags))


def _detail_rows(details: Iterator[tuple[str, str]]) -> Markup:
    return Markup("").join(
        Markup("<div><dt>{}</dt><dd>{}</dd></div>").format(name, value)
        for name, value in details
        if value
    )


def _details(entry: Entry) -> Iterator[tuple[str, str]]:
    metadata = entry.record
    yield from _generation_settings(entry)[2:]
    yield "Took", "" if metadata.took_seconds is None else f"{metadata.took_seconds:.1f} s"
    yield "Tool", "" if metadata.tool == THIS_TOOL else metadata.tool
    yield "Versions", ", ".join(f"{name} {version}" for name, version in metadata.versions.items())
    yield from metadata.extra
    yield "File", entry.path
    yield "Format", f"{entry.format}, {format_bytes(entry.size_bytes)}"


def _generation_settings(entry: Entry) -> list[tuple[str, str]]:
    """With what a picture was made: always the same names, in the same order."""
    metadata = entry.record
    return [
        ("Prompt", metadata.prompt),
        ("Negative prompt", metadata.negative_prompt),
        ("Seed", "" if metadata.seed is None else str(metadata.seed)),
        ("Size", f"{entry.width} × {entry.height}"),
        (
            "Steps",
            "" if metadata.num_inference_steps is None else str(metadata.num_inference_steps),
        ),
        (
            "Guidance scale",
            "" if metadata.guidance_scale is None else f"{metadata.guidance_scale:g}",
        ),
        ("Model", _DEMO_LABEL if metadata.is_demo else metadata.model),
        ("Space", metadata.space),
    ]
