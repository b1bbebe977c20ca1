"""What a person reads: a console that takes words as they are, and sentences with a mark before them."""

import sys
from typing import Final

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from sd35.cli.streams import is_terminal, unwritten_output

__all__ = ["console", "say"]

WIDE: Final = 1000
"""Letters in a line of what isn't a terminal: nothing is broken there, so that `grep` finds it."""


class _Console(Console):
    """A console that says when nobody reads it any more, so that a run isn't left behind."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        raise BrokenPipeError

    def _write_buffer(self) -> None:
        try:
            super()._write_buffer()
        except BrokenPipeError:
            raise
        except OSError as error:
            if self.stderr:
                raise
            raise unwritten_output(error) from error


def console(*, stderr: bool = False) -> Console:
    """Return a console that takes words as they are: a `[` is a bracket, and a number isn't coloured."""
    width = None if is_terminal(sys.stderr if stderr else sys.stdout) else WIDE
    return _Console(stderr=stderr, markup=False, highlight=False, emoji=False, width=width)


def say(stream: Console, mark: str, style: str, sentence: str, small: str = "") -> None:
    """Write a sentence with a mark before it, and below it what is less important."""
    text = Text.assemble(sentence, *(((f"\n{small}", "dim"),) if small else ()))
    if stream.width == WIDE:
        stream.print(Text.assemble(f"{mark} ", text), soft_wrap=True)
        return
    hanging = Table.grid(Column(no_wrap=True), Column(overflow="fold"), padding=(0, 1))
    hanging.add_row(Text(mark, style), text)
    stream.print(hanging)
