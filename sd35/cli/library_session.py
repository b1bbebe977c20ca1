"""The library, opened for one command: what has to be there, what is told on the way, and how it ends."""

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

from sd35.cli.events import Failed, Remark, Working
from sd35.cli.exit_codes import DONE, exit_code_of_signal
from sd35.cli.messages import plain, reason
from sd35.cli.output import error_as_json
from sd35.cli.reporter import Screen, open_screen
from sd35.cli.runner import SIGNALS, run_here
from sd35.cli.target import read_settings
from sd35.cli.terminal import console, say, write_json
from sd35.core.errors import InvalidRequestError, LibraryError, SD35Error
from sd35.library.layout import HIDDEN
from sd35.library.library import Library
from sd35.library.query import Query, parse_query

__all__ = ["Needs", "Telling", "at_library", "open_library", "query_of", "telling"]

REMEDY: Final = "Choose one with --library. `python -m sd35 library rescan` makes one of the pictures in a folder."


class Needs(Enum):
    """What has to be there already: a library, a folder that may become one, or nothing."""

    LIBRARY = "library"
    FOLDER = "folder"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Telling:
    """Tells a person what goes on, on the standard error stream; and a program how it ended, where `is_json`."""

    screen: Screen
    is_json: bool

    def work(self, what: str) -> Callable[[int, int], None]:
        """Say that this is being done, and return what is to be told how much of it is done, of how much."""
        self.screen.show(Working(what))
        return lambda done, total: self.screen.show(Working(what, done, total or None))

    def remark(self, sentence: str) -> None:
        """Say something that a person should know."""
        self.screen.close()
        self.screen.show(Remark(plain(sentence)))

    def end(self, sentence: str, told: Mapping[str, Any]) -> None:
        """Say what was done: a sentence for a person, an object for a program."""
        self.screen.close()
        say(console(stderr=True), "✓", "green", sentence)
        if self.is_json:
            write_json(told)

    def failed(self, error: SD35Error) -> None:
        """Say why it can't be done."""
        self.screen.close()
        self.screen.show(Failed(error))
        if self.is_json:
            write_json({"error": error_as_json(error)})


class _StoppedError(BaseException):
    """The program was asked to stop by this signal."""

    def __init__(self, number: int) -> None:
        self.number = number


def telling(work: Callable[[Telling], None], *, is_json: bool) -> int:
    """Do the work, tell of it, and return what the program ends with."""
    with closing(open_screen(is_quiet=False, is_json=is_json)) as screen:
        told = Telling(screen, is_json)

        def do() -> int:
            try:
                with _stoppable():
                    work(told)
            except _StoppedError as stopped:
                screen.close()
                say(console(stderr=True), "■", "yellow", "Stopped before the end.")
                return exit_code_of_signal(stopped.number)
            return DONE

        return run_here(do, told.failed)


def at_library(
    folder: Path | None,
    work: Callable[[Library, Telling], None],
    *,
    is_json: bool,
    needs: Needs = Needs.LIBRARY,
) -> int:
    """Open the library that is meant, do the work, and return what the program ends with."""

    def do(told: Telling) -> None:
        with open_library(folder, told, needs) as library:
            work(library, told)

    return telling(do, is_json=is_json)


@contextmanager
def open_library(folder: Path | None, told: Telling, needs: Needs) -> Iterator[Library]:
    """Hold the library in this folder open, or that of the settings; its index is made anew where it is gone.

    Raises:
        InvalidRequestError: what has to be there isn't.
        LibraryError: it can't be used.

    """
    folder = read_settings(library=folder).library_folder
    _check(folder, needs)
    with Library.open(folder) as library:
        if library.is_to_be_scanned and needs is not Needs.FOLDER:
            changes = library.rescan(told.work("Making the index of the library anew"))
            if changes.added:
                told.remark(f"The index was made anew, of {changes.added:,} pictures.")
        yield library


def _check(folder: Path, needs: Needs) -> None:
    try:
        is_folder, is_library = folder.is_dir(), (folder / HIDDEN).is_dir()
    except OSError as error:
        raise LibraryError(f"{plain(folder)} can't be read: {reason(error)}.") from error
    if needs is Needs.LIBRARY and not is_library:
        raise InvalidRequestError(f"There is no library in {plain(folder)}.", REMEDY)
    if needs is Needs.FOLDER and not is_folder:
        raise InvalidRequestError(
            f"There is no folder {plain(folder)}.", "Choose one with --library."
        )


def query_of(words: Sequence[str]) -> Query:
    """Return what is searched for.

    Raises:
        InvalidRequestError: a part of it isn't understood: more would be found than is wanted.

    """
    query = parse_query(" ".join(words))
    if query.problems:
        raise InvalidRequestError(" ".join(plain(problem) for problem in query.problems))
    return query


@contextmanager
def _stoppable() -> Iterator[None]:
    """Leave the block when the program is asked to stop, wherever it is; asked again, it ends at once."""

    def take(number: int, _: FrameType | None) -> NoReturn:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        raise _StoppedError(number)

    before = {number: signal.signal(number, take) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
