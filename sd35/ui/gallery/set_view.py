"""The library's view of one set: a grid with its labels, or the images with what differs. Pure."""

from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from markupsafe import Markup

from sd35.core.text import pluralize
from sd35.jobs.sheets import LibrarySheet
from sd35.library.repository import Entry
from sd35.library.sheet import Sheet, SheetCell
from sd35.ui.gallery.events import FIRST_PAGE
from sd35.ui.gallery.view import grid, grid_item
from sd35.ui.markup import EMPTY_HTML, concat

__all__ = ["set_line", "set_page"]

_MAX_CAPTION_CHARACTERS: Final = 200

_DOWNLOADS: Final = (
    ("html", "HTML", "One web page with the images, labels and settings"),
    ("zip", "ZIP", "The image files, and a web page with labels and settings"),
    ("png", "PNG", "One image with all images and labels"),
)


def set_page(loaded: LibrarySheet, problems: Sequence[str], message: Markup) -> Markup:
    """Return the grid component's content for a set, below a message."""
    sheet = loaded.sheet
    facts = concat(
        Markup("<div><dt>{}</dt><dd>{}</dd></div>").format(name, value)
        for name, value in sheet.facts
        if value != sheet.title
    )
    body = Markup('<section class="set-sheet"{}><h2>{}</h2><dl>{}</dl>{}</section>').format(
        Markup(" data-pending") if any(cell.is_pending for cell in sheet.cells) else "",
        sheet.title or "Images",
        facts,
        _table(loaded) if sheet.columns else _list(loaded),
    )
    return grid(
        "shown",
        FIRST_PAGE,
        summary=_summary(loaded),
        problems=problems,
        message=message,
        body=body,
    )


def set_line(entry: Entry) -> Markup:
    """Return a line that says which image of which set this is; empty for a single image."""
    metadata = entry.metadata
    if not metadata.set_id or not metadata.set_size:
        return EMPTY_HTML
    number = min((metadata.set_index or 0) + 1, metadata.set_size)
    labels = ", ".join(f"{name} {value}" for name, value in metadata.axes)
    return Markup(
        '<p class="set-line"><span>{:,} of {:,} in a set{}</span>'
        '<button type="button" data-action="show-set" data-set="{}">Show the set</button></p>'
    ).format(number, metadata.set_size, f": {_cut(labels)}" if labels else "", metadata.set_id)


def _summary(loaded: LibrarySheet) -> Markup:
    cells = list(loaded.sheet.cells)
    count = len(loaded.entries)
    text = pluralize(count, "image")
    if len(cells) > count:
        text = f"{count:,} of {pluralize(len(cells), 'image')}"
    links = concat(
        Markup('<a href="studio/sheet/{}.{}" download title="{}">{}</a>').format(
            quote(loaded.set_id, safe=""), suffix, hint, label
        )
        for suffix, label, hint in _DOWNLOADS
    )
    # Without an image, there is nothing to download.
    downloads = Markup('<span class="downloads">Download {}</span>').format(links)
    return Markup(
        "<span><b>{}</b> in a set</span>{}"
        '<button type="button" data-action="clear-search" class="plain">All images</button>'
    ).format(text, downloads if count else "")


def _table(loaded: LibrarySheet) -> Markup:
    sheet = loaded.sheet
    column_name, row_name = sheet.axis_names
    header = Markup('<th scope="{}"><small>{}</small>{}</th>')
    columns = concat(header.format("col", column_name, label) for label in sheet.columns)
    rows = concat(
        Markup("<tr>{}{}</tr>").format(
            header.format("row", row_name, label),
            concat(Markup("<td>{}</td>").format(_cell(cell, loaded)) for cell in row),
        )
        for label, row in zip(sheet.row_labels, sheet.rows, strict=True)
    )
    # With the keyboard, only what has the focus can be scrolled.
    return Markup(
        '<div class="set-scroller" tabindex="0" role="region" aria-label="Grid">'
        "<table {}><thead><tr><td></td>{}</tr></thead><tbody>{}</tbody></table></div>"
    ).format(_table_style(sheet), columns, rows)


def _table_style(sheet: Sheet) -> Markup:
    return Markup('style="--columns: {}; --ratio: {:.4g}"').format(
        len(sheet.columns), sheet.aspect_ratio
    )


def _list(loaded: LibrarySheet) -> Markup:
    items = concat(
        Markup("<li>{}<p>{}</p></li>").format(_cell(cell, loaded), _cut(cell.caption))
        for cell in loaded.sheet.cells
    )
    style = _table_style(loaded.sheet)
    return Markup('<ul class="set-list" {}>{}</ul>').format(style, items)


def _cell(cell: SheetCell, loaded: LibrarySheet) -> Markup:
    if cell.picture is not None:
        return grid_item(loaded.entries[cell.picture.metadata.id], "div")
    detail = Markup("<span>{}</span>").format(cell.detail) if cell.detail else ""
    retry = Markup(
        '<button type="button" data-action="retry" aria-label="Retry: {}">Retry</button>'
    ).format(_cut(cell.caption))
    return Markup('<div class="set-gap" data-id="{}"><b>{}</b>{}{}</div>').format(
        cell.job_id, cell.note, detail, retry if cell.job_id else ""
    )


def _cut(text: str) -> str:
    if len(text) <= _MAX_CAPTION_CHARACTERS:
        return text
    return f"{text[: _MAX_CAPTION_CHARACTERS - 1]}…"
