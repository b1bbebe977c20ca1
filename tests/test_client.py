"""The client against real Gradio servers, with a generator and with a plain function."""

import asyncio
from collections.abc import Iterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from sd35.client import Generation, Identity, SpaceClient, StopOutcome, Timeouts
from sd35.client.redaction import contains_secret
from sd35.core.errors import GenerationFailedError, LoginRequiredError, QuotaError
from sd35.core.events import Event, Finished, Notice, Preview, Progress, Queued, Started
from sd35.core.request import GenerationRequest
from tests.fakes import STEPS, FakeSpace

pytestmark = pytest.mark.anyio

LIMIT_SECONDS = 20
SHORT_TIMEOUTS = Timeouts(no_news=0.3, silence=0.3, waking=0.3, outage=0.3, attempts=2)


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


def make_request(prompt: str = "a cat", **changes: Any) -> GenerationRequest:  # noqa: ANN401
    return GenerationRequest(
        prompt, **({"seed": 7, "randomize_seed": False, "width": 512, "height": 512} | changes)
    )


async def collect_events(space: SpaceClient, prompt: str = "a cat") -> list[Event]:
    async with space.generate(make_request(prompt)) as generation:
        return [event async for event in generation]


async def test_an_app_with_a_password_says_so_and_lets_one_log_in() -> None:
    """Each identity logs in once, and again after a restart of the app, which forgets sessions."""
    login = ("ann", "p:ä ss&+%")
    space = FakeSpace(is_generator=True, auth=login)
    try:
        with pytest.raises(LoginRequiredError, match=r"username and a password.*SD35_SPACE_LOGIN"):
            async with SpaceClient.connect(space.address):
                pytest.fail("connected")
        with pytest.raises(LoginRequiredError, match="doesn't accept") as error_info:
            async with SpaceClient.connect(space.address, login=("ann", "a wrong one")):
                pytest.fail("connected")
        assert "wrong one" not in f"{error_info.value!r}"
        assert not space.logins
        async with SpaceClient.connect(space.address, login=login) as client:
            await asyncio.gather(*(collect_events(client) for _ in range(3)))
            assert list(space.logins.values()) == ["ann"]
            space.logins.clear()
            async with client.generate(make_request(), identity=Identity()) as generation:
                async for _ in generation:
                    pass
            assert list(space.logins.values()) == ["ann"]
            space.logins.clear()
            assert (await generation.fetch()).data
        assert contains_secret("She said p:ä ss&+% to me")
    finally:
        space.close()


async def wait_for_run_end(space: FakeSpace) -> None:
    """Wait until a run of the Space has ended."""
    assert await asyncio.to_thread(space.finished_runs.acquire, timeout=LIMIT_SECONDS)


async def test_a_generator_yields_all_events_and_the_original_bytes(generator: FakeSpace) -> None:
    async with SpaceClient.connect(generator.address) as space:
        assert space.contract.is_generator
        events = await collect_events(space, "notice: Waiting for a GPU")
        assert {type(event) for event in events} >= {Queued, Started, Notice, Preview, Finished}
        steps = [event.step or 0 for event in events if isinstance(event, Progress)]
        assert steps == sorted(set(steps)), "Gradio sends the newest step alone, but in order"
        assert len([event for event in events if isinstance(event, Preview)]) == STEPS
        finished = events[-1]
        assert isinstance(finished, Finished)
        assert finished.seed == 7
        picture = await space.fetch(finished.picture)
        assert (picture.format, picture.width, picture.height) == ("WEBP", 64, 64)
    await wait_for_run_end(generator)


async def test_a_plain_function_yields_no_previews(plain: FakeSpace) -> None:
    async with SpaceClient.connect(plain.address) as space:
        assert not space.contract.is_generator
        events = await collect_events(space)
        assert (
            {Queued, Started, Finished}
            <= {type(event) for event in events}
            <= {Queued, Started, Progress, Finished}
        )
    await wait_for_run_end(plain)


