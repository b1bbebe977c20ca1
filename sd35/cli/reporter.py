"""Messages of a command to the person at the terminal, on standard error."""

import sys
from collections.abc import Callable
from typing import Final

from rich.console import Console

from sd35.cli.events import (
    CliEvent,
    Hint,
    OperationFailed,
    PictureSaved,
    PictureStarted,
    PreviewSaved,
    SheetSaved,
    ShutdownReport,
    ShutdownRequested,
    TaskProgress,
)
from sd35.cli.progress import LiveProgress, PlainProgress
from sd35.cli.terminal import make_console, print_message
from sd35.core.events import Notice, Progress, Queued, Started, Waiting
from sd35.core.run_time import RunClock
from sd35.core.text import (
    format_bytes,
    format_elapsed,
    format_estimate,
    notice_text,
    one_line,
    progress_text,
    queue_text,
    waiting_text,
)

__all__ = ["DEMO_NOTICE", "Reporter", "failure_text", "open_reporter", "shutdown_text"]

DEMO_NOTICE: Final = "Demo mode: these images are sketches, not Stable Diffusion."


class Reporter:
    """Terminal output of a command: permanent messages above a progress display.

    With `is_quiet`, it prints only errors, warnings, and the outcome of a shutdown.
    """

    def __init__(
        self,
        console: Console,
        progress: LiveProgress | PlainProgress | None,
        *,
        is_quiet: bool,
        shows_paths: bool,
    ) -> None:
        self._console = console
        self._progress = progress
        self._is_quiet = is_quiet
        self._shows_paths = shows_paths
        self._position_prefix = ""
        self._clock = RunClock()

    def show(self, event: CliEvent) -> None:
        """Print an event, or show it as the current progress."""
        match event:
            case PictureStarted(index=index, total=total):
                self.close()
                self._clock = RunClock(event.expected_seconds, event.following_seconds)
                self._position_prefix = f"{index} of {total} · " if total > 1 else ""
            case PictureSaved() | SheetSaved() | OperationFailed() | ShutdownReport():
                self.close()
            case ShutdownRequested():
                # In a live line, "Stopping…" could be overlooked while the Space is slow to answer.
                self.close()
                self._position_prefix = ""
                self._progress = None if self._is_quiet else PlainProgress(self._console)
        self._clock.observe(event)
        if self._print_permanent(event) or self._progress is None:
            return
        if headline := _headline(event):
            is_timed = isinstance(event, Queued | Started | Progress)
            time_text = self._time_text if is_timed else lambda: ""
            self._progress.update(f"{self._position_prefix}{headline}", event, time_text)

    def _time_text(self) -> str:
        """Return how much time is left for the image, and for all of them."""
        seconds = self._clock.remaining_seconds
        if seconds is None:
            return ""
        total_seconds = self._clock.total_seconds
        total_text = "" if total_seconds is None else f", {format_estimate(total_seconds)} for all"
        return f"{format_estimate(seconds)} left{total_text}"

    def start_task(self, description: str) -> Callable[[int, int], None]:
        """Show that a task has started, and return a callback for (completed, total)."""
        self.show(TaskProgress(description))
        return lambda completed, total: self.show(
            TaskProgress(description, completed, total or None)
        )

    def hint(self, message: str) -> None:
        """Print a hint in place of the progress display."""
        self.close()
        self.show(Hint(one_line(message)))

    def success(self, message: str) -> None:
        """Print what the command has done."""
        self.close()
        print_message(self._console, "✓", "green", message)

    def close(self) -> None:
        """Remove the progress display."""
        if self._progress is not None:
            self._progress.clear()

    def _print_permanent(self, event: CliEvent) -> bool:
        """Print an event as a permanent message; return whether it is one."""
        match event:
            case OperationFailed():
                message, remedy = failure_text(event)
                message = f"{self._position_prefix}{message}"
                print_message(self._console, "✗", "bold red", message, remedy)
            case ShutdownReport():
                print_message(self._console, "■", "yellow", f"Stopped. {shutdown_text(event)}")
            case Hint(text=text, is_warning=True):
                print_message(self._console, "!", "yellow", text)
            case PictureSaved(path=path):
                summary = f"{self._position_prefix}{_picture_summary(event)}"
                details = one_line(path) if self._shows_paths else ""
                self._print_unless_quiet("✓", "green", summary, details)
            case PreviewSaved(path=path) if self._shows_paths:
                self._print_unless_quiet("·", "dim", f"Preview: {one_line(path)}")
            case SheetSaved(path=path):
                details = one_line(path) if self._shows_paths else ""
                self._print_unless_quiet("✓", "green", f"Sheet {path.name}", details)
            case Hint(text=text):
                self._print_unless_quiet("·", "dim", text)
            case Notice():
                self._print_unless_quiet("·", "dim", notice_text(event))
            case _:
                return False
        return True

    def _print_unless_quiet(self, symbol: str, style: str, message: str, details: str = "") -> None:
        if not self._is_quiet:
            print_message(self._console, symbol, style, message, details)


def open_reporter(*, is_quiet: bool = False, is_json: bool = False) -> Reporter:
    """Return a reporter that suits what is behind the output streams: a terminal, a pipe or a file.

    With `is_json`, JSON lines are written to standard output in between.
    """
    console = make_console(stderr=True)
    is_same_terminal = sys.stderr.isatty() and sys.stdout.isatty()
    is_live = sys.stderr.isatty() and not console.is_dumb_terminal
    progress: LiveProgress | PlainProgress | None = None
    if not is_quiet:
        # JSON lines in the same terminal would be written into the live line.
        has_live_line = is_live and not (is_json and is_same_terminal)
        progress = LiveProgress(console) if has_live_line else PlainProgress(console)
    # Paths go to standard output; in the same terminal they would be there twice.
    shows_paths = is_json or not is_same_terminal
    return Reporter(console, progress, is_quiet=is_quiet, shows_paths=shows_paths)


def _headline(event: CliEvent) -> str:
    """Return a line about the current progress; empty for an event that doesn't change it."""
    match event:
        case PictureStarted():
            return "Joining the queue…"
        case ShutdownRequested():
            return "Stopping… (press Ctrl+C again to quit now)"
        case Waiting():
            return waiting_text(event)
        case Queued():
            return queue_text(event)
        case Started():
            return "Generating…"
        case Progress():
            return progress_text(event)
        case TaskProgress(description=description, completed=completed, total=total):
            if total is not None:
                return f"{description}: {completed:,} of {total:,}…"
            return f"{description}: {completed:,}…" if completed else f"{description}…"
        case _:
            return ""


def _picture_summary(event: PictureSaved) -> str:
    picture = event.picture
    parts = (
        "" if picture.seed is None else f"seed {picture.seed}",
        f"{picture.width} × {picture.height}",
        f"{picture.format} {format_bytes(len(picture.data))}",
        format_elapsed(event.elapsed_seconds),
        "demo" if event.is_demo else "",
    )
    return " · ".join(part for part in parts if part)


def failure_text(event: OperationFailed) -> tuple[str, str]:
    """Return what happened, and what to do about it."""
    error = event.error
    seed_text = "" if event.request is None else f"The seed was {event.request.seed}."
    return one_line(error.happened), one_line(f"{error.retry_hint} {error.remedy} {seed_text}")


def shutdown_text(event: ShutdownReport) -> str:
    """Return the outcome of a shutdown as a sentence."""
    if event.has_saved_picture:
        return "The finished image was saved."
    return "Nothing was running." if event.outcome is None else event.outcome.message
