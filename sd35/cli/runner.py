"""From a command's work to the number that the program ends with."""

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

import anyio

from sd35.cli.exit_codes import EXIT_SIGPIPE, exit_code, exit_code_for_signal
from sd35.cli.terminal import discard_stdout
from sd35.core.errors import SD35Error

__all__ = ["Shutdown", "run_async", "run_sync"]


STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Shutdown:
    """Whether the program was asked to stop, and the one place where that interrupts it.

    Args:
        tell: is told when it is.

    Attributes:
        asked: whether it was.

    """

    def __init__(self, on_request: Callable[[], None] = lambda: None) -> None:
        self.is_requested = False
        self._on_request = on_request
        self._signal_number = 0
        self._cancel_scope: anyio.CancelScope | None = None

    @property
    def exit_code(self) -> int:
        """What the program ends with, once it was asked to stop."""
        return exit_code_for_signal(self._signal_number)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Take the signals while the block lasts, in a running event loop of the main thread."""
        loop = asyncio.get_running_loop()

        def take(signal_number: int, _: FrameType | None) -> None:
            for handled_signal in STOP_SIGNALS:
                signal.signal(
                    handled_signal, signal.SIG_DFL
                )  # so that the next one ends it, whatever hangs
            loop.call_soon_threadsafe(self._request, signal_number)

        previous_handlers = {
            signal_number: signal.signal(signal_number, take) for signal_number in STOP_SIGNALS
        }
        try:
            yield
        finally:
            for signal_number, handler in previous_handlers.items():
                signal.signal(signal_number, handler)

    @contextmanager
    def cancellable(self) -> Iterator[None]:
        """Leave this block when the program is asked to stop, or was; elsewhere it goes on to its end."""
        try:
            with anyio.CancelScope() as self._cancel_scope:
                if self.is_requested:
                    self._cancel_scope.cancel()
                yield
        finally:
            self._cancel_scope = None

    def _request(self, signal_number: int) -> None:
        self.is_requested, self._signal_number = True, signal_number
        self._on_request()
        if self._cancel_scope is not None:
            self._cancel_scope.cancel()


def run_async(  # noqa: D417
    operation: Callable[[], Coroutine[Any, Any, int]], on_error: Callable[[SD35Error], None]
) -> int:
    """Run the work that `begin` returns, and return what it ends with.

    Args:
        begin: reads what is asked for, and returns the work.
        failed: tells the person, or the program, of a failure that was foreseen.

    """
    return run_sync(lambda: asyncio.run(operation()), on_error)


def run_sync(operation: Callable[[], int], on_error: Callable[[SD35Error], None]) -> int:
    """Do the work, which needs no event loop, and return what it ends with."""
    try:
        try:
            return operation()
        except SD35Error as error:
            on_error(error)
            return exit_code(error)
    except BrokenPipeError:
        discard_stdout()
        return EXIT_SIGPIPE
