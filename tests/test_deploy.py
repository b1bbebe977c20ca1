"""Uploading a Space to Hugging Face: files, card and requirements."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub.cli import hf
from typer.testing import CliRunner

from sd35.cli.app import app
from sd35.space.deploy.card import read_card
from sd35.space.deploy.check import find_problems
from sd35.space.deploy.files import list_files
from sd35.space.models import MODELS
from tests.test_architecture import imported_names

ROOT = Path(__file__).parent.parent

MODEL_SPACE = ROOT / "hosted" / "model"
SPACE_FOLDERS = {"sd35/space", "sd35/space/diffusion", "sd35/space/painter"}

SECRET_TOKEN = "hf_" + "aB3" * 12

VALID_FILES = {
    "README.md": """---
title: A studio
emoji: 🌄
colorFrom: red
colorTo: yellow
sdk: gradio
sdk_version: 6.31.0
python_version: "3.11"
app_file: app.py
short_description: Pictures
license: mit
models: [stabilityai/stable-diffusion-3.5-large]
header: mini
pinned: false
hf_oauth: true
startup_duration_timeout: 30m
---
# A studio
""",
    "requirements.txt": "# What it takes.\ngradio[oauth]>=6.31,<7  # and more\nPillow>=11\n",
    "pyproject.toml": '[project]\nname = "a-studio"\nrequires-python = ">=3.11"\n',
    "app.py": "import gradio as gr\n\nwith gr.Blocks() as demo:\n    pass\n",
    ".gitignore": "__pycache__/\n.env\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder without problems."""
    for name, text in VALID_FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def problem_texts(folder: Path) -> list[str]:
    return [
        f"{problem.message} {problem.remedy}"
        for problem in find_problems(folder, list_files(folder))
    ]


