"""Whatever can break between here and a Space: what passes is survived, and what doesn't is said."""

import asyncio
import contextlib
import itertools
import logging
import ssl
from collections.abc import Callable
from typing import Any

import anyio
import pytest
import trustme
from aiohttp import web

from sd35.client import Previews, SpaceClient, StopOutcome, Timeouts
from sd35.core.errors import (
    AccessDeniedError,
    ConnectionFailedError,
    ContractError,
    IdentityExpiredError,
    MalformedRequestError,
    PictureError,
    PictureGoneError,
    ProtocolError,
    QueueFullError,
    RateLimitedError,
    RunLostError,
    SD35Error,
    SilentSpaceError,
    SpaceAsleepError,
    SpaceBrokenError,
    SpaceNotFoundError,
    SpacePausedError,
    SpaceStoppedError,
    StreamCutError,
    UnreachableError,
)
from sd35.core.events import Finished, Notice, Preview, Progress, Queued, Started, Waiting
from sd35.server.launch import free_port
from tests.impostor import (
    FINISHED,
    GONE,
    HEARTBEAT,
    LIMIT,
    PICTURE,
    PNG,
    PREVIEW,
    QUEUED,
    STARTED,
    TOLD,
    Handler,
    InTurn,
    abort,
    aborting,
    asking,
    cutting,
    impostor,
    message_bytes,
    run,
    saying,
    sending,
    showing,
    silent,
    streaming,
    telling,
)

pytestmark = pytest.mark.anyio

QUICK = Timeouts(
    discovery=0.5,
    waking=0.5,
    connect=2,
    join=0.5,
    silence=0.5,
    no_news=0.4,
    cancel=0.5,
    fetch=0.5,
    attempts=2,
)
PATIENT = Timeouts(waking=LIMIT, attempts=4)
FULL = saying(503, '{"detail": "Queue is full. Max size is 1 and size is 1."}')
ASLEEP = saying(503, "<html>Preparing Space</html>")


async def outcome(address: str, timeouts: Timeouts = QUICK) -> list[object]:
    """Connect, run, fetch: the events, and the picture's bytes."""
    with anyio.fail_after(LIMIT):
        async with SpaceClient.connect(address, timeouts=timeouts) as space:
            events = await run(space)
            last = events[-1]
            assert isinstance(last, Finished)
            return [*events, (await space.fetch(last.picture)).data]


