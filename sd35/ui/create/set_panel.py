"""The panel below the contact sheet: how far a set is, and what can be done with it."""

from collections.abc import Iterable, Sequence
from typing import Final

from markupsafe import Markup

from sd35.core.errors import SD35Error
from sd35.core.text import pluralize, with_time_left
from sd35.jobs.record import JobStatus
from sd35.ui.create.job_panel import Fraction, marked_prompt, panel, progress_bar, progress_fraction
from sd35.ui.create.stage_view import Cell, different_words
from sd35.ui.markup import EMPTY_HTML, action_button, concat, error_message, facts, ways_on

__all__ = ["set_panel"]

MAX_COMPARED: Final = 4


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
    failed_count = sum(_has_failed(cell) for cell in cells)
    if not open_count:
        status = "completed" if done_count else "failed"
        body = _caption(cells, _outcome(len(cells), done_count, failed_count))
        return panel(status, body, job_id=job_id) + _set_buttons(cells, job_id, failed_count)
    stop_button = action_button("stop-set", "Stop", job_id, "Stop this set")
    headline = f"{done_count} of {pluralize(len(cells), 'image')} done"
    head = Markup(
        '<div class="job-head"><p class="headline">{}</p><div class="buttons">{}</div></div>'
    ).format(with_time_left(headline, remaining_seconds), stop_button)
    pause_text = EMPTY_HTML
    if pause_error is not None:
        pause_text = Markup('<div role="alert">{}</div><p class="buttons">{}{}</p>').format(
            error_message(pause_error, resumes=True),
            ways_on(pause_error),
            action_button("resume", "Try now", job_id),
        )
    body = concat((head, progress_bar(Fraction(_fraction(cells))), pause_text or _caption(cells)))
    return panel("running", body, job_id=job_id)


def _outcome(count: int, done_count: int, failed_count: int) -> list[str]:
    images = pluralize(count, "image")
    texts = [images if done_count == count else f"{done_count} of {images}"]
    return [*texts, f"{failed_count} without an image"] if failed_count else texts


def _is_open(cell: Cell) -> bool:
    return cell.state is not None and not cell.state.status.is_final


def _has_failed(cell: Cell) -> bool:
    return cell.state is not None and cell.state.status in {
        JobStatus.FAILED,
        JobStatus.INTERRUPTED,
        JobStatus.CANCELLED,
    }


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
        shared = "".join("… " if is_different else piece for piece, is_different in pieces)
        prompt = marked_prompt([(shared, False)])
    names = {name: None for cell in cells for name, _ in cell.axes}
    texts = [*outcome, *([f"by {' and '.join(names).lower()}"] if names else [])]
    if len(prompts) > 1:
        texts.append(pluralize(len(prompts), "prompt"))
    sizes = {(cell.source.width, cell.source.height) for cell in cells if cell.source is not None}
    if len(sizes) == 1:
        [(width, height)] = sizes
        texts.append(f"{width} × {height}")
    return Markup('{}<p class="facts">{}</p>').format(prompt, facts(texts))


def _set_buttons(cells: Sequence[Cell], job_id: str, failed_count: int) -> Markup:
    """Return the actions on a whole set, most of which assets/stage.js answers."""
    ids = [cell.id for cell in cells if cell.has_image and cell.entry is not None]
    set_id = next((cell.entry.metadata.set_id for cell in cells if cell.entry is not None), "")
    buttons = []
    if failed_count:
        buttons.append(action_button("retry-set", "Retry", job_id, "Retry what has no image"))
    if 2 <= len(ids) <= MAX_COMPARED:
        buttons.append(_ids_button("compare-set", "Compare", ids))
    if len(ids) > 2:
        buttons.append(_ids_button("find-best", "Find the best", ids))
    if ids:
        buttons.append(_ids_button("download-set", "Download all", ids))
    link = EMPTY_HTML
    if set_id:
        link = Markup(
            '<a class="secondary-button" href="#library?q=set%3A{}">Open the set</a>'
        ).format(set_id)
    return Markup('<div id="actions">{}{}</div>').format(concat(buttons), link)


def _ids_button(name: str, text: str, ids: Sequence[str]) -> Markup:
    return Markup(
        '<button type="button" class="secondary-button" data-stage="{}" data-ids="{}">{}</button>'
    ).format(name, " ".join(ids), text)
