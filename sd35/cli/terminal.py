"""What a person reads: a console that takes words as they are, and sentences with a mark before them."""

import codecs
import io
import json
import os
import sys
from collections.abc import Mapping
from typing import Any, Final, TextIO

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from sd35.core.errors import WriteError

__all__ = [
    "discard_stdout",
    "is_terminal",
    "make_console",
    "prepare_streams",
    "print_message",
    "stdout_write_error",
    "write_json",
    "write_line",
]


_ASCII_REPLACEMENTS: Final = str.maketrans(
    {"…": "...", "×": "x", "·": "-", "–": "-", "“": '"', "”": '"', "✓": "+", "✗": "!", "■": "!"}
)


def prepare_streams() -> None:
    """Let no letter end the program that a terminal, or a file, of few letters can't show."""
    codecs.register_error("plain-letters", _ascii_fallback)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="plain-letters")


def _ascii_fallback(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end].translate(_ASCII_REPLACEMENTS)
    return "".join(char if char.isascii() else "?" for char in text), error.end


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person sees what is written there; `None` is a stream that was closed before the program began."""
    return stream is not None and stream.isatty()


def write_line(line: bytes) -> None:
    """Write one line to the standard output, and see that it gets there.

    Raises:
        BrokenPipeError: nobody reads it any more.
        WriteError: it couldn't be written.

    """
    if sys.stdout is None:  # closed by the one who started the program
        return
    try:
        sys.stdout.buffer.write(line + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise stdout_write_error(error) from error


def stdout_write_error(error: OSError) -> WriteError:
    """Let go of the standard output, and return what is to be raised for not being able to write there."""
    discard_stdout()
    message = f"The output can't be written: {error.strerror or type(error).__name__}."
    return WriteError(message, "Write it somewhere else.")


def write_json(value: Mapping[str, Any], indent: int | None = None) -> None:
    """Write an object as JSON to the standard output: one line, if not indented.

    Raises:
        BrokenPipeError: nobody reads it any more.
        WriteError: it couldn't be written.

    """
    write_line(json.dumps(value, indent=indent).encode("ascii"))


def discard_stdout() -> None:
    """Send what is still to be written nowhere, so that the end of the program doesn't fail of it, too."""
    with open(os.devnull, "w", encoding="utf-8") as devnull:  # noqa: PTH123  # a name, not a path
        os.dup2(devnull.fileno(), sys.stdout.fileno())


UNWRAPPED_WIDTH: Final = 1000
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
            raise stdout_write_error(error) from error


def make_console(*, stderr: bool = False) -> Console:
    """Return a console that takes words as they are: a `[` is a bracket, and a number isn't coloured."""
    width = None if is_terminal(sys.stderr if stderr else sys.stdout) else UNWRAPPED_WIDTH
    return _Console(stderr=stderr, markup=False, highlight=False, emoji=False, width=width)


def print_message(
    console: Console, symbol: str, style: str, message: str, details: str = ""
) -> None:
    """Write a sentence with a mark before it, and below it what is less important."""
    text = Text.assemble(message, *(((f"\n{details}", "dim"),) if details else ()))
    if console.width == UNWRAPPED_WIDTH:
        console.print(Text.assemble(f"{symbol} ", text), soft_wrap=True)
        return
    grid = Table.grid(Column(no_wrap=True), Column(overflow="fold"), padding=(0, 1))
    grid.add_row(Text(symbol, style), text)
    console.print(grid)
