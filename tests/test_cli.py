"""`python -m sd35`, driven as its users and their scripts drive it."""

import base64
import contextlib
import fcntl
import json
import os
import pty
import re
import resource
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
from aiohttp import web
from anyio.from_thread import BlockingPortal, start_blocking_portal

import sd35
from sd35.cli.exit_codes import EXIT_CODES, exit_code
from sd35.cli.reporter import DEMO_NOTICE
from sd35.core import errors, events
from sd35.core.picture import open_picture
from sd35.metadata.embedding import read_metadata, read_texts
from sd35.server.launch import free_port
from tests.cli_program import (
    LIMIT_SECONDS,
    ROOT,
    SECRET_TOKEN,
    check_output,
    invoke,
    run_process,
    start_process,
)
from tests.fakes import STEPS, FakeSpace
from tests.impostor import (
    STARTED,
    Handler,
    respond_events,
    respond_picture,
    respond_text,
    serve_fake_gradio,
)
from tests.test_contract import DESCRIPTIONS
from tests.test_picture import encode_picture

QUOTA = "error: You have exceeded your free GPU quota (60s requested vs. 34s left). Try again in 1:23:54"
PNG_PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
DAMAGED_PNG = PNG_PICTURE.replace(b"\0\0\0\x0dIDAT", b"\0\0\xff\xffIDAT")
COMPLETED_MESSAGE = {
    "msg": "process_completed",
    "success": True,
    "output": {"data": [{"path": "/tmp/a.webp"}, 7]},  # noqa: S108
}


@pytest.fixture(scope="module")
def generator() -> Iterator[FakeSpace]:
    space = FakeSpace(is_generator=True)
    yield space
    space.close()


@pytest.fixture(scope="module")
def plain() -> Iterator[FakeSpace]:
    space = FakeSpace(is_generator=False)
    yield space
    space.close()


@pytest.fixture(scope="module")
def portal() -> Iterator[BlockingPortal]:
    """A thread with an event loop, for servers of our own."""
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder, without a network, and with a token that nobody may see."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("HF_TOKEN", f"hf_{SECRET_TOKEN}")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TERM"):
        monkeypatch.delenv(name, raising=False)


def read_events_until(process: subprocess.Popen[str], **expected: object) -> list[dict[str, Any]]:
    """Read events from its standard output, up to the one that is wanted."""
    assert process.stdout is not None
    events = []
    for line in process.stdout:
        events.append(json.loads(line))
        if expected.items() <= events[-1].items():
            return events
    raise AssertionError(f"{expected} didn't come: {events}")


def hold_space(space: FakeSpace) -> FakeSpace:
    """Let its next `wait` prompt wait, and forget the runs that have ended."""
    space.hold()
    while space.finished_runs.acquire(blocking=False):
        pass
    return space


def wait_for_run_end(space: FakeSpace) -> None:
    """Wait until a run there has come to an end."""
    assert space.finished_runs.acquire(timeout=LIMIT_SECONDS)


def test_help_waits_for_nothing() -> None:
    """Help takes as long as an HTTP library or Gradio needs to be imported, or leaves out a command or a code."""
    command = [sys.executable, "-X", "importtime", "-m", "sd35"]
    completed = subprocess.run(  # noqa: S603
        command, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=True
    )
    imported = {line.rpartition("|")[2].strip() for line in completed.stderr.splitlines()}
    assert "typer" in imported
    assert not imported & {
        "aiohttp",
        "anyio",
        "PIL",
        "gradio",
        "numpy",
        "pydantic_settings",
        "rich",
        "sqlite3",
    }
    assert all(
        re.search(rf"^  {name} ", completed.stdout, re.MULTILINE)
        for name in ("generate", "space", "doctor")
    )
    text = invoke("--help")[1]
    assert text.replace("root", "python -m sd35", 1) == completed.stdout


def test_exit_codes_are_listed() -> None:
    """`help exit-codes` prints the whole table."""
    code, out, _ = invoke("help", "exit-codes")
    assert code == 0
    assert out.splitlines() == [f"{entry.code:3}  {entry.meaning}" for entry in EXIT_CODES]
    assert invoke("help") == invoke("--help")


def test_version() -> None:
    """The version that is told isn't the package's."""
    assert invoke("--version") == (0, f"{sd35.__version__}\n", "")


