"""Whether a folder can be a Space as it is: each question, put to its files."""

import ast
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from sd35.publish.card import card_problems, read_card
from sd35.publish.fields import FIELDS
from sd35.publish.files import SpaceFile, file_problems
from sd35.publish.problem import Problem, ProblemError
from sd35.publish.requirements import gradio_problems, python_problems, requirement_problems

__all__ = ["find_problems"]

ABSENT: Final = "it isn't there, or .gitignore leaves it out"


def find_problems(folder: Path, files: Sequence[SpaceFile]) -> Iterator[Problem]:
    """Yield what the Hub would refuse of these files, and what wouldn't start there.

    Raises:
        OSError: a file can't be read.

    """
    sent = {file.path for file in files}
    texts: dict[str, str] = {}
    card: Mapping[str, Any] = {}
    for name in ("README.md", "requirements.txt", "pyproject.toml"):
        try:
            texts[name] = _read(folder / name, is_sent=name in sent)
            if name == "README.md":
                card = read_card(texts[name])
        except ProblemError as error:
            yield error.problem
    yield from card_problems(card) if card else ()
    requirements = texts.get("requirements.txt", "")
    yield from requirement_problems(requirements)
    yield from gradio_problems(requirements, card)
    yield from python_problems(texts.get("pyproject.toml", ""), card)
    yield from _app_problems(folder, card.get("app_file"), sent)
    yield from file_problems(folder, files)


def _read(path: Path, *, is_sent: bool) -> str:
    if not is_sent:
        raise ProblemError(f"{path.name}: {ABSENT}.", "Give the folder of this program, with all of it.")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ProblemError(f"{path.name}: it isn't UTF-8.", "Save it as UTF-8.") from error


def _app_problems(folder: Path, name: object, sent: set[str]) -> Iterator[Problem]:
    if not isinstance(name, str) or not FIELDS["app_file"].takes(name):
        return  # which is said already
    if name not in sent:
        yield Problem(f"{name}: {ABSENT}.", "README.md has it as app_file: name the file that starts the program.")
        return
    try:
        tree = ast.parse((folder / name).read_bytes())
    except (SyntaxError, ValueError) as error:
        yield Problem(f"{name}: line {getattr(error, 'lineno', None) or 1} isn't Python.", "Mend it.")
        return
    if "demo" not in _names(tree):
        yield Problem(f"{name}: it defines no demo.", "Give the page that name: `gradio app.py` looks for it.")


def _names(tree: ast.Module) -> Iterator[str]:
    """Yield the variables of a module, and none of its functions' own."""
    inner = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    for statement in tree.body:
        for node in ast.walk(statement) if not isinstance(statement, inner) else ():
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id
