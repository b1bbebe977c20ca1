"""The client against real Gradio servers, and against servers that only pretend."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from aiohttp import web

from sd35.client import Generation, SpaceClient, StopOutcome, Timeouts
from sd35.errors import (
    AccessDeniedError,
    ContractError,
    GenerationFailedError,
    PictureError,
    ProtocolError,
    QuotaError,
    RateLimitedError,
    SD35Error,
    SilentSpaceError,
    SpaceAsleepError,
    SpaceNotFoundError,
    StreamCutError,
    UnreachableError,
)
from sd35.events import Event, Finished, Notice, Preview, Progress, Queued, RemotePicture, Started
from sd35.request import GenerationRequest
from tests.fakes import STEPS, FakeSpace
from tests.test_contract import DESCRIPTIONS

pytestmark = pytest.mark.anyio

LIMIT = 20
QUICK = Timeouts(no_news=0.3, silence=0.3, waking=0.3, attempts=2)


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


def request(prompt: str = "a cat", **changes: Any) -> GenerationRequest:  # noqa: ANN401
    return GenerationRequest(prompt, **({"seed": 7, "randomize_seed": False, "width": 512, "height": 512} | changes))


async def run(space: SpaceClient, prompt: str = "a cat") -> list[Event]:
    async with space.generate(request(prompt)) as generation:
        return [event async for event in generation]


async def ended(space: FakeSpace) -> None:
    """Wait until a run there has come to an end."""
    assert await asyncio.to_thread(space.ended.acquire, timeout=LIMIT)


async def test_a_generator_s_picture(generator: FakeSpace) -> None:
    """Between a request and its picture something is lost, or the picture's bytes are."""
    async with SpaceClient.connect(generator.address) as space:
        assert space.contract.is_generator
        events = await run(space, "notice: Waiting for a GPU")
        assert {type(event) for event in events} >= {Queued, Started, Notice, Preview, Finished}
        steps = [event.step or 0 for event in events if isinstance(event, Progress)]
        assert steps == sorted(set(steps)), "Gradio sends the newest step alone, but in order"
        assert len([event for event in events if isinstance(event, Preview)]) == STEPS
        finished = events[-1]
        assert isinstance(finished, Finished)
        assert finished.seed == 7
        picture = await space.fetch(finished.picture)
        assert (picture.format, picture.width, picture.height) == ("WEBP", 64, 64)
    await ended(generator)


async def test_a_plain_function_s_picture(plain: FakeSpace) -> None:
    """On a Space like the public one nothing comes, or previews are pretended."""
    async with SpaceClient.connect(plain.address) as space:
        assert not space.contract.is_generator
        events = await run(space)
        assert {Queued, Started, Finished} <= {type(event) for event in events} <= {Queued, Started, Progress, Finished}
    await ended(plain)


@pytest.mark.parametrize("kind", ["generator", "plain"])
async def test_refusals(kind: str, request: pytest.FixtureRequest) -> None:
    """The Space's reason is lost, or a failure without one surfaces as a traceback."""
    fake: FakeSpace = request.getfixturevalue(kind)
    async with SpaceClient.connect(fake.address) as space:
        with pytest.raises(QuotaError, match=r"60s requested vs\. 34s left") as refusal:
            await run(
                space, "error: You have exceeded your GPU quota (60s requested vs. 34s left). Try again in 1:23:54"
            )
        assert refusal.value.retry_after_seconds == 5034
        await ended(fake)
        with pytest.raises(GenerationFailedError):
            await run(space, "silent: ")
        await ended(fake)


@pytest.mark.parametrize(("kind", "outcome"), [("generator", StopOutcome.ENDED), ("plain", StopOutcome.MAY_FINISH)])
async def test_leaving_a_running_one(kind: str, outcome: StopOutcome, request: pytest.FixtureRequest) -> None:
    """Leaving the block doesn't end the run, or says that it did where Gradio can't."""
    fake: FakeSpace = request.getfixturevalue(kind)
    fake.hold()
    async with SpaceClient.connect(fake.address) as space:
        async with space.generate(GenerationRequest("wait: ", width=512, height=512)) as generation:
            async for event in generation:
                if isinstance(event, Progress) and event.step == 2:
                    break
            assert await asyncio.to_thread(fake.running.wait, LIMIT)
        assert generation.stopped is outcome
        fake.release()
        await ended(fake)