FAULTS: list[tuple[str, dict[str, Handler], type[SD35Error]]] = [
    ("config: slow header", {"config": silent}, UnreachableError),
    ("config: broken off", {"config": aborting}, UnreachableError),
    ("config: slow body", {"config": cutting(b"{", 100)}, UnreachableError),
    ("config: a page", {"config": saying(200, "<html>hello</html>")}, ContractError),
    ("config: {}", {"config": saying(200, "{}")}, ContractError),
    ("config: []", {"config": saying(200, "[]")}, ContractError),
    (
        "config: no endpoint",
        {"config": telling(TOLD["config"] | {"dependencies": []})},
        ContractError,
    ),
    (
        "config: old protocol",
        {"config": telling(TOLD["config"] | {"protocol": "ws"})},
        ContractError,
    ),
    (
        "config: login",
        {"config": saying(401, '{"detail": "Not authenticated"}')},
        AccessDeniedError,
    ),
    ("config: no such Space", {"config": saying(404, "<html>")}, SpaceNotFoundError),
    (
        "config: redirect",
        {"config": saying(302, Location="http://127.0.0.1:1/")},
        SpaceNotFoundError,
    ),
    ("config: asleep", {"config": ASLEEP}, SpaceAsleepError),
    (
        "config: in error",
        {"config": saying(503, "Your space is in error, check its status")},
        SpaceBrokenError,
    ),
    ("config: too many requests", {"config": saying(429)}, RateLimitedError),
    ("config: server error", {"config": saying(500, "Internal Server Error")}, ContractError),
    ("info: a page", {"info": saying(200, "<html>hello</html>")}, ContractError),
    ("join: slow header, and not taken", {"join": silent, "data": sending(GONE)}, RunLostError),
    ("join: broken off, and not taken", {"join": aborting, "data": sending(GONE)}, RunLostError),
    ("join: full", {"join": FULL}, QueueFullError),
    ("join: stopped", {"join": saying(503, '{"detail": "Queue is stopped."}')}, SpaceStoppedError),
    (
        "join: gateway",
        {"join": saying(502, "<html>Bad Gateway</html>"), "data": saying(502)},
        SpaceAsleepError,
    ),
    ("join: gateway, and not taken", {"join": saying(504), "data": sending(GONE)}, RunLostError),
    ("join: too many requests", {"join": saying(429)}, RateLimitedError),
    ("join: login", {"join": saying(401)}, AccessDeniedError),
    ("join: malformed", {"join": saying(422, '{"detail": "bad"}')}, MalformedRequestError),
    ("join: wrong number", {"join": saying(500, "Internal Server Error")}, ProtocolError),
    ("join: a page", {"join": saying(200, "<html>log in</html>")}, ProtocolError),
    ("join: no number", {"join": telling({})}, ProtocolError),
    ("join: redirect", {"join": saying(307, Location="http://127.0.0.1:1/")}, SpaceNotFoundError),
    ("stream: slow header", {"data": silent}, UnreachableError),
    (
        "stream: a page",
        {"data": saying(200, "<html>log in</html>", Content_Type="text/html")},
        ProtocolError,
    ),
    ("stream: gateway", {"data": saying(502, "<html>Bad Gateway</html>")}, SpaceAsleepError),
    ("stream: not found", {"data": saying(404)}, SpaceNotFoundError),
    ("stream: empty", {"data": sending()}, StreamCutError),
    ("stream: gone", {"data": sending(GONE)}, RunLostError),
    ("stream: ends early", {"data": sending(QUEUED, STARTED)}, StreamCutError),
    (
        "stream: cut in a message",
        {"data": sending(QUEUED, STARTED, cut=b'data: {"msg": "pro')},
        StreamCutError,
    ),
    (
        "stream: cut after a preview",
        {"data": sending(QUEUED, STARTED, PREVIEW, cut=b"")},
        StreamCutError,
    ),
    (
        "stream: heartbeats for ever",
        {"data": sending(QUEUED, STARTED, stay=True)},
        SilentSpaceError,
    ),
    (
        "stream: nothing at all",
        {"data": sending(QUEUED, STARTED, {"msg": "unknown"}, stay=True)},
        SilentSpaceError,
    ),
    (
        "stream: stopped in the run",
        {"data": sending(QUEUED, STARTED, {"msg": "server_stopped"})},
        SpaceStoppedError,
    ),
    ("stream: garbage", {"data": sending(PREVIEW, PREVIEW)}, ProtocolError),
    ("picture: gone", {"file": saying(404)}, PictureGoneError),
    ("picture: forbidden", {"file": saying(403)}, PictureGoneError),
    ("picture: a page", {"file": saying(200, "<html>log in</html>")}, PictureError),
    (
        "picture: redirect",
        {"file": saying(302, Location="http://127.0.0.1:1/x.png")},
        SpaceNotFoundError,
    ),
    ("picture: slow header", {"file": silent}, UnreachableError),
    ("picture: cut", {"file": cutting(PNG[:40], len(PNG))}, UnreachableError),
    ("picture: cut unnoticed", {"file": showing(PNG[:-20])}, PictureError),
    ("picture: gateway", {"file": saying(502)}, SpaceAsleepError),
    ("picture: too many requests", {"file": saying(429)}, RateLimitedError),
]


@pytest.mark.parametrize(
    ("handlers", "kind"), [row[1:] for row in FAULTS], ids=[row[0] for row in FAULTS]
)
async def test_faults(handlers: dict[str, Handler], kind: type[SD35Error]) -> None:
    """What a broken Space or its host answers hangs, surfaces as a traceback, or as something that it isn't."""
    async with impostor(handlers) as address:
        with pytest.raises(SD35Error) as caught:
            await outcome(address)
    assert type(caught.value) is kind, repr(caught.value)
    assert caught.value.happened.endswith((".", "!"))


async def test_without_a_fault() -> None:
    """The table of faults is about something else than faults."""
    async with impostor() as address:
        *events, data = await outcome(address)
    assert [type(event) for event in events] == [Queued, Started, Preview, Finished]
    assert data == PNG


WHOLE = sending(QUEUED, STARTED, PREVIEW, FINISHED)
CUT = sending(QUEUED, STARTED, PREVIEW, cut=b"data: ")
EXPIRED = {
    "msg": "process_completed",
    "success": False,
    "output": {"error": "Expired ZeroGPU proxy token", "title": "ZeroGPU client error"},
}

