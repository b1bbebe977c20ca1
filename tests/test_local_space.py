"""A Space in a child process: started, restarted, and ended with its parent."""

import asyncio
import json
import queue
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import anyio
import pytest
from playwright.sync_api import Page, expect

from sd35.client import SpaceClient
from sd35.core.errors import ConnectionFailedError, ModelError
from sd35.core.events import Finished, Waiting
from sd35.core.request import GenerationRequest
from sd35.server import launch
from sd35.space import child
from sd35.space.__main__ import Reporter, watch
from sd35.space.child import LocalSpace
from sd35.space.engine import Broken, EngineError, EngineState, Ready
from sd35.space.page import page_options
from sd35.space.painter import DemoPainter
from sd35.space.server import build_space
from tests.chromium import (  # noqa: F401  # fixtures
    RECORD_PREVIEWS_JS,
    browser,
    context,
    count_previews,
    open_page,
    page,
    submit_prompt,
)
from tests.cli_program import ROOT
from tests.model_hub import REPOSITORY, serve_tiny_model
from tests.test_app import environment, start_program

psutil = pytest.importorskip("psutil")  # of the model's packages
pytestmark = pytest.mark.model

LIMIT_SECONDS = 60
REQUEST = GenerationRequest("a cat", "", 512, 512, 4.5, 2, 7, randomize_seed=False)


@pytest.fixture
async def space(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LocalSpace]:
    """Start the demo painter as a child: it behaves as a model does, without torch."""
    monkeypatch.setattr(child, "RESTART_PAUSES", (0.05, 0.05))
    space = LocalSpace("demo")
    yield space
    await anyio.to_thread.run_sync(space.close)


def children() -> list[Any]:
    return [process for process in psutil.Process().children() if "sd35.space" in process.cmdline()]


async def generate(address: str) -> int | None:
    async with SpaceClient.connect(address) as client, client.generate(REQUEST) as generation:
        async for _ in generation:
            pass
        return (await generation.fetch()).seed


@pytest.mark.anyio
async def test_space_is_started_once_and_ended(space: LocalSpace) -> None:
    """The first call starts the process, later ones wait for the same, and closing ends it."""
    waits: list[Waiting] = []
    with anyio.fail_after(LIMIT_SECONDS):
        address = await space.start(waits.append)
        assert waits[0].reason == "Starting the local Space"
        assert await space.start() == address
        assert await generate(address) == REQUEST.seed
        assert len(children()) == 1
        await anyio.to_thread.run_sync(space.close)
    assert not children()


@pytest.mark.anyio
async def test_plan_and_warning_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """How the model will run is said once, and what a user should know, while it loads."""
    plan = {"plan": "Tiny: int8. A step takes a day.", "warning": "A step takes a day."}
    loading = {"state": "loading", "text": "Downloading"}
    ready = {"state": "ready", "address": "http://here/"}
    program = "; ".join(
        (*(f"print({json.dumps(line)!r}, flush=True)" for line in (plan, loading)), "input()")
    )
    program += f"; print({json.dumps(ready)!r}, flush=True); input()"
    monkeypatch.setattr(child, "child_command", lambda *_: [sys.executable, "-c", program])
    plans: list[str] = []
    waits: list[str] = []

    def on_wait(event: Waiting) -> None:
        if event.reason.startswith("Downloading") and not waits:
            waits.append(event.reason)
            process = local_space._process
            assert process is not None
            assert process.stdin is not None
            process.stdin.write(b"\n")
            process.stdin.flush()

    local_space = LocalSpace("tiny", on_plan=plans.append)
    with anyio.fail_after(LIMIT_SECONDS):
        assert await local_space.start(on_wait) == ready["address"]
    await anyio.to_thread.run_sync(local_space.close)
    assert plans == [plan["plan"]]
    assert waits == ["Downloading. A step takes a day."]


@pytest.mark.anyio
async def test_crashed_space_is_back_at_its_address(space: LocalSpace) -> None:
    """After a crash the Space starts again by itself, where waiting jobs look for it."""
    with anyio.fail_after(LIMIT_SECONDS):
        address = await space.start()
        async with SpaceClient.connect(address) as client:
            (process,) = children()
            process.kill()
            await anyio.to_thread.run_sync(process.wait, LIMIT_SECONDS)
            async with client.generate(REQUEST, max_wait_seconds=LIMIT_SECONDS) as generation:
                events = [event async for event in generation]
            assert isinstance(events[0], Waiting)
            assert isinstance(events[-1], Finished)
        assert await space.start() == address


