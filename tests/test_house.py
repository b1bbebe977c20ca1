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
from sd35.cli.exits import EXITS
from sd35.provider import StabilityAI_SD35Large
from sd35.settings import Settings
from sd35.space.server import DemoSpace

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")

MODULES = sorted(path for path in ROOT.glob("sd35/**/*.py"))

PURE = {"sd35.request", "sd35.events", "sd35.errors", "sd35.picture", "sd35.latest", "sd35.source"}

MAY_IMPORT = {
    "sd35.request": {"sd35.errors"},
    "sd35.events": {"sd35.picture"},
    "sd35.source": set[str](),
    "sd35.errors": set[str](),
    "sd35.accounts": set[str](),
    "sd35.attempts": {"sd35.accounts"},
    "sd35.latest": set[str](),
    "sd35.settings": {"sd35.source"},
    "sd35.picture": {"sd35.errors", "sd35.request"},
    "sd35.files": {"sd35.picture"},
    "sd35.metadata": {"sd35.metadata", "sd35.errors"},
    "sd35.library": {"sd35.library", "sd35.metadata", "sd35.errors", "sd35.picture", "sd35.request", "sd35.files"},
    "sd35.recording": {*PURE, "sd35.client", "sd35.library", "sd35.metadata"},
    "sd35.saving": {
        *PURE,
        "sd35.client",
        "sd35.library",
        "sd35.metadata",
        "sd35.job",
        "sd35.kept",
        "sd35.files",
        "sd35.recording",
    },
    "sd35.ledger": {*PURE, "sd35.client", "sd35.library", "sd35.metadata", "sd35.job"},
    "sd35.board": {*PURE, "sd35.job"},
    "sd35.building": set[str](),
    "sd35.queues": {*PURE, "sd35.board", "sd35.client", "sd35.job", "sd35.ledger", "sd35.line"},
    "sd35.restoring": {
        *PURE,
        *(
            "sd35.client",
            "sd35.job",
            "sd35.ledger",
            "sd35.library",
            "sd35.metadata",
            "sd35.line",
            "sd35.recording",
            "sd35.saving",
            "sd35.visitor",
        ),
    },
    "sd35.spaces": {*PURE, "sd35.client"},
    "sd35.visitor": set[str](),
    "sd35.kept": set[str](),
    "sd35.line": set[str](),
    "sd35.allowance": {"sd35.errors"},
    "sd35.metrics": {"sd35.job"},
    "sd35.web": {
        "sd35.web",
        "sd35.accounts",
        "sd35.attempts",
        "sd35.kept",
        "sd35.visitor",
        "sd35.library",
        "sd35.metadata",
        "sd35.errors",
    },
    "sd35.simple": {*PURE, "sd35.client"},
    "sd35.provider": {*PURE, "sd35.client"},
    "sd35.client": {*PURE, "sd35.client"} - {"sd35.latest"},
    "sd35.__main__": {"sd35.cli"},
    "sd35.cli": {
        *PURE,
        *("sd35.cli", "sd35.client", "sd35.files", "sd35.settings", "sd35.accounts", "sd35.publish"),
        *("sd35.library", "sd35.metadata", "sd35.recording"),
        *("sd35.web", "sd35.space"),  # for `--space demo` alone; tests/test_cli.py sees to that
    }
    - {"sd35.latest"},
    "sd35.job": {*PURE, "sd35.client", "sd35.line"},
    "sd35.studio": {
        *PURE,
        *("sd35.client", "sd35.job", "sd35.allowance", "sd35.kept", "sd35.line", "sd35.metrics", "sd35.visitor"),
        *(
            "sd35.board",
            "sd35.ledger",
            "sd35.library",
            "sd35.metadata",
            "sd35.queues",
            "sd35.restoring",
            "sd35.saving",
            "sd35.spaces",
        ),
    },
    "sd35.ui": {
        *PURE,
        *("sd35.client", "sd35.job", "sd35.studio", "sd35.ui", "sd35.allowance", "sd35.kept", "sd35.visitor"),
        *("sd35.board", "sd35.building", "sd35.library", "sd35.metadata"),
    },
    "sd35.space": {"sd35.building", "sd35.request", "sd35.web", "sd35.space"},
    "sd35.space.painter": {"sd35.space.painter"},
    "sd35.publish": {"sd35.publish"},
}