RECOVERIES: list[tuple[str, Callable[[], dict[str, InTurn]]]] = [
    ("config: asleep at first", lambda: {"config": InTurn(ASLEEP, telling(TOLD["config"]))}),
    ("config: broken off at first", lambda: {"config": InTurn(aborting, telling(TOLD["config"]))}),
    (
        "config: too many requests at first",
        lambda: {"config": InTurn(saying(429), telling(TOLD["config"]))},
    ),
    ("join: full at first", lambda: {"join": InTurn(FULL, telling({"event_id": "e"}))}),
    (
        "join: too many requests at first",
        lambda: {"join": InTurn(saying(429), telling({"event_id": "e"}))},
    ),
    ("join: asleep at first", lambda: {"join": InTurn(ASLEEP, telling({"event_id": "e"}))}),
    ("join: its answer is lost", lambda: {"join": InTurn(aborting)}),
    ("join: a gateway's answer, but taken", lambda: {"join": InTurn(saying(504))}),
    (
        "join: lost on the way there",
        lambda: {
            "join": InTurn(aborting, telling({"event_id": "e"})),
            "data": InTurn(sending(GONE), WHOLE),
        },
    ),
    (
        "join: malformed, for it has restarted",
        lambda: {"join": InTurn(saying(422), telling({"event_id": "e"}))},
    ),
    ("stream: broken off before its first byte", lambda: {"data": InTurn(aborting, WHOLE)}),
    ("stream: gateway at first", lambda: {"data": InTurn(saying(502), WHOLE)}),
    ("stream: gone, before anything was heard", lambda: {"data": InTurn(sending(GONE), WHOLE)}),
    (
        "stream: cut in the run, unnoticed there",
        lambda: {"data": InTurn(CUT, sending(STARTED, PREVIEW, FINISHED))},
    ),
    (
        "stream: stopped while it was queued",
        lambda: {"data": InTurn(sending(QUEUED, {"msg": "server_stopped"}), WHOLE)},
    ),
    (
        "stream: the identity has expired",
        lambda: {"data": InTurn(sending(QUEUED, STARTED, EXPIRED), WHOLE)},
    ),
    ("picture: cut at first", lambda: {"file": InTurn(cutting(PNG[:40], len(PNG)), showing(PNG))}),
    ("picture: gateway at first", lambda: {"file": InTurn(saying(504), showing(PNG))}),
]


@pytest.mark.parametrize("make", [row[1] for row in RECOVERIES], ids=[row[0] for row in RECOVERIES])
async def test_what_is_survived(make: Callable[[], dict[str, InTurn]]) -> None:
    """A fault that passes costs a picture, or the person isn't told that there is a wait."""
    told: list[Waiting] = []
    async with (
        impostor(make()) as address,
        SpaceClient.connect(address, timeouts=PATIENT, tell=told.append) as space,
    ):
        with anyio.fail_after(LIMIT):
            events = await run(space)
            assert isinstance(events[-1], Finished)
            assert (await space.fetch(events[-1].picture)).data == PNG
    told += [event for event in events if isinstance(event, Waiting)]
    assert all(waiting.reason.endswith(".") for waiting in told)


@pytest.mark.parametrize(
    ("stream", "joins"),
    [
        (sending(QUEUED, STARTED, GONE), 1),
        (sending(QUEUED, STARTED, cut=b""), 1),
        (sending(QUEUED, STARTED, {"msg": "server_stopped"}), 1),
        (
            sending(
                QUEUED,
                STARTED,
                {"msg": "process_completed", "success": False, "output": {"error": "no"}},
            ),
            1,
        ),
        (sending(GONE), 2),
        (sending(QUEUED, {"msg": "server_stopped"}), 2),
        (sending(QUEUED, STARTED, EXPIRED), 2),
    ],
)
async def test_a_run_is_never_repeated(stream: Handler, joins: int) -> None:
    """A run that may have cost quota is started again unasked, or one that can't succeed is for ever."""
    join = InTurn(telling({"event_id": "e"}))
    async with impostor(join=join, data=stream) as address:
        with pytest.raises(SD35Error):
            await outcome(address)
    assert join.asked == joins


