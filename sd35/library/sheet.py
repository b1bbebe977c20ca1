"""Sheets: the images of a set with their labels, as a table if the set is a grid.

A sheet is data only. `sheet_html` and `sheet_image` write it to files, and the page shows it.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sd35.core.origin import MAX_SET_SIZE
from sd35.core.text import one_line
from sd35.metadata.model import GenerationMetadata

__all__ = ["MAX_SHEET_CELLS", "Sheet", "SheetCell", "SheetMember", "SheetPicture", "build_sheet"]

MAX_SHEET_CELLS: Final = MAX_SET_SIZE
MAX_COLUMNS: Final = 8  # of a sheet without labels

MISSING_NOTE: Final = "No image"


@dataclass(frozen=True, slots=True)
class SheetPicture:
    """An image of a sheet; `read` returns the bytes of its file, or raises an error.

    Attributes:
        name: name of the file in an export.
        width: in pixels, of the file; as is `height`.
    """

    name: str
    metadata: GenerationMetadata
    width: int
    height: int
    read: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class SheetCell:
    """One cell: an image, or a note why there is none.

    Attributes:
        caption: what makes the cell different from the others.
        note: such as `Failed`; empty if there is an image.
        detail: a sentence about the note.
        job_id: the job that failed, which can be retried.
        is_pending: whether the image is still to come.
    """

    caption: str = ""
    picture: SheetPicture | None = None
    note: str = ""
    detail: str = ""
    job_id: str = ""
    is_pending: bool = False


@dataclass(frozen=True, slots=True)
class SheetMember:
    """A member of a set: its cell, its number from 0, and names and values of its axes."""

    cell: SheetCell
    index: int
    axes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Sheet:
    """The cells of a set, row by row.

    Attributes:
        facts: names and values of the settings that all images have.
        axis_names: of the columns and of the rows; empty if the cells only have captions.
        columns: labels of the columns, if the set is a grid of two axes; so are `row_labels`.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    rows: tuple[tuple[SheetCell, ...], ...]
    axis_names: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    row_labels: tuple[str, ...] = ()

    @property
    def cells(self) -> Iterator[SheetCell]:
        """All cells."""
        return (cell for row in self.rows for cell in row)

    @property
    def aspect_ratio(self) -> float:
        """Width divided by height of a cell in which each image has room; within 1:4 and 4:1."""
        pictures = list(self.pictures)
        width = max((picture.width for picture in pictures), default=1)
        height = max((picture.height for picture in pictures), default=1)
        return min(4.0, max(0.25, width / max(1, height)))

    @property
    def pictures(self) -> Iterator[SheetPicture]:
        """All images."""
        return (cell.picture for cell in self.cells if cell.picture is not None)


def build_sheet(members: Iterable[SheetMember], size: int) -> Sheet:
    """Return the sheet of a set of this size; members that are missing are empty cells.

    Of two members with the same number, the one with an image counts, or else the first one.
    """
    # The metadata of an imported image may claim any number and any axes.
    unique: dict[int, SheetMember] = {}
    for member in members:
        rival = unique.get(member.index)
        is_better = rival is None or (
            rival.cell.picture is None and member.cell.picture is not None
        )
        if is_better and 0 <= member.index < MAX_SHEET_CELLS:
            unique[member.index] = member
    ordered = [unique[index] for index in sorted(unique)]
    pictures = [member.cell.picture for member in ordered if member.cell.picture is not None]
    settings = [dict(_settings(picture)) for picture in pictures]
    facts = tuple(_common_pairs(settings))
    sheet = _build_grid(ordered) or _build_list(ordered, size, settings, facts)
    return replace(sheet, title=_title(settings, facts), facts=facts)


def _settings(picture: SheetPicture) -> Iterator[tuple[str, str]]:
    metadata = picture.metadata
    yield "Prompt", metadata.prompt
    yield "Negative prompt", metadata.negative_prompt
    yield "Seed", "" if metadata.seed is None else str(metadata.seed)
    yield "Size", f"{picture.width} × {picture.height}"
    steps = metadata.num_inference_steps
    yield "Steps", "" if steps is None else str(steps)
    scale = metadata.guidance_scale
    yield "Guidance scale", "" if scale is None else f"{scale:g}"
    yield "Model", "demo painter, not Stable Diffusion" if metadata.is_demo else metadata.model
    yield "Space", metadata.space
    yield from metadata.extra


def _common_pairs(settings: Sequence[dict[str, str]]) -> Iterator[tuple[str, str]]:
    first, *others = settings or [{}]
    for name, value in first.items():
        if value and all(other.get(name) == value for other in others):
            yield name, value


def _title(settings: Sequence[dict[str, str]], facts: Sequence[tuple[str, str]]) -> str:
    common = dict(facts)
    names = ("Base prompt", "Prompt", "Template")
    title = next((common[name] for name in names if name in common), "")
    first = settings[0] if settings else {}
    # Without the words of a style, which the other images don't have.
    return title or first.get("Base prompt", first.get("Prompt", ""))


def _build_grid(members: Sequence[SheetMember]) -> Sheet | None:
    """Return the table of a grid of two axes; `None` if the members aren't such a grid."""
    names = {tuple(name for name, _ in member.axes) for member in members}
    if len(names) != 1 or len(next(iter(names))) != 2:
        return None
    columns = dict.fromkeys(member.axes[0][1] for member in members)
    row_labels = dict.fromkeys(member.axes[1][1] for member in members)
    if len(columns) * len(row_labels) > MAX_SHEET_CELLS:
        return None
    cells = {(member.axes[0][1], member.axes[1][1]): member.cell for member in members}
    axis_names = next(iter(names))
    rows = tuple(
        tuple(
            replace(
                cells.get((column, row), SheetCell(note=MISSING_NOTE)),
                caption=f"{axis_names[0]} {one_line(column)}, {axis_names[1]} {one_line(row)}",
            )
            for column in columns
        )
        for row in row_labels
    )
    return Sheet("", (), rows, axis_names, tuple(columns), tuple(row_labels))


def _build_list(
    members: Sequence[SheetMember],
    size: int,
    settings: Sequence[dict[str, str]],
    facts: Sequence[tuple[str, str]],
) -> Sheet:
    """Return cells in order, each with a caption of what makes it different."""
    common_names = {name for name, _ in facts}
    differences = iter(
        [
            {name: value for name, value in setting.items() if name not in common_names}
            for setting in settings
        ]
    )
    cells: dict[int, SheetCell] = {}
    for member in members:
        difference = next(differences) if member.cell.picture is not None else {}
        caption = ", ".join(f"{value}" for _, value in member.axes) or _caption(difference)
        cells[member.index] = replace(member.cell, caption=one_line(caption))
    count = min(max([size, *(index + 1 for index in cells)]), MAX_SHEET_CELLS)
    all_cells = [cells.get(index, SheetCell(note=MISSING_NOTE)) for index in range(count)]
    per_row = min(MAX_COLUMNS, max(1, math.ceil(math.sqrt(count))))
    names = {tuple(name for name, _ in member.axes) for member in members}
    axis_names = next(iter(names)) if len(names) == 1 else ()
    rows = tuple(tuple(all_cells[i : i + per_row]) for i in range(0, count, per_row))
    return Sheet("", (), rows, axis_names)


def _caption(difference: dict[str, str]) -> str:
    """Return a caption of the settings that differ: the prompt last, as it is long."""
    others = [f"{name} {value}" for name, value in difference.items() if value and name != "Prompt"]
    return " · ".join(filter(None, (", ".join(others), difference.get("Prompt"))))
