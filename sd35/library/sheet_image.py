"""A sheet as one image with labels, a PNG."""

import io
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from sd35.core.errors import SD35Error
from sd35.core.text import one_line
from sd35.library.sheet import Sheet, SheetCell
from sd35.library.thumbnails import render_upright

__all__ = ["render_sheet"]

MAX_CELL_SIDE: Final = 512
MIN_CELL_SIDE: Final = 64
MAX_CELL_PIXELS: Final = 24_000_000  # of all cells; Pillow needs 3 bytes for each
MAX_SIDE: Final = 8000

MARGIN: Final = 24
GAP: Final = 8
ROW_LABEL_WIDTH: Final = 9  # in letters' heights
MAX_LABEL_CHARACTERS: Final = 300
MIN_WIDTH: Final = 480

MIN_TEXT_SIZE: Final = 14  # in pixels; of larger cells, a part of their height
MAX_TEXT_SIZE: Final = 24
LINE_HEIGHT: Final = 1.35

BACKGROUND: Final = "#ffffff"
EMPTY: Final = "#eeeef0"
INK: Final = "#1c1c21"
FAINT_INK: Final = "#5f5f6b"

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Of the system; Pillow's own font, which is always there, has only the letters of ASCII.
_FONT_FILES: Final = (
    *("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf"),
    *("arial.ttf", "Arial.ttf", "Arial Unicode.ttf"),
    *("NotoSansCJK-Regular.ttc", "wqy-microhei.ttc", "msyh.ttc", "Hiragino Sans GB.ttc"),
)
_NO_CHARACTER: Final = "\uffff"


def render_sheet(sheet: Sheet) -> bytes:
    """Return a PNG of the sheet, at most `MAX_SIDE` pixels wide; images are made smaller to fit.

    An image whose file can't be read is an empty cell.
    """
    canvas = _Canvas(sheet)
    canvas.draw()
    buffer = io.BytesIO()
    canvas.image.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


@dataclass(frozen=True, slots=True)
class _Text:
    """Lines of a text that fit into a width."""

    lines: tuple[str, ...]
    font: _Font
    size: int

    @property
    def height(self) -> int:
        """In pixels."""
        return round(len(self.lines) * self.size * LINE_HEIGHT)


@lru_cache(maxsize=64)
def _load_font(file: str, size: int) -> _Font | None:
    try:
        return ImageFont.truetype(file, size)
    except OSError:
        return None


def _has_glyphs(font: _Font, text: str) -> bool:
    """Return whether a font has all characters of a text: others look like this one."""
    missing = font.getmask(_NO_CHARACTER)
    pixels = bytes(missing)
    for char in set(text):
        mask = font.getmask(char)
        if mask.size == missing.size and bytes(mask) == pixels:
            return False
    return True


def _choose_font(text: str, size: int) -> tuple[str, _Font]:
    """Return a text with a font that has its characters, or else what ASCII has of it."""
    for file in _FONT_FILES:
        font = _load_font(file, size)
        if font is not None and _has_glyphs(font, text):
            return text, font
    plain = unicodedata.normalize("NFKD", text.replace("×", "x"))
    ascii_text = "".join(char for char in plain if not unicodedata.combining(char))
    return ascii_text.encode("ascii", "replace").decode("ascii"), ImageFont.load_default(size)


def _wrap(text: str, size: int, width: float, max_lines: int) -> _Text:
    """Return a text in lines of this width, the last one with dots if the text is longer."""
    text, font = _choose_font(one_line(text)[:MAX_LABEL_CHARACTERS], size)
    lines: list[str] = []
    line = ""
    for word in text.split():
        longer_line = f"{line} {word}".strip()
        if not line or font.getlength(longer_line) <= width:
            line = longer_line
        else:
            lines.append(line)
            line = word
        if len(lines) > max_lines:
            break
    lines = [_cut(line, font, width) for line in [*lines, line] if line]
    if len(lines) > max_lines:
        lines = [*lines[: max_lines - 1], _cut(f"{lines[max_lines - 1]}...", font, width)]
    return _Text(tuple(lines), font, size)


def _cut(line: str, font: _Font, width: float) -> str:
    """Return a line that fits into a width, if need be without its end."""
    if font.getlength(line) <= width:
        return line
    # By halves: Pillow's own font takes a millisecond for each measurement.
    fitting_count = bisect_right(
        range(len(line)), width, key=lambda length: font.getlength(f"{line[:length]}...")
    )
    return f"{line[: max(0, fitting_count - 1)]}..."


