"""`app.py` as a process, driven as its users drive it."""

import colorsys
import os
import re
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import gradio
import gradio_client
import httpx
import orjson
import pytest
from gradio import caching, component_meta

from sd35.core.picture import open_picture
from sd35.server import gradio_import
from sd35.server.launch import free_port
from tests.cli_program import invoke

ROOT = Path(__file__).parent.parent
LIMIT_SECONDS = 60

ASSETS = Path(gradio.__file__).parent / "templates" / "frontend" / "assets"
LARGE_FILE = max(ASSETS.glob("*.js"), key=lambda file: file.stat().st_size)


class Program(NamedTuple):
    """A running program."""

    process: subprocess.Popen[str]
    address: str
    folder: Path


def environment(folder: Path, **variables: str) -> dict[str, str]:
    """Return the environment of a program whose home is this folder."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GRADIO")}
    return inherited | {"TMPDIR": str(folder), "HOME": str(folder)} | variables


@contextmanager
def start_program(folder: Path, *flags: str, **variables: str) -> Iterator[Program]:
    """Start the program, which must make do with 256 files: no more are allowed on some systems."""
    port = free_port()
    few_files = ("sh", "-c", 'ulimit -n 256 && exec "$@"', "sh")
    process = subprocess.Popen(  # noqa: S603  # our own program
        [*few_files, sys.executable, "app.py", "--space", "demo", "--port", str(port), *flags],
        cwd=ROOT,
        env=environment(folder, HF_TOKEN="hf_verysecret", **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    address = f"http://127.0.0.1:{port}/"
    library = folder / "Pictures" / "SD 3.5 Studio"
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == f"Running at {address} (press Ctrl+C to stop)\n"
        assert process.stdout.readline() == f"Images are saved in {library}\n"
        yield Program(process, address, folder)
    finally:
        process.kill()
        process.communicate(timeout=LIMIT_SECONDS)


def stop_program(program: Program, signal_number: signal.Signals) -> None:
    """Stop the program, which removes its temporary files and prints nothing else."""
    process, _, folder = program
    assert list(folder.glob("sd35-*")), "its own directory"
    process.send_signal(signal_number)
    printed, _ = process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == 0
    assert printed == "Stopping…\n", "no token, for example"
    assert not list(folder.glob("sd35-*"))
    assert not (folder / "gradio").exists()


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """Start the program for all tests of this module. At their end, SIGTERM stops it."""
    with start_program(tmp_path_factory.mktemp("program")) as program:
        yield program
        stop_program(program, signal.SIGTERM)


def call_infer(program: Program, data: list[object]) -> str:
    """Call `/infer` over plain HTTP, and return its event stream."""
    call = f"{program.address}gradio_api/call/infer"
    answer = httpx.post(call, json={"data": data}, timeout=LIMIT_SECONDS).raise_for_status()
    return httpx.get(f"{call}/{answer.json()['event_id']}", timeout=LIMIT_SECONDS).text


HOSTILE_REQUESTS: list[tuple[str, str, dict[str, str], dict[str, object] | None]] = [
    ("GET", "gradio_api/queue/data?session_hash=unknown", {}, None),
    ("GET", "gradio_api/queue/data?session_hash=a&session_hash=%00", {}, None),
    ("GET", "gradio_api/call/infer/unknown", {}, None),
    ("GET", "gradio_api/call/v2/infer/unknown", {}, None),
    ("GET", "pwa_icon/1", {}, None),
    ("GET", "?page=x", {}, None),
    ("GET", "config?page=x&deep_link=..%2f", {}, None),
    ("GET", f"config?{'x' * 60_000}", {}, None),
    ("GET", f"?{'%ff' * 2_000}", {}, None),
    ("GET", "config", {"X-Forwarded-Host": "a b:zz["}, None),
    ("GET", "config", {"X-Forwarded-Host": "127.0.0.1, [", "X-Forwarded-Proto": "\x7f"}, None),
    ("GET", "config", {"X-Gradio-Server": "http://[:99999999/"}, None),
    ("GET", "config", {"Host": "localhost:99999"}, None),
    ("CONNECT", "healthz", {}, None),
    ("CONNECT", "metrics", {}, None),
    ("GET", "assets/%00", {}, None),
    ("GET", f"static/{'x' * 300}", {}, None),
    ("GET", f"gradio_api/file={'x' * 300}", {}, None),
    ("GET", "gradio_api/file=%0a", {}, None),
    ("GET", "assets/x.js", {"Range": "bytes=9-1,-,x"}, None),
    ("POST", "login", {"Content-Type": "multipart/form-data"}, {"username": 1}),
    ("POST", "gradio_api/queue/join", {}, {"data": [], "fn_index": 10**6, "session_hash": "a"}),
    (
        "POST",
        "gradio_api/queue/join",
        {},
        {"data": [], "fn_index": 0, "session_hash": "<gradio-sep>"},
    ),
    ("POST", "gradio_api/run/infer", {}, {"data": [""] * 8, "fn_index": "3"}),
    ("POST", "gradio_api/run/infer", {}, {"data": [""] * 8, "batched": True, "fn_index": 0}),
    ("POST", "gradio_api/call/infer", {}, {"data": [{"path": "x", "meta": 1}] * 8}),
    ("POST", "gradio_api/call/infer", {}, {"data": [None] * 8}),
    ("POST", "gradio_api/call/infer", {}, {"data": [1e300] * 8}),
    ("POST", "gradio_api/call/infer", {}, {"data": [True] * 8}),
    ("POST", "gradio_api/call/infer", {}, {"data": [""] * 8, "fn_index": 0}),
    ("POST", "gradio_api/call/v2/infer", {}, {"prompt": "", "another": 1}),
    ("POST", "gradio_api/call/v2/infer", {}, {}),
    ("POST", "gradio_api/call/v2/watch_jobs", {}, {}),
    ("POST", "gradio_api/cancel", {}, {"session_hash": "a", "event_id": "a", "fn_index": 10**30}),
]


def send_hostile_requests(address: str) -> None:
    """Send requests that were tracebacks once, and check that none of them is an error here."""
    with httpx.Client(base_url=address, timeout=LIMIT_SECONDS) as http:
        for method, path, headers, body in HOSTILE_REQUESTS:
            answer = http.request(method, path, headers=headers, json=body)
            assert answer.status_code < 500, path
            if answer.status_code == 200 and method == "POST" and "event_id" in answer.json():
                http.get(f"gradio_api/call/infer/{answer.json()['event_id']}")


def test_page_is_in_english(program: Program) -> None:
    """Screen readers and translators learn the page's language, whatever the browser prefers."""
    for languages in ("de", "en", "*"):
        page = httpx.get(program.address, headers={"Accept-Language": languages}).text
        (html_tag,) = re.findall(r"<html\b[^>]*>", page)
        assert re.search(r'\blang="en"', html_tag)


