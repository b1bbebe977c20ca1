"""The client against several versions of Gradio, each in a virtual environment of its own.

uv installs them from the package index, so these tests run only on request, as in CI.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from sd35.client import Previews, SpaceClient, StopOutcome, Timeouts
from sd35.core.errors import ContractError, GenerationFailedError, QuotaError
from sd35.core.events import Event, Finished, Preview, Queued, Started
from sd35.core.request import GenerationRequest
from sd35.provider import StabilityAI_SD35Large
from sd35.server.launch import free_port
from tests.generation_server import STEPS

pytestmark = [pytest.mark.generations, pytest.mark.anyio]

SERVER_SCRIPT = Path(__file__).parent / "generation_server.py"
LIMIT_SECONDS = 60

OLD_CONSTRAINTS = (
    "huggingface_hub<0.26",
    "pydantic<2.8",
    "starlette<0.38",
    "fastapi<0.111",
    "numpy<2",
)
UNSUPPORTED_VERSION = "4.19.2"
GRADIO_VERSIONS = {
    UNSUPPORTED_VERSION: OLD_CONSTRAINTS,
    "4.26.0": OLD_CONSTRAINTS,
    "4.44.1": ("huggingface_hub<0.26", "pydantic<2.11", "starlette<0.40", "fastapi<0.113"),
    "5.0.2": ("huggingface_hub<0.30", "pydantic<2.11", "starlette<0.40", "fastapi<0.116"),
    "5.49.1": ("huggingface_hub<1",),
    "6.0.2": (),
    "6.31.0": (),
}
"""Versions of Gradio, with the limits of the dependencies that were current at the time."""

QUOTA = "You have exceeded your GPU quota (59s left vs. 60s requested). Please retry in 0:00:56"


class Server:
    """A server of one version of Gradio."""

    def __init__(self, version: str, folder: Path) -> None:
        environment = folder / version
        python = environment / "bin" / "python"
        packages = (f"gradio=={version}", *GRADIO_VERSIONS[version])
        self._serve_process("uv", "venv", "--quiet", "--python", sys.executable, str(environment))
        self._serve_process("uv", "pip", "install", "--quiet", "--python", str(python), *packages)
        port = free_port()
        self.version = version
        self.address = f"http://127.0.0.1:{port}/"
        self.started_prompts: list[str] = []
        self._process = subprocess.Popen(  # noqa: S603
            [str(python), str(SERVER_SCRIPT), str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={
                **os.environ,
                "GRADIO_ANALYTICS_ENABLED": "False",
                "GRADIO_TEMP_DIR": str(environment / "files"),
            },
        )
        while self._read_line() != "listening":
            pass

    @staticmethod
    def _serve_process(*command: str) -> None:
        subprocess.run(command, check=True, timeout=600)  # noqa: S603

    def _read_line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the server of Gradio {self.version} has ended"
        return line.strip()

    def started_prompts_through(self, prompt: str) -> list[str]:
        """Return the prompts that were started since the last call, up to this one."""
        started_at = []
        while prompt not in started_at:
            started_at.append(self._read_line().removeprefix("began "))
        return started_at

    def close(self) -> None:
        """Stop the server."""
        self._process.kill()
        self._process.communicate(timeout=LIMIT_SECONDS)


@pytest.fixture(
    scope="module",
    params=[version for version in GRADIO_VERSIONS if version != UNSUPPORTED_VERSION],
)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    server = Server(request.param, tmp_path_factory.mktemp("generations"))
    yield server
    server.close()


@pytest.fixture(params=["infer", "plain"])
async def space(request: pytest.FixtureRequest, server: Server) -> AsyncIterator[SpaceClient]:
    timeouts = Timeouts(no_news=LIMIT_SECONDS)
    async with SpaceClient.connect(
        server.address, endpoint=request.param, timeouts=timeouts
    ) as space:
        yield space


def make_request(prompt: str) -> GenerationRequest:
    return GenerationRequest(prompt, seed=7, randomize_seed=False, width=512, height=768)


async def collect_events(space: SpaceClient, prompt: str) -> list[Event]:
    async with space.generate(make_request(prompt), previews=Previews.ALL) as generation:
        return [event async for event in generation]


async def test_every_version_sends_previews_seed_and_image(
    space: SpaceClient, server: Server
) -> None:
    events = await collect_events(space, "a cat")
    kinds = [type(event) for event in events]
    assert kinds[:2] == [Queued, Started]
    previews = [event.fetched for event in events if isinstance(event, Preview)]
    assert len(previews) == (STEPS if space.contract.is_generator else 0)
    assert all(preview is not None for preview in previews)
    assert isinstance(events[-1], Finished)
    assert events[-1].seed == 7
    picture = await space.fetch(events[-1].picture)
    assert (picture.width, picture.height) == (64, 96)
    assert server.started_prompts_through("a cat") == ["a cat"]


async def test_every_version_sends_the_reason_of_a_failure(
    space: SpaceClient, server: Server
) -> None:
    with pytest.raises(QuotaError, match="59s left") as refusal:
        await collect_events(space, f"error: {QUOTA}")
    assert refusal.value.retry_after_seconds == 56
    with pytest.raises(GenerationFailedError, match="without details"):
        await collect_events(space, "silent")
    server.started_prompts_through("silent")


async def test_every_version_cancels_what_it_can(space: SpaceClient, server: Server) -> None:
    async with space.generate(make_request("wait")) as first:
        async for event in first:
            if isinstance(event, Started):
                break
        async with space.generate(make_request("second")) as second:
            assert isinstance(await anext(aiter(second)), Queued)
        assert second.stopped in {StopOutcome.REMOVED, StopOutcome.UNCONFIRMED}
        assert second.stopped is StopOutcome.REMOVED or not space.contract.can_cancel_queued
    expected_outcome = StopOutcome.ENDED if space.contract.is_generator else StopOutcome.MAY_FINISH
    assert first.stopped is expected_outcome or server.version < "4.30", "older ones know no cancel"
    await collect_events(space, "third")
    # the first may have been ended in the moment between being started and its first line
    assert await asyncio.to_thread(server.started_prompts_through, "third") in (
        ["wait", "third"],
        ["third"],
    )


async def test_the_provider_works_with_every_version(server: Server) -> None:

    class Provider(StabilityAI_SD35Large):
        url = server.address

    images = [
        image
        async for image in Provider.create_async_generator("", [], "a dog", aspect_ratio="2:3")
    ]
    assert isinstance(images[-1], Provider.ImageResponse)
    assert sum(isinstance(image, Provider.ImagePreview) for image in images) == STEPS
    server.started_prompts_through("a dog")


async def test_a_version_without_parameter_names_is_too_old(tmp_path: Path) -> None:
    server = Server(UNSUPPORTED_VERSION, tmp_path)
    with pytest.raises(ContractError, match="too old"):
        async with SpaceClient.connect(server.address):
            pytest.fail("connected")
    server.close()
