"""Running a command: its errors and signals become messages and exit codes."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Final, NoReturn

import anyio
import typer

from sd35.cli.events import CliEvent, OperationFailed, ShutdownReport, ShutdownRequested
from sd35.cli.exit_codes import EXIT_SIGPIPE, SIGNAL_BASE, exit_code
from sd35.cli.output import error_to_json
from sd35.cli.reporter import Reporter, open_reporter
from sd35.cli.terminal import discard_stdout, make_console, print_message, write_json
from sd35.core.errors import SD35Error
from sd35.core.stop_outcome import StopOutcome

__all__ = ["Shutdown", "command_context", "exit_on_errors"]

STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def exit_on_errors(on_error: Callable[[SD35Error], None]) -> Iterator[None]:
    """Turn an error of the block into the exit code that stands for it, after `on_error`."""
    # Two levels: reporting an error writes to standard output, too, which may be closed by then.
    try:
        try:
            yield
        except SD35Error as error:
            on_error(error)
            raise typer.Exit(exit_code(error)) from error
    except BrokenPipeError:
        discard_stdout()
        raise typer.Exit(EXIT_SIGPIPE) from None


@contextmanager
def command_context(*, is_json: bool = False) -> Iterator[Reporter]:
    """Provide the reporter of a command, and report its errors; with `is_json` also as JSON.

    A signal ends the block wherever it is; see `Shutdown` for commands with an event loop.
    """
    with closing(open_reporter()) as reporter:

        def report_error(error: SD35Error) -> None:
            reporter.show(OperationFailed(error))
            if is_json:
                write_json({"error": error_to_json(error)})

        with exit_on_errors(report_error):
            # Python leaves no block at SIGTERM, but ends at once: temporary files would stay, and a
            # transaction would be left to be rolled back by the next program.
            try:
                with _handle_signals(_raise_stop_signal):
                    yield reporter
            except _StopSignal as stop:
                reporter.close()
                # A console of its own: the signal may have interrupted the reporter's while it was
                # printing, which would then print the same text again.
                print_message(make_console(stderr=True), "■", "yellow", "Stopped.")
                raise typer.Exit(SIGNAL_BASE + stop.signal_number) from None


# Not an Exception, so that no `except Exception` on the way takes it for a failure.
class _StopSignal(BaseException):
    """Signal that asked a command without an event loop to stop."""

    def __init__(self, signal_number: int) -> None:
        self.signal_number = signal_number


def _raise_stop_signal(signal_number: int) -> NoReturn:
    raise _StopSignal(signal_number)


@contextmanager
def _handle_signals(on_signal: Callable[[int], object]) -> Iterator[None]:
    """Call `on_signal` at the first stop signal; a second one ends the process at once."""

    def handle(signal_number: int, _: object) -> None:
        for handled_signal in STOP_SIGNALS:
            # A second Ctrl+C means that stopping takes too long, perhaps because something hangs.
            signal.signal(handled_signal, signal.SIG_DFL)
        on_signal(signal_number)

    previous_handlers = [(stop, signal.signal(stop, handle)) for stop in STOP_SIGNALS]
    try:
        yield
    finally:
        for stop, handler in previous_handlers:
            signal.signal(stop, handler)


class Shutdown:
    """Stop signals of a command with an event loop: only blocks that allow it are interrupted.

    Args:
        emit: receives ShutdownRequested, and a ShutdownReport at the end.
    """

    def __init__(self, emit: Callable[[CliEvent], None]) -> None:
        self._emit = emit
        self._signal_number: int | None = None
        self._cancel_scope: anyio.CancelScope | None = None

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle signals during the block; enter it in the event loop of the main thread."""
        loop = asyncio.get_running_loop()
        # asyncio.run handles SIGINT itself, but only as long as Python's own handler is in place.
        # A handler runs between any two instructions of the main thread, in the midst of what the
        # loop is doing; and only this call wakes a loop that waits for the network.
        with _handle_signals(lambda received: loop.call_soon_threadsafe(self._request, received)):
            yield

    @contextmanager
    def cancellable(self) -> Iterator[None]:
        """Leave the block early if the program was asked to stop, before or meanwhile."""
        # Cancelling the whole task would interrupt what has to come to its end, too: the download
        # of an image that has cost its quota, and the cancel request at the Space.
        try:
            with anyio.CancelScope() as self._cancel_scope:
                if self._signal_number is not None:
                    self._cancel_scope.cancel()
                yield
        finally:
            self._cancel_scope = None

    def exit_if_requested(
        self, outcome: StopOutcome | None = None, *, has_saved_picture: bool = False
    ) -> None:
        """Report the shutdown and exit, if the program was asked to stop."""
        if self._signal_number is not None:
            self._emit(ShutdownReport(outcome, has_saved_picture))
            raise typer.Exit(SIGNAL_BASE + self._signal_number)

    def _request(self, signal_number: int) -> None:
        self._signal_number = signal_number
        self._emit(ShutdownRequested())
        if self._cancel_scope is not None:
            self._cancel_scope.cancel()
