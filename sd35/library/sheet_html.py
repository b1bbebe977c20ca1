"""A sheet as a web page with labels and settings: one file, or an archive with the image files.

The page has no scripts, and loads nothing from elsewhere.
"""

import base64
import io
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final
from urllib.parse import quote

from markupsafe import Markup
from zipstream import ZIP_STORED, ZipStream  # type: ignore[import-untyped]

from sd35.core.errors import PictureError, SD35Error
from sd35.core.picture import decoding_errors
from sd35.library.sheet import Sheet, SheetCell, SheetPicture
from sd35.library.thumbnails import render_upright

__all__ = ["PAGE_NAME", "render_page", "sheet_archive"]

PAGE_NAME: Final = "index.html"
PICTURES_FOLDER: Final = "images"

MAX_PICTURE_SIDE: Final = 768  # of an image within the page
MAX_PAGE_PIXELS: Final = 40_000_000  # of all images within the page: some 8 MB of WebP

_EMPTY: Final = Markup("")

_STYLE: Final = Markup("""
:root { color-scheme: light dark; --line: light-dark(#d9d9e0, #3a3a42);
  --faint: light-dark(#5f5f6b, #a3a3b0); --empty: light-dark(#f1f1f4, #26262c) }
body { margin: 24px; font: 15px/1.45 system-ui, sans-serif;
  background: light-dark(#fff, #18181b); color: light-dark(#1c1c21, #ececf1) }
h1 { margin: 0 0 8px; font-size: 22px; max-width: 80ch; overflow-wrap: anywhere }
dl { display: flex; flex-wrap: wrap; gap: 4px 20px; margin: 0 0 20px; max-width: 110ch }
dl div { display: flex; gap: 6px } dt { color: var(--faint) }
dd { margin: 0; overflow-wrap: anywhere }
table { border-collapse: separate; border-spacing: 8px; margin: -8px }
th { font-weight: 600; text-align: start; vertical-align: bottom; max-width: 340px;
  overflow-wrap: anywhere }
th small { display: block; font-weight: 400; color: var(--faint) }
tbody th { vertical-align: top; width: 130px; min-width: 90px }
td { vertical-align: top; padding: 0 }
ul { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 240px), 1fr));
  gap: 16px 12px; margin: 0; padding: 0; list-style: none }
figure { margin: 0 } figcaption { margin-top: 4px; overflow-wrap: anywhere }
img { display: block; max-width: 100%; height: auto; border-radius: 6px }
td > * { box-sizing: border-box }
table img, td > .none { width: clamp(140px, (100vw - 220px) / var(--columns) - 8px, 340px) }
.none { display: grid; place-content: center; aspect-ratio: var(--ratio); padding: 8px;
  border: 1px dashed var(--line); border-radius: 6px; background: var(--empty);
  color: var(--faint); text-align: center }
details { margin-top: 4px; color: var(--faint); max-width: 340px; overflow-wrap: anywhere }
footer { margin-top: 28px; color: var(--faint) }
h1, dd, th div, figcaption, details { max-height: 9lh; overflow-y: auto }
@media print { body { margin: 0 } tr, li { break-inside: avoid }
  h1, dd, th div, figcaption, details { max-height: none } }
""")


def render_page(sheet: Sheet) -> str:
    """Return a page with smaller copies of the images within it."""
    count = max(1, sum(1 for _ in sheet.pictures))
    side = min(MAX_PICTURE_SIDE, round((MAX_PAGE_PIXELS / count) ** 0.5))

    def image_html(picture: SheetPicture, label: str) -> Markup:
        image = render_upright(picture.read(), (side, side))
        buffer = io.BytesIO()
        with decoding_errors():
            image.save(buffer, "WEBP", quality=82, method=2)
        data = base64.b64encode(buffer.getvalue()).decode("ascii")
        return _image(f"data:image/webp;base64,{data}", image.width, image.height, label)

    return str(_page(sheet, image_html))


def sheet_archive(sheet: Sheet) -> Iterator[bytes]:
    """Yield the bytes of a ZIP archive with the page and the image files.

    An image whose file can't be read is left out, and the page says so.
    """
    archive = ZipStream(compress_type=ZIP_STORED)
    names: dict[int, str] = {}
    for number, picture in enumerate(sheet.pictures, 1):
        with suppress(SD35Error, OSError):
            data = picture.read()
            # With a number: two images of a set may have the same name.
            names[id(picture)] = f"{PICTURES_FOLDER}/{number:03}-{picture.name}"
            archive.add(data, names[id(picture)])
            yield from archive.all_files()

    def image_html(picture: SheetPicture, label: str) -> Markup:
        if id(picture) not in names:
            raise PictureError("The file is missing.")
        address = quote(names[id(picture)])  # a name may have a number sign
        image = _image(address, picture.width, picture.height, label)
        return Markup('<a href="{}">{}</a>').format(address, image)

    archive.add(str(_page(sheet, image_html)).encode(), PAGE_NAME)
    yield from archive.finalize()


def _image(address: str, width: int, height: int, label: str) -> Markup:
    return Markup('<img src="{}" width="{}" height="{}" alt="{}" loading="lazy">').format(
        address, width, height, label
    )


def _page(sheet: Sheet, image_html: Callable[[SheetPicture, str], Markup]) -> Markup:
    facts = _EMPTY.join(
        Markup("<div><dt>{}</dt><dd>{}</dd></div>").format(name, value)
        for name, value in sheet.facts
        if value != sheet.title
    )
    body = _table(sheet, image_html) if sheet.columns else _list(sheet, image_html)
    return Markup(
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "img-src data: 'self' file:; style-src 'unsafe-inline'\">"
        "<title>{title}</title><style>{style}</style></head><body><h1>{title}</h1>"
        '<dl>{facts}</dl><main style="--columns: {columns}; --ratio: {ratio:.4f}">{body}</main>'
        "<footer>Made with SD 3.5 Studio</footer></body></html>"
    ).format(
        title=sheet.title or "Images",
        style=_STYLE,
        facts=facts,
        columns=max(1, len(sheet.columns)),
        ratio=sheet.aspect_ratio,
        body=body,
    )


def _table(sheet: Sheet, image_html: Callable[[SheetPicture, str], Markup]) -> Markup:
    column_name, row_name = sheet.axis_names
    header = Markup('<th scope="{}"><small>{}</small><div>{}</div></th>')
    columns = _EMPTY.join(header.format("col", column_name, label) for label in sheet.columns)
    rows = _EMPTY.join(
        Markup("<tr>{}{}</tr>").format(
            header.format("row", row_name, label),
            _EMPTY.join(Markup("<td>{}</td>").format(_cell(cell, image_html)) for cell in row),
        )
        for label, row in zip(sheet.row_labels, sheet.rows, strict=True)
    )
    return Markup("<table><thead><tr><td></td>{}</tr></thead><tbody>{}</tbody></table>").format(
        columns, rows
    )


def _list(sheet: Sheet, image_html: Callable[[SheetPicture, str], Markup]) -> Markup:
    items = _EMPTY.join(
        Markup("<li><figure>{}<figcaption>{}</figcaption></figure></li>").format(
            _cell(cell, image_html), cell.caption
        )
        for cell in sheet.cells
    )
    return Markup("<ul>{}</ul>").format(items)


def _cell(cell: SheetCell, image_html: Callable[[SheetPicture, str], Markup]) -> Markup:
    if cell.picture is not None:
        with suppress(SD35Error, OSError):
            return image_html(cell.picture, cell.caption)
    note = cell.note or "File missing"
    return Markup('<div class="none" title="{}">{}</div>').format(cell.detail, note)
