"""`app.py` as a process, driven as its users drive it."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio_client
import httpx
import orjson
import pytest

from sd35.core.picture import open_picture
from sd35.server.launch import free_port

ROOT = Path(__file__).parent.parent
LIMIT_SECONDS = 60


def environment(folder: Path, **extra: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("GRADIO")} | {
        "TMPDIR": str(folder),
        "HOME": str(folder),
        **extra,
    }


@contextmanager
def start_program(folder: Path, *flags: str, **extra: str) -> "Iterator[Program]":
    port = free_port()
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "app.py", "--space", "demo", "--port", str(port), *flags],
        cwd=ROOT,
        env=environment(folder, HF_TOKEN="hf_verysecret", **extra),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == f"SD 3.5 Studio is at http://127.0.0.1:{port}/\n"
        assert (
            process.stdout.readline()
            == f"Pictures are kept in {folder / 'Pictures' / 'SD 3.5 Studio'}\n"
        )
        yield process, f"http://127.0.0.1:{port}/", folder
    finally:
        process.kill()
        process.communicate(timeout=LIMIT_SECONDS)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Program]":
    with start_program(tmp_path_factory.mktemp("program")) as program:
        yield program


Program = tuple[subprocess.Popen[str], str, Path]


def test_over_gradio_client(program: Program, tmp_path: Path) -> None:
    """The program that a person starts with the README's command makes no picture, or can't be scripted."""
    client = gradio_client.Client(program[1], verbose=False, download_files=tmp_path)
    path, seed, made_by = client.predict(
        "a cat by the sea", aspect_ratio="16:9", seed=7, api_name="/generate"
    )
    picture = open_picture(Path(path).read_bytes())
    assert (picture.format, picture.width, picture.height) == ("PNG", 1024, 576)
    assert (seed, made_by) == (7, "demo painter")
    second_result = client.predict(
        "a cat by the sea", width=512, num_inference_steps=4, api_name="/generate"
    )
    assert second_result[1] != 7


def test_as_the_public_space_is_called(program: Program, tmp_path: Path) -> None:
    """What speaks to the public Space can't speak to this: by position, in its order, with previews on the way."""
    client = gradio_client.Client(program[1], verbose=False, download_files=tmp_path)
    job = client.submit(*["a cat by the sea", "", 7, False, 512, 768, 4.5, 30], api_name="/infer")
    path, seed = job.result(LIMIT_SECONDS)
    picture = open_picture(Path(path).read_bytes())
    assert (picture.format, picture.width, picture.height, seed) == ("PNG", 512, 768, 7)
    previews = {Path(path).read_bytes() for path, _ in job.outputs()[:-1]}
    assert len(previews) >= 3
    assert all(open_picture(preview).format == "JPEG" for preview in previews)


def test_as_the_seed_system_s_client_calls(program: Program) -> None:
    """The simple way, with `null` where that client has nothing to say, fails; or the pictures aren't where it says."""
    call = f"{program[1]}gradio_api/call/infer"
    body = {"data": ["a cat", None, 0, True, 1024, 576, 4.5, 50]}
    event_id = (
        httpx.post(call, json=body, timeout=LIMIT_SECONDS).raise_for_status().json()["event_id"]
    )
    response_text = httpx.get(f"{call}/{event_id}", timeout=LIMIT_SECONDS).text
    assert response_text.count("event: generating") >= 3
    *_, data = re.findall(r"event: complete\ndata: (.*)", response_text)
    [image, seed] = orjson.loads(data)
    picture = open_picture(httpx.get(image["url"], timeout=LIMIT_SECONDS).content)
    assert (picture.width, picture.height) == (1024, 576)
    assert isinstance(seed, int)


@pytest.mark.parametrize(
    ("position", "value", "expected_message"),
    [
        (0, " ", "Enter a prompt."),
        (4, 4096, "Width"),
        (7, 500, "between 1 and 50"),
        (7, "many", "Enter the number of steps."),
        (2, -1, "seed"),
    ],
)
def test_mistakes_at_infer(
    program: Program, position: int, value: object, expected_message: str
) -> None:
    """What the Space behind doesn't make is sent there, or is answered without a reason."""
    data = ["a cat", "", 7, False, 512, 512, 4.5, 20]
    data[position] = value
    call = f"{program[1]}gradio_api/call/infer"
    event_id = (
        httpx.post(call, json={"data": data}, timeout=LIMIT_SECONDS)
        .raise_for_status()
        .json()["event_id"]
    )
    response_text = httpx.get(f"{call}/{event_id}", timeout=LIMIT_SECONDS).text
    assert "event: error" in response_text
    assert expected_message in response_text


def test_a_studio_over_a_studio(program: Program) -> None:
    """Over a studio whose pictures are the demo painter's, another one takes them for Stable Diffusion's."""
    command = [sys.executable, "-m", "sd35", "space", program[1], "--json"]
    completed = subprocess.run(  # noqa: S603
        command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=True
    )
    description = orjson.loads(completed.stdout)
    assert description["is_demo"] is True
    assert description["endpoint"] == "infer"