@pytest.mark.parametrize("kind", ["generator", "plain"])
async def test_a_failure_has_the_space_s_own_message_if_it_sent_one(
    kind: str, request: pytest.FixtureRequest
) -> None:
    fake: FakeSpace = request.getfixturevalue(kind)
    async with SpaceClient.connect(fake.address) as space:
        with pytest.raises(QuotaError, match=r"60s requested vs\. 34s left") as refusal:
            await collect_events(
                space,
                (
                    "error: You have exceeded your GPU quota (60s requested vs. 34s left). "
                    "Try again in 1:23:54"
                ),
            )
        assert refusal.value.retry_after_seconds == 5034
        await wait_for_run_end(fake)
        with pytest.raises(GenerationFailedError):
            await collect_events(space, "silent: ")
        await wait_for_run_end(fake)


@pytest.mark.parametrize(
    ("kind", "outcome"), [("generator", StopOutcome.ENDED), ("plain", StopOutcome.MAY_FINISH)]
)
async def test_leaving_a_running_job_ends_generators_only(
    kind: str, outcome: StopOutcome, request: pytest.FixtureRequest
) -> None:
    """Gradio can't interrupt a plain function, and the outcome says so."""
    fake: FakeSpace = request.getfixturevalue(kind)
    fake.hold()
    async with SpaceClient.connect(fake.address) as space:
        async with space.generate(GenerationRequest("wait: ", width=512, height=512)) as generation:
            async for event in generation:
                if isinstance(event, Progress) and event.step == 2:
                    break
            assert await asyncio.to_thread(fake.run_started.wait, LIMIT_SECONDS)
        assert generation.stopped is outcome
        fake.release()
        await wait_for_run_end(fake)


@pytest.mark.parametrize("kind", ["generator", "plain"])
async def test_leaving_a_queued_job_removes_it_from_the_queue(
    kind: str, request: pytest.FixtureRequest
) -> None:
    fake: FakeSpace = request.getfixturevalue(kind)
    fake.hold()
    async with (
        SpaceClient.connect(fake.address) as space,
        space.generate(GenerationRequest("wait: ")) as first,
    ):
        assert await asyncio.to_thread(fake.run_started.wait, LIMIT_SECONDS)
        async with space.generate(GenerationRequest("a cat")) as second:
            assert isinstance(await anext(aiter(second)), Queued)
        assert second.stopped is StopOutcome.REMOVED
        fake.release()
        events = [event async for event in first]
        assert isinstance(events[-1], Finished)
    await wait_for_run_end(fake)
    assert not fake.finished_runs.acquire(blocking=False), "the second one ran"


async def test_leaving_a_started_job_is_no_removal_even_if_its_start_was_not_read(
    plain: FakeSpace,
) -> None:
    plain.hold()
    async with SpaceClient.connect(plain.address) as space:
        async with space.generate(make_request("wait: ")) as generation:
            assert await asyncio.to_thread(plain.run_started.wait, LIMIT_SECONDS)
        assert generation.stopped is StopOutcome.MAY_FINISH
        plain.release()
        await wait_for_run_end(plain)


@pytest.mark.parametrize("checkpoints", [0, 1, 2, 5, 20])
async def test_a_caller_cancelled_while_joining_leaves_no_job_at_the_space(
    generator: FakeSpace, checkpoints: int
) -> None:
    generator.hold()
    async with (
        SpaceClient.connect(generator.address) as space,
        space.generate(GenerationRequest("wait: ")) as first,
    ):
        assert await asyncio.to_thread(generator.run_started.wait, LIMIT_SECONDS)
        for cancel_with_anyio in (True, False):
            second = space.generate(GenerationRequest("a cat"))
            if cancel_with_anyio:
                with anyio.CancelScope() as scope:
                    async with second:
                        for _ in range(checkpoints):
                            await anyio.lowlevel.checkpoint()
                        scope.cancel()
                        await anyio.sleep_forever()
            else:
                task = asyncio.ensure_future(run_inside(second))
                for _ in range(checkpoints + 1):
                    await anyio.lowlevel.checkpoint()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert second.stopped in {None, StopOutcome.REMOVED}
        generator.release()
        assert isinstance([event async for event in first][-1], Finished)
    await wait_for_run_end(generator)
    assert not generator.finished_runs.acquire(blocking=False), "an orphan ran"


async def run_inside(generation: Generation) -> None:
    async with generation:
        await anyio.sleep_forever()