NOT_IN = {
    "sd35.cli": {"aiohttp", "httpx", "gradio", "gradio_client", "PIL", "numpy", "sqlite3"},
    "sd35.library": {"aiohttp", "httpx", "gradio", "gradio_client"},
    "sd35.metadata": {"aiohttp", "httpx", "gradio", "gradio_client", "sqlite3"},
    "sd35.ui": {"aiohttp", "httpx", "sqlite3"},
    "sd35.job": {"aiohttp", "httpx", "gradio", "gradio_client", "sqlite3"},
    "sd35.studio": {"aiohttp", "httpx", "gradio", "gradio_client", "sqlite3"},
    "sd35.client": {"gradio", "sqlite3"},
    "sd35.space.painter": {"gradio", "aiohttp"},
    "sd35.publish": {"aiohttp", "httpx", "gradio", "huggingface_hub"},
}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            if node.module in {"sd35", "sd35.ui", "sd35.space", "sd35.web"}:
                yield from (f"{node.module}.{alias.name}" for alias in node.names if not alias.name.startswith("__"))


def below(name: str, rooms: set[str]) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_who_imports_whom(path: Path) -> None:
    """A room reaches into one that it must know nothing of."""
    rooms = [room for room in MAY_IMPORT if below(name_of(path), {room})]
    if not rooms:
        assert name_of(path) == "sd35"
        return
    room = max(rooms, key=len)
    ours = {name for name in imported(path) if name.startswith("sd35.")}
    assert not {name for name in ours if not below(name, MAY_IMPORT[room])}
    assert not {name for name in imported(path) if below(name, NOT_IN.get(room, set()))}


@pytest.mark.parametrize(
    "name",
    [
        "sd35",
        "sd35.client",
        "sd35.provider",
        "sd35.simple",
        "sd35.source",
        "sd35.files",
        "sd35.request",
        "sd35.events",
        "sd35.errors",
        "sd35.job",
        "sd35.studio",
        "sd35.accounts",
    ],
)
def test_public_names_exist(name: str) -> None:
    """A name in `__all__` isn't there, or has no docstring."""
    module = importlib.import_module(name)
    for public in getattr(module, "__all__", ()):
        value = getattr(module, public)
        assert not isinstance(value, type) or value.__doc__, f"{name}.{public}"


def test_every_flag_is_in_the_readme() -> None:
    """A flag exists that the README doesn't speak of, or the README speaks of one that doesn't exist."""
    flags = {
        f"--{name.replace('_', '-')}" for name, field in Settings.model_fields.items() if field.validation_alias is None
    }
    assert flags == set(re.findall(r"^\| `(--[a-z-]+)` \| [^|]", README, re.MULTILINE)) | {"--space"}


def test_every_file_in_the_readme_exists() -> None:
    """The README points to a file or a module that isn't there."""
    named = re.findall(r"\]\((?!http)([^)]+)\)|src=\"(?!http)([^\"]+)\"|python (\w+\.py)|`(bench/[^`]+)`", README)
    files = {next(filter(None, groups)) for groups in named}
    assert files >= {"LICENSE", "app.py", "assets/screenshots/desktop.png", "assets/screenshots/phone.png"}
    assert not {file for file in files if not (ROOT / file).is_file()}
    for module in re.findall(r"python -m ([\w.]+)", README):
        assert (ROOT / module.replace(".", "/") / "__main__.py").is_file()


EXAMPLES = [code for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "gradio_client" not in code]


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
    options = {option for command in commands.values() for each in command.params for option in each.opts}
    assert set(re.findall(r"python -m sd35((?: [a-z][a-z-]*)+)", section)) == set(commands)
    assert set(re.findall(r"--[a-z][a-z-]*", section)) == {option for option in options if option.startswith("--")}


def test_every_exit_code_is_in_the_readme() -> None:
    """The program ends with a code that the README doesn't speak of, or says something else of."""
    rows = dict(re.findall(r"^\| (\d+) \| (.*) \|$", README, re.MULTILINE))
    assert rows == {str(way.code): way.meaning for way in EXITS if way.code < 128}


def test_the_gate_runs_the_readme_s_command() -> None:
    """CI tests by another command than the one that people are told."""
    command = "pip install -r requirements-dev.txt && pytest"
    assert f"```sh\n{command}\n```" in README
    assert "README.md" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_nothing_is_left_in_the_tree() -> None:
    """A file of a tool, or one that is too large, is committed."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout  # noqa: S607
    files = [ROOT / name for name in listed.splitlines()]
    assert files
    assert not [file for file in files if file.suffix in {".pyc", ".pyi", ".log", ".orig"}]
    assert not [file for file in files if file.stat().st_size > 1_000_000]
