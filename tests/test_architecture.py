"""The house itself: who imports whom, and that what the README says is so."""

import ast
import importlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from sd35.cli.app import app
from sd35.cli.exit_codes import EXIT_CODES
from sd35.provider import StabilityAI_SD35Large
from sd35.settings import Settings
from sd35.space.server import DemoSpace

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")

MODULES = sorted(ROOT.glob("sd35/**/*.py"))

ALLOWED_IMPORTS = {
    "sd35": {"client", "core", "provider", "sync"},
    "sd35.__main__": {"cli"},
    "sd35.cli": {
        *(
            "client",
            "core",
            "jobs.record",
            "library",
            "metadata",
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
    "sd35.provider": {"client", "core"},
    "sd35.server": {"core", "jobs", "library"},
    "sd35.settings": {"core"},
    "sd35.space": {"core", "server.blocks", "server.launch"},
    "sd35.sync": {"client", "core"},
    "sd35.ui": {"core", "jobs", "library", "metadata", "server"},
}
"""Which packages, or modules of them, a package may import beside itself: docs/architecture.md draws it."""

KNOWN: dict[str, set[str]] = {
    "sd35.cli.commands.library_search": {"sd35.jobs.repository.JobRecord"},
    "sd35.cli.formatting": {"sd35.jobs.repository.JobRecord"},
    "sd35.library.library": {"sd35.jobs.record.Stage", "sd35.jobs.repository.JobRepository"},
    "sd35.library.stats": {"sd35.jobs.repository.JobRepository", "sd35.jobs.repository.Stage"},
    "sd35.server.api": {
        "sd35.ui.create.form.CUSTOM_SIZE",
        "sd35.ui.create.form.FormValues",
        "sd35.ui.create.form.parse_request",
    },
}

FORBIDDEN_IMPORTS = {
    "sd35.cli": {"PIL", "aiohttp", "gradio", "gradio_client", "httpx", "numpy", "sqlite3"},
    "sd35.client": {"gradio", "sqlite3"},
    "sd35.core": {"aiohttp", "gradio", "gradio_client", "httpx", "sqlite3"},
    "sd35.jobs": {"aiohttp", "gradio", "gradio_client", "httpx"},
    "sd35.library": {"aiohttp", "gradio", "gradio_client", "httpx"},
    "sd35.metadata": {"aiohttp", "gradio", "gradio_client", "httpx", "sqlite3"},
    "sd35.space.painter": {"aiohttp", "gradio"},
    "sd35.ui": {"aiohttp", "httpx", "sqlite3"},
}
"""Libraries that are the business of other packages."""


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
    assert {name for name in ours if not is_below(name, own)} == KNOWN.get(module_name(path), set())
    others = {
        name
        for key, names in FORBIDDEN_IMPORTS.items()
        if is_below(module_name(path), {key})
        for name in names
    }
    assert not {name for name in imported_names(path) if is_below(name, others)}


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_public_names_exist(path: Path) -> None:
    """Each name in an `__all__` exists, and each public class has a docstring."""
    module = importlib.import_module(module_name(path)) if path.stem != "__main__" else None
    for public in getattr(module, "__all__", ()):
        value = getattr(module, public)
        assert not isinstance(value, type) or value.__doc__, f"{module_name(path)}.{public}"


def test_every_flag_is_in_the_readme() -> None:
    """A flag exists that the README doesn't speak of, or the README speaks of one that doesn't exist."""
    flags = {
        f"--{name.replace('_', '-')}"
        for name, field in Settings.model_fields.items()
        if field.validation_alias is None
    }
    assert flags == set(re.findall(r"^\| `(--[a-z-]+)` \| [^|]", README, re.MULTILINE)) | {
        "--space"
    }


def test_every_file_in_the_readme_exists() -> None:
    """The README points to a file or a module that isn't there."""
    matches = re.findall(
        r"\]\((?!http)([^)]+)\)|src=\"(?!http)([^\"]+)\"|python (\w+\.py)|`(bench/[^`]+)`", README
    )
    files = {next(filter(None, groups)) for groups in matches}
    assert files >= {
        "LICENSE",
        "app.py",
        "assets/screenshots/desktop.png",
        "assets/screenshots/phone.png",
    }
    assert not {file for file in files if not (ROOT / file).is_file()}
    for module in re.findall(r"python -m ([\w.]+)", README):
        assert (ROOT / module.replace(".", "/") / "__main__.py").is_file()


EXAMPLES = [
    code
    for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    if "gradio_client" not in code
]


def test_the_readme_s_examples_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An example for scripts doesn't run as it stands there."""
    demo = DemoSpace()
    address = demo.start()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(StabilityAI_SD35Large, "url", address)
    for code in EXAMPLES:
        exec(code.replace("stabilityai/stable-diffusion-3.5-large", address), {})  # noqa: S102  # our own README
    demo.close()
    printed = capsys.readouterr().out
    assert "7 1024 576" in printed
    assert (tmp_path / "lighthouse.png").is_file()
    assert re.search(r"<Picture PNG .* seed \d+>", printed)
    assert len(re.findall(r"PNG \d+ bytes, seed \d+", printed)) == 2
    assert re.search(r"/gradio_api/file=\S+ seed \d+", printed)


def commands_below(group: Any, name: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401  # click's, or typer's own
    """Each command that does something, and what is typed for it; a group is its commands, and has no options."""
    for word, command in group.commands.items():
        if hasattr(command, "commands"):
            assert not command.params
            yield from commands_below(command, f"{name} {word}")
        else:
            yield f"{name} {word}", command


def test_every_option_of_the_terminal_program_is_in_the_readme() -> None:
    """A command or an option exists that the README is silent about, or speaks of and isn't there."""
    section = README[README.index("### From a terminal") : README.index("### From Python")]
    commands = dict(commands_below(get_command(app)))
    options = {
        option
        for command in commands.values()
        for parameter in command.params
        for option in parameter.opts
    }
    assert set(re.findall(r"python -m sd35((?: [a-z][a-z-]*)+)", section)) == set(commands)
    assert set(re.findall(r"--[a-z][a-z-]*", section)) == {
        option for option in options if option.startswith("--")
    }


def test_every_exit_code_is_in_the_readme() -> None:
    """The program ends with a code that the README doesn't speak of, or says something else of."""
    rows = dict(re.findall(r"^\| (\d+) \| (.*) \|$", README, re.MULTILINE))
    assert rows == {
        str(exit_code.code): exit_code.meaning for exit_code in EXIT_CODES if exit_code.code < 128
    }


def test_the_gate_runs_the_readme_s_command() -> None:
    """CI tests by another command than the one that people are told."""
    command = "pip install -r requirements-dev.txt && pytest"
    assert f"```sh\n{command}\n```" in README
    assert "README.md" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_nothing_is_left_in_the_tree() -> None:
    """A file of a tool, or one that is too large, is committed."""
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
