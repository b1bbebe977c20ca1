"""The modules of this program that a Space's own files import, and all that those import."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

__all__ = ["PROGRAM_FOLDER", "find_modules"]

PROGRAM_FOLDER: Final = Path(__file__).parents[3]

_PACKAGE: Final = Path(__file__).parents[2].name


def find_modules(files: Iterable[Path]) -> Iterator[Path]:
    """Yield the files of the modules, also of those that are imported only when they are needed.

    A file that isn't valid Python imports nothing.

    Raises:
        OSError: a file can't be read.
    """
    found_files: set[Path] = set()
    queue = list(files)
    while queue:
        for name in _imported_names(queue.pop()):
            for file in _module_files(name):
                if file not in found_files:
                    found_files.add(file)
                    queue.append(file)
                    yield file


def _imported_names(path: Path) -> Iterator[str]:
    """Yield each module that a file imports, and each name from one, which may be a module."""
    try:
        nodes: list[ast.AST] = [ast.parse(path.read_bytes())]
    except (SyntaxError, ValueError):
        return
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            nodes += node.orelse
        else:
            nodes += ast.iter_child_nodes(node)


def _module_files(name: str) -> Iterator[Path]:
    """Yield the files that are executed when a module of this program is imported."""
    parts = name.split(".")
    if parts[0] != _PACKAGE:
        return
    for count in range(1, len(parts) + 1):
        path = PROGRAM_FOLDER.joinpath(*parts[:count])
        yield from filter(Path.is_file, (path / "__init__.py", path.with_suffix(".py")))
