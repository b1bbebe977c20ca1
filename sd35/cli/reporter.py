"""What a person sees while pictures are made, on the standard error stream. What stays is written above what moves."""

import sys

from rich.console import Console

from sd35.cli import messages
from sd35.cli.events import (
    CliEvent,
    ConnectionEstablished,
    Hint,
    OperationFailed,
    PictureSaved,
    PictureStarted,
    PreviewSaved,
    ShutdownReport,
    ShutdownRequested,
)
from sd35.cli.progress import LiveProgress, NullProgress, PlainProgress, ProgressDisplay
from sd35.cli.terminal import is_terminal, make_console, print_message
from sd35.core.events import Notice

__all__ = ["TerminalReporter", "open_reporter"]


class TerminalReporter:
    """Tells a person what happens.

    Args:
        stream: the console of the standard error stream.
        moving: shows what is going on at the moment.
        is_quiet: whether only what nobody may miss is told: failures, what stopping did, and that a
            demo painter makes the pictures.
        tells_paths: whether the paths of pictures are told, too.

    """

    def __init__(
        self, console: Console, progress: ProgressDisplay, *, is_quiet: bool, shows_paths: bool
    ) -> None:
        self._console = console
        self._progress = progress
        self._is_quiet = is_quiet
        self._shows_paths = shows_paths
        self._position_prefix = ""

    def show(self, event: CliEvent) -> None:
        """Tell the person."""
        match event:
            case PictureStarted(index=index, total=total):
                self._progress.clear()
                self._position_prefix = f"{index} of {total} · " if total > 1 else ""
            case PictureSaved() | OperationFailed() | ShutdownReport():
                self._progress.clear()
            case ShutdownRequested():
                self._progress.clear()
                self._position_prefix = ""
                self._progress = NullProgress() if self._is_quiet else PlainProgress(self._console)
        if not self._print_permanent(event) and (headline := messages.headline(event)):
            self._progress.update(f"{self._position_prefix}{headline}", event)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._progress.clear()

    def _print_permanent(self, event: CliEvent) -> bool:
        """Write what is to stay; say whether that was it."""
        match event:
            case OperationFailed():
                message, remedy = messages.failure_text(event)
                print_message(
                    self._console, "✗", "bold red", f"{self._position_prefix}{message}", remedy
                )
            case ShutdownReport():
                print_message(
                    self._console, "■", "yellow", f"Stopped. {messages.shutdown_text(event)}"
                )
            case ConnectionEstablished(is_demo=True):
                print_message(self._console, "!", "yellow", messages.DEMO_NOTICE)
            case PictureSaved(path=path):
                self._print_unless_quiet(
                    "✓",
                    "green",
                    f"{self._position_prefix}{messages.picture_summary(event)}",
                    messages.one_line(path),
                )
            case PreviewSaved(path=path) if self._shows_paths:
                self._print_unless_quiet("·", "dim", f"Preview: {messages.one_line(path)}")
            case Hint(text=text):
                self._print_unless_quiet("·", "dim", text)
            case Notice():
                self._print_unless_quiet("·", "dim", messages.notice_text(event))
            case _:
                return False
        return True

    def _print_unless_quiet(self, symbol: str, style: str, message: str, path: str = "") -> None:
        if not self._is_quiet:
            print_message(self._console, symbol, style, message, path if self._shows_paths else "")


def open_reporter(*, is_quiet: bool, is_json: bool) -> TerminalReporter:
    """Return the screen that suits where the two streams go."""
    console = make_console(stderr=True)
    is_same_terminal = is_terminal(sys.stderr) and is_terminal(sys.stdout)
    if is_quiet:
        progress: ProgressDisplay = NullProgress()
    elif (
        is_terminal(sys.stderr)
        and not console.is_dumb_terminal
        and not (is_json and is_same_terminal)
    ):
        progress = LiveProgress(console)
    else:
        progress = PlainProgress(console)
    return TerminalReporter(
        console, progress, is_quiet=is_quiet, shows_paths=is_json or not is_same_terminal
    )
