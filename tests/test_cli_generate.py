"""`python -m sd35 generate`, as people and scripts use it."""

import base64
import fcntl
import json
import os
import pty
import re
import resource
import signal
import stat
import struct
import subprocess
import termios
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
from aiohttp import web
from anyio.from_thread import BlockingPortal

from sd35.cli.history import BatchTimes, read_run_times
from sd35.cli.reporter import DEMO_NOTICE
from sd35.client import Timeouts
from sd35.core import events
from sd35.core.picture import open_picture
from sd35.core.request import GenerationRequest
from sd35.library.library import Library
from sd35.metadata.embedding import read_metadata, read_texts
from sd35.metadata.infotext import read_infotext, write_infotext
from tests.cli_program import (
    LIMIT_SECONDS,
    QUOTA,
    SECRET_TOKEN,
    check_output,
    generator,
    invoke,
    isolate,
    plain,
    portal,
    read_terminal,
    run_process,
    start_process,
)
from tests.fakes import STEPS, FakeSpace
from tests.full_disk import Disk, disk
from tests.impostor import (
    STARTED,
    Handler,
    respond_events,
    respond_picture,
    respond_text,
    serve_fake_gradio,
)
from tests.library_fixtures import add_picture
from tests.test_picture import encode_picture

__all__ = ["disk", "generator", "plain", "portal"]  # fixtures

PNG_PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
DAMAGED_PNG = PNG_PICTURE.replace(b"\0\0\0\x0dIDAT", b"\0\0\xff\xffIDAT")
COMPLETED_MESSAGE = {
    "msg": "process_completed",
    "success": True,
    "output": {"data": [{"path": "/tmp/a.webp"}, 7]},  # noqa: S108
}


@pytest.fixture(autouse=True)
def _isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    isolate(tmp_path, monkeypatch)


def read_events_until(process: subprocess.Popen[str], **expected: object) -> list[dict[str, Any]]:
    """Read the JSON lines of a process up to the expected event."""
    assert process.stdout is not None
    events = []
    for line in process.stdout:
        events.append(json.loads(line))
        if expected.items() <= events[-1].items():
            return events
    raise AssertionError(f"{expected} didn't come: {events}")


def hold_space(space: FakeSpace) -> FakeSpace:
    """Let the next `wait` prompt of a Space wait, and forget the runs that have ended."""
    space.hold()
    while space.finished_runs.acquire(blocking=False):
        pass
    return space


def wait_for_run_end(space: FakeSpace) -> None:
    """Wait until a run at the Space has ended."""
    assert space.finished_runs.acquire(timeout=LIMIT_SECONDS)


def test_prompts_and_seeds_make_new_files(generator: FakeSpace, tmp_path: Path) -> None:
    """Each prompt is generated with consecutive seeds, and no file is ever overwritten."""
    (tmp_path / "prompts.txt").write_text("﻿# two\n\n a cat \r\nein Möwe\n", encoding="utf-8")
    arguments = ("--prompts", "prompts.txt", "--count", "3", "-o", "new/out")
    command = ("generate", "--space", generator.address, *arguments)
    seeds = (2_147_483_646, 2_147_483_647, 0)
    names = [f"{slug}-seed-{seed}" for slug in ("a-cat", "ein-möwe") for seed in seeds]
    for suffix in ("", "-2"):
        code, out, err = invoke(*command, "--seed", str(seeds[0]))
        assert code == 0
        assert out.splitlines() == [f"new/out/{name}{suffix}.webp" for name in names]
        assert [line for line in err.splitlines() if line.startswith("✓")][3].startswith(
            f"✓ 4 of 6 · seed {seeds[0]} ·"
        )
    assert len(list(Path("new/out").iterdir())) == 2 * len(names)
    assert {open_picture(Path(path).read_bytes()).format for path in out.splitlines()} == {"WEBP"}


