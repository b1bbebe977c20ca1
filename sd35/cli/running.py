"""From a command's work to the number that the program ends with."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from sd35.cli.exits import READER_GONE, exit_code
from sd35.cli.streams import let_go_of_output
from sd35.errors import SD35Error

__all__ = ["run", "run_here"]


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
