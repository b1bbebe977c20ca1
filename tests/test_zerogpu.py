"""The Space on ZeroGPU: the package `spaces` of Hugging Face, and a stand-in for its scheduler."""

import base64
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import Empty
from typing import Final

import anyio
import pytest

from sd35.client import SpaceClient
from sd35.core.errors import (
    AbortedError,
    BusyError,
    GenerationFailedError,
    IdentityError,
    IdentityExpiredError,
    InvalidRequestError,
    QuotaError,
    SD35Error,
)
from sd35.core.events import Finished, Preview, Progress
from sd35.core.request import GenerationRequest
from sd35.space.deploy.files import copy_files, list_files
from tests.zerogpu_scheduler import Answer, Scheduler, serve_scheduler
from tests.zerogpu_space import LIMIT_SECONDS, Call, run, start_space

pytest.importorskip("spaces")
pytestmark = pytest.mark.zerogpu

ROOT: Final = Path(__file__).parent.parent
STEP_SECONDS: Final = 0.5
REQUEST: Final = GenerationRequest("a cat", "", 512, 512, 4.5, 4, 7, randomize_seed=False)


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Scheduler, str]]:
    with serve_scheduler() as scheduler:
        home = tmp_path_factory.mktemp("home")
        program = ("-m", "tests.zerogpu_app")
        with start_space(home, scheduler, program, ROOT) as (_, address):
            yield scheduler, address


@pytest.mark.anyio
async def test_runs_stream_and_share_a_process(space: tuple[Scheduler, str]) -> None:
    """Runs yield previews, each step and the image; the next one is in the same process."""
    scheduler, address = space
    async with SpaceClient.connect(address) as client:
        for _ in range(2):
            with anyio.fail_after(LIMIT_SECONDS):
                async with client.generate(REQUEST) as generation:
                    events = [event async for event in generation]
                picture = await generation.fetch()
            assert sum(isinstance(event, Preview) for event in events) >= 3
            assert [event.step for event in events if isinstance(event, Progress)][-1] == 4
            assert isinstance(events[-1], Finished)
            assert (picture.format, picture.width, picture.seed) == ("PNG", 512, 7)
            assert not scheduler.releases.get(timeout=LIMIT_SECONDS)
    assert scheduler.count("/startup-report") == scheduler.count("/allow") == 1
    _, parameters = next(call for call in scheduler.calls if call[0] == "/schedule")
    assert parameters["durationSeconds"] == "6", "2 seconds by arithmetic, and 4 to spare"


def test_stopped_run_ends_within_two_steps(space: tuple[Scheduler, str]) -> None:
    """A run that is cancelled ends within two steps, and its process makes the next image."""
    scheduler, address = space
    run(address)
    assert not scheduler.releases.get(timeout=LIMIT_SECONDS)
    process_count = scheduler.count("/allow")
    call = Call(address, "gated", steps=50)
    event_id = call.join({})
    messages = call.messages()
    scheduler.step_permits.release(3)
    steps = (message for message in messages if message["msg"] == "process_generating")
    for _ in range(3):
        next(steps)
    with ThreadPoolExecutor() as threads:
        # Gradio answers after the next step.
        threads.submit(call.http.post, "cancel", json=call.session | {"event_id": event_id})
        while True:
            with suppress(Empty):
                has_failed = scheduler.releases.get(timeout=STEP_SECONDS)
                break
            scheduler.step_permits.release()
    assert not has_failed
    assert scheduler.step_count <= 3 + 2
    run(address)
    assert not scheduler.releases.get(timeout=LIMIT_SECONDS)
    assert scheduler.count("/allow") == process_count


@pytest.mark.parametrize(("width", "steps"), [(520, 3), (2048, 3), (512, 51)])
def test_invalid_call_asks_for_no_gpu(space: tuple[Scheduler, str], width: int, steps: int) -> None:
    """What can be refused is refused before there is a GPU."""
    scheduler, address = space
    schedule_count = scheduler.count("/schedule")
    error = Call(address, width=width, steps=steps).error()
    assert isinstance(error, GenerationFailedError | InvalidRequestError)
    assert scheduler.count("/schedule") == schedule_count


def quota(wait: int, approve_result: str, account: str = "") -> Answer:
    """Return the scheduler's refusal for a visitor with an account, or without one."""
    headers = {"X-Approve-Result": approve_result}
    if account:
        headers["X-Authenticated"] = account
    return Answer(429, {"left": 0, "wait": wait}, headers)