def test_pictures(generator: FakeSpace, tmp_path: Path) -> None:
    """A picture is overwritten, made with another seed than was asked for, or its path isn't told to a program."""
    (tmp_path / "prompts.txt").write_text("﻿# two\n\n a cat \r\nein Möwe\n", encoding="utf-8")
    order = (
        "generate",
        "--space",
        generator.address,
        "--prompts",
        "prompts.txt",
        "--count",
        "3",
        "-o",
        "new/out",
    )
    seeds = (2_147_483_646, 2_147_483_647, 0)
    names = [f"{slug}-seed-{seed}" for slug in ("a-cat", "ein-m-we") for seed in seeds]
    for suffix in ("", "-2"):
        code, out, err = invoke(*order, "--seed", str(seeds[0]))
        assert code == 0
        assert out.splitlines() == [f"new/out/{name}{suffix}.webp" for name in names]
        assert [line for line in err.splitlines() if line.startswith("✓")][3].startswith(
            f"✓ 4 of 6 · seed {seeds[0]} ·"
        )
    assert len(list(Path("new/out").iterdir())) == 2 * len(names)
    assert {open_picture(Path(path).read_bytes()).format for path in out.splitlines()} == {"WEBP"}


def png_chunks(png: bytes) -> Iterator[bytes]:
    """Each of its chunks, whole."""
    at = 8
    while at < len(png):
        end = at + 12 + int.from_bytes(png[at : at + 4], "big")
        yield png[at:end]
        at = end


def strip_our_texts(png: bytes) -> bytes:
    """The PNG without what was added to it: a picture that has come from a Space, and is saved, has both texts."""
    text_chunks = [
        chunk
        for chunk in png_chunks(png)
        if re.match(rb"(tEXt|iTXt)(parameters|sd35)\0", chunk[4:])
    ]
    assert len(text_chunks) == 2
    return png[:8] + b"".join(chunk for chunk in png_chunks(png) if chunk not in text_chunks)


def generate_from_fake(
    portal: BlockingPortal, body: bytes, *order: str
) -> tuple[dict[str, Any], bytes]:
    """What is told of a picture that comes with these bytes, and what is saved of it."""
    with portal.wrap_async_context_manager(
        serve_fake_gradio(
            data=respond_events(STARTED, COMPLETED_MESSAGE), file=respond_picture(body)
        )
    ) as address:
        code, out, _ = invoke("generate", *order, "--json", "--space", address)
    assert code == 0
    saved = json.loads(out.splitlines()[-1])
    return saved, Path(saved["path"]).read_bytes()


def test_a_picture_says_how_it_was_made(portal: BlockingPortal) -> None:
    """A picture can't be made again from its file, or it isn't the Space's any more."""
    prompt = "a “cat”, big\nSteps: 3"
    for body in (PNG_PICTURE, encode_picture("WEBP", (64, 64))):
        saved, data = generate_from_fake(
            portal, body, prompt, "--negative", "dog", "--steps", "9", "--seed", "7"
        )
        assert saved["bytes"] == len(data)
        record = read_metadata(data)
        assert record is not None
        assert (record.prompt, record.negative_prompt, record.seed) == (prompt, "dog", 7)
        assert (record.num_inference_steps, record.width, record.tool) == (9, 1024, "SD 3.5 Studio")
        assert (record.space, record.is_demo, len(record.id)) == (saved["space"], False, 22)
        assert any(
            text.startswith(f"{prompt}\nNegative prompt: dog\nSteps: 9,")
            for text in text_chunk_contents(data)
        )
        assert open_picture(data).image.tobytes() == open_picture(body).image.tobytes()
    assert strip_our_texts(Path("a-cat-big-steps-3-seed-7.png").read_bytes()) == PNG_PICTURE


def text_chunk_contents(data: bytes) -> list[str]:
    return list(read_texts(data).texts.values())


def test_a_picture_that_can_say_nothing(portal: BlockingPortal) -> None:
    """A picture that has cost its quota is lost because its file, as it came, takes no settings."""
    _, data = generate_from_fake(portal, DAMAGED_PNG, "x")
    assert data == DAMAGED_PNG


