"""What a person sees while pictures are made, on the standard error stream. What stays is written above what moves."""

import sys

from rich.console import Console

from sd35.cli import messages
from sd35.cli.events import Begun, Connected, Failed, Kept, News, Remark, Saved, Stopped, Stopping
from sd35.cli.progress import LiveLine, Moving, PlainLines, Still
from sd35.cli.terminal import console, is_terminal, say
from sd35.core.events import Notice

__all__ = ["Screen", "open_screen"]


class Screen:
    """Tells a person what happens.

    Args:
        stream: the console of the standard error stream.
        moving: shows what is going on at the moment.
        is_quiet: whether only what nobody may miss is told: failures, what stopping did, and that a
            demo painter makes the pictures.
        tells_paths: whether the paths of pictures are told, too.

    """

    def __init__(
        self, stream: Console, moving: Moving, *, is_quiet: bool, tells_paths: bool
    ) -> None:
        self._console = stream
        self._moving = moving
        self._is_quiet = is_quiet
        self._tells_paths = tells_paths
        self._place = ""

    def show(self, news: News) -> None:
        """Tell the person."""
        match news:
            case Begun(number=number, count=count):
                self._moving.rest()
                self._place = f"{number} of {count} · " if count > 1 else ""
            case Saved() | Failed() | Stopped():
                self._moving.rest()
            case Stopping():
                self._moving.rest()
                self._place = ""
                self._moving = Still() if self._is_quiet else PlainLines(self._console)
        if not self._stays(news) and (headline := messages.headline(news)):
            self._moving.show(f"{self._place}{headline}", news)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._moving.rest()

    def _stays(self, news: News) -> bool:
        """Write what is to stay; say whether that was it."""
        match news:
            case Failed():
                happened, remedy = messages.failed(news)
                say(self._console, "✗", "bold red", f"{self._place}{happened}", remedy)
            case Stopped():
                say(self._console, "■", "yellow", f"Stopped. {messages.stopped(news)}")
            case Connected(is_demo=True):
                say(self._console, "!", "yellow", messages.DEMO)
            case Saved(path=path):
                self._tell(
                    "✓", "green", f"{self._place}{messages.facts(news)}", messages.plain(path)
                )
            case Kept(path=path) if self._tells_paths:
                self._tell("·", "dim", f"Preview: {messages.plain(path)}")
            case Remark(text=text):
                self._tell("·", "dim", text)
            case Notice():
                self._tell("·", "dim", messages.notice(news))
            case _:
                return False
        return True

    def _tell(self, mark: str, style: str, sentence: str, path: str = "") -> None:
        if not self._is_quiet:
            say(self._console, mark, style, sentence, path if self._tells_paths else "")


def open_screen(*, is_quiet: bool, is_json: bool) -> Screen:
    """Return the screen that suits where the two streams go."""
    stream = console(stderr=True)
    is_shared = is_terminal(sys.stderr) and is_terminal(sys.stdout)
    if is_quiet:
        moving: Moving = Still()
    elif is_terminal(sys.stderr) and not stream.is_dumb_terminal and not (is_json and is_shared):
        moving = LiveLine(stream)
    else:
        moving = PlainLines(stream)
    return Screen(stream, moving, is_quiet=is_quiet, tells_paths=is_json or not is_shared)
