"""The viewer of the library tab: one image, as HTML. Pure; all data is escaped."""

import datetime as dt
from collections.abc import Iterator
from typing import Final

from markupsafe import Markup

from sd35.core.text import format_bytes, format_elapsed
from sd35.library.layout import LOCAL_OWNER_KEY, owner_from_path
from sd35.library.repository import Entry
from sd35.metadata.infotext import write_infotext
from sd35.metadata.model import THIS_TOOL
from sd35.prompts.resolved import ORIGIN_NAMES
from sd35.ui.gallery.set_view import set_line
from sd35.ui.gallery.view import alt_text, day_name
from sd35.ui.markup import EMPTY_HTML, concat

__all__ = ["generation_settings", "not_found_dialog", "picture_dialog", "with_request_id"]

_CLOSE_BUTTON: Final = Markup(
    '<button type="button" class="icon" data-action="close" aria-label="Close">✕</button>'
)
_COPY_BUTTON: Final = Markup(
    '<button type="button" data-action="copy"><span aria-live="polite">Copy settings</span>'
    "</button>"
)

_DEMO_LABEL: Final = "demo painter, not Stable Diffusion"


def picture_dialog(
    entry: Entry,
    adjacent_ids: tuple[str | None, str | None],
    today: dt.date,
    message: Markup = EMPTY_HTML,
) -> Markup:
    """Return a dialog with an image, its metadata and its actions.

    Args:
        entry: the image.
        adjacent_ids: of the next newer and the next older image.
        today: for the name of the day.
        message: about what was just done.
    """
    metadata = entry.metadata
    return Markup(
        '<dialog class="viewer" open aria-label="{alt}" data-id="{id}" data-infotext="{infotext}" '
        '{trashed}><div class="stage">{image}{newer}{older}</div><div class="details">'
        '<div class="top"><p class="date">{date}</p>{star}{close}</div>'
        '<div class="notice">{message}</div>'
        "{prompt}{set_line}{demo}{actions}{tags}<dl>{facts}</dl></div></dialog>"
    ).format(
        id=entry.id,
        alt=alt_text(entry),
        infotext=write_infotext(metadata, entry.width, entry.height),
        trashed=Markup("data-trashed") if entry.is_trashed else "",
        image=_image_html(entry),
        message=message,
        newer=_arrow_button("newer", adjacent_ids[0], "‹", "Previous image"),
        older=_arrow_button("older", adjacent_ids[1], "›", "Next image"),
        date=_creation_time(entry, today),
        star=_star_button(is_starred=metadata.is_starred),
        close=_CLOSE_BUTTON,
        prompt=_prompt_html(entry),
        set_line=set_line(entry),
        demo=Markup('<p class="badge">{}</p>').format(_DEMO_LABEL) if metadata.is_demo else "",
        actions=_trash_buttons() if entry.is_trashed else _action_buttons(entry),
        tags=_tag_form(metadata.tags),
        facts=_detail_rows(_details(entry)),
    )


def not_found_dialog(id_: str) -> Markup:
    """Return a dialog for an image that the visitor doesn't have."""
    return Markup(
        '<dialog class="viewer" open aria-label="Image not found" data-id="{}"><div class="stage">'
        '<div class="empty-state"><i></i><h2>Image not found</h2>'
        "<p>It may have been deleted or belong to another user.</p></div></div>"
        '<div class="details"><div class="top"><p class="date"></p>{}</div></div></dialog>'
    ).format(id_, _CLOSE_BUTTON)


def with_request_id(viewer_html: Markup, request_id: int) -> Markup:
    """Mark the viewer's content, which may be empty, with the request that it answers."""
    return Markup('<div data-request-id="{}">{}</div>').format(request_id, viewer_html)


def _image_html(entry: Entry) -> Markup:
    if entry.is_missing:
        return Markup(
            '<div class="empty-state"><i></i><h2>File missing</h2><p>It was moved or deleted '
            "outside the app; its settings are still here. <code>{}</code></p></div>"
        ).format(entry.path)
    return Markup(
        '<img class="full-size" src="studio/picture/{}?v={}" width="{}" height="{}" alt="{}">'
    ).format(entry.id, entry.size_bytes, entry.width, entry.height, alt_text(entry))


def _arrow_button(direction: str, id_: str | None, symbol: str, label: str) -> Markup:
    # Hidden rather than left out, so that the buttons keep their places in the DOM (see `_grid`).
    return Markup(
        '<button type="button" class="arrow {}" data-action="open" data-id="{}" aria-label="{}" {}>'
        "{}</button>"
    ).format(direction, id_ or "", label, Markup("hidden") if id_ is None else "", symbol)


def _creation_time(entry: Entry, today: dt.date) -> str:
    local_time = entry.made_at.astimezone()
    return f"{day_name(local_time.date(), today)}, {local_time:%H:%M}"