def test_random_seeds_and_quiet(generator: FakeSpace) -> None:
    """Without a seed the pictures are all the same, or nobody learns which seed it was; or quiet isn't."""
    code, out, err = invoke(
        "generate",
        "--prompts",
        "-",
        "--count",
        "2",
        "-q",
        "--space",
        generator.address,
        stdin="x\n",
    )
    assert (code, err) == (0, "")
    assert len(set(re.findall(r"^x-seed-\d+\.webp$", out, re.MULTILINE))) == 2


def test_events_as_json(generator: FakeSpace) -> None:
    """A program that reads the events misses one, a field of one, or a preview; or the picture is kept twice."""
    prompt = "notice: [bold]\x1b[31mred"
    code, out, err = invoke(
        *(
            "generate",
            prompt,
            "--seed",
            "7",
            "--json",
            "--previews",
            "--width",
            "512",
            "--space",
            generator.address,
        )
    )
    event_list = [json.loads(line) for line in out.splitlines()]
    assert (code, event_list[-1]["event"]) == (0, "saved")
    assert {(event["picture"], event["pictures"]) for event in event_list} == {(1, 1)}
    for name, kind in (
        ("queued", events.Queued),
        ("started", events.Started),
        ("notice", events.Notice),
    ):
        event = next(event for event in event_list if event["event"] == name)
        assert set(event) == {"event", "picture", "pictures", *kind.__dataclass_fields__}
    saved, previews = event_list[-1], [event for event in event_list if event["event"] == "preview"]
    assert (saved["path"], saved["seed"], saved["prompt"]) == (
        "notice-bold-31mred-seed-7.webp",
        7,
        prompt,
    )
    assert (saved["format"], saved["width"], saved["height"]) == ("WEBP", 64, 128)
    assert (saved["space"], saved["is_demo"]) == (generator.address, False)
    assert saved["bytes"] == len(Path(saved["path"]).read_bytes())
    names = [f"notice-bold-31mred-seed-7-preview-{step:02d}.webp" for step in range(1, STEPS)]
    assert [preview["path"] for preview in previews] == names
    assert sorted(path.name for path in Path().glob("*.webp")) == sorted([*names, saved["path"]])
    assert "· [bold] [31mred" in err


def test_going_on_after_a_failure(generator: FakeSpace) -> None:
    """After a failure quota is spent on the next prompt unasked, or with --keep-going the next isn't made."""
    order = ("generate", "--prompts", "-", "--json", "--seed", "7", "--space", generator.address)
    prompts = f"{QUOTA}\nerror: GPU task aborted\na cat\n"
    for goes_on, kinds in ((False, ["quota"]), (True, ["quota", "aborted"])):
        code, out, err = invoke(*order, *(("--keep-going",) if goes_on else ()), stdin=prompts)
        events = [json.loads(line) for line in out.splitlines()]
        failed = [event for event in events if event["event"] == "error"]
        assert (code, [event["kind"] for event in failed]) == (5, kinds)
        assert failed[0]["retry_after_seconds"] == 5034
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}\+00:00", failed[0]["retry_at"])
        assert (failed[0]["prompt"], failed[0]["seed"], failed[0]["exit_code"]) == (QUOTA, 7, 5)
        assert "60s requested vs. 34s left" in err
        assert "Come back at " in err
        assert Path("a-cat-seed-7.webp").exists() == goes_on