@pytest.mark.parametrize("kind", ["generator", "plain"])
async def test_leaving_one_that_is_queued(kind: str, request: pytest.FixtureRequest) -> None:
    """A job that waits behind another is not removed from the queue, and runs later for nobody."""
    fake: FakeSpace = request.getfixturevalue(kind)
    fake.hold()
    async with SpaceClient.connect(fake.address) as space, space.generate(GenerationRequest("wait: ")) as first:
        assert await asyncio.to_thread(fake.running.wait, LIMIT)
        async with space.generate(GenerationRequest("a cat")) as second:
            assert isinstance(await anext(aiter(second)), Queued)
        assert second.stopped is StopOutcome.REMOVED
        fake.release()
        events = [event async for event in first]
        assert isinstance(events[-1], Finished)
    await ended(fake)
    assert not fake.ended.acquire(blocking=False), "the second one ran"


async def test_leaving_one_that_has_begun_unread(plain: FakeSpace) -> None:
    """“Removed from the queue” is said of a run that has begun, because nobody had read that it had."""
    plain.hold()
    async with SpaceClient.connect(plain.address) as space:
        async with space.generate(request("wait: ")) as generation:
            assert await asyncio.to_thread(plain.running.wait, LIMIT)
        assert generation.stopped is StopOutcome.MAY_FINISH
        plain.release()
        await ended(plain)


@pytest.mark.parametrize("checkpoints", [0, 1, 2, 5, 20])
async def test_being_cancelled_in_the_very_beginning_leaves_no_orphan(generator: FakeSpace, checkpoints: int) -> None:
    """A run that nobody waits for stays at the Space when its caller is cancelled while it joins the queue."""
    generator.hold()
    async with SpaceClient.connect(generator.address) as space, space.generate(GenerationRequest("wait: ")) as first:
        assert await asyncio.to_thread(generator.running.wait, LIMIT)
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
                task = asyncio.ensure_future(run_in(second))
                for _ in range(checkpoints + 1):
                    await anyio.lowlevel.checkpoint()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert second.stopped in {None, StopOutcome.REMOVED}
        generator.release()
        assert isinstance([event async for event in first][-1], Finished)
    await ended(generator)
    assert not generator.ended.acquire(blocking=False), "an orphan ran"


async def run_in(generation: Generation) -> None:
    async with generation:
        await anyio.sleep_forever()


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def impostor(*, port: int = 0, **handlers: Handler) -> AsyncIterator[str]:
    """A server that describes itself as a Space, and answers as the handlers do: `join`, `data`, `cancel`, `file`."""
    told = json.loads(DESCRIPTIONS[-1].read_text())

    async def config(_: web.Request) -> web.Response:
        return web.json_response(told["config"])

    async def info(_: web.Request) -> web.Response:
        return web.json_response(told["info"])

    async def joined(_: web.Request) -> web.Response:
        return web.json_response({"event_id": "e"})

    app = web.Application()
    app.router.add_get("/config", handlers.get("config", config))
    app.router.add_get("/gradio_api/info", info)
    app.router.add_post("/gradio_api/queue/join", handlers.get("join", joined))
    app.router.add_get("/gradio_api/queue/data", handlers.get("data", sending()))
    app.router.add_post("/gradio_api/cancel", handlers.get("cancel", joined))
    app.router.add_get("/{path:.*}", handlers.get("file", config))
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    yield f"http://127.0.0.1:{port}/"
    await runner.cleanup()