@pytest.mark.anyio
async def test_space_that_crashes_again_and_again_stays_ended(space: LocalSpace) -> None:
    """A Space that ends before it is ready is restarted a few times; then the error says so."""
    waits: list[Waiting] = []
    killer = asyncio.create_task(kill_children())
    with anyio.fail_after(LIMIT_SECONDS), pytest.raises(ConnectionFailedError, match="was killed"):
        await space.start(waits.append)
    killer.cancel()
    assert "Restarting the local Space" in {wait.reason for wait in waits}
    with anyio.fail_after(LIMIT_SECONDS):
        assert await generate(await space.start()) == REQUEST.seed, "asking again starts it again"


@pytest.mark.anyio
async def test_space_starts_beside_a_program_that_has_taken_its_port(
    space: LocalSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the choice of a free port and the start, another program may take it."""
    free_ports = [launch.free_port(), launch.free_port()]
    monkeypatch.setattr(launch, "free_port", iter(free_ports).__next__)
    with socket.create_server(("127.0.0.1", free_ports[0])), anyio.fail_after(LIMIT_SECONDS):
        assert await space.start() == f"http://127.0.0.1:{free_ports[1]}/"


async def kill_children() -> None:
    while True:
        for process in children():
            process.kill()
        await anyio.sleep(0.01)


@pytest.mark.anyio
async def test_model_that_cannot_be_used_says_what_is_missing() -> None:
    """The reason comes from the child, and asking again looks again."""
    space = LocalSpace("/no/such/model")
    for _ in range(2):
        with anyio.fail_after(LIMIT_SECONDS), pytest.raises(ModelError, match="neither a"):
            await space.start()
    await anyio.to_thread.run_sync(space.close)


def test_space_ends_with_its_parent(tmp_path: Path) -> None:
    """However the parent ends, its Space ends, too, from whichever folder it was started."""
    script = (
        f"import anyio, sys; sys.path.append({str(ROOT)!r})\n"
        "from sd35.space.child import LocalSpace\n"
        "space = LocalSpace('demo'); anyio.run(space.start); print('ready', flush=True)\n"
        "sys.stdin.read()"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(  # noqa: S603  # our own program
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(tmp_path),
        cwd=tmp_path,
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        (space,) = psutil.Process(parent.pid).children()
        parent.send_signal(signal.SIGKILL)
        space.wait(LIMIT_SECONDS)


@pytest.mark.parametrize("stop_signal", [signal.SIGTERM, signal.SIGINT])
def test_space_ends_while_it_downloads(tmp_path: Path, stop_signal: signal.Signals) -> None:
    """A download that doesn't end keeps no process that was told to end, nor makes it crash."""
    with serve_tiny_model(tmp_path / "model") as hub:
        hub.is_open.clear()
        variables = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "cache")}
        command = [sys.executable, "-m", "sd35.space", "--model", REPOSITORY, "--port", "0"]
        with subprocess.Popen(  # noqa: S603  # our own program
            command, stdout=subprocess.PIPE, env=environment(tmp_path, **variables)
        ) as process:
            assert process.stdout is not None
            while b"Downloading" not in process.stdout.readline():
                assert process.poll() is None
            process.send_signal(stop_signal)
            assert process.wait(LIMIT_SECONDS) == 0
        hub.is_open.set()


def test_space_that_has_not_started_yet_ends_with_its_parent(tmp_path: Path) -> None:
    """A parent that ends at once leaves no Space that goes on importing, and none that aborts."""
    command = [sys.executable, "-m", "sd35.space", "--child"]
    process = subprocess.run(  # noqa: S603  # our own program
        command, stdin=subprocess.DEVNULL, env=environment(tmp_path), check=False, timeout=60
    )
    assert process.returncode == 128 + signal.SIGTERM


def test_failed_gpu_is_a_crash_to_the_parent(capsys: pytest.CaptureFixture[str]) -> None:
    """An engine that breaks after it was ready is started again: the parent gets no reason."""

    class FailingEngine(DemoPainter):
        states: ClassVar[list[EngineState]] = [Ready(), Broken(EngineError("The GPU has failed."))]

        @property
        def state(self) -> EngineState:
            return self.states.pop(0)

    code = watch(FailingEngine(), "http://here/", Reporter(is_child=True), queue.SimpleQueue())
    assert code == 1
    assert [json.loads(line)["state"] for line in capsys.readouterr().out.splitlines()] == ["ready"]