@pytest.mark.parametrize(
    ("arguments", "code", "expected_message"),
    [
        (["generate"], 2, "Enter a prompt, or a file with --prompts"),
        (["generate", " "], 2, "Enter a prompt."),
        (["generate", "x", "--prompts", "y"], 2, "not both"),
        (["generate", "--prompts", "missing"], 2, "No such file"),
        (["generate", "--prompts", "."], 2, "Is a directory"),
        (["generate", "--prompts", "latin-1"], 2, "line 2 of latin-1 isn't UTF-8"),
        (["generate", "--prompts", "empty"], 2, "No prompts in empty"),
        (["generate", "x", "--aspect", "21:9"], 2, "`python -m sd35 space` to see"),
        (["generate", "x", "--aspect", "wide"], 2, "16:9, not 'wide'"),
        (["generate", "x", "--width", "100"], 2, "between 512 and 1024 px"),
        (["generate", "x", "--steps", "9" * 500], 2, "--steps"),
        (["generate", "x", "--guidance", "nan"], 2, "--guidance"),
        (["generate", "x", "--seed", "2147483648"], 2, "Enter a seed from 0 to"),
        (["generate", "x", "--seed", "seven"], 2, "--seed"),
        (["generate", "x", "--count", "0"], 2, "--count"),
        (["generate", "x", "--colour"], 2, "--colour"),
        (["generate", "x", "--space", "what is this"], 2, "use owner/name"),
        (
            ["generate", "x", "--proxy", f"socks5://me:{SECRET_TOKEN}@host"],
            2,
            "begins with http://",
        ),
        (
            ["generate", "x", "--space", "a/b", "--token", f"{SECRET_TOKEN} {SECRET_TOKEN}"],
            4,
            "token contains invalid",
        ),
        (["generate", "x", "--space", "auto"], 3, "Can't reach stabilityai"),
        (["generate", "x", "--space", "http://127.0.0.1:1"], 3, "connection refused"),
        (["generate", "x", "-o", "empty"], 9, "not a folder"),
        (["generate", "x", "-o", "empty/below"], 9, "Not a directory"),
        (["generate", "error: No GPU was available"], 6, "No GPU was available"),
        (["generate", "error: Expired ZeroGPU proxy token"], 5, "Expired"),
        (["generate", "error: GPU task aborted"], 7, "Try fewer steps"),
        (["generate", "silent: x"], 7, "without details"),
        (["space", "http://127.0.0.1:1"], 3, "connection refused"),
        (["doctor", "what is this"], 2, "use owner/name"),
    ],
)
def test_mistakes_and_failures(
    arguments: list[str],
    code: int,
    expected_message: str,
    generator: FakeSpace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A failure that was to be foreseen ends in a traceback, or doesn't say why, or with the code of another."""
    Path("latin-1").write_bytes(b"a cat\ncaf\xe9\n")
    Path("empty").write_text("# nothing\n")
    monkeypatch.setenv("SD35_SPACE", generator.address)
    exit_code, out, err = invoke(*arguments)
    assert (exit_code, out) == (code, "")
    assert expected_message in " ".join(err.split())


@pytest.mark.parametrize(
    ("handlers", "code", "expected_message"),
    [
        ({"join": respond_text(401, "who are you")}, 4, "requires a valid token"),
        ({"data": respond_events(STARTED)}, 8, "closed the stream"),
        (
            {
                "data": respond_events(STARTED, COMPLETED_MESSAGE),
                "file": respond_text(200, "<html>log in</html>"),
            },
            9,
            "not a PNG",
        ),
        ({"config": respond_text(200, "{}")}, 3, "not like a Gradio app"),
        ({"join": respond_text(429, **{"Retry-After": "3600"})}, 6, "Come back at"),
    ],
    ids=["access", "cut", "no picture", "contract", "rate"],
)
def test_a_space_that_misbehaves(
    handlers: dict[str, Handler], code: int, expected_message: str, portal: BlockingPortal
) -> None:
    """What a broken Space answers ends in a traceback, or with a code that says something else."""
    with portal.wrap_async_context_manager(serve_fake_gradio(handlers)) as address:
        exit_code, out, err = invoke(
            "generate", "x", "--space", address, "--token", f"hf_{SECRET_TOKEN}"
        )
    assert (exit_code, out) == (code, "")
    assert expected_message in err


def test_every_error_has_its_code() -> None:
    """A kind of error ends the program with the code of another one."""
    codes = {
        error.kind: exit_code(error("x"))
        for error in (getattr(errors, name) for name in errors.__all__)
        if isinstance(error, type) and issubclass(error, errors.SD35Error)
    }
    assert codes.pop("unforeseen") == 1
    counts_by_code = {
        code: {kind for kind in codes if codes[kind] == code} for code in set(codes.values())
    }
    assert counts_by_code[2] == {"invalid"}
    assert counts_by_code[3] >= {
        "connection",
        "unreachable",
        "not-found",
        "asleep",
        "in-error",
        "paused",
        "contract",
    }
    assert counts_by_code[4] == {"access"}
    assert counts_by_code[5] == {"quota", "identity", "identity-expired"}
    assert counts_by_code[6] == {"refused", "busy", "queue-full", "rate-limited", "allowance"}
    assert counts_by_code[7] == {"failed", "aborted"}
    assert counts_by_code[8] == {"stream", "cut", "lost", "silent", "protocol", "malformed"}
    assert counts_by_code[9] == {
        "not-a-picture",
        "too-large",
        "picture-gone",
        "not-written",
        "library",
    }


def interrupt(process: subprocess.Popen[str], signal_number: signal.Signals, outcome: str) -> None:
    """Stop it, and see that it says what that did."""
    process.send_signal(signal_number)
    out, err = process.communicate(timeout=LIMIT_SECONDS)
    check_output(process.returncode, out, err)
    event = json.loads(out.splitlines()[-1])
    assert (process.returncode, event["event"], event["outcome"]) == (
        128 + signal_number,
        "stopped",
        outcome,
    )
    assert f"Stopped. {event['text']}" in err


def test_ctrl_c(generator: FakeSpace, plain: FakeSpace) -> None:
    """Ctrl-C or SIGTERM leaves a run at the Space, says something that isn't so, or ends with another code."""
    wait = ("generate", "wait: x", "--json", "--space")
    with (
        start_process(*wait, hold_space(generator).address) as running,
        start_process(*wait, hold_space(plain).address) as endless,
    ):
        for process in (running, endless):
            read_events_until(process, event="progress", step=2)
        with start_process(*wait, generator.address) as queued:
            read_events_until(queued, event="queued")
            interrupt(queued, signal.SIGINT, "removed")
        interrupt(running, signal.SIGTERM, "ended")
        interrupt(endless, signal.SIGINT, "may finish")
    plain.release()
    wait_for_run_end(generator)
    wait_for_run_end(plain)
    assert not generator.finished_runs.acquire(blocking=False), "the one in the queue ran"


class GatedHandler:
    """A place that answers when it is let.

    Attributes:
        asked: set when it was asked.
        open: to be set to let it answer.

    """

    def __init__(self, answer: Handler) -> None:
        self.is_requested = threading.Event()
        self.open = threading.Event()
        self._answer = answer

    async def handler(self, request: web.Request) -> web.StreamResponse:
        """Take a request."""
        self.is_requested.set()
        await anyio.to_thread.run_sync(self.open.wait, LIMIT_SECONDS)
        return await self._answer(request)


def wait_for_stop_message(process: subprocess.Popen[str]) -> None:
    """Wait until it says that it was asked to stop."""
    assert process.stderr is not None
    assert any("Stopping" in line for line in process.stderr)


def test_ctrl_c_does_not_lose_a_finished_picture(portal: BlockingPortal) -> None:
    """A picture that has cost its quota is thrown away because Ctrl-C came while it was fetched."""

    async def picture(_: web.Request) -> web.Response:
        return web.Response(body=PNG_PICTURE)

    gate = GatedHandler(picture)
    with portal.wrap_async_context_manager(
        serve_fake_gradio(data=respond_events(STARTED, COMPLETED_MESSAGE), file=gate.handler)
    ) as address:
        with start_process("generate", "x", "--count", "2", "--space", address) as process:
            assert gate.is_requested.wait(LIMIT_SECONDS)
            process.send_signal(signal.SIGINT)
            wait_for_stop_message(process)
            gate.open.set()
            out, err = process.communicate(timeout=LIMIT_SECONDS)
    assert (process.returncode, out) == (130, "x-seed-7.png\n")
    assert strip_our_texts(Path("x-seed-7.png").read_bytes()) == PNG_PICTURE
    assert "The finished image was saved." in err


def test_a_second_ctrl_c_ends_at_once(portal: BlockingPortal) -> None:
    """Whoever presses Ctrl-C again waits for a Space that doesn't answer."""
    gate = GatedHandler(respond_text(200, "{}"))
    with portal.wrap_async_context_manager(
        serve_fake_gradio(data=respond_events(STARTED, is_kept_open=True), cancel=gate.handler)
    ) as address:
        with start_process("generate", "x", "--json", "--space", address) as process:
            read_events_until(process, event="started")
            process.send_signal(signal.SIGINT)
            wait_for_stop_message(process)
            assert gate.is_requested.wait(LIMIT_SECONDS)
            process.send_signal(signal.SIGINT)
            assert process.wait(LIMIT_SECONDS) == -signal.SIGINT, "which shells call 130"
            gate.open.set()


def test_nobody_reads_the_output(generator: FakeSpace) -> None:
    """`| head` ends in a traceback, or goes on to the next picture."""
    with start_process(
        "generate", "x", "--count", "50", "--json", "--space", generator.address
    ) as process:
        assert process.stdout is not None
        assert '"queued"' in process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read()
        assert process.wait(LIMIT_SECONDS) == 141
    check_output(141, "", err)


def test_a_full_disk(generator: FakeSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full ends in a traceback, leaves half a picture, or its picture's seed isn't told."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    order = ("generate", "x", "--seed", "7", "--space", generator.address, "-q")
    code, out, err = run_process(
        *order, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
    )
    assert (code, out) == (9, "")
    assert "Couldn't save the image: File too large." in err
    assert "The seed was 7." in err
    assert not list(Path().iterdir())
    with Path("/dev/full").open("w") as full:
        code, _, err = run_process(*order, stdout=full)
    assert code == 9
    assert "Couldn't write the output: the disk is full." in err


def test_on_a_terminal(generator: FakeSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal nothing moves, a path is written twice, the cursor stays hidden, or NO_COLOR isn't heeded."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    order = ("generate", "wait: x", "--seed", "7", "--space", hold_space(generator).address)
    with start_process(*order, stdin=follower, stdout=follower, stderr=follower) as process:
        os.close(follower)
        output = b""
        with contextlib.suppress(OSError):  # how a terminal says that nobody writes to it any more
            while chunk := os.read(leader, 65536):
                output += chunk
                if f"Step 2 of {STEPS}" in output.decode(errors="ignore"):
                    generator.release()
        assert process.wait(LIMIT_SECONDS) == 0
    os.close(leader)
    text = output.decode()
    assert text.count("wait-x-seed-7.webp") == 1
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    assert not re.search(r"\x1b\[(?:\d+;)*[349]\d[;m]", text), "a colour"


def test_the_demo_space(tmp_path: Path) -> None:
    """The demo Space isn't started, passes for Stable Diffusion, leaves files behind, or can't be told of in ASCII."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    order = (
        "generate",
        "sun",
        "--space",
        "demo",
        "--seed",
        "7",
        "--steps",
        "1",
        "--width",
        "512",
        "--height",
        "512",
    )
    code, out, err = run_process(
        *order, env=os.environ | {"TMPDIR": str(folder), "PYTHONIOENCODING": "ascii"}
    )
    assert (code, out) == (0, "demo-painter-sun-seed-7.png\n")
    assert f"\n! {DEMO_NOTICE}\n" in err
    assert "+ seed 7 - 512 x 512 - PNG" in err
    assert not list(folder.iterdir())


def test_what_a_space_accepts(plain: FakeSpace, generator: FakeSpace) -> None:
    """What the Space accepts is told wrongly, or not so that a person or a program can read it."""
    code, out, _ = invoke("space", plain.address)
    assert code == 0
    for line in (
        r"^Title +A fake Space",
        r"^Gradio +6\.",
        r"^Stop +can't cancel a running job",
        r"^guidance_scale +0 to 7\.5 +0\.1 +4\.5",
        r"^16:9 +1024 × 576",
        r"^21:9 +21:9 isn't available: ",
    ):
        assert re.search(line, out, re.MULTILINE), line
    code, out, _ = invoke("space", generator.address, "--json")
    description = json.loads(out)
    assert (
        code,
        description["is_generator"],
        description["tells_seed"],
        description["is_demo"],
    ) == (
        0,
        True,
        True,
        False,
    )
    assert {
        "name": "width",
        "minimum": 512,
        "maximum": 1024,
        "step": 32,
        "default": 1024,
    } in description["parameters"]
    assert description["sizes"]["3:2"] == {"width": 960, "height": 640}
    assert "at least 512 px per side" in description["sizes"]["9:21"]["unavailable"]


def test_a_space_s_words_stay_words(portal: BlockingPortal) -> None:
    """What a Space says of itself moves the cursor, renames the window, or is taken for markup."""
    config = json.loads(DESCRIPTIONS[-1].read_text())["config"] | {
        "title": "[red]x[/red]\x1b]0;mine\x07\x1b[2J"
    }
    with portal.wrap_async_context_manager(
        serve_fake_gradio(config=respond_text(200, json.dumps(config)))
    ) as address:
        for arguments in (("space", address), ("space", address, "--json"), ("doctor", address)):
            code, out, _ = invoke(*arguments)
            assert code == 0
            assert "[red]x[/red]" in out
            assert "\x07" not in out


@contextlib.asynccontextmanager
async def serve_hub(space: str, stage: str) -> AsyncIterator[str]:
    """A Hub that knows one token, alice's, and one Space."""

    async def whoami(request: web.Request) -> web.Response:
        is_owned = request.headers.get("Authorization") == f"Bearer hf_{SECRET_TOKEN}"
        return web.json_response(
            {"name": "alice\x1b[2J", "isPro": True}, status=200 if is_owned else 401
        )

    async def described(_: web.Request) -> web.Response:
        return web.json_response({"host": space, "runtime": {"stage": stage}})

    app = web.Application()
    app.router.add_get("/api/whoami-v2", whoami)
    app.router.add_get("/api/spaces/a/b", described)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port := free_port()).start()
    yield f"http://127.0.0.1:{port}"
    await runner.cleanup()


QUOTA_FAILURE_MESSAGE = {
    "msg": "process_completed",
    "success": False,
    "output": {"error": QUOTA.removeprefix("error: ")},
}
ALL_OK = ["ok"] * 5


@pytest.mark.parametrize(
    ("arguments", "stage", "code", "statuses", "expected_message"),
    [
        ([], "RUNNING", 0, [*ALL_OK, "skipped"], "valid: alice [2J, a PRO account"),
        (["--try"], "STOPPED", 5, [*ALL_OK, "not ok"], "Come back at"),
        (
            ["--token", "other"],
            "RUNNING",
            4,
            ["ok", "ok", "not ok", "skipped", "skipped", "skipped"],
            "Invalid Hugging Face token",
        ),
        (
            [],
            "PAUSED",
            3,
            ["ok", "ok", "ok", "not ok", "skipped", "skipped"],
            "paused by its owner",
        ),
        (
            ["--proxy", f"http://me:{SECRET_TOKEN}@127.0.0.1:1"],
            *(
                "RUNNING",
                3,
                ["ok", "not ok", "skipped", "skipped", "skipped", "skipped"],
                "http://127.0.0.1:1",
            ),
        ),
    ],
    ids=["well", "quota", "token", "paused", "proxy"],
)
def test_doctor(
    arguments: list[str],
    stage: str,
    code: int,
    statuses: list[str],
    expected_message: str,
    portal: BlockingPortal,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The doctor finds well what isn't, or doesn't say what to do."""
    with (
        portal.wrap_async_context_manager(
            serve_fake_gradio(data=respond_events(STARTED, QUOTA_FAILURE_MESSAGE))
        ) as space,
        portal.wrap_async_context_manager(serve_hub(space, stage)) as address,
    ):
        monkeypatch.setenv("HF_ENDPOINT", address)
        exit_code, out, _ = invoke("doctor", "a/b", *arguments)
        assert exit_code == code
        assert expected_message in out
        assert re.findall(r"^(ok|not ok|skipped) ", out, re.MULTILINE) == statuses
        report = json.loads(invoke("doctor", "a/b", *arguments, "--json")[1])
    assert (report["exit_code"], [check["status"] for check in report["checks"]]) == (
        code,
        statuses,
    )


def test_a_space_that_sleeps(portal: BlockingPortal, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --wait 0 a sleeping Space is waited for, or it isn't said that it sleeps."""
    sleeping_space = respond_text(503, "<html>Preparing Space</html>")
    with (
        portal.wrap_async_context_manager(serve_fake_gradio(config=sleeping_space)) as space,
        portal.wrap_async_context_manager(serve_hub(space, "STOPPED")) as address,
    ):
        monkeypatch.setenv("HF_ENDPOINT", address)
        code, out, err = invoke("space", "a/b", "--wait", "0", "--json")
    assert (code, json.loads(out)["error"]["kind"]) == (3, "asleep")
    assert "a/b is asleep." in err