def edit_file(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize("folder", [ROOT, MODEL_SPACE], ids=["studio", "model"])
def test_our_spaces_have_no_problems(folder: Path) -> None:
    """Nothing in this repository or in the model's Space keeps Hugging Face from running it."""
    assert not problem_texts(folder)


def test_card_of_this_repository() -> None:
    """The card starts app.py, lets visitors sign in, and links the model."""
    card = read_card(ROOT / "README.md")
    assert (card["sdk"], card["app_file"], card["hf_oauth"]) == ("gradio", "app.py", True)
    assert card["models"] == ["stabilityai/stable-diffusion-3.5-large"]


def test_card_of_the_model_space() -> None:
    """The card names the default model, its licence, and ZeroGPU."""
    card = read_card(MODEL_SPACE / "README.md")
    (repository,) = card["models"]
    assert repository == MODELS["large-turbo"].repository
    assert '"large-turbo"' in (MODEL_SPACE / "app.py").read_text(encoding="utf-8")
    assert (card["license"], card["license_name"]) == ("other", "stabilityai-ai-community")
    assert card["license_link"].startswith(f"https://huggingface.co/{repository}/")
    assert card["suggested_hardware"] == "zero-a10g"
    assert card["sdk_version"] == read_card(ROOT / "README.md")["sdk_version"]


def test_model_space_contains_what_it_imports() -> None:
    """The model's Space gets the modules that it imports, also later, and no others."""
    files = {file.path: file for file in list_files(MODEL_SPACE)}
    assert {"app.py", "requirements.txt", "LICENSE", "NOTICE"} < set(files)
    assert {"sd35/space/diffusion/engine.py", "sd35/server/security.py"} < set(files)
    folders = {path.rpartition("/")[0] for path in files}
    assert folders == {"", "sd35", "sd35/core", "sd35/server", *SPACE_FOLDERS}
    requirements = (MODEL_SPACE / "requirements.txt").read_text(encoding="utf-8")
    packages = set(re.findall(r"^[\w-]+", requirements.lower(), re.MULTILINE))
    imports = {
        name.partition(".")[0]
        for path, file in files.items()
        if path.endswith(".py")
        for name in imported_names(file.source)
    }
    third_party = imports - sys.stdlib_module_names - {"sd35", "pil"}
    # The platform's own, those of other packages, and those of quantized models and Windows.
    others = {"PIL", "spaces", "httpx2", "tqdm", "torchao", "psutil"}
    assert third_party - others <= packages
    assert "pillow" in packages


@pytest.mark.parametrize(
    ("file", "old", "new", "expected_message"),
    [
        ("README.md", "3.12", "3.11", "python_version is 3.11, but ZeroGPU has Python 3.12.12 and"),
        ("README.md", "3.12", "3.12.1", "python_version is 3.12.1, but ZeroGPU has Python"),
        ("README.md", "3.12", "3.1", "python_version is 3.1, but"),
        ("README.md", "6.31.0", "3.50.2", "sdk_version is 3.50.2, but ZeroGPU needs Gradio 4"),
        ("requirements.txt", "<7", "<7\ntorch>=2.12", "torch>=2.12 excludes all versions that"),
        ("requirements.txt", "<7", "<7\nTorch == 2.13.0+cu130", "2.8.0, 2.9.1, 2.10.0, 2.11.0."),
        ("app.py", "import spaces", "import Spaces", "no file imports spaces. ZeroGPU starts"),
    ],
)
def test_what_zerogpu_refuses_is_reported_once(
    file: str, old: str, new: str, expected_message: str, folder: Path
) -> None:
    """With ZeroGPU's hardware, its versions of Python, Gradio and PyTorch are checked."""
    (folder / "pyproject.toml").unlink()
    (folder / "requirements.txt").write_text("gradio[oauth]<7", encoding="utf-8")
    edit_file(folder / "README.md", "header: mini", "suggested_hardware: zero-a10g")
    edit_file(folder / "README.md", "3.11", "3.12")
    edit_file(folder / "app.py", "\n\n", "\nimport spaces\n\n")
    assert not problem_texts(folder)
    edit_file(folder / file, old, new)
    if "3.50.2" in new:
        edit_file(folder / "requirements.txt", "<7", "")
    [problem] = problem_texts(folder)
    assert expected_message in problem


@pytest.mark.parametrize(
    "requirement",
    ["torch==2.11.0+cu128", "torch>=2.8,<3", "torch", "torch==2.13; sys_platform == 'darwin'"],
)
def test_torch_of_zerogpu_is_accepted(requirement: str, folder: Path) -> None:
    """PyTorch may be named as long as a supported version fits."""
    edit_file(folder / "README.md", "header: mini", "suggested_hardware: zero-a10g")
    edit_file(folder / "README.md", "3.11", "3.12")
    edit_file(folder / "app.py", "\n\n", "\nimport spaces\n\n")
    edit_file(folder / "requirements.txt", "Pillow>=11", requirement)
    assert not problem_texts(folder)


INVALID_EDITS = [
    # file, text in it, replacement, part of the one problem
    (
        "README.md",
        "---\ntitle",
        "x\n---\ntitle",
        "there is no card. Add the settings at the very top",
    ),
    ("README.md", "30m\n---", "30m\n--", "there is no card"),
    (
        "README.md",
        "title: A studio",
        "title: A studio: large",
        "README.md: line 2 isn't valid YAML",
    ),
    ("README.md", "title: A studio", "title: 2026-13-45", "the card isn't valid YAML"),
    ("README.md", "colorTo: yellow", "colorFrom: yellow", "colorFrom occurs twice"),
    ("README.md", "title: A studio\n", "", "title is missing. Add it: the Hub shows it."),
    ("README.md", "sdk_version: 6.31.0\n", "", "sdk_version is missing"),
    (
        "README.md",
        'python_version: "3.11"\n',
        "",
        "python_version is missing. Add it: the Hub takes",
    ),
    ("README.md", "colorTo:", "colourTo:", "of a Gradio Space. Did you mean colorTo?"),
    ("README.md", "header: mini", "background: dark", "background is not a setting of a Gradio"),
    ("README.md", "title: A studio", f"title: {'x' * 101}", "It must be a text of at most 100"),
    ("README.md", "title: A studio", "title:", "title is empty"),
    ("README.md", "emoji: 🌄", "emoji: 🌄🌄", "emoji is “🌄🌄”. It must be one emoji"),
    ("README.md", "emoji: 🌄", "emoji: A", "It must be one emoji"),
    ("README.md", "yellow", "orange", "colorTo is “orange”. It must be red, yellow, green, blue,"),
    ("README.md", "sdk: gradio", "sdk: docker", "sdk is “docker”. It must be gradio"),
    ("README.md", "6.31.0", "6.31", "sdk_version is 6.31. It must be a release number"),
    ("README.md", "6.31.0", "6.31.0b1", "sdk_version is “6.31.0b1”"),
    ("README.md", '"3.11"', "3.11", "python_version is 3.11. It must be a version in quotes"),
    ("README.md", '"3.11"', '"3.10"', "is 3.10, but pyproject.toml requires >=3.11"),
    ("README.md", "app.py", "web/app.py", "It must be the name of a Python file beside README.md"),
    ("README.md", "app.py", "main.py", "main.py: it doesn't exist, or .gitignore excludes it"),
    ("README.md", "Pictures", "x" * 61, "It must be a text of at most 60 characters"),
    ("README.md", "mit", "MIT", "license is “MIT”. It must be an identifier from the Hub's list"),
    ("README.md", "models: [", "models: [a/b/c, ", "It must be a list of names such as owner/name"),
    ("README.md", "header: mini", "header: small", "It must be default or mini"),
    ("README.md", "pinned: false", "pinned: 0", "pinned is 0. It must be true or false"),
    ("README.md", "header: mini", "hf_oauth_scopes: read-repos", "It must be a list of scopes"),
    ("README.md", "header: mini", "hf_oauth_scopes: [root]", "a list of scopes: openid, profile"),
    ("README.md", "header: mini", "hf_oauth_expiration_minutes: 43201", "from 1 to 43200"),
    (
        "README.md",
        "header: mini",
        "hf_oauth_expiration_minutes: true",
        "true. It must be an integer",
    ),
    (
        "README.md",
        "header: mini",
        "suggested_hardware: zero-gpu",
        "It must be a flavor: cpu-basic,",
    ),
    ("README.md", "license: mit", "license: other\nlicense_name: ours", "license_link is missing"),
    (
        "README.md",
        "license: mit",
        "license_name: Our Own",
        "It must be an identifier in lower case",
    ),
    ("README.md", "license: mit", "license_link: our own", "must be LICENSE, LICENSE.md or a URL"),
    ("README.md", "30m", "half an hour", "It must be a duration such as 30m or 1h"),
    (
        "README.md",
        "header: mini",
        "custom_headers: {X-Frame-Options: deny}",
        "cross-origin-… headers",
    ),
    ("requirements.txt", "gradio[oauth]", "gradio", "gradio lacks the extra oauth, but README.md"),
    ("requirements.txt", "<7", "<6.31", "excludes 6.31.0, which is sdk_version in README.md"),
    ("requirements.txt", "Pillow>=11", "-r more.txt", "line 3 refers to another file, which"),
    ("requirements.txt", "Pillow>=11", "-e .", "line 3 installs a folder"),
    ("requirements.txt", "Pillow>=11", "--pre=x", "line 3 has an option (--pre), but"),
    ("requirements.txt", "Pillow>=11", "./pillow", "line 3 refers to a file"),
    ("requirements.txt", "Pillow>=11", "pillow @ file:///pillow.whl", "line 3 refers to a file"),
    (
        "requirements.txt",
        "Pillow>=11",
        "Pillow>=eleven",
        "line 3 isn't a package with its versions",
    ),
    ("pyproject.toml", ">=3.11", "3.11", "requires-python isn't valid"),
    ("pyproject.toml", "[project]", "[project", "requires-python isn't valid"),
    ("app.py", "as demo", "as page", "app.py: it doesn't define demo"),
    ("app.py", "with", "def it():\n  demo = 1\n\nif", "app.py: line 6 isn't valid Python"),
    ("app.py", "    pass", f"    pass  # {SECRET_TOKEN}", "line 4 seems to contain a Hugging Face"),
    (".gitignore", "__pycache__/", "app.py", "app.py: it doesn't exist, or .gitignore excludes it"),
]


@pytest.mark.parametrize(
    ("name", "old", "new", "expected_message"),
    INVALID_EDITS,
    ids=[f"{row[0]} {row[2][:40]!r}" for row in INVALID_EDITS],
)
def test_each_problem_is_reported_once(
    name: str, old: str, new: str, expected_message: str, folder: Path
) -> None:
    """A problem that the Hub would have with a file is reported once, without any token in it."""
    assert not problem_texts(folder)
    edit_file(folder / name, old, new)
    [problem] = problem_texts(folder)
    assert expected_message in problem
    assert SECRET_TOKEN not in problem
    assert re.fullmatch(r"\S+: .*[.?]", problem)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("emoji: 🌄", "emoji: 🖼️"),
        ("emoji: 🌄", "emoji: 👩🏽‍🎨"),
        ("emoji: 🌄", "emoji: 🇪🇺"),
        ("emoji: 🌄", "emoji: 2️⃣"),
        ('"3.11"', "3.12.12"),
        ("license: mit", "license: apache-2.0"),
        ("license: mit", "license: other\nlicense_name: ours\nlicense_link: LICENSE"),
        (
            "header: mini",
            "header: default\nfullWidth: true\ntags: [text-to-image]\ndatasets: [squad]",
        ),
        (
            "header: mini",
            "hf_oauth_scopes:\n - inference-api\n - read-billing\nhf_oauth_expiration_minutes: 480",
        ),
        ("header: mini", "hf_oauth_authorized_org: [one, two]\ndisable_embedding: true"),
        ("header: mini", "hf_oauth_authorized_org: one\nthumbnail: https://a.example/picture.png"),
        (
            "header: mini",
            "custom_headers:\n  cross-origin-opener-policy: same-origin\nbase_path: /?__theme=dark",
        ),
        (
            "header: mini",
            "preload_from_hub:\n  - owner/name config.json\nsuggested_hardware: cpu-upgrade",
        ),
        ("30m\n---", "1h\n---  "),
    ],
)
def test_documented_settings_are_accepted(old: str, new: str, folder: Path) -> None:
    """Settings that the Hub documents are no problem."""
    edit_file(folder / "README.md", old, new)
    assert not problem_texts(folder)