@pytest.mark.parametrize(
    ("arguments", "expected_message"),
    [
        ({"prompt": " "}, "Enter a prompt."),
        ({"prompt": "a cat", "aspect_ratio": "21:9"}, "at least 512 px per side"),
        ({"prompt": None}, "Enter a prompt."),
        ({"prompt": "a cat", "width": "abc", "height": 512}, "Enter a width."),
        ({"prompt": "a cat", "seed": True}, "Enter a seed."),
        ({"prompt": "a cat", "num_inference_steps": 2.5}, "whole number"),
        ({"prompt": "a cat", "aspect_ratio": "wide"}, "16:9, not 'wide'"),
        ({"prompt": "a cat", "num_inference_steps": 0}, "between 1 and 50"),
    ],
)
def test_mistakes_of_a_script(
    program: Program, arguments: dict[str, Any], expected_message: str
) -> None:
    """A script's mistake is answered with a traceback, or not at all."""
    client = gradio_client.Client(program[1], verbose=False)
    with pytest.raises(gradio_client.exceptions.AppError, match=expected_message):
        client.predict(**arguments, api_name="/generate")


def test_the_page_s_own_listeners_are_not_its_interface(program: Program) -> None:
    """The page's inner wiring is offered to scripts and agents as an interface."""
    client = gradio_client.Client(program[1], verbose=False)
    assert list(client.view_api(return_format="dict")["named_endpoints"]) == ["/infer", "/generate"]


def test_a_second_one_on_the_same_port(program: Program, tmp_path: Path) -> None:
    """A port that is taken ends in a traceback."""
    port = program[1].rstrip("/").rpartition(":")[2]
    command = [sys.executable, "app.py", "--space", "demo", "--port", port]
    second_process = subprocess.run(  # noqa: S603
        command,
        cwd=ROOT,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert second_process.returncode == 1
    assert "The page can't be served" in second_process.stderr
    assert "Traceback" not in second_process.stderr


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_its_end(tmp_path: Path, signal_number: signal.Signals) -> None:
    """Ctrl-C or SIGTERM leaves the program, or its files, behind; or something secret was printed on the way."""
    with start_program(tmp_path) as (process, address, folder):
        client = gradio_client.Client(address, verbose=False, download_files=False)
        client.predict("sun", num_inference_steps=2, api_name="/generate")
        assert list(folder.glob("sd35-*")), "its own directory"
        process.send_signal(signal_number)
        printed, _ = process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == 0
    assert printed == "Stopping…\n", "nothing else, no token among it"
    assert not list(folder.glob("sd35-*"))
    assert not (folder / "gradio").exists()


@pytest.mark.parametrize("more", [[], ["--no-auth"]])
def test_a_link_that_can_not_be_made(tmp_path: Path, more: list[str]) -> None:
    """Without a way to gradio.live, the program ends, is silent about it, or leaves something behind."""
    with start_program(tmp_path, "--share", *more, HTTPS_PROXY="http://127.0.0.1:1") as (
        process,
        address,
        _,
    ):
        assert process.stdout is not None
        lines = [] if more else [process.stdout.readline() for _ in range(2)]
        assert process.stdout.readline() == (
            "No public link: gradio.live could not be reached: there is no network, or it is blocked. "
            "The page is here only.\n"
        )
        if more:
            assert httpx.get(address, timeout=LIMIT_SECONDS).status_code == 200
            return
        assert httpx.get(address, timeout=LIMIT_SECONDS).status_code == 401
        name, password = (line.split()[1] for line in lines)
        with httpx.Client(base_url=address, timeout=LIMIT_SECONDS) as client:
            client.post("/login", data={"username": name, "password": password}).raise_for_status()
            assert client.get("/config").status_code == 200
    assert not (ROOT / ".gradio").exists()


def test_help_does_not_wait_for_gradio() -> None:
    """--help takes seconds, because something imports gradio on the way."""
    command = [sys.executable, "-X", "importtime", "app.py", "--help"]
    completed = subprocess.run(  # noqa: S603
        command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=True
    )
    assert "--space" in completed.stdout
    assert "gradio" not in completed.stderr
    assert "aiohttp" not in completed.stderr


def test_the_demo_space_alone(tmp_path: Path) -> None:
    """`python -m sd35.space` doesn't start, or doesn't say what it is and where."""
    port = free_port()
    command = [sys.executable, "-m", "sd35.space", "--port", str(port)]
    process = subprocess.Popen(  # noqa: S603
        command, cwd=ROOT, env=environment(tmp_path), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert "not Stable Diffusion" in process.stdout.readline()
    assert process.stdout.readline() == f"http://127.0.0.1:{port}/\n"
    process.terminate()
    assert process.wait(LIMIT_SECONDS) == 0
