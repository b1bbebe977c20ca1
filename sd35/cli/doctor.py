"""`doctor`: what works from here, one line for each question, and what to do about what doesn't."""

from collections.abc import Callable
from contextlib import AsyncExitStack, closing
from typing import Any, Final

from rich.table import Column, Table
from rich.text import Text

from sd35.cli.checks import Check, Examination
from sd35.cli.choice import Choice
from sd35.cli.exits import DONE, exit_code
from sd35.cli.news import Checking, Failed, Stopped, Stopping
from sd35.cli.results import error_as_json
from sd35.cli.running import run
from sd35.cli.screen import Screen, open_screen
from sd35.cli.stopping import Stop
from sd35.cli.streams import write_json
from sd35.cli.terminal import console
from sd35.cli.words import failed, plain
from sd35.errors import SD35Error

__all__ = ["examine"]

STYLES: Final = {"ok": "green", "not ok": "bold red", "skipped": "dim"}


def examine(choose: Callable[[], Choice], *, tries: bool, is_json: bool) -> int:
    """Ask each question, write the answers, and return what the program ends with."""
    with closing(open_screen(is_quiet=False, is_json=False)) as screen:

        def report(error: SD35Error) -> None:
            screen.show(Failed(error))
            if is_json:
                write_json({"error": error_as_json(error)}, indent=2)

        return run(lambda: _examine(choose(), tries, screen, is_json=is_json), report)


async def _examine(choice: Choice, tries: bool, screen: Screen, *, is_json: bool) -> int:  # noqa: FBT001
    stop, checks = Stop(lambda: screen.show(Stopping())), []
    async with AsyncExitStack() as stack:
        stack.enter_context(stop.listening())
        examination = Examination(choice, tries, screen.show, stack)
        for question in examination.questions():
            screen.show(Checking(question.name))
            with stop.breakable():
                checks.append(await examination.answer(question))
            if stop.asked:
                screen.show(Stopped(examination.stopped))
                return stop.exit_code
            if not is_json:
                screen.close()
                _write(checks[-1])
    errors = [check.error for check in checks if check.error]
    code = exit_code(errors[0]) if errors else DONE
    if is_json:
        screen.close()
        write_json(
            {"space": choice.space, "exit_code": code, "checks": [_as_json(check) for check in checks]}, indent=2
        )
    return code


def _write(check: Check) -> None:
    happened, remedy = failed(Failed(check.error)) if check.error else (plain(check.text), "")
    text = Text.assemble(happened, (f"\n{remedy}" if remedy else "", "dim"))
    line = Table.grid(Column(width=7), Column(width=12), Column(overflow="fold"), padding=(0, 2, 0, 0))
    line.add_row(Text(check.status, STYLES[check.status]), check.name, text)
    console().print(line)


def _as_json(check: Check) -> dict[str, Any]:
    told: dict[str, Any] = {"check": check.name, "status": check.status}
    if check.error is None:
        return told | {"text": plain(check.text)}
    return told | error_as_json(check.error)