DRY_RUNS = (
    (("{red|blue} fox", "--combinations", "all"), ["red fox", "blue fox"]),
    (("{red|blue} fox", "--combinations", "1", "--count", "2"), ["red fox", "red fox"]),
    (("{red|blue} fox", "--no-template"), ["{red|blue} fox"]),
    (("a {fox} # __", "--count", "2"), ["a {fox} # __", "a {fox} # __"]),
    (("a {fox} # x", "--template"), ["a fox"]),
    (("fox", "--style", "pixel ART"), [r"Pixel art of fox, .*"]),
    (
        ("__color/*__ __season__", "--wildcards", "own", "--combinations", "all"),
        [r"[\w ]+ own"] * 20,
    ),
)


def test_dry_run_prints_the_prompts() -> None:
    """A dry run connects to no Space, and prints each prompt that would be sent."""
    Path("own").mkdir()
    Path("own/season.txt").write_text("own\n")
    for arguments, patterns in DRY_RUNS:
        code, out, err = invoke(
            "generate", *arguments, "--dry-run", "--space", "http://127.0.0.1:1"
        )
        prompts = out.splitlines()
        assert code == 0, err
        assert len(prompts) == len(patterns)
        assert all(
            prompt == pattern or re.fullmatch(pattern, prompt)
            for prompt, pattern in zip(prompts, patterns, strict=True)
        )


def planned_images(*arguments: str) -> list[tuple[int, str]]:
    """Return the seeds and prompts of a dry run."""
    code, out, _ = invoke("generate", *arguments, "--dry-run", "--json")
    assert code == 0
    events = [json.loads(line) for line in out.splitlines()]
    assert {event["event"] for event in events} == {"planned"}
    return [(event["seed"], event["prompt"]) for event in events]


def test_seeds_decide_prompts() -> None:
    """The same seed makes the same prompts, and the order of the seeds is as chosen."""
    command = ("{a|b|c|d} {a|b|c|d}", "--count", "9", "--seed", "7")
    images = planned_images(*command)
    assert images == planned_images(*command)
    assert [seed for seed, _ in images] == list(range(7, 16))
    assert len({prompt for _, prompt in images}) > 3
    fixed = planned_images(*command, "--seeds", "fixed")
    assert {seed for seed, _ in fixed} == {7}
    assert [prompt for _, prompt in fixed] == [prompt for _, prompt in images]
    assert len({seed for seed, _ in planned_images(*command[:3])}) == 9
    increment = planned_images(*command[:3], "--seeds", "increment")
    assert [seed - increment[0][0] for seed, _ in increment] == list(range(9))
    assert planned_images("x", "--seed", str(2**63))[0][0] == 2**63


def test_record_holds_template_and_styles(generator: FakeSpace) -> None:
    """The record of an image has its prompt, and the template and the styles that made it."""
    arguments = ("--combinations", "2", "--style", "Linocut", "--negative", "blur", "--seed", "1")
    command = ("generate", "{red|blue|tan} fox, [x]", *arguments, "--space", generator.address)
    code, out, err = invoke(*command)
    assert code == 0
    assert "2 images, the first ones of the template's 3 combinations." in err
    assert "“[x]” is emphasis in brackets" in err
    data = Path(out.splitlines()[1]).read_bytes()
    record = read_metadata(data)
    assert record is not None
    assert record.prompt.startswith("A linocut of blue fox, [x], bold")
    assert record.negative_prompt.startswith("blur, photo")
    assert record.extra[:4] == (
        ("Template", "{red|blue|tan} fox, [x]"),
        ("Styles", "Linocut"),
        ("Base prompt", "blue fox, [x]"),
        ("Base negative", "blur"),
    )
    parsed = read_infotext(write_infotext(record, 64, 128))
    assert parsed is not None
    assert parsed.extra[:4] == record.extra[:4]


