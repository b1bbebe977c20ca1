"""The panel below the contact sheet: how far a set is, and what can be done with it."""

from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import quote

from markupsafe import Markup

from sd35.core.errors import SD35Error
from sd35.core.text import pluralize, with_time_left
from sd35.ui.create.job_panel import (
    HELD_MESSAGE,
    Fraction,
    marked_prompt,
    panel,
    progress_bar,
    progress_fraction,
)
from sd35.ui.create.stage_view import ENDED_TEXTS, Cell, different_words
from sd35.ui.markup import EMPTY_HTML, action_button, concat, error_message, facts, ways_on

__all__ = ["set_panel"]

MAX_COMPARED: Final = 4
MAX_RANKED: Final = 64  # as in assets/tournament.js


def set_panel(
    cells: Sequence[Cell],
    pause_error: SD35Error | None = None,
    remaining_seconds: float | None = None,
) -> str:
    """Return the panel of a set.

    Args:
        cells: its images.
        pause_error: why the visitor's whole queue is paused.
        remaining_seconds: time until all images are there, if it is known.
    """
    # The same one as long as the set is shown: a button with another job takes no press at once.
    job_id = next((cell.id for cell in cells if cell.id), "")
    open_count = sum(_is_open(cell) for cell in cells)
    done_count = sum(cell.has_image for cell in cells)
    images = pluralize(len(cells), "image")
    if not open_count:
        status = "completed" if done_count else "failed"
        count_text = images if done_count == len(cells) else f"{done_count} of {images}"
        body = _caption(cells, [count_text, *_missing_texts(cells)])
        return panel(status, body, job_id=job_id) + _set_buttons(cells, job_id)
    stop_button = action_button("stop-set", "Stop", job_id, "Stop this set")
    headline = " · ".join([f"{done_count} of {images} done", *_missing_texts(cells)])
    head = Markup(
        '<div class="job-head"><p class="headline">{}</p><div class="buttons">{}</div></div>'
    ).format(with_time_left(headline, remaining_seconds), stop_button)
    text = _pause_text(cells, pause_error, job_id) or _caption(cells)
    body = concat((head, progress_bar(Fraction(_fraction(cells))), text))
    return panel("running", body, job_id=job_id)


def _pause_text(cells: Sequence[Cell], pause_error: SD35Error | None, job_id: str) -> Markup:
    """Return why the set doesn't go on by itself, with a way on; empty if it does."""
    is_held = all(cell.state.is_held for cell in cells if cell.state and _is_open(cell))
    if pause_error is None and not is_held:
        return EMPTY_HTML
    message = HELD_MESSAGE
    button = action_button("resume", "Resume", job_id)
    if pause_error is not None:
        message = error_message(pause_error, resumes=not is_held)
        button = action_button("resume", "Try now", job_id)
    return Markup('<div role="alert">{}</div><p class="buttons">{}{}</p>').format(
        message, ways_on(pause_error), button
    )


def _missing_texts(cells: Sequence[Cell]) -> list[str]:
    """Return how many images there won't be, by what happened to them."""
    statuses = [cell.state.status for cell in cells if cell.state is not None]
    return [
        f"{statuses.count(status)} {text.lower()}"
        for status, text in ENDED_TEXTS.items()
        if status in statuses
    ]


def _is_open(cell: Cell) -> bool:
    return cell.state is not None and not cell.state.status.is_final


def _fraction(cells: Sequence[Cell]) -> float:
    fractions = (
        1.0
        if cell.state is None or cell.state.status.is_final
        else progress_fraction(cell.state).value
        for cell in cells
    )
    return sum(fraction or 0.0 for fraction in fractions) / len(cells)


def _caption(cells: Sequence[Cell], outcome: Iterable[str] = ()) -> Markup:
    """Return what all prompts have in common, the outcome, and the common settings."""
    prompts = {cell.prompt for cell in cells if cell.prompt}
    if len(prompts) == 1:
        prompt = marked_prompt([(next(iter(prompts)), False)])
    else:
        pieces = different_words(next(iter(sorted(prompts)), ""), cells)
        shared = "".join(" … " if is_different else piece for piece, is_different in pieces)
        prompt = marked_prompt([(" ".join(shared.split()), False)])
    names = {name: None for cell in cells for name, _ in cell.axes}
    texts = [*outcome, *([f"by {' and '.join(names).lower()}"] if names else [])]
    if len(prompts) > 1:
        texts.append(pluralize(len(prompts), "prompt"))
    sizes = {(cell.source.width, cell.source.height) for cell in cells if cell.source is not None}
    if len(sizes) == 1:
        [(width, height)] = sizes
        texts.append(f"{width} × {height}")
    return Markup('{}<p class="facts">{}</p>').format(prompt, facts(texts))


def _set_buttons(cells: Sequence[Cell], job_id: str) -> Markup:
    """Return the actions on a whole set, most of which assets/stage.js answers."""
    ids = [cell.id for cell in cells if cell.has_image and cell.entry is not None]
    set_id = next((cell.entry.metadata.set_id for cell in cells if cell.entry is not None), "")
    buttons = []
    if _missing_texts(cells):
        buttons.append(action_button("retry-set", "Retry", job_id, "Retry what has no image"))
    if 2 <= len(ids) <= MAX_COMPARED:
        buttons.append(_ids_button("compare-set", "Compare", ids))
    if 2 < len(ids) <= MAX_RANKED:
        buttons.append(_ids_button("find-best", "Find the best", ids))
    if ids:
        buttons.append(_ids_button("download-set", "Download all", ids))
    link = EMPTY_HTML
    if set_id:
        link = Markup(
            '<a class="secondary-button" href="#library?q=set%3A{}">Open the set</a>'
        ).format(quote(set_id, safe=""))
    return Markup('<div id="actions">{}{}</div>').format(concat(buttons), link)


def _ids_button(name: str, text: str, ids: Sequence[str]) -> Markup:
    return Markup(
        '<button type="button" class="secondary-button" data-stage="{}" data-ids="{}">{}</button>'
    ).format(name, " ".join(ids), text)
