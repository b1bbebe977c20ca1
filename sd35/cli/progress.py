"""Progress of a command on standard error: a live line, or lines for a log."""

from collections.abc import Callable
from typing import Final

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
)
from rich.table import Column
from rich.text import Text

from sd35.cli.events import CliEvent, ShutdownRequested, TaskProgress
from sd35.core import events
from sd35.core.wait_filter import WaitFilter

__all__ = ["LiveProgress", "PlainProgress"]

# A log of 50 steps per image would hide everything else.
UPDATES_PER_TASK: Final = 4

BAR_WIDTH: Final = 30
# A narrower terminal needs its columns for the text.
MIN_WIDTH_FOR_BAR: Final = 70


class PlainProgress:
    """Progress as lines: one per change, ten seconds of a wait, or quarter of a counted task."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._headline = ""
        self._description = ""
        self._quarter = 0
        self._wait_filter = WaitFilter()

    def update(
        self, headline: str, event: CliEvent, time_text: Callable[[], str] = lambda: ""
    ) -> None:
        """Print the headline if it says something new, with the time that is left."""
        match event:
            case events.Progress(step=step, total=total):
                is_new = self._has_advanced(step, total)
            case TaskProgress(is_brief=True):
                is_new = False
            case TaskProgress(description=description, completed=completed, total=total):
                is_new = self._has_advanced(completed, total) or description != self._description
                self._description = description
            case events.Waiting(reason=reason, waited_seconds=seconds):
                is_new = self._wait_filter.is_news(reason, seconds)
            case events.Queued() | events.Started() | ShutdownRequested():
                is_new = headline != self._headline
            case _:
                is_new = False
        if is_new:
            self._headline = headline
            parts = (headline.rstrip("…"), time_text()) if time_text() else (headline,)
            self._console.print(Text(" · ".join(parts)), soft_wrap=True)

    def clear(self) -> None:
        """Forget what was printed."""
        self._wait_filter = WaitFilter()
        self._headline = ""
        self._description = ""
        self._quarter = 0

    def _has_advanced(self, completed: int | None, total: int | None) -> bool:
        """Return whether a further quarter of the task is done since the last call."""
        if completed is None or not total:
            return False
        quarter = UPDATES_PER_TASK * completed // total
        if quarter <= self._quarter:
            return False
        self._quarter = quarter
        return True


class LiveProgress:
    """Progress as one line that is redrawn in place, and leaves nothing behind."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress: Progress | None = None
        self._time_text: Callable[[], str] = lambda: ""

    def update(
        self, headline: str, event: CliEvent, time_text: Callable[[], str] = lambda: ""
    ) -> None:
        """Redraw the line, and the time that is left several times a second."""
        self._time_text = time_text
        if self._progress is None:
            self._progress = self._create_progress()
        completed, total = _completed_and_total(event)
        for task_id in self._progress.task_ids:
            self._progress.update(task_id, description=headline, completed=completed, total=total)
        self._progress.start()

    def _render_time(self) -> str:
        return self._time_text()

    def clear(self) -> None:
        """Remove the line."""
        if self._progress is not None:
            self._progress.stop()
            # The next headline gets a new display, whose clock starts at 0.
            self._progress = None

    def _create_progress(self) -> Progress:
        is_ascii_only = self._console.options.ascii_only
        has_bar = self._console.width >= MIN_WIDTH_FOR_BAR
        progress = Progress(
            SpinnerColumn("line" if is_ascii_only else "dots", style="cyan"),
            TextColumn("{task.description}", markup=False, table_column=Column(overflow="fold")),
            *([_OptionalBarColumn(bar_width=BAR_WIDTH)] if has_bar else []),
            TextColumn("{task.elapsed:.0f} s", style="dim", markup=False),
            _TextColumn(self._render_time),
            console=self._console,
            transient=True,
            # Rich would otherwise send what is written to standard output, the paths, to this
            # console, and so to standard error.
            redirect_stdout=False,
            redirect_stderr=False,
        )
        progress.add_task("", total=None)
        return progress


def _completed_and_total(event: CliEvent) -> tuple[int, int | None]:
    match event:
        case events.Progress(step=completed, total=total) if total:
            return completed or 0, total
        case TaskProgress(completed=completed, total=total) if total:
            return completed, total
        case _:
            return 0, None


class _TextColumn(ProgressColumn):
    """Column of a text that changes with time."""

    def __init__(self, text: Callable[[], str]) -> None:
        super().__init__()
        self._text = text

    def render(self, _task: Task) -> RenderableType:
        return Text(self._text())


class _OptionalBarColumn(BarColumn):
    """Bar of a task whose total is known; nothing for others, where Rich's own bar pulses."""

    def render(self, task: Task) -> RenderableType:  # type: ignore[override]  # also an empty text
        return super().render(task) if task.total else Text()