async def test_a_server_that_dies_and_comes_back_between_join_and_stream() -> None:
    """A restart in the worst moment surfaces as a lost picture."""
    port, joined = free_port(), anyio.Event()

    async def join(_: web.Request) -> web.Response:
        joined.set()
        return web.json_response({"event_id": "e"})

    async def dead_stream(request: web.Request) -> web.StreamResponse:
        abort(request)
        return web.Response()

    async with contextlib.AsyncExitStack() as stack:
        with anyio.fail_after(LIMIT):
            first = contextlib.AsyncExitStack()
            address = await first.enter_async_context(
                impostor(port=port, join=join, data=dead_stream)
            )
            space = await stack.enter_async_context(SpaceClient.connect(address, timeouts=PATIENT))
            running = asyncio.ensure_future(run(space))
            await joined.wait()
            await first.aclose()
            renumbered = TOLD["config"] | {"dependencies": [{}, *TOLD["config"]["dependencies"]]}
            seen: list[Any] = []

            async def taking(request: web.Request) -> web.Response:
                seen.append((await request.json())["fn_index"])
                return web.json_response({"event_id": "e"})

            data = InTurn(sending(GONE), WHOLE)
            again = impostor(
                port=port, config=telling(_numbered(renumbered, 5)), join=taking, data=data
            )
            await stack.enter_async_context(again)
            assert isinstance((await running)[-1], Finished)
    assert seen == [5], "its description wasn't read again"


def _numbered(config: dict[str, Any], fn_index: int) -> dict[str, Any]:
    *others, infer = config["dependencies"]
    return config | {"dependencies": [*others, infer | {"id": fn_index}]}


async def test_replicas_behind_one_address() -> None:
    """Behind one address with several servers, the run's stream is asked of another server than took it."""
    replicas = itertools.count(1)
    joined: set[str] = set()

    async def config(_: web.Request) -> web.Response:
        response = web.json_response(TOLD["config"])
        response.set_cookie("replica", str(next(replicas)))
        return response

    async def join(request: web.Request) -> web.Response:
        joined.add(request.cookies["replica"])
        return web.json_response({"event_id": "e"})

    async def data(request: web.Request) -> web.StreamResponse:
        return await (WHOLE if request.cookies.get("replica") in joined else sending(GONE))(request)

    async with impostor(config=config, join=join, data=data) as address:
        await outcome(address)
        await outcome(address)
    assert joined == {"1", "2"}


async def test_a_thousand_messages_at_once() -> None:
    """Many messages in one piece are lost, or make the client wait."""
    steps = [
        {"msg": "progress", "progress_data": [{"index": step, "length": 1000, "unit": "steps"}]}
        for step in range(1000)
    ]
    async with impostor(data=sending(QUEUED, STARTED, *steps, FINISHED)) as address:
        *events, _ = await outcome(address)
    assert [event.step for event in events if isinstance(event, Progress)] == list(range(1000))


async def test_bytes_cut_anywhere() -> None:
    """A message that comes in two pieces of the network is lost."""
    whole = b"".join(message_bytes(message) for message in (QUEUED, STARTED, PREVIEW, FINISHED))
    position = iter(range(1, len(whole), 37))

    async def data(request: web.Request) -> web.StreamResponse:
        response, at = await streaming(request), next(position)
        await response.write(whole[:at])
        await asyncio.sleep(0)
        await response.write(whole[at:])
        return response

    async with impostor(data=data) as address, SpaceClient.connect(address) as space:
        for _ in range(10):
            assert isinstance((await run(space))[-1], Finished)


async def test_a_retry_after_is_honoured() -> None:
    """A server that says when to come back is asked before, or one that asks for an hour makes one wait for it."""
    began = asyncio.get_running_loop().time()
    join = InTurn(saying(429, Retry_After="1"), telling({"event_id": "e"}))
    async with impostor(join=join) as address:
        await outcome(address)
    assert asyncio.get_running_loop().time() - began >= 1
    async with impostor(
        join=saying(503, '{"detail": "Queue is full."}', Retry_After="3600")
    ) as address:
        with anyio.fail_after(2), pytest.raises(QueueFullError) as refusal:
            await outcome(address)
    assert refusal.value.retry_after_seconds == 3600
    assert refusal.value.retry_at is not None


