"""`space-files`: what a Space on Hugging Face gets of a folder, and whether it could be one."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from rich.filesize import decimal
from rich.text import Text

from sd35.cli.events import Failed
from sd35.cli.exit_codes import DONE, exit_code
from sd35.cli.messages import plain, reason
from sd35.cli.output import error_as_json
from sd35.cli.reporter import open_screen
from sd35.cli.runner import run_here
from sd35.cli.terminal import console, say, write_json
from sd35.core.errors import InvalidRequestError, SD35Error
from sd35.space.deploy.card import Problem
from sd35.space.deploy.check import find_problems
from sd35.space.deploy.files import SpaceFile, list_files

__all__ = ["tell_files"]


def tell_files(folder: Path, *, checks: bool, is_json: bool) -> int:
    """List the folder's files, or write what is amiss with them, and return what the program ends with."""
    with closing(open_screen(is_quiet=False, is_json=False)) as screen:

        def failed(error: SD35Error) -> None:
            screen.show(Failed(error))
            if is_json:
                write_json({"error": error_as_json(error)}, indent=2)

        return run_here(lambda: _tell(folder, checks=checks, is_json=is_json), failed)


def _tell(folder: Path, *, checks: bool, is_json: bool) -> int:
    try:
        files = list_files(folder)
        problems = list(find_problems(folder, files)) if checks else []
    except OSError as error:
        raise InvalidRequestError(
            f"{error.filename or folder} can't be read: {reason(error)}."
        ) from error
    code = exit_code(InvalidRequestError("")) if problems else DONE
    if is_json:
        write_json(_as_json(files, problems if checks else None) | {"exit_code": code}, indent=2)
    elif checks:
        _write_problems(files, problems)
    else:
        _write_files(files)
    return code


def _sum(files: Sequence[SpaceFile]) -> str:
    return f"{len(files)} files, {decimal(sum(file.size_bytes for file in files))}"


def _write_files(files: Sequence[SpaceFile]) -> None:
    output = console()
    for file in files:
        output.print(f"{decimal(file.size_bytes):>10}  {plain(file.path)}", soft_wrap=True)
    output.print(Text(_sum(files), "dim"))


def _write_problems(files: Sequence[SpaceFile], problems: Sequence[Problem]) -> None:
    output = console()
    for problem in problems:
        say(output, "✗", "bold red", plain(problem.happened), plain(problem.remedy))
    if not problems:
        say(output, "✓", "green", f"This folder can be a Space on Hugging Face: {_sum(files)}.")


def _as_json(files: Sequence[SpaceFile], problems: Sequence[Problem] | None) -> dict[str, Any]:
    told: dict[str, Any] = {
        "files": [{"path": file.path, "bytes": file.size_bytes} for file in files]
    }
    if problems is not None:
        told["problems"] = [
            {"happened": problem.happened, "remedy": problem.remedy} for problem in problems
        ]
    return told
