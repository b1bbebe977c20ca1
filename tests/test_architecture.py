"""The architecture: who imports whom, how things are named, and what the tree holds."""

import ast
import importlib
import importlib.util
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

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
    "sd35": {"client", "core", "prompts", "provider", "sync"},
    "sd35.__main__": {"cli"},
    "sd35.cli": {
        *(
            "client",
            "core",
            "jobs.provenance",
            "jobs.record",
            "jobs.repository",
            "jobs.sheets",
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
    "sd35.server": {"core", "jobs", "library", "prompts"},
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


@cache
def nodes(path: Path) -> list[ast.AST]:
    """Return all parts of a module's syntax tree."""
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def imported_names(path: Path) -> Iterator[str]:
    """Yield each imported module, and each name imported from one, which may be a module."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_below(name: str, packages: set[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def libraries_of_others(name: str) -> set[str]:
    """Return the libraries that a module may not import, as they are the business of others."""
    forbidden = [names for package, names in FORBIDDEN_IMPORTS.items() if is_below(name, {package})]
    optional = {
        library for package, library in OPTIONAL_LIBRARIES.items() if not is_below(name, {package})
    }
    return optional.union(*forbidden)


def test_packages_import_only_what_lies_below_them() -> None:
    """Each module imports its own package, and those that the table of the architecture allows."""
    for path in MODULES:
        name = module_name(path)
        package = max((key for key in ALLOWED_IMPORTS if is_below(name, {key})), key=len)
        own = {f"sd35.{below}" for below in ALLOWED_IMPORTS[package]} | ({package} - {"sd35"})
        imports = set(imported_names(path))
        ours = {imported for imported in imports if imported.startswith("sd35.")}
        assert not {imported for imported in ours if not is_below(imported, own)}, name
        others = libraries_of_others(name)
        assert not {imported for imported in imports if is_below(imported, others)}, name


def bound_names(path: Path) -> Iterator[str]:
    """Yield each name that the code binds: definitions, parameters, variables and attributes."""
    for node in nodes(path):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.Attribute(attr=name, ctx=ast.Store()):
                yield name


def test_names_are_nouns() -> None:
    """No name is a bare participle, pronoun or placeholder: a name says what it holds."""
    for path in SOURCES:
        names = set(bound_names(path))
        bad_names = {name for name in names if PLACEHOLDER.fullmatch(name.strip("_").lower())}
        assert not bad_names, module_name(path)


def is_command(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Return whether a function is a command of the terminal: its parameters list the options."""
    return any(
        ast.unparse(decorator).startswith("app.command(") for decorator in function.decorator_list
    )


def is_endpoint(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Return whether a function is one for programs: its parameters are what they may send."""
    annotations = [ast.unparse(arg.annotation) for arg in function.args.args if arg.annotation]
    return annotations[-1:] == ["gr.Request"] and len(annotations) > 10


def test_functions_fit_on_a_screen() -> None:
    """No function has more than 40 lines, apart from the parameters of a command or endpoint."""
    for path in MODULES:
        for node in nodes(path):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                is_interface = is_command(node) or is_endpoint(node)
                start = node.body[0].lineno if is_interface else node.lineno
                length = (node.end_lineno or 0) - start + 1
                assert length <= MAX_FUNCTION_LINES, f"{module_name(path)}.{node.name}"


def needs_missing_library(name: str) -> bool:
    """Return whether a module imports an optional library that isn't installed."""
    return any(
        is_below(name, {package}) and name != package and importlib.util.find_spec(library) is None
        for package, library in OPTIONAL_LIBRARIES.items()
    )


def test_public_names_exist() -> None:
    """Each name in an `__all__` exists, and each public class has a docstring."""
    for name in map(module_name, MODULES):
        if name.endswith("__main__") or needs_missing_library(name):
            continue
        module = importlib.import_module(name)
        for public in getattr(module, "__all__", ()):
            value = getattr(module, public)
            assert not isinstance(value, type) or value.__doc__, f"{name}.{public}"


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
