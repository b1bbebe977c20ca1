"""Standard output and standard error: text that can't break a terminal, tables, JSON and paths."""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Column, Table
from rich.text import Text

from sd35.core.atomic_files import os_error_text
from sd35.core.errors import WriteError
from sd35.core.text import printable

__all__ = [
    "discard_stdout",
    "make_console",
    "print_facts",
    "print_message",
    "write_json",
    "write_line",
]

# Rich takes what isn't a terminal for one of 80 columns, and would break lines that `grep` and
# scripts expect to be whole.
UNWRAPPED_WIDTH: Final = 1000


@contextmanager
def _stdout_errors() -> Iterator[None]:
    """Turn an OSError of writing to standard output into a WriteError.

    A broken pipe stays a BrokenPipeError: whoever closed it wants no message.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        discard_stdout()
        raise WriteError(
            f"Couldn't write the output: {os_error_text(error)}.", "Send the output elsewhere."
        ) from error


def discard_stdout() -> None:
    """Redirect standard output to the null device."""
    # Python flushes standard output once more on exit. If that failed again, it would print
    # "Exception ignored in: <stdout>" and replace the exit code by 120.
    with Path(os.devnull).open("w", encoding="utf-8") as devnull:
        os.dup2(devnull.fileno(), sys.stdout.fileno())


def write_line(line: bytes) -> None:
    """Write one line to standard output and flush it."""
    with _stdout_errors():
        # Bytes, as a path need not be valid in the terminal's encoding; and flushed, as a script
        # wants each path when its file is there, not all of them at the end.
        if sys.stdout.isatty():
            line = printable(line.decode("utf-8", "replace")).encode("utf-8", "replace")
        sys.stdout.buffer.write(line + b"\n")
        sys.stdout.buffer.flush()


def write_json(value: Mapping[str, Any], indent: int | None = None) -> None:
    """Write an object as JSON to standard output, in one line unless indented."""
    # In ASCII, with escapes: a lone surrogate in a prompt can't be encoded as UTF-8.
    write_line(json.dumps(value, indent=indent).encode("ascii"))


class _Console(Console):
    """Console that prints no control characters of a text, such as a prompt or a Space's message.

    It raises BrokenPipeError when its reader is gone, so that the command stops.
    """

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        # Those have no width, so that a table stays in order without them.
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable(text), style, control)

    def on_broken_pipe(self) -> None:
        # Rich's own method exits with 1 from within; ours lets running work be cancelled first.
        self.quiet = True
        raise BrokenPipeError

    def _write_buffer(self) -> None:
        if self.stderr:
            super()._write_buffer()
            return
        with _stdout_errors():
            super()._write_buffer()


def make_console(*, stderr: bool = False) -> Console:
    """Return a console that prints text literally: no markup, no emoji codes, no highlighting."""
    # With markup, a prompt such as "[red]fox[/red]" would lose its brackets, or raise an error.
    width = None if (sys.stderr if stderr else sys.stdout).isatty() else UNWRAPPED_WIDTH
    return _Console(stderr=stderr, markup=False, highlight=False, emoji=False, width=width)


def print_message(
    console: Console, symbol: str, style: str, message: str, details: str = ""
) -> None:
    """Print a message behind a symbol, and dimmed details below."""
    text = Text(message)
    if details:
        text.append(f"\n{details}", "dim")
    # A grid would pad short lines with spaces, and fold those of more than 1,000 columns.
    if console.width == UNWRAPPED_WIDTH:
        console.print(Text.assemble(f"{symbol} ", text), soft_wrap=True)
        return
    # In a grid, the second line of a long message is indented like the first.
    grid = Table.grid(Column(no_wrap=True), Column(overflow="fold"), padding=(0, 1))
    grid.add_row(Text(symbol, style), text)
    console.print(grid)


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Print labelled values to standard output as two columns, without the empty ones."""
    grid = Table.grid(
        Column(style="dim", no_wrap=True), Column(overflow="fold"), padding=(0, 2, 0, 0)
    )
    for label, value in facts:
        if value:
            grid.add_row(label, value)
    make_console().print(grid)