def test_time_is_estimated_from_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of images is that of those of the Space in the library, or unknown."""
    request = GenerationRequest("x", width=32, height=24, num_inference_steps=9)
    folder = tmp_path / "library"
    assert BatchTimes([request], read_run_times(folder, "a/b")).seconds() is None
    assert not folder.exists()
    with Library.open(folder) as library:
        for index, seconds in enumerate((4.0, 5.0, 60.0, None)):
            add_picture(library, index, space="a/b", took_seconds=seconds, num_inference_steps=9)
        add_picture(library, 9, space="a/b", took_seconds=1.0, num_inference_steps=8)
        add_picture(library, 8, space="a/bc", took_seconds=1.0, num_inference_steps=9)
    times = BatchTimes([request] * 3, read_run_times(folder, "a/b"))
    assert (times.seconds(), times.seconds(1), times.seconds(3)) == (15, 10, 0)
    times.add(request, 4.0)
    assert times.seconds(2) == 4.5
    assert BatchTimes([request], read_run_times(folder, "a")).seconds() is None
    for steps, expected_text in (("9", "3 images. About "), ("", "3 images.\n")):
        arguments = ("--count", "3", "--space", "a/b", *(["--steps", steps] if steps else []))
        monkeypatch.setenv("SD35_LIBRARY", str(folder))
        assert expected_text in invoke("generate", "fox", "--dry-run", *arguments)[2]


def test_grid_is_planned_made_and_shown_as_sheets(generator: FakeSpace) -> None:
    """A grid has its price first, then its images in order, and labelled sheets beside them."""
    axes = ("-x", "prompt=red,blue", "-y", "seed=1-3")
    code, out, err = invoke("grid", "a red fox", *axes, "--dry-run")
    assert (code, out.splitlines()) == (0, ["a red fox", "a blue fox"] * 3)
    assert "2 × 3 = 6 images." in err
    assert "Rows, Seed: 1 | 2 | 3" in err
    for arguments, message in (
        (("-x", "prompt=cat,dog"), "“cat”: the prompt doesn't contain"),
        (("-x", "steps=1-500"), "Steps “1-500”: the range has 500 values"),
        (("-x", "steps"), "Steps: enter the values"),
        (("-x", "size=16:9", "-y", "cfg=4"), "Enter KIND=VALUES"),
        (("-x", "steps=4", "--steps", "99"), "must be between"),
    ):
        code, out, err = invoke("grid", "a red fox", *arguments, "--space", generator.address)
        assert (code, out) == (2, "")
        assert message in err
    code, out, err = invoke("grid", "a red fox", *axes, "--space", generator.address, "--json")
    events = [json.loads(line) for line in out.splitlines()]
    saved = [event for event in events if event["event"] == "saved"]
    assert [(event["prompt"], event["seed"]) for event in saved] == [
        (f"a {color} fox", seed) for seed in (1, 2, 3) for color in ("red", "blue")
    ]
    assert [event["path"] for event in events if event["event"] == "sheet"] == [
        "grid.html",
        "grid.png",
    ]
    record = read_metadata(Path(saved[3]["path"]).read_bytes())
    assert record is not None
    assert record.axes == (("Prompt part", "blue"), ("Seed", "2"))
    assert (record.set_index, record.set_size) == (3, 6)
    assert Path("grid.html").read_text().count("data:image/webp") == 6


def test_styles_are_listed() -> None:
    """`--styles` prints the names of all styles, one per line, those of the user included."""
    Path("library").mkdir()
    own_style = '{"styles": [{"name": "Mine", "prompt": "mine"}]}'
    Path("library/styles.json").write_text(own_style)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SD35_LIBRARY", "library")
        code, out, _ = invoke("generate", "--styles")
        assert planned_images("fox", "--style", "mine")[0][1] == "fox, mine"
    assert code == 0
    assert {"Oil painting", "Mine"} <= set(out.splitlines())


def png_chunks(png: bytes) -> Iterator[bytes]:
    """Yield each chunk of a PNG, with its length and checksum."""
    position = 8
    while position < len(png):
        end = position + 12 + int.from_bytes(png[position : position + 4], "big")
        yield png[position:end]
        position = end


def without_metadata(png: bytes) -> bytes:
    """Return a saved PNG without the two texts that were added to it."""
    text_chunks = [
        chunk
        for chunk in png_chunks(png)
        if re.match(rb"(tEXt|iTXt)(parameters|sd35)\0", chunk[4:])
    ]
    assert len(text_chunks) == 2
    return png[:8] + b"".join(chunk for chunk in png_chunks(png) if chunk not in text_chunks)


def generate_from_fake(
    portal: BlockingPortal, body: bytes, *arguments: str
) -> tuple[dict[str, Any], bytes]:
    """Generate an image of these bytes, and return its `saved` event and its file."""
    with portal.wrap_async_context_manager(
        serve_fake_gradio(
            data=respond_events(STARTED, COMPLETED_MESSAGE), file=respond_picture(body)
        )
    ) as address:
        code, out, _ = invoke("generate", *arguments, "--json", "--space", address)
    assert code == 0
    saved = json.loads(out.splitlines()[-1])
    return saved, Path(saved["path"]).read_bytes()


def test_saved_file_holds_its_settings(portal: BlockingPortal) -> None:
    """The settings in a file are those of its request, and its pixels are the Space's."""
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
    assert without_metadata(Path("a-cat-big-steps-3-seed-7.png").read_bytes()) == PNG_PICTURE