def test_generate_works_with_gradio_client(program: Program, tmp_path: Path) -> None:
    """A script gets an image of the size it asks for, its seed, and who made it."""
    client = gradio_client.Client(program.address, verbose=False, download_files=tmp_path)
    path, seed, made_by = client.predict(
        "a cat by the sea",
        aspect_ratio="16:9",
        num_inference_steps=8,
        seed=7,
        api_name="/generate",
    )
    picture = open_picture(Path(path).read_bytes())
    assert (picture.format, picture.width, picture.height) == ("PNG", 1024, 576)
    assert (seed, made_by) == (7, "demo painter")
    _, second_seed, _ = client.predict(
        "a cat by the sea", width=512, num_inference_steps=4, api_name="/generate"
    )
    assert second_seed != 7, "a random one"


def test_set_works_with_gradio_client(program: Program, tmp_path: Path) -> None:
    """A script gets several images of templates, styles or a grid, and each has its labels."""
    client = gradio_client.Client(program.address, verbose=False, download_files=tmp_path)
    size: dict[str, Any] = {"width": 512, "height": 512, "num_inference_steps": 2}
    images, made_by = client.predict(
        "{red|blue} fox",
        template=True,
        combinations=True,
        styles="Watercolor",
        negative_preset="text and marks",
        seed=7,
        **size,
        api_name="/generate_set",
    )
    assert made_by == "demo painter"
    assert [(image["seed"], image["prompt"][:27]) for image in images] == [
        (7, "A watercolor of red fox, tr"),
        (8, "A watercolor of blue fox, t"),
    ]
    assert all("watermark" in image["negative_prompt"] for image in images)
    assert open_picture(Path(images[1]["image"]).read_bytes()).width == 512
    [image], _ = client.predict(
        "a fox", columns="prompt=fox", rows="seed=3", **size, api_name="/generate_set"
    )
    assert (image["seed"], image["labels"]) == (3, {"Prompt part": "fox", "Seed": "3"})


