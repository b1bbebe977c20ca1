"""The library, opened for one command: what has to be there, what is told on the way, and how it ends."""

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

from sd35.cli.events import Hint, OperationFailed, TaskProgress
from sd35.cli.exit_codes import EXIT_OK, exit_code_for_signal
from sd35.cli.messages import one_line, os_error_text
from sd35.cli.output import error_to_json
from sd35.cli.reporter import TerminalReporter, open_reporter
from sd35.cli.runner import STOP_SIGNALS, run_sync
from sd35.cli.target import read_settings
from sd35.cli.terminal import make_console, print_message, write_json
from sd35.core.errors import InvalidRequestError, LibraryError, SD35Error
from sd35.library.layout import STATE_DIR
from sd35.library.library import Library
from sd35.library.query import Query, parse_query

__all__ = ["Reporter", "Requires", "build_query", "open_library", "run_command", "run_on_library"]

NO_LIBRARY_REMEDY: Final = "Choose one with --library. `python -m sd35 library rescan` makes one of the pictures in a folder."


class Requires(Enum):
    """What has to be there already: a library, a folder that may become one, or nothing."""

    LIBRARY = "library"
    FOLDER = "folder"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Reporter:
    """Tells a person what goes on, on the standard error stream; and a program how it ended, where `is_json`."""

    terminal: TerminalReporter
    is_json: bool

    def start_task(self, description: str) -> Callable[[int, int], None]:
        """Say that this is being done, and return what is to be told how much of it is done, of how much."""
        self.terminal.show(TaskProgress(description))
        return lambda completed, total: self.terminal.show(
            TaskProgress(description, completed, total or None)
        )

    def show_hint(self, message: str) -> None:
        """Say something that a person should know."""
        self.terminal.close()
        self.terminal.show(Hint(one_line(message)))

    def finish(self, message: str, payload: Mapping[str, Any]) -> None:
        """Say what was done: a sentence for a person, an object for a program."""
        self.terminal.close()
        print_message(make_console(stderr=True), "✓", "green", message)
        if self.is_json:
            write_json(payload)

    def report_error(self, error: SD35Error) -> None:
        """Say why it can't be done."""
        self.terminal.close()
        self.terminal.show(OperationFailed(error))
        if self.is_json:
            write_json({"error": error_to_json(error)})


class _SignalReceivedError(BaseException):
    """The program was asked to stop by this signal."""

    def __init__(self, signal_number: int) -> None:
        self.signal_number = signal_number


def run_command(operation: Callable[[Reporter], None], *, is_json: bool) -> int:
    """Do the work, tell of it, and return what the program ends with."""
    with closing(open_reporter(is_quiet=False, is_json=is_json)) as terminal:
        reporter = Reporter(terminal, is_json)

        def run_operation() -> int:
            try:
                with _interruptible():
                    operation(reporter)
            except _SignalReceivedError as signal_error:
                terminal.close()
                print_message(make_console(stderr=True), "■", "yellow", "Stopped before the end.")
                return exit_code_for_signal(signal_error.signal_number)
            return EXIT_OK

        return run_sync(run_operation, reporter.report_error)


def run_on_library(
    folder: Path | None,
    operation: Callable[[Library, Reporter], None],
    *,
    is_json: bool,
    requires: Requires = Requires.LIBRARY,
) -> int:
    """Open the library that is meant, do the work, and return what the program ends with."""

    def run_with_library(reporter: Reporter) -> None:
        with open_library(folder, reporter, requires) as library:
            operation(library, reporter)

    return run_command(run_with_library, is_json=is_json)


@contextmanager
def open_library(folder: Path | None, reporter: Reporter, requires: Requires) -> Iterator[Library]:
    """Hold the library in this folder open, or that of the settings; its index is made anew where it is gone.

    Raises:
        InvalidRequestError: what has to be there isn't.
        LibraryError: it can't be used.

    """
    folder = read_settings(library=folder).library_folder
    _check_folder(folder, requires)
    with Library.open(folder) as library:
        if library.needs_rescan and requires is not Requires.FOLDER:
            scan_result = library.rescan(
                reporter.start_task("Making the index of the library anew")
            )
            if scan_result.added:
                reporter.show_hint(f"The index was made anew, of {scan_result.added:,} pictures.")
        yield library


def _check_folder(folder: Path, requires: Requires) -> None:
    try:
        is_folder, is_library = folder.is_dir(), (folder / STATE_DIR).is_dir()
    except OSError as error:
        raise LibraryError(f"{one_line(folder)} can't be read: {os_error_text(error)}.") from error
    if requires is Requires.LIBRARY and not is_library:
        raise InvalidRequestError(f"There is no library in {one_line(folder)}.", NO_LIBRARY_REMEDY)
    if requires is Requires.FOLDER and not is_folder:
        raise InvalidRequestError(
            f"There is no folder {one_line(folder)}.", "Choose one with --library."
        )


def build_query(terms: Sequence[str]) -> Query:
    """Return what is searched for.

    Raises:
        InvalidRequestError: a part of it isn't understood: more would be found than is wanted.

    """
    query = parse_query(" ".join(terms))
    if query.problems:
        raise InvalidRequestError(" ".join(one_line(problem) for problem in query.problems))
    return query


@contextmanager
def _interruptible() -> Iterator[None]:
    """Leave the block when the program is asked to stop, wherever it is; asked again, it ends at once."""

    def handle_signal(signal_number: int, _: FrameType | None) -> NoReturn:
        for handled_signal in STOP_SIGNALS:
            signal.signal(handled_signal, signal.SIG_DFL)
        raise _SignalReceivedError(signal_number)

    previous_handlers = {
        signal_number: signal.signal(signal_number, handle_signal) for signal_number in STOP_SIGNALS
    }
    try:
        yield
    finally:
        for signal_number, handler in previous_handlers.items():
            signal.signal(signal_number, handler)
