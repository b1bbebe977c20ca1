"""The README and docs/: every flag, command, option, exit code and example in them is real."""

import re
from collections.abc import Iterator
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from typer.main import get_command

from sd35.cli.app import app
from sd35.cli.exit_codes import EXIT_CODES
from sd35.cli.lazy import LazyGroup
from sd35.core.model_options import OPTION_HELP
from sd35.provider import StabilityAI_SD35Large
from sd35.server.api import ApiEndpoints
from sd35.settings import Settings
from sd35.space.arguments import create_parser
from sd35.space.server import DemoSpace

ROOT = Path(__file__).parent.parent

README = (ROOT / "README.md").read_text(encoding="utf-8")

PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "bench" / "README.md"]

TEST_COMMAND = (
    "python3 -m venv .venv && .venv/bin/pip install -r requirements-dev.txt && .venv/bin/pytest"
)


def read_doc(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and the Hub make them."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.strip("`").lower()).replace(" ", "-")
        for heading in headings
    }


def test_readme_is_one_screen() -> None:
    """The README has 150 lines at most; the rest is in docs/."""
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Each link and image of a page leads to a file, and to a heading, that exists."""
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!http)([^)\s]+)\)|src=\"(?!http)([^\"]+)\"", text)
    for link in (next(filter(None, groups)) for groups in links):
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_files_and_modules_exist(page: Path) -> None:
    """Each module that is run and each file of the repository that a page names exists."""
    text = page.read_text(encoding="utf-8")
    for module in re.findall(r"python -m (sd35[\w.]*|bench)", text):
        assert (ROOT / module.replace(".", "/") / "__main__.py").is_file()
    for name in re.findall(r"`((?:sd35|tests|bench|assets|docs)/[\w./]+\.\w+)`", text):
        assert (ROOT / name).is_file(), name


def flags_in(text: str) -> set[str]:
    """Return the flags of the tables in a text."""
    return set(re.findall(r"^\| `(--[a-z0-9-]+)` \| [^|]", text, re.MULTILINE))


def flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def test_every_flag_is_documented() -> None:
    """The tables of options list exactly the flags of app.py and of a Space's own program."""
    names = [name for name, field in Settings.model_fields.items() if not field.validation_alias]
    own_options, space_options = read_doc("local-model").split("## For others")
    assert flags_in(own_options) == set(map(flag, OPTION_HELP))
    assert flags_in(read_doc("using-the-page")) | flags_in(own_options) == set(map(flag, names))
    options = set(re.findall(r"--[a-z0-9-]+", create_parser().format_help())) - {"--help"}
    assert flags_in(own_options) | flags_in(space_options) == options


# Typer has classes of its own for Click's groups.
def commands_of(group: Any, name: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    """Yield each command that does something, with the words that are typed for it."""
    for word in group.commands:
        command = group.load(word) if isinstance(group, LazyGroup) else group.commands[word]
        if hasattr(command, "commands"):
            assert not command.params
            yield from commands_of(command, f"{name} {word}")
        else:
            yield f"{name} {word}", command


def test_every_command_and_option_is_documented() -> None:
    """The command line's page names exactly the commands and options that exist."""
    text = read_doc("command-line")
    commands = dict(commands_of(get_command(app)))
    options = {
        option
        for command in commands.values()
        for parameter in command.params
        for option in parameter.opts
        if option.startswith("--")
    }
    assert set(re.findall(r"python -m sd35((?: [a-z][a-z-]*)+)", text)) == set(commands)
    assert set(re.findall(r"--[a-z][a-z0-9-]*", text)) == options


def test_every_exit_code_is_documented() -> None:
    """The table of exit codes says what the program says of them."""
    rows = dict(re.findall(r"^\| (\d+) \| (.*) \|$", read_doc("command-line"), re.MULTILINE))
    assert rows == {
        str(exit_code.code): exit_code.meaning for exit_code in EXIT_CODES if exit_code.code < 128
    }


def test_examples_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each Python example runs as it stands, against the demo Space."""
    blocks = re.findall(r"```python\n(.*?)```", read_doc("python-and-http"), re.DOTALL)
    demo = DemoSpace()
    address = demo.start()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(StabilityAI_SD35Large, "url", address)
    monkeypatch.setattr("sd35.space.painter.painter._MIN_STEP_SECONDS", 0.0)
    for code in blocks:
        if "gradio_client" not in code:  # tests/test_app.py makes such calls to the page
            # The code is that of our own page.
            exec(code.replace("stabilityai/stable-diffusion-3.5-large", address), {})  # noqa: S102
    demo.close()
    output = capsys.readouterr().out
    assert "7 1024 576" in output
    assert (tmp_path / "lighthouse.png").is_file()
    assert re.search(r"<Picture PNG .* seed \d+>", output)
    assert len(re.findall(r"PNG \d+ bytes, seed \d+", output)) == 2
    assert re.search(r"/gradio_api/file=\S+ seed \d+", output)


def test_calls_of_endpoints_are_documented_as_they_are() -> None:
    """Examples call endpoints with parameters that exist, and the table has those of a set."""
    text = read_doc("python-and-http")
    blocks = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    calls = re.findall(r"studio\.predict\((.*?)\n?\)$", blocks, re.DOTALL | re.MULTILINE)
    assert len(calls) == 4
    for call in calls:
        # Not within a text.
        *names, last = re.findall(r"(\w+)=", re.sub(r'="[^"]*"', "=0", call))
        endpoint = re.findall(r'api_name="/(\w+)"', call)[0]
        assert last == "api_name"
        assert set(names) <= set(signature(getattr(ApiEndpoints, endpoint)).parameters)
    rows = re.findall(r"^\| (`[a-z_]+`(?:, `[a-z_]+`)*) \|", text.split("## MCP")[0], re.MULTILINE)
    own_names = signature(ApiEndpoints.generate_set).parameters.keys()
    names_of_both = signature(ApiEndpoints.generate).parameters.keys()
    assert set(re.findall(r"`([a-z_]+)`", " ".join(rows))) == own_names - names_of_both


def test_gate_runs_the_documented_command() -> None:
    """CI takes its test command from the README."""
    assert f"```sh\n{TEST_COMMAND}\n```" in README
    assert "README.md" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_kubernetes_manifest_fits_the_program() -> None:
    """Its command is one that the program takes, with as many GPUs, and Ray's version is ours."""
    job, *_ = yaml.safe_load_all((ROOT / "docs" / "kuberay.yaml").read_text(encoding="utf-8"))
    program, module, name, *flags = job["spec"]["entrypoint"].split()
    assert (program, module, name) == ("python", "-m", "sd35.space")
    arguments = create_parser().parse_args(flags)
    cluster = job["spec"]["rayClusterSpec"]
    (workers,) = cluster["workerGroupSpecs"]
    assert workers["replicas"] == arguments.replicas.maximum
    requirement = (ROOT / "requirements-ray.txt").read_text(encoding="utf-8").splitlines()[-1]
    assert cluster["rayVersion"] in Requirement(requirement).specifier
    assert f"rayproject/ray:{cluster['rayVersion']}-" in read_doc("several-gpus")