class _Canvas:
    """The image of a sheet, and where its parts are."""

    def __init__(self, sheet: Sheet) -> None:
        self._sheet = sheet
        self._column_count = max((len(row) for row in sheet.rows), default=1)
        self._cell_width, self._cell_height = self._cell_size()
        self._text_size = min(
            MAX_TEXT_SIZE, max(MIN_TEXT_SIZE, max(self._cell_width, self._cell_height) // 20)
        )
        self._label_width = ROW_LABEL_WIDTH * self._text_size if sheet.row_labels else 0
        width = self._label_width + self._column_count * (self._cell_width + GAP) - GAP
        self._width = max(width, MIN_WIDTH)
        self._title = _wrap(sheet.title, round(self._text_size * 1.5), self._width, 2)
        # The prompt is long, and mostly the title.
        facts = ", ".join(
            f"{name} {value}" for name, value in sheet.facts if "rompt" not in name and value
        )
        self._facts = self._label(facts, self._width, 2)
        self._columns = [
            self._label(f"{sheet.axis_names[0]} {label}", self._cell_width, 3)
            for label in sheet.columns
        ]
        # In a table, the columns and rows have the labels.
        self._captions = [
            [
                self._label("" if sheet.columns else cell.caption, self._cell_width, 2)
                for cell in row
            ]
            for row in sheet.rows
        ]
        self._caption_heights = [
            max((caption.height for caption in captions), default=0) for captions in self._captions
        ]
        size = (self._width + 2 * MARGIN, self._height())
        self.image = Image.new("RGB", size, BACKGROUND)
        self._draw = ImageDraw.Draw(self.image)

    def _label(self, text: str, width: float, max_lines: int) -> _Text:
        return _wrap(text, self._text_size, width, max_lines)

    def _cell_size(self) -> tuple[int, int]:
        ratio = self._sheet.aspect_ratio
        cell_count = self._column_count * max(1, len(self._sheet.rows))
        height = min((MAX_CELL_PIXELS / cell_count / ratio) ** 0.5, MAX_CELL_SIDE / max(1, ratio))
        labels_width = ROW_LABEL_WIDTH * MAX_TEXT_SIZE
        space = MAX_SIDE - 2 * MARGIN - labels_width - self._column_count * GAP
        height = min(height, space / self._column_count / ratio)
        row_space = (MAX_SIDE - 300) / max(1, len(self._sheet.rows)) - 4 * MIN_TEXT_SIZE
        height = min(height, max(row_space, MIN_CELL_SIDE / 2))
        return max(MIN_CELL_SIDE, round(height * ratio)), max(MIN_CELL_SIDE // 2, round(height))

    def _header_height(self) -> int:
        heights = [text.height for text in (self._title, self._facts) if text.lines]
        header = sum(heights) + (GAP * 2 if heights else 0)
        columns = max((text.height for text in self._columns), default=0)
        return MARGIN + header + (columns + GAP if columns else 0)

    def _height(self) -> int:
        rows = sum(self._cell_height + height + 2 * GAP for height in self._caption_heights)
        return self._header_height() + rows + MARGIN

    def draw(self) -> None:
        """Draw all parts."""
        top = self._write(self._title, MARGIN, MARGIN, INK)
        self._write(self._facts, MARGIN, top, FAINT_INK)
        top = self._header_height()
        for index, text in enumerate(self._columns):
            self._write(text, self._column_x(index), top - GAP - text.height, INK)
        for index, row in enumerate(self._sheet.rows):
            if self._sheet.row_labels:
                label = f"{self._sheet.axis_names[1]} {self._sheet.row_labels[index]}"
                self._write(self._label(label, self._label_width - GAP, 8), MARGIN, top, INK)
            self._draw_row(row, self._captions[index], top)
            top += self._cell_height + self._caption_heights[index] + 2 * GAP

    def _column_x(self, column: int) -> int:
        return MARGIN + self._label_width + column * (self._cell_width + GAP)

    def _draw_row(self, row: Sequence[SheetCell], captions: Sequence[_Text], top: int) -> None:
        for column, (cell, caption) in enumerate(zip(row, captions, strict=True)):
            self._draw_cell(cell, self._column_x(column), top)
            self._write(caption, self._column_x(column), top + self._cell_height + GAP // 2, INK)

    def _draw_cell(self, cell: SheetCell, x: int, y: int) -> None:
        width = self._cell_width
        height = self._cell_height
        if cell.picture is not None:
            with suppress(SD35Error, OSError):
                image = render_upright(cell.picture.read(), (width, height))
                corner = (x + (width - image.width) // 2, y + (height - image.height) // 2)
                self.image.paste(image, corner)
                return
        self._draw.rectangle((x, y, x + width - 1, y + height - 1), fill=EMPTY)
        note = self._label(cell.note or "File missing", width - 2 * GAP, 2)
        self._write(note, x + GAP, y + GAP, FAINT_INK)

    def _write(self, text: _Text, x: int, y: int, color: str) -> int:
        """Write a text, and return where it ends."""
        for index, line in enumerate(text.lines):
            line_y = y + index * text.size * LINE_HEIGHT
            self._draw.text((x, line_y), line, fill=color, font=text.font)
        return y + text.height
