"""What is going on at this moment, on the standard error stream: a line that moves, a few plain lines, or nothing."""

from typing import Final, Protocol

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, SpinnerColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from sd35.cli.events import Connecting, News, Stopping, Working
from sd35.core.events import Progress as Steps
from sd35.core.events import Queued, Started, Waiting

__all__ = ["LiveLine", "Moving", "PlainLines", "Still"]

QUARTERS: Final = 4
"""In plain lines, steps are told this many times in a run."""

BAR_WIDTH: Final = 30
LEAST_WIDTH_FOR_BAR: Final = 70
"""In letters; a narrower terminal has no bar, so that the words have room."""


class Moving(Protocol):
    """Shows what is going on, until it rests."""

    def show(self, headline: str, news: News) -> None:
        """Show that this is going on now; `headline` says it in words."""

    def rest(self) -> None:
        """Show nothing more of it: what comes next is something else, or the end."""


class Still:
    """Shows nothing."""

    def show(self, headline: str, news: News) -> None:
        """Show nothing."""

    def rest(self) -> None:
        """Go on showing nothing."""


class PlainLines:
    """A line for each thing that begins, and for every quarter of the steps: for a log, or a terminal that is dumb."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told = ""
        self._what = ""
        self._quarter = 0

    def show(self, headline: str, news: News) -> None:
        """Write the line, if it says something new."""
        match news:
            case Steps(step=step, total=total):
                is_wanted = self._is_another_quarter(step, total)
            case Working(what=what, done=done, total=total):
                is_wanted = what != self._what or self._is_another_quarter(done, total)
                self._what = what
            case Connecting() | Waiting() | Queued() | Started() | Stopping():
                is_wanted = headline != self._told
            case _:
                is_wanted = False
        if is_wanted:
            self._told = headline
            self._console.print(Text(headline), soft_wrap=True)

    def rest(self) -> None:
        """Be ready for the next picture."""
        self._told, self._what, self._quarter = "", "", 0

    def _is_another_quarter(self, step: int | None, total: int | None) -> bool:
        quarter = QUARTERS * step // total if step is not None and total else 0
        is_another, self._quarter = quarter > self._quarter, max(quarter, self._quarter)
        return is_another


class LiveLine:
    """One line that is written again and again, and leaves nothing behind."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._line: Progress | None = None

    def show(self, headline: str, news: News) -> None:
        """Write the line again."""
        if self._line is None:
            self._line = self._make()
        completed, total = _measured(news)
        for task in self._line.task_ids:
            self._line.update(task, description=headline, completed=completed, total=total)
        self._line.start()

    def rest(self) -> None:
        """Take the line away."""
        if self._line is not None:
            self._line.stop()
            self._line = None

    def _make(self) -> Progress:
        is_plain = self._console.options.ascii_only
        line = Progress(
            SpinnerColumn("line" if is_plain else "dots", style="cyan"),
            TextColumn("{task.description}", markup=False, table_column=Column(overflow="fold")),
            *(
                (_StepsBar(bar_width=BAR_WIDTH),)
                if self._console.width >= LEAST_WIDTH_FOR_BAR
                else ()
            ),
            TextColumn("{task.elapsed:.0f} s", style="dim", markup=False),
            console=self._console,
            transient=True,
            redirect_stdout=False,  # paths are for whoever reads the standard output
            redirect_stderr=False,
        )
        line.add_task("", total=None)
        return line


def _measured(news: News) -> tuple[int, int | None]:
    """How much is done, and of how much, where that is known."""
    match news:
        case Steps(step=done, total=total) | Working(done=done, total=total) if total:
            return done or 0, total
        case _:
            return 0, None


class _StepsBar(BarColumn):
    """A bar, once there is something to measure."""

    def render(self, task: Task) -> RenderableType:  # type: ignore[override]  # nothing is a bar, too
        return super().render(task) if task.total else Text()