async def test_a_secure_connection_that_is_not_one() -> None:
    """A certificate that nobody vouches for is accepted, or said to be a network that is down."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)
    async with impostor(tls=tls) as address:
        with pytest.raises(UnreachableError, match="certificate isn't valid"):
            await outcome(address)
    async with impostor() as address:
        with pytest.raises(UnreachableError, match="no secure connection"):
            await outcome(address.replace("http:", "https:"))


@pytest.mark.parametrize(
    ("source", "kind", "words"),
    [
        ("http://127.0.0.1:1/", UnreachableError, "nothing listens there"),
        ("http://nowhere.invalid/", UnreachableError, "can't be resolved"),
        ("owner/name", UnreachableError, "owner/name at Hugging Face can't be reached"),
        ("badname", SpaceNotFoundError, "owner/name"),
        ("http://me:s3cret@127.0.0.1:1/", SpaceNotFoundError, "user or password"),
        ("http://[", SpaceNotFoundError, "address"),
        ("http://127.0.0.1:99999/", SpaceNotFoundError, "address"),
    ],
)
async def test_spaces_that_can_not_be_reached(
    source: str, kind: type[SD35Error], words: str
) -> None:
    """A wrong address surfaces as a traceback, or as a sentence that says nothing."""
    with pytest.raises(kind, match=words):
        async with SpaceClient.connect(source, hub="http://127.0.0.1:1"):
            pytest.fail("connected")


@pytest.mark.parametrize(
    ("stages", "kind"),
    [
        (["RUNNING"], None),
        (["SLEEPING", "BUILDING", "APP_STARTING", "RUNNING"], None),
        (["SOMETHING_NEW"], None),
        (["PAUSED"], SpacePausedError),
        (["SLEEPING", "BUILD_ERROR"], SpaceBrokenError),
    ],
)
async def test_a_space_by_its_name(
    stages: list[str], kind: type[ConnectionFailedError] | None
) -> None:
    """A Space that is asleep isn't waited for, or one that only its owner can start is."""
    told: list[Waiting] = []
    here: list[str] = []
    asked = iter([stages[0], *stages])  # once for the address

    async def hub(request: web.Request) -> web.Response:
        assert request.path == "/api/spaces/owner/name"
        stage = next(asked, stages[-1])
        return web.json_response({"host": here[0].rstrip("/"), "runtime": {"stage": stage}})

    configs = InTurn(*[ASLEEP] * (len(stages) - 1), telling(TOLD["config"]))
    async with impostor(config=configs) as address, impostor(file=hub) as hub_address:
        here.append(address)
        connecting = SpaceClient.connect(
            "owner/name", hub=hub_address, timeouts=PATIENT, tell=told.append
        )
        with anyio.fail_after(LIMIT), pytest.raises(kind) if kind else contextlib.nullcontext():
            async with connecting as space:
                assert isinstance((await run(space))[-1], Finished)
    assert len(told) == (0 if kind is SpacePausedError else len(stages) - 1)
    assert all("waking up" in waiting.reason and waiting.limit_seconds == LIMIT for waiting in told)


@pytest.mark.parametrize(
    ("answers", "token", "kind"),
    [
        ({"api/spaces": 401}, None, SpaceNotFoundError),
        ({"api/spaces": 404}, "hf_x", SpaceNotFoundError),
        ({"api/spaces": 401, "api/whoami-v2": 401}, "hf_x", AccessDeniedError),
        ({"api/spaces": 429}, None, RateLimitedError),
        ({"api/spaces": 200}, None, ContractError),
    ],
)
async def test_what_the_hub_answers(
    answers: dict[str, int], token: str | None, kind: type[SD35Error]
) -> None:
    """A token that isn't valid is said to be a Space that doesn't exist, or the other way round."""

    async def hub(request: web.Request) -> web.Response:
        status = next(
            status for path, status in answers.items() if request.path.startswith(f"/{path}")
        )
        return web.Response(status=status, text="{}")

    async with impostor(file=hub) as address:
        with pytest.raises(kind):
            async with SpaceClient.connect("owner/name", hub=address, token=token, timeouts=QUICK):
                pytest.fail("connected")


async def test_a_space_that_changes_under_us() -> None:
    """After a restart as something else, a request goes to a function that isn't the one it was."""
    config = InTurn(telling(TOLD["config"]), telling(TOLD["config"] | {"dependencies": []}))
    async with impostor(config=config, data=sending(QUEUED, STARTED, cut=b"")) as address:
        async with SpaceClient.connect(address, timeouts=QUICK) as space:
            with pytest.raises(StreamCutError):
                await run(space)
            with pytest.raises(ContractError):
                await run(space)