def _star_button(*, is_starred: bool) -> Markup:
    return Markup(
        '<button type="button" class="icon star" data-action="star" aria-pressed="{}" '
        'aria-label="Star" title="Star (S)"><span aria-hidden="true">{}</span></button>'
    ).format("true" if is_starred else "false", "★" if is_starred else "☆")


def _prompt_html(entry: Entry) -> Markup:
    metadata = entry.metadata
    html = Markup('<p class="prompt">{}</p>').format(metadata.prompt or alt_text(entry))
    if metadata.negative_prompt:
        html += Markup('<p class="negative"><b>Without</b> {}</p>').format(metadata.negative_prompt)
    return html


def _action_buttons(entry: Entry) -> Markup:
    return Markup(
        '<div class="actions"><div role="group" aria-label="Use again">'
        '<button type="button" class="main" data-action="import" data-group="all">'
        "Reuse settings</button>"
        '<button type="button" data-action="import" data-group="prompt">Prompt only</button>'
        '<button type="button" data-action="import" data-group="seed" {no_seed}>Seed only</button>'
        '</div><div role="group" aria-label="Vary">'
        '<button type="button" data-action="retry" data-variation="same">New variation</button>'
        '<button type="button" data-action="retry" data-variation="adjacent" '
        'title="With the seeds next to this one" {no_seed}>'
        '4 more</button></div><div role="group" aria-label="This image">'
        '<a href="studio/picture/{id}?download" download {no_file}>Download</a>{copy}'
        '<button type="button" data-action="compare-with">Compare with…</button>{style}'
        '<button type="button" data-action="trash" title="Delete" {no_file}>Delete</button>'
        '<button type="button" data-action="remove" {has_file}>Remove from library</button>'
        "</div></div>"
    ).format(
        id=entry.id,
        copy=_COPY_BUTTON,
        style=_style_button(entry),
        no_seed=Markup("disabled") if entry.metadata.seed is None else "",
        no_file=Markup("hidden") if entry.is_missing else "",
        has_file="" if entry.is_missing else Markup("hidden"),
    )


def _style_button(entry: Entry) -> Markup:
    # Visitors have no styles of their own.
    if owner_from_path(entry.path) != LOCAL_OWNER_KEY or not entry.metadata.prompt:
        return EMPTY_HTML
    return Markup('<button type="button" data-save-style="{}">Save as style…</button>').format(
        entry.id
    )


def _trash_buttons() -> Markup:
    return Markup(
        '<p class="hint">This image is in the trash.</p><div class="actions"><div role="group">'
        '<button type="button" class="main" data-action="restore">Restore</button>{}</div></div>'
    ).format(_COPY_BUTTON)


def _tag_form(tags: tuple[str, ...]) -> Markup:
    return Markup(
        '<form class="tags"><label>Tags <input name="tags" maxlength="2000" autocomplete="off" '
        'value="{}" placeholder="sea, dusk"></label></form>'
    ).format(", ".join(tags))


def _detail_rows(details: Iterator[tuple[str, str]]) -> Markup:
    return concat(
        Markup("<div><dt>{}</dt><dd>{}</dd></div>").format(name, value)
        for name, value in details
        if value
    )


def _details(entry: Entry) -> Iterator[tuple[str, str]]:
    metadata = entry.metadata
    is_own = metadata.tool == THIS_TOOL
    sources = [pair for pair in metadata.extra if is_own and pair[0] in ORIGIN_NAMES]
    yield from sources  # the prompts, of which they are, stand above
    yield from generation_settings(entry)[2:]
    seconds = metadata.took_seconds
    yield "Time", "" if seconds is None else format_elapsed(seconds)
    yield "Tool", "" if metadata.tool == THIS_TOOL else metadata.tool
    versions = (f"{name} {version}" for name, version in metadata.versions.items())
    yield "Made with", ", ".join(versions)
    yield from (pair for pair in metadata.extra if pair not in sources)
    yield "File", entry.path
    yield "Format", f"{entry.format}, {format_bytes(entry.size_bytes)}"


def generation_settings(entry: Entry) -> list[tuple[str, str]]:
    """Return an image's settings; names and order are the same for each image."""
    metadata = entry.metadata
    guidance_scale = metadata.guidance_scale
    return [
        ("Prompt", metadata.prompt),
        ("Negative prompt", metadata.negative_prompt),
        ("Seed", _text(metadata.seed)),
        ("Size", f"{entry.width} × {entry.height}"),
        ("Steps", _text(metadata.num_inference_steps)),
        ("Guidance scale", "" if guidance_scale is None else f"{guidance_scale:g}"),
        ("Model", _DEMO_LABEL if metadata.is_demo else metadata.model),
        ("Space", metadata.space),
    ]


def _text(number: int | None) -> str:
    return "" if number is None else str(number)