@pytest.mark.parametrize(
    ("answer", "kind", "expected_message"),
    [
        (quota(5430, "quota-exceeded"), QuotaError, "exceeded your ZeroGPU quota"),
        (quota(5430, "quota-exceeded", "regular"), QuotaError, "your free ZeroGPU quota"),
        (quota(5430, "quota-exceeded", "pro"), QuotaError, "your Pro ZeroGPU quota"),
        (quota(0, "runs-exceeded"), QuotaError, "ZeroGPU runs limit"),
        (quota(-1, "illegal-duration"), QuotaError, "larger than the maximum allowed. "),
        (quota(-1, "illegal-duration", "pro"), QuotaError, "larger than the maximum allowed."),
        (quota(9, "pending-overquota-exceeded", "pro"), BusyError, "too many ZeroGPU credits"),
        (Answer(200, "event: failed\n\n"), BusyError, "No GPU was available after 60s"),
        (Answer(503), BusyError, "No GPU was available"),
        (Answer(401), IdentityExpiredError, "Expired ZeroGPU proxy token"),
        (
            Answer(404),
            GenerationFailedError,
            "ZeroGPU has failed: ZeroGPU API /schedule error: 404",
        ),
        (Answer(200, {"idle": False}), GenerationFailedError, "ZeroGPU has failed: 3 validation"),
    ],
)
def test_refusals_of_zerogpu_read_as_themselves(
    space: tuple[Scheduler, str], answer: Answer, kind: type[SD35Error], expected_message: str
) -> None:
    """Each refusal is an error of its own kind, in the words of `spaces`."""
    scheduler, address = space
    scheduler.answers.append(answer)
    payload = base64.urlsafe_b64encode(b'{"user": "anonymous"}').decode()
    error = Call(address).error({"X-IP-Token": f"e30.{payload}.sign"})
    assert type(error) is kind
    assert expected_message in str(error)


def test_visitor_without_identity_is_named(space: tuple[Scheduler, str]) -> None:
    """Without Hugging Face's proxy, ZeroGPU can't tell whose quota counts: the error says so."""
    scheduler, address = space
    scheduler.answers.append(quota(5430, "quota-exceeded"))
    assert isinstance(Call(address).error(), IdentityError)


@pytest.mark.parametrize(
    ("prompt", "kind", "expected_message", "keeps_process"),
    [
        ("foreseen", GenerationFailedError, "Too little memory. Choose a smaller size.", True),
        ("unforeseen", GenerationFailedError, "The run failed: ZeroDivisionError.", False),
        ("broken", GenerationFailedError, "The GPU has failed.", False),
        ("exit", AbortedError, "GPU task aborted", False),
    ],
)
def test_failed_run_says_why(
    space: tuple[Scheduler, str],
    prompt: str,
    kind: type[SD35Error],
    expected_message: str,
    *,
    keeps_process: bool,
) -> None:
    """A foreseen failure keeps the process with the model; after others, there is a new one."""
    scheduler, address = space
    error = Call(address, prompt).error()
    assert type(error) is kind
    assert expected_message in str(error)
    assert scheduler.releases.get(timeout=LIMIT_SECONDS) is not keeps_process
    process_count = scheduler.count("/allow")
    *_, last_message = run(address)
    assert last_message["success"]
    assert not scheduler.releases.get(timeout=LIMIT_SECONDS)
    assert scheduler.count("/allow") - process_count == (not keeps_process)


def test_process_without_a_gpu_says_so(space: tuple[Scheduler, str]) -> None:
    """A process that doesn't get its GPU is a failure with a name, and the next run works."""
    scheduler, address = space
    scheduler.is_gpu_usable = False
    Call(address, "exit").error()
    assert scheduler.releases.get(timeout=LIMIT_SECONDS)
    error = Call(address).error()
    assert "A process of ZeroGPU has failed: AssertionError." in str(error)
    assert scheduler.releases.get(timeout=LIMIT_SECONDS)
    scheduler.is_gpu_usable = True
    *_, last_message = run(address)
    assert last_message["success"]
    assert not scheduler.releases.get(timeout=LIMIT_SECONDS)


LATE_STOP: Final = """
from sd35.core.request import GenerationRequest
from sd35.server.launch import configure_environment
from sd35.space.models import Weights
from sd35.space.painter import DemoPainter
from sd35.space.zerogpu import ZeroGPUEngine, import_spaces

directory = configure_environment()
engine = ZeroGPUEngine(DemoPainter(), Weights(0, 0, 0), import_spaces())
first, second = (
    engine.generate(GenerationRequest(name, width=512, height=512, num_inference_steps=4))
    for name in ("first", "second")
)
for _ in range(3):
    next(first)
input()
for _ in range(3):
    next(second)
first.close()
*_, image = second
print(image.size)
engine.close()
"""


def test_late_stop_is_not_that_of_another_run(tmp_path: Path) -> None:
    """Who stops a run that has ended stops nothing, although its process has the next one."""
    with serve_scheduler() as scheduler:
        variables = {
            "SPACES_ZERO_GPU": "true",
            "SPACES_ZERO_DEVICE_API_URL": scheduler.address,
            "HOME": str(tmp_path),
        }
        with subprocess.Popen(  # noqa: S603  # our own program
            [sys.executable, "-c", LATE_STOP],
            cwd=ROOT,
            env=os.environ | variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert not scheduler.releases.get(timeout=LIMIT_SECONDS)
            printed, _ = process.communicate("\n", timeout=LIMIT_SECONDS)
        assert "(512, 512)" in printed
        assert scheduler.count("/allow") == 1


def test_uploaded_folder_makes_an_image_and_leaves_no_process(tmp_path: Path) -> None:
    """What `space-files` writes runs by itself; when it is told to end, its processes end, too."""
    folder = tmp_path / "space"
    copy_files(list_files(ROOT / "hosted" / "model"), folder)
    with (
        serve_scheduler() as scheduler,
        start_space(tmp_path, scheduler, ("app.py",), folder) as (process, address),
    ):
        *_, last_message = run(address)
        assert last_message["success"]
        assert scheduler.worker_ids
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_SECONDS) == 0
        for process_id in scheduler.worker_ids:
            with pytest.raises(ProcessLookupError):
                os.kill(process_id, 0)