async def test_a_description_does_not_live_for_ever() -> None:
    """A Space that was changed is asked as it was before, as long as this program runs."""
    config = InTurn(telling(TOLD["config"]))
    async with impostor(config=config) as address:
        async with SpaceClient.connect(address, timeouts=Timeouts(description=0)) as space:
            await run(space)
    assert config.asked == 2


async def test_a_cancel_that_is_not_confirmed(caplog: pytest.LogCaptureFixture) -> None:
    """“Stopped” is said although the Space never confirmed it, or its error hides why the block was left."""
    async with impostor(data=sending(STARTED, stay=True), cancel=saying(500, "no")) as address:
        async with SpaceClient.connect(address) as space:
            generation = space.generate(asking())
            with caplog.at_level(logging.CRITICAL), pytest.raises(KeyError, match="mine"):
                async with generation:
                    assert isinstance(await anext(aiter(generation)), Started)
                    raise KeyError("mine")
            assert generation.stopped is StopOutcome.UNCONFIRMED


@pytest.mark.parametrize(
    "answer", [telling({"event_id": "e"}), FULL, aborting], ids=["taken", "refused", "lost"]
)
async def test_leaving_while_the_space_is_asked(answer: Handler) -> None:
    """A cancel that comes while a request is being taken in leaves a run there that nobody waits for."""
    asked, answering, cancelled = anyio.Event(), anyio.Event(), list[str]()

    async def join(request: web.Request) -> web.StreamResponse:
        asked.set()
        await answering.wait()
        return await answer(request)

    async def cancel(request: web.Request) -> web.Response:
        cancelled.append((await request.json())["event_id"])
        return web.json_response({"success": True})

    ending = {"msg": "process_completed", "success": True, "output": {}}
    async with impostor(join=join, cancel=cancel, data=sending(QUEUED, ending)) as address:
        async with SpaceClient.connect(address, timeouts=QUICK) as space:
            generation = space.generate(asking())

            async def enter() -> None:
                async with generation:
                    await anyio.sleep_forever()

            task = asyncio.ensure_future(enter())
            await asked.wait()
            task.cancel()
            answering.set()
            await asyncio.wait([task])
    was_taken = answer is not FULL and answer is not aborting
    assert cancelled == (["e"] if was_taken else [])
    assert generation.stopped is (
        StopOutcome.REMOVED
        if was_taken
        else StopOutcome.UNCONFIRMED
        if answer is aborting
        else None
    )


