"""The stage as JSON for assets/stage.js: the contact sheet of a set, or one image.

The page draws it: the HTML of all cells would be sent with each preview.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import quote

import orjson

from sd35.core.request import GenerationRequest
from sd35.core.text import with_time_left
from sd35.jobs.job import Job, JobState
from sd35.jobs.record import JobStatus
from sd35.jobs.status_text import status_line
from sd35.library.repository import Entry
from sd35.metadata.model import GenerationMetadata
from sd35.ui.create.job_panel import Fraction, progress_fraction

__all__ = ["ENDED_TEXTS", "Cell", "Stage", "different_words", "stage_json"]

MAX_LABEL_CHARACTERS: Final = 80

_WORD: Final = re.compile(r"\S+")

ENDED_TEXTS: Final = {
    JobStatus.FAILED: "Failed",
    JobStatus.CANCELLED: "Stopped",
    JobStatus.INTERRUPTED: "Interrupted",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """Place of an image on the stage: its job, its file in the library, or both.

    Attributes:
        index: place in the set, from 0.
        is_deleted: whether the image was deleted.
    """

    index: int
    job: Job | None = None
    entry: Entry | None = None
    is_deleted: bool = False

    @property
    def id(self) -> str:
        """The id of the job and the image; empty if there is none any more."""
        if self.job is not None:
            return self.job.id
        return "" if self.entry is None else self.entry.id

    @property
    def state(self) -> JobState | None:
        """The state of the job."""
        return None if self.job is None else self.job.state.value

    @property
    def source(self) -> GenerationRequest | GenerationMetadata | None:
        """What was requested, as far as it is known."""
        if self.job is not None:
            return self.job.state.value.request
        return None if self.entry is None else self.entry.metadata

    @property
    def prompt(self) -> str:
        """The prompt of the image."""
        return "" if self.source is None else self.source.prompt

    @property
    def seed(self) -> int | None:
        """The seed of the image, if it is known."""
        state = self.state
        if state is not None and state.result is not None:
            return state.result.seed
        return None if self.source is None else self.source.seed

    @property
    def axes(self) -> tuple[tuple[str, str], ...]:
        """Name and value of the column and the row of a grid."""
        if self.job is not None:
            return self.job.origin.axes
        return () if self.entry is None else self.entry.metadata.axes

    @property
    def has_image(self) -> bool:
        """Return whether the image is finished, and still there."""
        state = self.state
        is_completed = state is not None and state.result is not None
        return not self.is_deleted and (is_completed or self.entry is not None)


@dataclass(frozen=True, slots=True)
class Stage:
    """Content of the stage.

    Attributes:
        cells: the images of the set, in order, or the one image.
        focused_id: the job in focus.
        mode: `image`, in which Gradio's image component shows the focused job; `sheet`; or
            `welcome` without any image.
        shows_set: whether all cells are shown, or the focused one alone.
        is_behind: whether other jobs are running meanwhile.
        remaining: return how many seconds a job takes until its image is there, if that is known.
    """

    cells: Sequence[Cell] = ()
    focused_id: str = ""
    mode: Literal["image", "sheet", "welcome"] = "welcome"
    shows_set: bool = True
    is_behind: bool = False
    remaining: Callable[[Job], float | None] = lambda _: None


def stage_json(stage: Stage, previews: dict[str, str]) -> str:
    """Return the stage as JSON, with new previews as data URLs by the ids of their jobs."""
    labels = _labels(stage.cells)
    cells = [
        _cell_data(cell, label, stage) for cell, label in zip(stage.cells, labels, strict=True)
    ]
    content = {
        "mode": stage.mode,
        "focus": stage.focused_id,
        "isBehind": stage.is_behind,
        "showsSet": stage.shows_set,
        "columns": _column_count(stage.cells),
        "cells": cells,
        "previews": previews,
    }
    return orjson.dumps(content).decode()


def _cell_data(cell: Cell, label: str, stage: Stage) -> dict[str, Any]:
    state = cell.state
    kind, text = _status(cell)
    if kind == "pending" and cell.job is not None:
        text = with_time_left(text, stage.remaining(cell.job))
    fraction = Fraction(None) if state is None else progress_fraction(state)
    source = cell.source
    return {
        "id": cell.id,
        "state": kind,
        "text": text,
        "label": label,
        "fraction": fraction.value,
        "isEstimate": fraction.is_estimate,
        "width": (source.width if source else None) or 1024,
        "height": (source.height if source else None) or 1024,
        **(_urls(cell) if cell.has_image else {}),
    }


def _status(cell: Cell) -> tuple[str, str]:
    """Return the kind of the cell's state for the style sheet, and its text."""
    state = cell.state
    if not cell.id or cell.is_deleted:
        return "gone", "Deleted" if cell.is_deleted else "Not made"
    if state is None or state.status is JobStatus.COMPLETED:
        return "done", ""
    if state.status in ENDED_TEXTS:
        return "failed", ENDED_TEXTS[state.status]
    is_pending = state.status is JobStatus.PENDING
    return "pending" if is_pending else "running", status_line(state)


def _urls(cell: Cell) -> dict[str, str]:
    if cell.entry is not None:
        suffix = f"{cell.entry.id}?v={cell.entry.size_bytes}"
        return {"thumbnail": f"studio/thumbnail/{suffix}", "image": f"studio/picture/{suffix}"}
    state = cell.state
    assert state is not None
    assert state.result is not None
    return {"image": f"gradio_api/file={quote(state.result.url_path)}"}


def _column_count(cells: Sequence[Cell]) -> int:
    """Return the number of columns of a grid; 0 for other sets."""
    columns = {cell.axes[0][1] for cell in cells if cell.axes}
    rows = {cell.axes[1][1] for cell in cells if len(cell.axes) > 1}
    return len(columns) if rows else 0


def _labels(cells: Sequence[Cell]) -> list[str]:
    """Return what distinguishes each image of a set from the others."""
    if len(cells) < 2:
        return ["" for _ in cells]
    common_words = _common_words(cell.prompt for cell in cells)
    return [_label(cell, common_words)[:MAX_LABEL_CHARACTERS] for cell in cells]


def _label(cell: Cell, common_words: Counter[str]) -> str:
    if cell.axes:
        return " · ".join(value for _, value in cell.axes)
    pieces = _mark_words(cell.prompt, common_words)
    difference = " ".join(text.strip() for text, is_different in pieces if is_different)
    if difference:
        return difference.strip(" ,.;:")
    return "" if cell.seed is None else f"Seed {cell.seed}"


def different_words(prompt: str, cells: Sequence[Cell]) -> list[tuple[str, bool]]:
    """Return the pieces of a prompt, and whether each differs within the set."""
    return _mark_words(prompt, _common_words(cell.prompt for cell in cells))


def _common_words(prompts: Iterable[str]) -> Counter[str]:
    counters = [Counter(_WORD.findall(prompt)) for prompt in set(prompts) - {""}]
    if not counters:
        return Counter()
    common = counters[0]
    for counter in counters[1:]:
        common &= counter
    return common


def _mark_words(prompt: str, common_words: Counter[str]) -> list[tuple[str, bool]]:
    """Return runs of words that are common, or aren't, with the blanks after them."""
    remaining = common_words.copy()
    pieces: list[tuple[str, bool]] = []
    for word in re.findall(r"\s*\S+\s*?", prompt):
        key = word.strip()
        is_different = remaining[key] <= 0
        remaining[key] -= 1
        if pieces and pieces[-1][1] is is_different:
            pieces[-1] = (pieces[-1][0] + word, is_different)
        else:
            pieces.append((word, is_different))
    return pieces