def text_chunk_contents(data: bytes) -> list[str]:
    return list(read_texts(data).texts.values())


def test_damaged_image_is_saved_as_it_came(portal: BlockingPortal) -> None:
    """An image whose file takes no settings is saved without them."""
    _, data = generate_from_fake(portal, DAMAGED_PNG, "x")
    assert data == DAMAGED_PNG


def test_seeds_are_random_and_quiet_is_quiet(generator: FakeSpace) -> None:
    """Without --seed each image has another seed, in its name; with -q nothing else is printed."""
    arguments = ("--prompts", "-", "--count", "2", "-q", "--space", generator.address)
    code, out, err = invoke("generate", *arguments, stdin="x\n")
    assert (code, err) == (0, "")
    assert len(set(re.findall(r"^x-seed-\d+\.webp$", out, re.MULTILINE))) == 2


def test_json_has_every_event(generator: FakeSpace) -> None:
    """The JSON lines have each event with all fields; previews are saved, and the image once."""
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
    saved = event_list[-1]
    previews = [event for event in event_list if event["event"] == "preview"]
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


def test_failure_ends_the_batch_without_keep_going(generator: FakeSpace) -> None:
    """After a failure nothing more is generated, or with --keep-going all the rest is."""
    command = ("generate", "--prompts", "-", "--json", "--seed", "7", "--space", generator.address)
    prompts = f"{QUOTA}\nerror: GPU task aborted\na cat\n"
    for keeps_going, kinds in ((False, ["quota"]), (True, ["quota", "aborted"])):
        code, out, err = invoke(
            *command, *(("--keep-going",) if keeps_going else ()), stdin=prompts
        )
        events = [json.loads(line) for line in out.splitlines()]
        failed = [event for event in events if event["event"] == "error"]
        assert (code, [event["kind"] for event in failed]) == (5, kinds)
        assert failed[0]["retry_after_seconds"] == 5034
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}\+00:00", failed[0]["retry_at"])
        assert (failed[0]["prompt"], failed[0]["seed"], failed[0]["exit_code"]) == (QUOTA, 7, 5)
        assert "60s requested vs. 34s left" in err
        assert "Try again at" in err
        assert Path("a-cat-seed-7.webp").exists() == keeps_going


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
        (["generate", "x", "--seed", "1.5"], 2, "--seed"),
        (["generate", "x", "--seed", str(2**64)], 2, "--seed"),
        (["generate", "x", "--seed", "-1", "--width", "100"], 2, "between 512 and 1024 px"),
        (["generate", "x", "--count", "0"], 2, "--count"),
        (["generate", "x", "--colour"], 2, "--colour"),
        (["generate", "x {a|b"], 2, "never closed (at character 3). Add } to close it"),
        (["generate", "__nope__"], 2, "no wildcard “nope”"),
        (["generate", "__colr/warm__"], 2, "Did you mean __color/warm__?"),
        (["generate", "{0$$x}"], 2, "Enter a prompt."),
        (["generate", "x", "--template", "--no-template"], 2, "not both"),
        (["generate", "x", "--combinations", "all"], 2, "No prompt is a template"),
        (["generate", "{a|b}", "--combinations", "some"], 2, "enter all, or a whole number"),
        (["generate", "{a|b|c}" * 9, "--combinations", "all"], 2, "19,683 images; the limit is"),
        (["generate", "{a|b}" * 99, "--combinations", "all"], 2, "or more images"),
        (["generate", "x", "--seeds", "odd"], 2, "enter random, fixed, increment"),
        (["generate", "x", "--seeds", "random", "--seed", "1"], 2, "not both"),
        (["generate", "x", "--style", "oil"], 2, "Did you mean “Oil painting”?"),
        (["generate", "x", "--wildcards", "missing"], 2, "Folder not found"),
        (["generate", "x", "--space", "what is this"], 2, "use owner/name"),
        (
            ["generate", "x", "--proxy", f"socks5://me:{SECRET_TOKEN}@host"],
            2,
            "SOCKS proxies aren't supported",
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
        (["generate", "x", "-o", "x" * 300], 9, "File name too long"),
        (["generate", "error: No GPU was available"], 6, "No GPU was available"),
        (["generate", "error: Expired ZeroGPU proxy token"], 5, "Expired"),
        (["generate", "error: GPU task aborted"], 7, "Try fewer steps"),
        (["generate", "silent: x"], 7, "without details"),
        (["space", "http://127.0.0.1:1"], 3, "connection refused"),
        (["doctor", "what is this"], 2, "use owner/name"),
    ],
)
def test_failures_have_message_and_exit_code(
    arguments: list[str],
    code: int,
    expected_message: str,
    generator: FakeSpace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A foreseeable failure has its own exit code, and a message instead of a traceback."""
    Path("latin-1").write_bytes(b"a cat\ncaf\xe9\n")
    Path("empty").write_text("# nothing\n")
    monkeypatch.setenv("SD35_SPACE", generator.address)
    monkeypatch.setattr("sd35.cli.commands.generate.Timeouts", partial(Timeouts, outage=0.0))
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
            "other than a PNG",
        ),
        ({"config": respond_text(200, "{}")}, 3, "isn't a Gradio app"),
        ({"join": respond_text(429, **{"Retry-After": "3600"})}, 6, "Try again at"),
    ],
    ids=["access", "cut", "no picture", "contract", "rate"],
)
def test_broken_spaces_have_exit_codes(
    handlers: dict[str, Handler], code: int, expected_message: str, portal: BlockingPortal
) -> None:
    """Whatever a broken Space answers, the exit code says what is wrong."""
    with portal.wrap_async_context_manager(serve_fake_gradio(handlers)) as address:
        exit_code, out, err = invoke(
            "generate", "x", "--space", address, "--token", f"hf_{SECRET_TOKEN}"
        )
    assert (exit_code, out) == (code, "")
    assert expected_message in err


def interrupt(process: subprocess.Popen[str], signal_number: signal.Signals, outcome: str) -> None:
    """Send a signal, and check that the process says what stopping did."""
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


def test_signals_cancel_at_the_space(generator: FakeSpace, plain: FakeSpace) -> None:
    """Ctrl+C and SIGTERM cancel the run at the Space, and say what became of it."""
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
    """Handler that answers when its gate is opened.

    Attributes:
        was_requested: set when a request has come.
        gate: to be set to let the answer through.

    """

    def __init__(self, answer: Handler) -> None:
        self.was_requested = threading.Event()
        self.gate = threading.Event()
        self._answer = answer

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request."""
        self.was_requested.set()
        await anyio.to_thread.run_sync(self.gate.wait, LIMIT_SECONDS)
        return await self._answer(request)


def wait_for_stop_message(process: subprocess.Popen[str]) -> None:
    """Wait until the process says that it is stopping."""
    assert process.stderr is not None
    assert any("Stopping" in line for line in process.stderr)


def test_ctrl_c_does_not_lose_a_finished_image(portal: BlockingPortal) -> None:
    """An image that is being downloaded when Ctrl+C comes is still saved."""

    async def picture(_: web.Request) -> web.Response:
        return web.Response(body=PNG_PICTURE)

    handler = GatedHandler(picture)
    with portal.wrap_async_context_manager(
        serve_fake_gradio(data=respond_events(STARTED, COMPLETED_MESSAGE), file=handler.handle)
    ) as address:
        with start_process("generate", "x", "--count", "2", "--space", address) as process:
            assert handler.was_requested.wait(LIMIT_SECONDS)
            process.send_signal(signal.SIGINT)
            wait_for_stop_message(process)
            handler.gate.set()
            out, err = process.communicate(timeout=LIMIT_SECONDS)
    assert (process.returncode, out) == (130, "x-seed-7.png\n")
    assert without_metadata(Path("x-seed-7.png").read_bytes()) == PNG_PICTURE
    assert "The finished image was saved." in err


def test_second_ctrl_c_quits_at_once(portal: BlockingPortal) -> None:
    """A second Ctrl+C doesn't wait for a Space that doesn't answer."""
    handler = GatedHandler(respond_text(200, "{}"))
    with portal.wrap_async_context_manager(
        serve_fake_gradio(data=respond_events(STARTED, is_kept_open=True), cancel=handler.handle)
    ) as address:
        with start_process("generate", "x", "--json", "--space", address) as process:
            read_events_until(process, event="started")
            process.send_signal(signal.SIGINT)
            wait_for_stop_message(process)
            assert handler.was_requested.wait(LIMIT_SECONDS)
            process.send_signal(signal.SIGINT)
            assert process.wait(LIMIT_SECONDS) == -signal.SIGINT, "which shells call 130"
            handler.gate.set()


def test_closed_output_ends_the_batch(generator: FakeSpace) -> None:
    """With `| head`, nothing more is generated once the output is closed."""
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


def test_full_disk_is_reported(generator: FakeSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the disk is full, no half file is left, and the message has the seed."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    command = ("generate", "x", "--seed", "7", "--space", generator.address, "-q")
    code, out, err = run_process(
        *command, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
    )
    assert (code, out) == (9, "")
    assert "Couldn't save x-seed-7.webp: File too large." in err
    assert "The seed was 7." in err
    assert not list(Path().iterdir())
    with Path("/dev/full").open("w") as full:
        code, _, err = run_process(*command, stdout=full)
    assert code == 9
    assert "Couldn't write the output: the disk is full." in err


@pytest.mark.parametrize("disk", ["tmpfs"], indirect=True)
def test_image_is_saved_elsewhere_if_the_disk_is_full(
    generator: FakeSpace,
    disk: Disk,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An image that the folder has no room for is saved among the temporary files, privately."""
    temp_folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setenv("TMPDIR", str(temp_folder))
    disk.fill()
    code, out, err = run_process(
        *("generate", "x", "--seed", "7", "--space", generator.address, "-q"),
        *("--out", str(disk.folder)),
    )
    [image] = temp_folder.glob("sd35-*/x-seed-7.webp")
    assert (code, out) == (9, "")
    assert f"the disk is full. It was saved as {image} instead." in " ".join(err.split())
    assert read_metadata(image.read_bytes()) is not None
    assert stat.S_IMODE(image.parent.stat().st_mode) == 0o700


def test_terminal_shows_live_progress(
    generator: FakeSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal shows each step and the path once; the cursor comes back, and NO_COLOR works."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")

    def release_at_step_2(output: bytes) -> None:
        if f"Step 2 of {STEPS}" in output.decode(errors="ignore"):
            generator.release()

    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = ("generate", "wait: x", "--seed", "7", "--space", hold_space(generator).address)
    with start_process(*command, stdin=follower, stdout=follower, stderr=follower) as process:
        os.close(follower)
        text = read_terminal(leader, release_at_step_2).decode()
        assert process.wait(LIMIT_SECONDS) == 0
    assert text.count("wait-x-seed-7.webp") == 1
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    assert not re.search(r"\x1b\[(?:\d+;)*[349]\d[;m]", text), "a color"


def test_demo_is_marked_and_cleans_up(tmp_path: Path) -> None:
    """`--space demo` warns, leaves no files behind, and prints ASCII where it must."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    arguments = [
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
    ]
    environment = os.environ | {"TMPDIR": str(folder), "PYTHONIOENCODING": "ascii"}
    code, out, err = run_process(*arguments, env=environment)
    assert (code, out) == (0, "demo-painter-sun-seed-7.png\n")
    assert f"\n! {DEMO_NOTICE}\n" in err
    assert "+ seed 7 - 512 x 512 - PNG" in err
    assert not list(folder.iterdir())