@pytest.mark.parametrize(
    ("arguments", "expected_message"),
    [
        ({"count": 501}, "from 1 to 500"),
        ({"count": "many"}, "from 1 to 500"),
        ({"count": 300, "prompt": "a\nb", "one_per_line": True}, "600 images; the limit is 500"),
        ({"styles": "Watercolour"}, "no style “Watercolour”"),
        ({"negative_preset": "x"}, "no negative preset “x”"),
        ({"prompt": "{a|", "template": True}, "brace is never closed"),
        ({"columns": "steps=99"}, "Steps 99"),
        ({"columns": "x=1"}, "KIND=VALUES"),
        ({"rows": "steps=1"}, "needs columns"),
        ({"columns": "steps=1-2", "count": 2}, "one image per cell"),
        ({"columns": "steps=1-2", "prompt": "a\nb", "one_per_line": True}, "is of one prompt"),
        ({"styles": 7}, "styles must be a text"),
        ({"prompt": None}, "Enter a prompt."),
    ],
)
def test_set_refuses_invalid_values(
    program: Program, arguments: dict[str, Any], expected_message: str
) -> None:
    """Nothing of a set is made if a value isn't valid, and the reason is told."""
    client = gradio_client.Client(program.address, verbose=False)
    with pytest.raises(gradio_client.exceptions.AppError, match=expected_message):
        client.predict(**{"prompt": "a fox", **arguments}, api_name="/generate_set")


def test_infer_is_called_as_the_public_space_is(program: Program, tmp_path: Path) -> None:
    """Parameters by position, in the public Space's order, give previews and then the image."""
    client = gradio_client.Client(program.address, verbose=False, download_files=tmp_path)
    job = client.submit(*["a cat by the sea", "", 7, False, 512, 768, 4.5, 30], api_name="/infer")
    path, seed = job.result(LIMIT_SECONDS)
    data = Path(path).read_bytes()
    picture = open_picture(data)
    assert (picture.format, picture.width, picture.height, seed) == ("PNG", 512, 768, 7)
    # The last output may come twice: with the last step, and with the end.
    previews = {Path(path).read_bytes() for path, _ in job.outputs()} - {data}
    assert len(previews) >= 3
    assert all(open_picture(preview).format == "JPEG" for preview in previews)


def test_infer_accepts_null_for_values_left_out(program: Program) -> None:
    """The seed system's client sends null, and finds the image at the address in the answer."""
    response_text = call_infer(program, ["a cat", None, 0, True, 1024, 576, 4.5, 20])
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
        (4, 4096, "Width must be between"),
        (7, "many", "Enter the number of steps."),
        (2, -2, "Enter a seed from 0"),
    ],
)
def test_infer_refuses_invalid_values(
    program: Program, position: int, value: object, expected_message: str
) -> None:
    """Values outside the Space's limits are answered with the reason."""
    data: list[object] = ["a cat", "", 7, False, 512, 512, 4.5, 20]
    data[position] = value
    response_text = call_infer(program, data)
    assert "event: error" in response_text
    assert expected_message in response_text


