"""`space-files`: the files that `hf upload` sends to a Space, and what is wrong with them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text
from typer import Argument, Option

from sd35.cli import options
from sd35.cli.exit_codes import exit_code
from sd35.cli.lazy import Command, make_app
from sd35.cli.runner import command_context
from sd35.cli.terminal import make_console, print_message, write_json
from sd35.core.atomic_files import os_error_text
from sd35.core.errors import InvalidRequestError
from sd35.core.text import format_bytes, one_line, pluralize
from sd35.space.deploy.card import SpaceProblem
from sd35.space.deploy.check import find_problems
from sd35.space.deploy.files import SpaceFile, copy_files, list_files

__all__ = ["app"]

SpaceFolder = Annotated[
    Path,
    Argument(
        metavar="FOLDER",
        show_default=False,
        help="Folder of the program (default: current folder).",
    ),
]
CheckFiles = Annotated[bool, Option("--check", help="Check for problems instead of listing files.")]
OutputFolder = Annotated[
    Path | None,
    Option("--output", metavar="FOLDER", help="Copy the files to a new folder, to upload that."),
]

app = make_app()


@app.command(cls=Command)
def space_files(
    folder: SpaceFolder = Path(),
    *,
    check: CheckFiles = False,
    output: OutputFolder = None,
    as_json: options.Json = False,
) -> None:
    """List the files for a Hugging Face Space.

    With --check, the exit code is 2 if there are problems, and nothing is copied.
    """
    with command_context(is_json=as_json):
        try:
            files = list_files(folder)
            problems = list(find_problems(folder, files)) if check else []
        except OSError as error:
            path = one_line(error.filename or folder)
            raise InvalidRequestError(f"Couldn't read {path}: {os_error_text(error)}.") from error
        if output is not None and not problems:
            _copy(files, output)
        # That of an invalid request, but without its message: the problems are printed already.
        code = exit_code(InvalidRequestError("")) if problems else 0
        if as_json:
            payload = _to_json(files, problems if check else None)
            write_json(payload | {"exit_code": code}, indent=2)
        elif check:
            _print_problems(files, problems)
        else:
            _print_files(files)
        raise typer.Exit(code)


def _copy(files: Sequence[SpaceFile], folder: Path) -> None:
    try:
        copy_files(files, folder)
    except OSError as error:
        path = one_line(error.filename or folder)
        raise InvalidRequestError(f"Couldn't copy to {path}: {os_error_text(error)}.") from error


def _total_text(files: Sequence[SpaceFile]) -> str:
    return (
        f"{pluralize(len(files), 'file')}, {format_bytes(sum(file.size_bytes for file in files))}"
    )


def _print_files(files: Sequence[SpaceFile]) -> None:
    console = make_console()
    for file in files:
        console.print(f"{format_bytes(file.size_bytes):>10}  {one_line(file.path)}", soft_wrap=True)
    console.print(Text(_total_text(files), "dim"))


def _print_problems(files: Sequence[SpaceFile], problems: Sequence[SpaceProblem]) -> None:
    console = make_console()
    for problem in problems:
        message = one_line(problem.message)
        remedy = one_line(problem.remedy)
        print_message(console, "✗", "bold red", message, remedy)
    if not problems:
        message = f"Ready to upload as a Space: {_total_text(files)}."
        print_message(console, "✓", "green", message)


def _to_json(files: Sequence[SpaceFile], problems: Sequence[SpaceProblem] | None) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "files": [{"path": file.path, "bytes": file.size_bytes} for file in files]
    }
    if problems is not None:
        payload["problems"] = [
            {"happened": problem.message, "remedy": problem.remedy} for problem in problems
        ]
    return payload
