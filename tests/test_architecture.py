"""The architecture: who imports whom, how things are named, and what the tree holds."""

import ast
import importlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted(ROOT.glob("sd35/**/*.py"))
SOURCES = [
    *MODULES,
    ROOT / "app.py",
    *ROOT.glob("hosted/*/*.py"),
    *ROOT.glob("tests/**/*.py"),
    *ROOT.glob("bench/*.py"),
]

MAX_FUNCTION_LINES = 40

PLACEHOLDER = re.compile(
    "told|said|asked|kept|left|made|given|found|seen|shown|wanted|gone|each|news|words|way|place|"
    "begun|done|taken|known|heard|written|sent|got|held|lent|drawn|called|meant|what|who|whose|"
    "stuff|things?"
)

ALLOWED_IMPORTS = {
    "sd35": {"client", "core", "provider", "sync"},
    "sd35.__main__": {"cli"},
    "sd35.cli": {
        *(
            "client",
            "core",
            "jobs.provenance",
            "jobs.record",
            "jobs.repository",
            "library",
            "metadata",
            "prompts",
            "server.accounts",
            "server.launch",
        ),
        *("settings", "space"),
    },
    "sd35.client": {"core"},
    "sd35.core": set[str](),
    "sd35.jobs": {"client", "core", "library", "metadata"},
    "sd35.library": {"core", "metadata"},
    "sd35.metadata": {"core"},
    "sd35.prompts": {"core"},
    "sd35.provider": {"client", "core"},
    "sd35.server": {"core", "jobs", "library"},
    "sd35.settings": {"core"},
    "sd35.space": {"core", "server.blocks", "server.launch"},
    "sd35.sync": {"client", "core"},
    "sd35.ui": {"core", "jobs", "library", "metadata", "prompts", "server"},
    "sd35.ui.web_app": {"core", "jobs", "library", "server", "settings", "space", "ui"},
}
"""Packages and modules that a package may import besides itself, as in docs/architecture.md."""

FORBIDDEN_IMPORTS = {
    "sd35.cli": {"PIL", "aiohttp", "gradio", "gradio_client", "httpx", "numpy", "sqlite3"},
    "sd35.client": {"gradio", "sqlite3"},
    "sd35.core": {"aiohttp", "gradio", "gradio_client", "httpx", "sqlite3"},
    "sd35.jobs": {"aiohttp", "gradio", "gradio_client", "httpx"},
    "sd35.library": {"aiohttp", "gradio", "gradio_client", "httpx"},
    "sd35.metadata": {"aiohttp", "gradio", "gradio_client", "httpx", "sqlite3"},
    "sd35.prompts": {"aiohttp", "gradio", "gradio_client", "httpx", "sqlite3"},
    "sd35.space.painter": {"aiohttp", "gradio"},
    "sd35.ui": {"aiohttp", "httpx", "sqlite3"},
}
"""Libraries that are the business of other packages."""

OPTIONAL_LIBRARIES = {
    "sd35.space.diffusion": "torch",
    "sd35.space.replicas": "ray",
    "sd35.space.zerogpu": "spaces",
}
"""Libraries that one package or module alone may import, as they needn't be installed."""


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported_names(path: Path) -> Iterator[str]:
    """Yield each imported module, and each name imported from one, which may be a module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_below(name: str, packages: set[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_packages_import_only_what_lies_below_them(path: Path) -> None:
    """Each module imports its own package, and those that the table of the architecture allows."""
    package = max(
        (name for name in ALLOWED_IMPORTS if is_below(module_name(path), {name})), key=len
    )
    own = {f"sd35.{name}" for name in ALLOWED_IMPORTS[package]} | ({package} - {"sd35"})
    ours = {name for name in imported_names(path) if name.startswith("sd35.")}
    assert not {name for name in ours if not is_below(name, own)}
    others = {
        name
        for key, names in FORBIDDEN_IMPORTS.items()
        if is_below(module_name(path), {key})
        for name in names
    }
    others |= {
        library
        for key, library in OPTIONAL_LIBRARIES.items()
        if not is_below(module_name(path), {key})
    }
    assert not {name for name in imported_names(path) if is_below(name, others)}


def bound_names(tree: ast.AST) -> Iterator[str]:
    """Yield each name that the code binds: definitions, parameters, variables and attributes."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.Attribute(attr=name, ctx=ast.Store()):
                yield name


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_names_are_nouns(path: Path) -> None:
    """No name is a bare participle, pronoun or placeholder: a name says what it holds."""
    names = bound_names(ast.parse(path.read_text(encoding="utf-8")))
    assert not {name for name in names if PLACEHOLDER.fullmatch(name.strip("_").lower())}


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_functions_fit_on_a_screen(path: Path) -> None:
    """No function has more than 40 lines."""
    functions = (
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    lengths = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions}
    assert not {name for name, length in lengths.items() if length > MAX_FUNCTION_LINES}


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_public_names_exist(path: Path) -> None:
    """Each name in an `__all__` exists, and each public class has a docstring."""
    for package, library in OPTIONAL_LIBRARIES.items():
        if is_below(module_name(path), {package}) and module_name(path) != package:
            pytest.importorskip(library)
    module = importlib.import_module(module_name(path)) if path.stem != "__main__" else None
    for public in getattr(module, "__all__", ()):
        value = getattr(module, public)
        assert not isinstance(value, type) or value.__doc__, f"{module_name(path)}.{public}"


def test_no_generated_or_large_file_is_committed() -> None:
    """Each committed file was written by hand and is smaller than a megabyte."""
    listing = subprocess.run(
        ["git", "ls-files"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    files = [ROOT / name for name in listing.splitlines()]
    assert files
    assert not [file for file in files if file.suffix in {".pyc", ".pyi", ".log", ".orig"}]
    assert not [file for file in files if file.stat().st_size > 1_000_000]