def test_page_shows_the_download_previews_and_image_of_a_local_model(
    page: Page, tmp_path: Path
) -> None:
    """`--space local:…` downloads the model, says so, and then makes images with previews."""
    with serve_tiny_model(tmp_path / "model") as hub:
        hub.is_open.clear()
        variables = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "cache")}
        home = tmp_path / "home"
        home.mkdir()
        target = f"local:{REPOSITORY}"
        with start_program(home, "--space", target, **variables) as program:
            page.goto(program.address)
            page.evaluate(RECORD_PREVIEWS_JS)
            status = page.locator("#status")
            download = re.compile(r"Downloading the model: .* of 2\.\d MB")
            expect(status).to_contain_text(download, timeout=LIMIT_SECONDS * 1000)
            page.get_by_label("number input for Inference steps").fill("6")
            submit_prompt(page, "a lighthouse")
            expect(page.locator("#panel")).to_contain_text("Downloading the model")
            hub.is_open.set()
            expect(page.locator("#panel")).to_contain_text("Step ", timeout=LIMIT_SECONDS * 1000)
            expect(status).to_contain_text("tiny")
            expect(status.locator("[title*='live previews']")).to_be_visible()
            expect(page.locator("#panel [data-status=completed]")).to_be_visible()
            assert count_previews(page) >= 3
            page.get_by_label("number input for Inference steps").fill("50")
            page.locator("#size label", has_text="Custom").click()
            for size, hint in (
                (1536, "too large"),
                (1000, "multiples of 16"),
                (1024, "megapixels"),
            ):
                for side in ("Width", "Height"):
                    page.get_by_label(f"number input for {side}").fill(str(size))
                expect(page.locator("#size-hint")).to_contain_text(hint)
            submit_prompt(page, "a mountain")
            expect(page.locator("#panel")).to_contain_text("Step ")
            stop_button = page.get_by_role("button", name="Stop", exact=True)
            expect(stop_button).to_be_enabled()
            stop_button.click()
            expect(page.locator("#panel [data-status=cancelled]")).to_contain_text("cancelled")


def test_page_shows_a_job_as_interrupted_when_its_space_is_killed(
    page: Page, tmp_path: Path
) -> None:
    """The page says so at once, keeps the form, and Retry makes the image after the restart."""
    with start_program(tmp_path, "--space", "local:demo") as program:
        open_page(page, program.address)
        page.get_by_label("number input for Inference steps").fill("50")
        for prompt in ("a lighthouse", "a mountain"):
            submit_prompt(page, prompt)
        panel = page.locator("#panel")
        expect(panel).to_contain_text("Step ")
        (space,) = psutil.Process(program.process.pid).children()
        space.kill()
        interrupted = page.locator("#queue [data-kind=interrupted]")
        expect(interrupted).to_contain_text("a lighthouse")
        expect(interrupted).to_contain_text("was killed")
        expect(page.locator("#status")).to_contain_text("the local Space")
        expect(page.get_by_label("Prompt", exact=True)).to_have_value("a mountain")
        expect(panel).to_contain_text("Step ", timeout=LIMIT_SECONDS * 1000)
        page.get_by_role("button", name="Stop", exact=True).click()
        interrupted.get_by_role("button", name="Retry").click()
        expect(panel.locator("[data-status=completed]")).to_be_visible()


def test_page_of_the_space_itself_shows_previews_and_stops(page: Page) -> None:
    """Whoever opens the Space in a browser sees each preview, stops a run, and reads errors."""
    space = build_space(DemoPainter())
    page.goto(launch.launch(space, port=launch.free_port(), **page_options()))
    status = page.locator("#status")
    expect(status).to_contain_text("press Generate")
    # Before the run: as it opens, Gradio makes its sliders, and sets each to its default once more.
    page.get_by_text("Advanced settings").click()
    submit_prompt(page, "a lighthouse")
    expect(status).to_have_text("Done.")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#end")).to_have_text("Stopped.")
    expect(status, "there was nothing to stop").to_be_visible()
    page.get_by_label("number input for Width").fill("520")
    page.get_by_role("button", name="Generate").click()
    expect(status.get_by_role("alert")).to_contain_text("multiples of 16")
    page.get_by_label("number input for Width").fill("512")
    page.get_by_label("number input for Inference steps").fill("50")
    page.get_by_role("button", name="Generate").click()
    expect(status).to_contain_text("Generating: step")
    expect(page.locator("#result img")).to_be_visible()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#end")).to_have_text("Stopped.")
    expect(status).to_be_hidden()
    launch.close(space)
