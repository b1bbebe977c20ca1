"""Ctrl-C and SIGTERM: the first ends what is under way in good order, the second ends the program at once."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

import anyio

from sd35.cli.exits import exit_code_of_signal

__all__ = ["Stop"]

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