def sending(*messages: dict[str, Any], stay: bool = False) -> Handler:
    """Send these messages as an event stream; then close it, or go on with heartbeats for ever."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for message in messages:
            await response.write(f"data: {json.dumps(message | {'event_id': 'e'})}\n\n".encode())
        while stay:
            await response.write(b'data: {"msg": "heartbeat"}\n\n')
            await anyio.sleep(0.02)
        return response

    return handler


def saying(status: int, text: str = "", **headers: str) -> Handler:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=status, text=text, headers=headers)

    return handler


STARTED = {"msg": "process_starts", "eta": None}


@pytest.mark.parametrize(
    ("handlers", "kind"),
    [
        ({"join": saying(503, '{"detail": "Queue is full. Max size is 1 and size is 1."}')}, SD35Error),
        ({"join": saying(200, "<html>log in</html>")}, ProtocolError),
        ({"join": saying(200, "{}")}, ProtocolError),
        ({"join": saying(307, Location="http://127.0.0.1:1/")}, SD35Error),
        ({"data": saying(200, "<html>log in</html>", **{"Content-Type": "text/html"})}, ProtocolError),
        ({"data": saying(502, "<html>Bad Gateway</html>")}, SpaceAsleepError),
        ({"data": sending(STARTED)}, StreamCutError),
        ({"data": sending(STARTED, stay=True)}, SilentSpaceError),
        ({"data": sending({"msg": "process_generating", "output": {"data": [[["x", [], 1]]]}})}, SD35Error),
    ],
    ids=["full", "page", "no id", "redirect", "page as stream", "gateway", "cut", "heartbeats", "garbage"],
)
async def test_a_space_that_misbehaves(handlers: dict[str, Handler], kind: type[SD35Error]) -> None:
    """What a broken Space or its host answers hangs, or surfaces as a traceback."""
    async with impostor(port=0, **handlers) as address:
        async with SpaceClient.connect(address, timeouts=QUICK) as space:
            with anyio.fail_after(LIMIT), pytest.raises(kind) as caught:
                await run(space)
            assert str(caught.value)


async def test_a_cancel_that_is_not_confirmed(caplog: pytest.LogCaptureFixture) -> None:
    """“Stopped” is said although the Space never confirmed it, or its error hides why the block was left."""
    async with impostor(data=sending(STARTED, stay=True), cancel=saying(500, "no")) as address:
        async with SpaceClient.connect(address) as space:
            generation = space.generate(request())
            with caplog.at_level(logging.CRITICAL), pytest.raises(KeyError, match="mine"):
                async with generation:
                    assert isinstance(await anext(aiter(generation)), Started)
                    raise KeyError("mine")
            assert generation.stopped is StopOutcome.UNCONFIRMED


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/gradio_api/file=x.png",
        "http://example.org/x.png",
        "//example.org/x.png",
        "http://user:pw@HOST/x.png",
        "file:///etc/passwd",
        "ftp://HOST/x.png",
        "data:image/svg+xml;base64,AA==",
        "data:image/png;base64,!!!",
        "",
        "http://[",
    ],
)
async def test_foreign_pictures_are_not_fetched(url: str) -> None:
    """A Space makes this program fetch from another host, or from this machine."""
    async with impostor() as address, SpaceClient.connect(address) as space:
        with pytest.raises(PictureError):
            await space.fetch(RemotePicture(url.replace("HOST", address.split("/")[2])))


@pytest.mark.parametrize(
    ("handler", "kind"),
    [
        (saying(200, "<html>log in</html>"), PictureError),
        (saying(302, Location="http://127.0.0.1:1/x.png"), SD35Error),
        (saying(404, "gone"), SD35Error),
    ],
)
async def test_what_comes_instead_of_a_picture(handler: Handler, kind: type[SD35Error]) -> None:
    """A login page passes for a picture, or a redirect is followed with the token in hand."""
    async with impostor(file=handler) as address, SpaceClient.connect(address) as space:
        with pytest.raises(kind):
            await space.fetch(RemotePicture("/gradio_api/file=x.png"))


async def test_a_file_s_name_serves_where_its_address_does_not() -> None:
    """Behind a proxy, where the server gives an address that only it understands, no picture is ever had."""
    asked = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(body=b"no picture")

    async with impostor(file=handler) as address, SpaceClient.connect(address) as space:
        with pytest.raises(PictureError, match="not a PNG"):
            await space.fetch(RemotePicture("http://inside:8080/file=/tmp/a.webp", "/tmp/a #1.webp"))  # noqa: S108
    assert asked == ["/gradio_api/file=/tmp/a #1.webp"]


async def test_the_token_goes_to_the_space_alone(caplog: pytest.LogCaptureFixture) -> None:
    """The token is not sent, or is to be seen in a log, an error or a repr."""
    seen = []

    async def join(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.Response(status=401, text="who are you")

    with caplog.at_level(logging.DEBUG):
        async with impostor(join=join) as address, SpaceClient.connect(address, token="hf_verysecret") as space:
            with pytest.raises(AccessDeniedError) as refusal:
                await run(space)
            assert "verysecret" not in f"{space!r} {refusal.value!r} {refusal.value} {vars(space)}"
    assert seen == ["Bearer hf_verysecret"]
    assert "verysecret" not in caplog.text


@pytest.mark.parametrize("elsewhere", ["http://HOST", "//HOST", "/../..//HOST", "\\\\HOST"])
async def test_a_space_can_not_send_the_token_elsewhere(elsewhere: str) -> None:
    """A Space that says its API is at another address is given the token there."""
    seen = []

    async def thief(request: web.Request) -> web.Response:
        seen.append(request.path)
        return web.Response(status=404)

    told = json.loads(DESCRIPTIONS[-1].read_text())["config"]
    async with impostor(file=thief, config=thief) as foreign:
        prefix = elsewhere.replace("HOST", foreign.split("/")[2])
        async with impostor(config=saying(200, json.dumps(told | {"api_prefix": prefix}))) as address:
            with pytest.raises(ContractError, match="somewhere else"):
                async with SpaceClient.connect(address, token="hf_verysecret"):
                    pytest.fail("connected")
    assert not seen


async def test_nothing_of_this_machine_is_sent_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Space is sent the passwords in ~/.netrc, or Hugging Face is told which address was used."""
    (tmp_path / "netrc").write_text("default login me password s3cret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setattr("sd35.client.transport.is_loopback", lambda _: False)  # as for a Space elsewhere
    told: list[str | None] = []

    async def join(request: web.Request) -> web.Response:
        told.append(request.headers.get("Authorization"))
        return web.Response(status=429)

    async with impostor(join=join) as address, SpaceClient.connect(address, timeouts=QUICK) as space:
        with pytest.raises(RateLimitedError):
            await run(space)
    assert set(told) == {None}


@pytest.mark.parametrize(
    ("source", "kind", "words"),
    [
        ("http://127.0.0.1:1/", UnreachableError, "nothing listens there"),
        ("http://nowhere.invalid/", UnreachableError, "can't be resolved"),
        ("owner/name", UnreachableError, "owner/name at Hugging Face can't be reached"),
        ("badname", SpaceNotFoundError, "owner/name"),
        ("http://me:s3cret@127.0.0.1:1/", SpaceNotFoundError, "user or password"),
    ],
)
async def test_spaces_that_can_not_be_reached(source: str, kind: type[SD35Error], words: str) -> None:
    """A wrong address surfaces as a traceback, or as a sentence that says nothing."""
    with pytest.raises(kind, match=words):
        async with SpaceClient.connect(source, timeouts=Timeouts(discovery=LIMIT), hub="http://127.0.0.1:1"):
            pytest.fail("connected")


async def test_a_server_that_never_answers() -> None:
    """Connecting waits for ever for a server that takes connections and says nothing."""

    async def silent(_: web.Request) -> web.Response:
        await anyio.sleep_forever()
        raise AssertionError

    async with impostor(config=silent) as address:
        with anyio.fail_after(LIMIT), pytest.raises(UnreachableError, match="no answer"):
            async with SpaceClient.connect(address, timeouts=Timeouts(discovery=0.3)):
                pytest.fail("connected")


@pytest.mark.parametrize("body", ["<html>hello</html>", "{}", "[]", '{"version": "6.31.0", "dependencies": []}'])
async def test_a_server_that_is_no_space(body: str) -> None:
    """Some other web server at the address surfaces as a KeyError."""
    async with impostor(config=saying(200, body)) as address:
        with pytest.raises(ContractError):
            async with SpaceClient.connect(address):
                pytest.fail("connected")
