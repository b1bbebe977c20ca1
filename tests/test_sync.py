"""The blocking API."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import sd35
from sd35 import Finished, Preview, Previews, Progress
from sd35.core.errors import InvalidRequestError, QuotaError, UnreachableError
from sd35.sync import Options
from tests.fakes import STEPS, FakeSpace

LIMIT_SECONDS = 20
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeSpace]:
    space = FakeSpace(is_generator=True)
    yield space
    space.close()


def test_generate_returns_the_image_with_its_seed_and_request(fake: FakeSpace) -> None:
    picture = sd35.generate(
        "a cat", space=fake.address, seed=7, aspect_ratio="3:2", num_inference_steps=4
    )
    assert picture.image.size == (picture.width, picture.height) == (960 // 8, 640 // 8)
    assert picture.image.format == "WEBP"
    assert picture.seed == 7
    assert picture.request == sd35.GenerationRequest(
        "a cat", "", 960, 640, 4.5, 4, 7, randomize_seed=False
    )
    assert "120×80" in repr(picture)
    assert fake.finished_runs.acquire(timeout=LIMIT_SECONDS)


def test_random_seeds_differ_and_are_known(fake: FakeSpace) -> None:
    pictures = [sd35.generate("a cat", space=fake.address, width=512, height=512) for _ in range(2)]
    assert len({picture.seed for picture in pictures}) == 2
    for _ in pictures:
        assert fake.finished_runs.acquire(timeout=LIMIT_SECONDS)


def test_stream_yields_events_and_the_image(fake: FakeSpace) -> None:
    events = list(sd35.stream("a cat", space=fake.address, previews=Previews.ALL))
    previews = [event.fetched for event in events if isinstance(event, Preview)]
    assert len(previews) == STEPS
    assert all(preview is not None and preview.image.size == (128, 128) for preview in previews)
    assert any(isinstance(event, Progress) for event in events)
    last = events[-1]
    assert isinstance(last, Finished)
    assert last.fetched is not None
    assert last.fetched.request is not None
    assert fake.finished_runs.acquire(timeout=LIMIT_SECONDS)


def test_leaving_the_loop_cancels_the_run(fake: FakeSpace) -> None:
    fake.hold()
    for event in sd35.stream("wait: ", space=fake.address):
        if isinstance(event, Progress) and event.step == 2:
            break
    fake.release()
    assert fake.finished_runs.acquire(timeout=LIMIT_SECONDS)


def test_a_script_that_ends_early_cancels_its_run(fake: FakeSpace) -> None:
    fake.hold()
    script = f"""
import sd35
events = sd35.stream("wait: ", space={fake.address!r})
for event in events:
    if isinstance(event, sd35.Progress) and event.step == 2:
        break
"""
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=LIMIT_SECONDS)  # noqa: S603
    fake.release()
    assert fake.finished_runs.acquire(timeout=LIMIT_SECONDS)


def test_ctrl_c_cancels_the_run_and_is_one_traceback(fake: FakeSpace) -> None:
    fake.hold()
    script = f"import sd35\nfor event in sd35.stream('wait: ', space={fake.address!r}):\n    pass"
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", script], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    assert fake.run_started.wait(LIMIT_SECONDS)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == -signal.SIGINT
    assert stderr.rstrip().endswith("KeyboardInterrupt")
    assert "pending" not in stderr
    fake.release()
    assert fake.finished_runs.acquire(timeout=LIMIT_SECONDS)


def test_errors_of_the_client_are_raised_as_they_are(fake: FakeSpace) -> None:
    with pytest.raises(QuotaError):
        sd35.generate("error: You have exceeded your GPU quota", space=fake.address)
    with pytest.raises(InvalidRequestError, match="multiple of 16"):
        sd35.generate("a cat", space=fake.address, width=1000, height=1000)
    with pytest.raises(InvalidRequestError, match="21:9"):
        sd35.generate("a cat", space=fake.address, aspect_ratio="21:9")
    with pytest.raises(UnreachableError):
        sd35.generate("a cat", space="http://127.0.0.1:1")


def test_every_public_name_can_be_imported() -> None:
    for name in sd35.__all__:
        assert getattr(sd35, name) is not None
    assert set(dir(sd35)) == set(sd35.__all__)
    with pytest.raises(AttributeError):
        _ = sd35.no_results


def test_options_are_those_of_a_request() -> None:
    fields = set(sd35.RequestOptions.__dataclass_fields__) - {"prompt"}
    assert set(Options.__annotations__) == fields
