"""What is going on at this moment, on the standard error stream: a line that moves, a few plain lines, or nothing."""

from typing import Final, Protocol

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, SpinnerColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from sd35.cli.events import CliEvent, ConnectionStarted, ShutdownRequested, TaskProgress
from sd35.core.events import Progress as Steps
from sd35.core.events import Queued, Started, Waiting

__all__ = ["LiveProgress", "NullProgress", "PlainProgress", "ProgressDisplay"]

UPDATES_PER_RUN: Final = 4
"""In plain lines, steps are told this many times in a run."""

BAR_WIDTH: Final = 30
MIN_WIDTH_FOR_BAR: Final = 70
"""In letters; a narrower terminal has no bar, so that the words have room."""


class ProgressDisplay(Protocol):
    """Shows what is going on, until it rests."""

    def update(self, headline: str, event: CliEvent) -> None:
        """Show that this is going on now; `headline` says it in words."""

    def clear(self) -> None:
        """Show nothing more of it: what comes next is something else, or the end."""


class NullProgress:
    """Shows nothing."""

    def update(self, headline: str, event: CliEvent) -> None:
        """Show nothing."""

    def clear(self) -> None:
        """Go on showing nothing."""


class PlainProgress:
    """A line for each thing that begins, and for every quarter of the steps: for a log, or a terminal that is dumb."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last_headline = ""
        self._last_description = ""
        self._last_quarter = 0

    def update(self, headline: str, event: CliEvent) -> None:
        """Write the line, if it says something new."""
        match event:
            case Steps(step=step, total=total):
                is_new = self._advance_quarter(step, total)
            case TaskProgress(description=description, completed=completed, total=total):
                is_new = description != self._last_description or self._advance_quarter(
                    completed, total
                )
                self._last_description = description
            case ConnectionStarted() | Waiting() | Queued() | Started() | ShutdownRequested():
                is_new = headline != self._last_headline
            case _:
                is_new = False
        if is_new:
            self._last_headline = headline
            self._console.print(Text(headline), soft_wrap=True)

    def clear(self) -> None:
        """Be ready for the next picture."""
        self._last_headline, self._last_description, self._last_quarter = "", "", 0

    def _advance_quarter(self, step: int | None, total: int | None) -> bool:
        quarter = UPDATES_PER_RUN * step // total if step is not None and total else 0
        has_advanced, self._last_quarter = (
            quarter > self._last_quarter,
            max(quarter, self._last_quarter),
        )
        return has_advanced


class LiveProgress:
    """One line that is written again and again, and leaves nothing behind."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress: Progress | None = None

    def update(self, headline: str, event: CliEvent) -> None:
        """Write the line again."""
        if self._progress is None:
            self._progress = self._create_progress()
        completed, total = _completed_and_total(event)
        for task_id in self._progress.task_ids:
            self._progress.update(task_id, description=headline, completed=completed, total=total)
        self._progress.start()

    def clear(self) -> None:
        """Take the line away."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _create_progress(self) -> Progress:
        is_ascii_only = self._console.options.ascii_only
        progress = Progress(
            SpinnerColumn("line" if is_ascii_only else "dots", style="cyan"),
            TextColumn("{task.description}", markup=False, table_column=Column(overflow="fold")),
            *(
                (_StepBarColumn(bar_width=BAR_WIDTH),)
                if self._console.width >= MIN_WIDTH_FOR_BAR
                else ()
            ),
            TextColumn("{task.elapsed:.0f} s", style="dim", markup=False),
            console=self._console,
            transient=True,
            redirect_stdout=False,  # paths are for whoever reads the standard output
            redirect_stderr=False,
        )
        progress.add_task("", total=None)
        return progress


def _completed_and_total(event: CliEvent) -> tuple[int, int | None]:
    """How much is done, and of how much, where that is known."""
    match event:
        case (
            Steps(step=completed, total=total) | TaskProgress(completed=completed, total=total)
        ) if total:
            return completed or 0, total
        case _:
            return 0, None


class _StepBarColumn(BarColumn):
    """A bar, once there is something to measure."""

    def render(self, task: Task) -> RenderableType:  # type: ignore[override]  # nothing is a bar, too
        return super().render(task) if task.total else Text()