@pytest.mark.parametrize(
    ("arguments", "expected_message"),
    [
        ({"prompt": "a cat", "aspect_ratio": "21:9"}, "at least 512 px per side"),
        ({"prompt": None}, "Enter a prompt."),
        ({"prompt": "a cat", "width": "abc", "height": 512}, "Enter a width."),
        ({"prompt": "a cat", "seed": True}, "Enter a seed."),
        ({"prompt": "a cat", "num_inference_steps": 2.5}, "whole number"),
    ],
)
def test_generate_refuses_invalid_values(
    program: Program, arguments: dict[str, Any], expected_message: str
) -> None:
    """Invalid values are answered with the reason, whatever their types."""
    client = gradio_client.Client(program.address, verbose=False)
    with pytest.raises(gradio_client.exceptions.AppError, match=expected_message):
        client.predict(**arguments, api_name="/generate")


def test_another_studio_sees_that_it_is_a_demo(program: Program) -> None:
    """A studio over a studio knows that its images are the demo painter's."""
    call_infer(program, [" ", "", 7, False, 512, 512, 4.5, 4])  # refused once it is connected
    _, out, _ = invoke("space", program.address, "--json")
    description = orjson.loads(out)
    assert description["is_demo"] is True
    assert description["endpoint"] == "infer"


def test_slow_readers_do_not_shut_others_out(program: Program) -> None:
    """Visitors get their images while 300 clients read a file slower than 2 kB/s."""
    url = httpx.URL(program.address)
    request = f"GET /assets/{LARGE_FILE.name} HTTP/1.1\r\nHost: {url.netloc.decode()}\r\n\r\n"
    with ExitStack() as stack:
        for _ in range(300):
            client = stack.enter_context(socket.create_connection((url.host, url.port)))
            client.sendall(request.encode())
        assert httpx.get(program.address, timeout=LIMIT_SECONDS).status_code == 200
        assert "event: complete" in call_infer(program, ["a cat", "", 7, False, 512, 512, 4.5, 4])
    output = program.process.stdout
    assert output is not None
    # The only line: see `stop_program`.
    assert output.readline().endswith(
        "64 connections are open, which is the limit. Idle and slow connections are closed.\n"
    )


def test_only_our_endpoints_are_public(program: Program) -> None:
    """The page's own listeners are not offered to programs."""
    client = gradio_client.Client(program.address, verbose=False)
    names = list(client.view_api(return_format="dict")["named_endpoints"])
    assert names == ["/infer", "/generate", "/generate_set"]


def test_hostile_requests_leave_no_log_entries(program: Program) -> None:
    """No request of a stranger fails on this side; that nothing is printed, the end asserts."""
    send_hostile_requests(program.address)