@pytest.mark.parametrize("previews", list(Previews))
async def test_previews(previews: Previews) -> None:
    """A preview is fetched that nobody wants, one is missing that somebody does, or a lost one costs the picture."""
    asked: list[str] = []
    events: list[object] = []
    first_is_asked, all_are_sent, all_are_seen = anyio.Event(), anyio.Event(), anyio.Event()
    fetched = {Previews.NONE: [], Previews.NEWEST: [0, 5], Previews.ALL: [0, 1, 2, 3, 4, 5]}[
        previews
    ]
    seen = {Previews.NONE: 6, Previews.NEWEST: 2, Previews.ALL: 5}[previews]  # the fourth is lost

    async def file(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        first_is_asked.set()
        await all_are_sent.wait()
        return await (saying(404) if request.path.endswith("3.png") else showing(PNG))(request)

    async def data(request: web.Request) -> web.StreamResponse:
        response = await streaming(request)
        for number in range(6):
            picture = PICTURE | {"url": f"/gradio_api/file={number}.png"}
            value: Any = [["replace", [], picture]] if number else picture
            await response.write(
                message_bytes(PREVIEW | {"output": {"data": [value, [] if number else 7]}})
            )
            if previews is not Previews.NONE:
                await first_is_asked.wait()
        await response.write(message_bytes({"msg": "log", "log": "all are sent", "level": "info"}))
        await all_are_seen.wait()
        await response.write(message_bytes(FINISHED))
        return response

    async with impostor(file=file, data=data) as address, SpaceClient.connect(address) as space:
        async with space.generate(asking(), previews=previews) as generation:
            with anyio.fail_after(LIMIT):
                async for event in generation:
                    events.append(event)
                    if isinstance(event, Notice):
                        all_are_sent.set()
                    if sum(isinstance(event, Preview) for event in events) == seen:
                        all_are_seen.set()
    shown = [event for event in events if isinstance(event, Preview)]
    assert list(dict.fromkeys(asked)) == [f"/gradio_api/file={number}.png" for number in fetched]
    assert len(shown) == seen
    assert all((event.fetched is None) == (previews is Previews.NONE) for event in shown)
    assert isinstance(events[-1], Finished)


async def test_an_expired_identity_is_told_in_the_end() -> None:
    """A refusal that passes by itself at first is hidden when it doesn't."""
    async with impostor(data=sending(QUEUED, STARTED, EXPIRED)) as address:
        with pytest.raises(IdentityExpiredError, match="Expired"):
            await outcome(address)


@pytest.mark.parametrize("cancels", [1, 2, 3])
async def test_being_cancelled_while_leaving_leaves_no_orphan(cancels: int) -> None:
    """A second cancel tears the leaving apart: the run goes on at the Space, and a task here."""
    asked, cancelled = anyio.Event(), list[str]()

    async def join(_: web.Request) -> web.Response:
        asked.set()
        await asyncio.sleep(0.2)
        return web.json_response({"event_id": "e"})

    async def cancel(request: web.Request) -> web.Response:
        await asyncio.sleep(0.2)
        cancelled.append((await request.json())["event_id"])
        return web.json_response({"success": True})

    ending = {"msg": "process_completed", "success": True, "output": {}}
    async with impostor(join=join, cancel=cancel, data=sending(QUEUED, ending)) as address:
        async with SpaceClient.connect(address) as space:
            before = asyncio.all_tasks()
            task = asyncio.ensure_future(run(space))
            await asked.wait()
            for _ in range(cancels):
                task.cancel()
                await asyncio.sleep(0.02)
            await asyncio.wait([task])
            assert task.cancelled()
            assert cancelled == ["e"]
            ours = {task for task in asyncio.all_tasks() - before if "Generation" in repr(task)}
            assert not ours


async def test_many_wait_for_one_description() -> None:
    """Runs that find a Space asleep learn of it one after another, each after the whole wait."""
    config = InTurn(telling(TOLD["config"]), ASLEEP)
    async with impostor(config=config) as address:
        async with SpaceClient.connect(
            address, timeouts=Timeouts(description=0, waking=1.5, attempts=1)
        ) as space:
            with anyio.fail_after(4):
                ends = await asyncio.gather(*(run(space) for _ in range(5)), return_exceptions=True)
    assert [type(end) for end in ends] == [SpaceAsleepError] * 5


async def test_a_slow_listener_is_not_a_silent_space() -> None:
    """A program that takes its time loses its run."""
    logs = [{"msg": "log", "log": f"line {number}", "level": "info"} for number in range(300)]
    async with impostor(data=sending(QUEUED, STARTED, *logs, HEARTBEAT, FINISHED)) as address:
        async with (
            SpaceClient.connect(address, timeouts=QUICK) as space,
            space.generate(asking()) as generation,
        ):
            events = aiter(generation)
            assert isinstance(await anext(events), Queued)
            await asyncio.sleep(2 * QUICK.no_news)
            assert isinstance([event async for event in events][-1], Finished)
            assert not [event async for event in generation], "it hangs when it is asked again"


@pytest.mark.parametrize("url", ["data:image/png;base64,é", "//[::1]:80℀@/x", "http://["])
@pytest.mark.parametrize("previews", [Previews.NEWEST, Previews.ALL])
async def test_a_preview_that_can_not_be_had_costs_nothing_else(
    url: str, previews: Previews
) -> None:
    """A preview's address that nobody foresaw costs the finished picture."""
    bad = PREVIEW | {"output": {"data": [{"url": url}, 7]}}
    good = PREVIEW | {"output": {"data": [[["replace", [], PICTURE]], []]}}
    async with impostor(data=sending(QUEUED, STARTED, bad, good, FINISHED)) as address:
        async with (
            SpaceClient.connect(address) as space,
            space.generate(asking(), previews=previews) as generation,
        ):
            with anyio.fail_after(LIMIT):
                assert isinstance([event async for event in generation][-1], Finished)
                assert (await generation.fetch()).data == PNG
