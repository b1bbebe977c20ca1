"""Gradio's scripts and style sheets, as its bundler has split them.

Nothing here is known in advance: names and connections are read from the files of the installed
version. What isn't found is left out, and the page then loads it as Gradio does.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import gradio as gr
import orjson

__all__ = ["FRONT_END_FOLDER", "GradioFiles"]

FRONT_END_FOLDER: Final = Path(gr.__file__).parent / "templates" / "frontend"

# What follows an import on demand: the files that it needs, by their place in a list.
_DEPENDENCIES: Final = r"[^\[\]]*?__vite__mapDeps\(\[([\d,]+)\]\)"
_FILE_LIST: Final = re.compile(r"m\.f=(\[.*?\])")


class GradioFiles:
    """The files of Gradio's front end.

    Attributes:
        entry_files: names of the script and the style sheet in the HTML of each page.
    """

    def __init__(self, folder: Path = FRONT_END_FOLDER) -> None:
        self._folder = folder
        html = _read(folder / "index.html")
        self.entry_files = tuple(re.findall(r'(?:src|href)="\./assets/([\w.-]+)"', html))

    def read(self, name: str) -> str:
        """Return the text of a file; empty if there is none."""
        return _read(self._folder / "assets" / name)

    def names(self, types: Iterable[str]) -> list[str]:
        """Return the files that a page with these types of components loads after its entry."""
        names: dict[str, None] = {}
        for entry in self.entry_files:
            names |= dict.fromkeys(self._imports(entry, r"import\(`\./Index-[^`]*`\)"))
        for parent in [name for name in names if name.startswith("Index-")]:
            names |= dict.fromkeys(self._imports(parent, r"import\(`\./Blocks-[^`]*`\)"))
        for parent in [name for name in names if name.startswith("core-")]:
            for type_ in types:
                pattern = rf"[{{,]{re.escape(type_)}:\{{[^}}]*?component:[^}}]*?import\(`[^`]*`\)"
                names |= dict.fromkeys(self._imports(parent, pattern))
        return [name for name in names if name not in self.entry_files]

    def _imports(self, parent: str, pattern: str) -> list[str]:
        """Return the file whose import in `parent` the pattern describes, and all that it needs."""
        text = self.read(parent)
        file_list = _FILE_LIST.search(text)
        call = re.search(pattern + _DEPENDENCIES, text)
        if file_list is None or call is None:
            return []
        files = orjson.loads(file_list[1])
        return [files[int(index)].removeprefix("./") for index in call[1].split(",")]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
