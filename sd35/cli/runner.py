"""From a command's work to the number that the program ends with."""

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

import anyio

from sd35.cli.exit_codes import READER_GONE, exit_code, exit_code_of_signal
from sd35.cli.terminal import let_go_of_output
from sd35.core.errors import SD35Error

__all__ = ["Stop", "run", "run_here"]


SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Whether the program was asked to stop, and the one place where that interrupts it.

    Args:
        tell: is told when it is.

    Attributes:
        asked: whether it was.

    """

    def __init__(self, tell: Callable[[], None] = lambda: None) -> None:
        self.asked = False
        self._tell = tell
        self._number = 0
        self._scope: anyio.CancelScope | None = None

    @property
    def exit_code(self) -> int:
        """What the program ends with, once it was asked to stop."""
        return exit_code_of_signal(self._number)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals while the block lasts, in a running event loop of the main thread."""
        loop = asyncio.get_running_loop()

        def take(number: int, _: FrameType | None) -> None:
            for each in SIGNALS:
                signal.signal(each, signal.SIG_DFL)  # so that the next one ends it, whatever hangs
            loop.call_soon_threadsafe(self._ask, number)

        before = {number: signal.signal(number, take) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def breakable(self) -> Iterator[None]:
        """Leave this block when the program is asked to stop, or was; elsewhere it goes on to its end."""
        try:
            with anyio.CancelScope() as self._scope:
                if self.asked:
                    self._scope.cancel()
                yield
        finally:
            self._scope = None

    def _ask(self, number: int) -> None:
        self.asked, self._number = True, number
        self._tell()
        if self._scope is not None:
            self._scope.cancel()


def run(begin: Callable[[], Coroutine[Any, Any, int]], failed: Callable[[SD35Error], None]) -> int:
    """Run the work that `begin` returns, and return what it ends with.

    Args:
        begin: reads what is asked for, and returns the work.
        failed: tells the person, or the program, of a failure that was foreseen.

    """
    return run_here(lambda: asyncio.run(begin()), failed)


def run_here(work: Callable[[], int], failed: Callable[[SD35Error], None]) -> int:
    """Do the work, which needs no event loop, and return what it ends with."""
    try:
        try:
            return work()
        except SD35Error as error:
            failed(error)
            return exit_code(error)
    except BrokenPipeError:
        let_go_of_output()
        return READER_GONE