def test_failed_start_is_one_sentence(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is missing at the start is said in one line, with which the program exits."""
    port = httpx.URL(program.address).port
    starts = {
        ("--users", "missing.txt"): "Can't read missing.txt: No such file or directory.",
        ("--auth", "anna"): "Login 1 must have the form name:password.",
        ("--library", "app.py"): "app.py",
        ("--port", str(port)): (
            f"Can't listen on 127.0.0.1, port {port}: the port is in use or the address isn't "
            "local. Choose another --port or --host."
        ),
    }
    # In this process, since to import Gradio in one of its own takes seconds.
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name, value in environment(tmp_path, GRADIO_TEMP_DIR=str(tmp_path)).items():
        monkeypatch.setenv(name, value)
    for flags, message in starts.items():
        monkeypatch.setattr(sys, "argv", ["app.py", "--space", "demo", *flags])
        with pytest.raises(SystemExit) as ending:
            runpy.run_path("app.py", run_name="__main__")
        assert re.fullmatch(rf"app\.py: .*{re.escape(message)}.*", str(ending.value.code)), flags


def test_program_runs_without_its_public_link_until_ctrl_c(tmp_path: Path) -> None:
    """Without a way to gradio.live the page is served locally behind a login, until Ctrl+C."""
    with start_program(tmp_path, "--share", HTTPS_PROXY="http://127.0.0.1:1") as program:
        output = program.process.stdout
        assert output is not None
        name, password = (output.readline().split()[1] for _ in range(2))
        assert output.readline() == (
            "Couldn't create a public link. gradio.live can't be reached. "
            "Check your internet connection. The page is still available on this computer.\n"
        )
        with httpx.Client(base_url=program.address, timeout=LIMIT_SECONDS) as client:
            assert client.get("/").status_code == 401
            client.post("/login", data={"username": name, "password": password}).raise_for_status()
            assert client.get("/config").status_code == 200
        stop_program(program, signal.SIGINT)
    assert not (ROOT / ".gradio").exists()


def test_help_does_not_import_gradio() -> None:
    """`--help` appears at once: neither Gradio nor aiohttp is imported for it."""
    command = [sys.executable, "-X", "importtime", "app.py", "--help"]
    completed = subprocess.run(  # noqa: S603  # our own program
        command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=True
    )
    assert "--space" in completed.stdout
    modules = {line.rpartition("|")[2].strip() for line in completed.stderr.splitlines()}
    assert "sd35.settings" in modules
    assert not modules & {"gradio", "aiohttp"}


def test_gradio_is_imported_without_what_the_program_never_uses() -> None:
    """Importing Gradio writes no type stubs, and imports neither pandas nor MCP.

    If this fails after an update, look how Gradio does it now: see `sd35/server/gradio_import.py`.
    """
    writer = getattr(component_meta, gradio_import.STUB_WRITER)
    assert writer.__module__ == gradio_import.__name__
    assert isinstance(caching.pd, gradio_import.DeferredModule)
    assert not hasattr(gradio.mcp.GradioMCPServer, "types")
    assert gradio_import.DeferredModule("colorsys").rgb_to_hsv is colorsys.rgb_to_hsv


MEMORY_PROGRAM = """
import re, threading
from pathlib import Path
from sd35.server.memory import tune_memory

def read_mib():
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024

def visit():
    barrier.wait()
    for _ in range(3):
        images = []
        for _ in range(8):
            images.append(bytes(1_000_000))
            records.append(bytes(2_000))

tune_memory()
records = []
barrier = threading.Barrier(16)
threads = [threading.Thread(target=visit) for _ in range(16)]
mib = read_mib()
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(read_mib() - mib)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_memory_of_images_goes_back_to_the_system() -> None:
    """After images in many threads, only what was kept beside them stays, not 120 MiB of holes."""
    command = [sys.executable, "-c", MEMORY_PROGRAM]
    completed = subprocess.run(  # noqa: S603  # see above
        command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=True
    )
    assert int(completed.stdout) < 20


def test_demo_space_runs_on_its_own(tmp_path: Path) -> None:
    """`python -m sd35.space` prints its plan, title and address, and no more until SIGTERM."""
    port = free_port()
    command = [sys.executable, "-m", "sd35.space", "--port", str(port)]
    process = subprocess.Popen(  # noqa: S603  # our own program
        command,
        cwd=ROOT,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        for _ in ("how it will run", "that it runs"):
            assert "not Stable Diffusion" in process.stdout.readline()
        assert process.stdout.readline() == f"http://127.0.0.1:{port}/\n"
        send_hostile_requests(f"http://127.0.0.1:{port}/")
        process.terminate()
        assert not process.communicate(timeout=LIMIT_SECONDS)[0]
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait(LIMIT_SECONDS)
