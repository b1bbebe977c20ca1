"""`space-files`: what a Space on Hugging Face gets of a folder, and whether it could be one."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from rich.filesize import decimal
from rich.text import Text

from sd35.cli.events import OperationFailed
from sd35.cli.exit_codes import EXIT_OK, exit_code
from sd35.cli.messages import one_line, os_error_text
from sd35.cli.output import error_to_json
from sd35.cli.reporter import open_reporter
from sd35.cli.runner import run_sync
from sd35.cli.terminal import make_console, print_message, write_json
from sd35.core.errors import InvalidRequestError, SD35Error
from sd35.space.deploy.card import SpaceProblem
from sd35.space.deploy.check import find_problems
from sd35.space.deploy.files import SpaceFile, list_files

__all__ = ["run_space_files"]


def run_space_files(folder: Path, *, is_check: bool, is_json: bool) -> int:
    """List the folder's files, or write what is amiss with them, and return what the program ends with."""
    with closing(open_reporter(is_quiet=False, is_json=False)) as reporter:

        def report_error(error: SD35Error) -> None:
            reporter.show(OperationFailed(error))
            if is_json:
                write_json({"error": error_to_json(error)}, indent=2)

        return run_sync(
            lambda: _list_or_check(folder, is_check=is_check, is_json=is_json), report_error
        )


def _list_or_check(folder: Path, *, is_check: bool, is_json: bool) -> int:
    try:
        files = list_files(folder)
        problems = list(find_problems(folder, files)) if is_check else []
    except OSError as error:
        raise InvalidRequestError(
            f"{error.filename or folder} can't be read: {os_error_text(error)}."
        ) from error
    code = exit_code(InvalidRequestError("")) if problems else EXIT_OK
    if is_json:
        write_json(_to_json(files, problems if is_check else None) | {"exit_code": code}, indent=2)
    elif is_check:
        _write_problems(files, problems)
    else:
        _write_files(files)
    return code


def _total_text(files: Sequence[SpaceFile]) -> str:
    return f"{len(files)} files, {decimal(sum(file.size_bytes for file in files))}"


def _write_files(files: Sequence[SpaceFile]) -> None:
    output = make_console()
    for file in files:
        output.print(f"{decimal(file.size_bytes):>10}  {one_line(file.path)}", soft_wrap=True)
    output.print(Text(_total_text(files), "dim"))


def _write_problems(files: Sequence[SpaceFile], problems: Sequence[SpaceProblem]) -> None:
    output = make_console()
    for problem in problems:
        print_message(output, "✗", "bold red", one_line(problem.message), one_line(problem.remedy))
    if not problems:
        print_message(
            output,
            "✓",
            "green",
            f"This folder can be a Space on Hugging Face: {_total_text(files)}.",
        )


def _to_json(files: Sequence[SpaceFile], problems: Sequence[SpaceProblem] | None) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "files": [{"path": file.path, "bytes": file.size_bytes} for file in files]
    }
    if problems is not None:
        payload["problems"] = [
            {"happened": problem.message, "remedy": problem.remedy} for problem in problems
        ]
    return payload