def test_missing_and_unreadable_files_are_reported(folder: Path) -> None:
    """A required file that is missing, or isn't text, is a problem and not a failure."""
    (folder / "README.md").write_bytes(b"\xff")
    (folder / "requirements.txt").unlink()
    (folder / "pyproject.toml").unlink()
    files = {problem.partition(":")[0] for problem in problem_texts(folder)}
    assert files == {"README.md", "requirements.txt"}


def test_listed_files_are_those_that_hf_upload_sends(folder: Path) -> None:
    """All files are listed, tracked or not, except `.git` and what the top .gitignore excludes."""
    for name in (
        ".git/config",
        "a/__pycache__/b.pyc",
        ".env",
        "a/.env",
        "a/b c.txt",
        "untracked.txt",
        "a/.gitignore",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("untracked.txt\n")
    (folder / "lost").symlink_to("nowhere")
    paths = [file.path for file in list_files(folder)]
    assert paths == sorted([*VALID_FILES, "a/.gitignore", "a/b c.txt", "untracked.txt"])
    assert (
        sum(file.size_bytes for file in list_files(folder))
        == sum(len(text.encode()) for text in VALID_FILES.values()) + 42
    )


def test_large_private_and_tool_files_are_reported(folder: Path) -> None:
    """A large file, a tool's folder and the list of logins are problems."""
    (folder / ".gitignore").unlink()
    for name in (
        "a/__pycache__/b/c.pyc",
        "venv/lib/__pycache__/d.pyc",
        ".env",
        "users.txt",
        "large.bin",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(SECRET_TOKEN)
    with (folder / "large.bin").open("wb") as file:
        file.truncate(10_000_001)
    problems = problem_texts(folder)
    assert [problem.partition(":")[0] for problem in problems] == [
        ".env",
        "a/__pycache__",
        "users.txt",
        "venv",
        "large.bin",
    ]
    assert "10.0 MB" in problems[-1]


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["space-files", *arguments])
    return result.exit_code, result.stdout


def test_command_lists_files_and_fails_on_problems(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command lists the files; with --check, it prints the problems and exits with 2."""
    code, out = invoke(str(folder))
    assert code == 0
    assert re.search(r"^ +\d+ bytes  requirements\.txt$", out, re.MULTILINE)
    assert f"\n{len(VALID_FILES)} files, " in out
    monkeypatch.chdir(folder)
    code, out = invoke("--check")
    assert (code, out.partition(":")[0]) == (0, "✓ Ready to upload as a Space")
    edit_file(folder / "README.md", "header: mini", "header: \x1b[2J")
    assert invoke("--check")[0] == 2
    edit_file(folder / "README.md", "\x1b[2J", "large")
    code, out = invoke("--check")
    assert (code, out) == (2, "✗ README.md: header is “large”.\nIt must be default or mini.\n")


def test_command_writes_json(folder: Path) -> None:
    """With --json, files and problems are written as JSON, for programs."""
    payload = json.loads(invoke(str(folder), "--json")[1])
    assert {"path": "app.py", "bytes": len(VALID_FILES["app.py"])} in payload["files"]
    assert "problems" not in payload
    edit_file(folder / "README.md", "header: mini", "header: large")
    code, out = invoke(str(folder), "--check", "--json")
    payload = json.loads(out)
    assert payload["problems"] == [
        {"happened": "README.md: header is “large”.", "remedy": "It must be default or mini."}
    ]
    assert code == payload["exit_code"] == 2


def test_command_copies_the_files_to_a_new_folder(folder: Path, tmp_path: Path) -> None:
    """With --output, exactly the files are copied, unless something is there or wrong."""
    output = tmp_path / "deep" / "output"
    for command in (["--check"], []):
        assert invoke(str(MODEL_SPACE), *command, "--output", str(output))[0] == (
            2 if not command else 0
        )
        paths = {
            path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()
        }
        assert paths == {file.path for file in list_files(MODEL_SPACE)}
    assert not problem_texts(output)
    edit_file(folder / "README.md", "header: mini", "header: large")
    assert invoke(str(folder), "--check", "--output", str(tmp_path / "other"))[0] == 2
    assert not (tmp_path / "other").exists()


def test_command_rejects_a_file(folder: Path) -> None:
    """A file in place of a folder is an invalid request."""
    assert invoke(str(folder / "app.py"))[0] == 2


HUB_PAGE = (ROOT / "docs" / "hugging-face.md").read_text(encoding="utf-8")
HUB_COMMANDS = [
    "".join(match)
    for match in re.findall(r"^ *(?:\w+=\S+ )?(hf .*)$|`(hf [^`]+ [^`]+)`", HUB_PAGE, re.MULTILINE)
]


@pytest.mark.parametrize("line", HUB_COMMANDS)
def test_documented_hf_commands_exist(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Hugging Face's program has the commands and options that the documentation uses."""
    # With --help, the command is parsed but not run.
    with pytest.raises(SystemExit) as ending:
        hf.app([*shlex.split(line)[1:], "--help"], prog_name="hf")
    assert ending.value.code == 0
    assert capsys.readouterr().out.lstrip().startswith("Usage: hf ")


@pytest.mark.generations
@pytest.mark.parametrize(("folder", "torch"), [(ROOT, ""), (MODEL_SPACE, "torch==2.11.0\n")])
def test_requirements_resolve_with_those_of_the_hub(
    folder: Path, torch: str, tmp_path: Path
) -> None:
    """The requirements can be installed together with the packages that the Hub adds."""
    card = read_card(folder / "README.md")
    added = tmp_path / "added.txt"
    added.write_text(
        f"gradio[oauth,mcp]=={card['sdk_version']}\nuvicorn>=0.14.0\nwebsockets>=10.4\nspaces\n"
        f"{torch}",
        encoding="ascii",
    )
    command = [
        "uv",
        "pip",
        "compile",
        "--quiet",
        "--python-version",
        card["python_version"],
        "requirements.txt",
    ]
    subprocess.run(  # noqa: S603
        [*command, str(added)], cwd=folder, stdout=subprocess.DEVNULL, check=True, timeout=600
    )
