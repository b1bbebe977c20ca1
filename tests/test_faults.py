"""Faults between the client and a Space: recoveries, and errors."""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any, Protocol

import anyio
import pytest
from aiohttp import web

from sd35.client import Previews, SpaceClient, StopOutcome, Timeouts, discovery, retry
from sd35.core.errors import (
    AccessDeniedError,
    ConnectionFailedError,
    ContractError,
    IdentityExpiredError,
    LoginRequiredError,
    MalformedRequestError,
    PictureError,
    PictureExpiredError,
    ProtocolError,
    QueueFullError,
    RateLimitedError,
    RedirectedError,
    SD35Error,
    SessionLostError,
    SpaceAsleepError,
    SpaceBrokenError,
    SpaceNotFoundError,
    SpacePausedError,
    SpaceStoppedError,
    StreamInterruptedError,
    StreamTimeoutError,
    UnreachableError,
    WebPageError,
)
from sd35.core.events import Finished, Notice, Preview, Progress, Queued, Started, Waiting
from sd35.jobs import space_connection
from sd35.jobs.space_connection import SpaceConfig, SpaceConnector
from sd35.server.launch import free_port
from tests.impostor import (
    DESCRIPTION,
    FINISHED,
    HEARTBEAT,
    LIMIT_SECONDS,
    PICTURE,
    PNG,
    PREVIEW,
    QUEUED,
    SESSION_NOT_FOUND,
    STARTED,
    Handler,
    HandlerSequence,
    collect_events,
    drop_connection,
    drop_request,
    make_request,
    message_bytes,
    never_respond,
    respond_events,
    respond_json,
    respond_picture,
    respond_text,
    respond_truncated,
    serve_fake_gradio,
    start_event_stream,
)

pytestmark = pytest.mark.anyio

# Long enough for an answer on a busy machine.
SHORT_TIMEOUTS = Timeouts(
    discovery=0.6,
    waking=0.6,
    outage=0.6,
    connect=2,
    join=0.6,
    silence=0.6,
    no_news=0.3,
    cancel=0.6,
    fetch=0.6,
    attempts=2,
)
LONG_TIMEOUTS = Timeouts(waking=LIMIT_SECONDS, attempts=4)
QUEUE_FULL = respond_text(503, '{"detail": "Queue is full. Max size is 1 and size is 1."}')
SPACE_ASLEEP = respond_text(503, "<html>Preparing Space</html>")


@pytest.fixture(autouse=True)
def _short_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the delays between attempts, which most of these tests would spend their time in."""
    monkeypatch.setitem(retry._BACKOFF, "wait_initial", 0.01)
    monkeypatch.setitem(retry._BACKOFF, "wait_jitter", 0.01)
    monkeypatch.setattr(retry, "MIN_OUTAGE_DELAY", 0.02)
    monkeypatch.setattr(discovery, "MIN_POLL_INTERVAL_SECONDS", 0.02)
    auto_timeouts = replace(space_connection.AUTO_TIMEOUTS, discovery=1.5)
    monkeypatch.setattr(space_connection, "AUTO_TIMEOUTS", auto_timeouts)


class Connect(Protocol):
    """A way to connect to the Space at an address."""

    def __call__(
        self, address: str, /, *, timeouts: Timeouts | None = None, on_wait: retry.OnWait = ...
    ) -> AbstractAsyncContextManager[SpaceClient]:
        """Return a connection, opened with a block."""
        ...


@contextlib.asynccontextmanager
async def connect_by_auto(
    address: str, *, timeouts: Timeouts | None = None, on_wait: retry.OnWait = lambda _: None
) -> AsyncIterator[SpaceClient]:
    """Connect as `--space auto`; raise the reason if that falls back to the demo Space."""
    runtime = {"stage": "RUNNING"}
    hub = respond_json({"host": address.rstrip("/"), "runtime": runtime})
    async with serve_fake_gradio(file=hub) as hub_address, serve_fake_gradio() as demo_address:

        async def start_demo(*_: object) -> str:
            return demo_address

        connector = SpaceConnector(SpaceConfig("auto", hub=hub_address), start_demo, timeouts)
        try:
            space = await connector.get()
            if connector.connection.value.fallback_reason is not None:
                raise connector.connection.value.fallback_reason
            yield space
        finally:
            await connector.aclose()


CONNECTS = pytest.mark.parametrize(
    "connect", [SpaceClient.connect, connect_by_auto], ids=["named", "auto"]
)


async def run_and_fetch(
    address: str, timeouts: Timeouts = SHORT_TIMEOUTS, connect: Connect = SpaceClient.connect
) -> list[object]:
    """Connect, generate and fetch; return the events and the image's bytes."""
    with anyio.fail_after(LIMIT_SECONDS):
        async with connect(address, timeouts=timeouts) as space:
            events = await collect_events(space)
            last = events[-1]
            assert isinstance(last, Finished)
            return [*events, (await space.fetch(last.picture)).data]


FAULTS: list[tuple[str, dict[str, Handler], type[SD35Error]]] = [
    ("config: slow header", {"config": never_respond}, UnreachableError),
    ("config: broken off", {"config": drop_request}, UnreachableError),
    ("config: slow body", {"config": respond_truncated(b"{", 100)}, UnreachableError),
    ("config: a page", {"config": respond_text(200, "<html>hello</html>")}, ContractError),
    ("config: {}", {"config": respond_text(200, "{}")}, ContractError),
    ("config: []", {"config": respond_text(200, "[]")}, ContractError),
    (
        "config: no endpoint",
        {"config": respond_json(DESCRIPTION["config"] | {"dependencies": []})},
        ContractError,
    ),
    (
        "config: old protocol",
        {"config": respond_json(DESCRIPTION["config"] | {"protocol": "ws"})},
        ContractError,
    ),
    (
        "config: login",
        {"config": respond_text(401, '{"detail": "Not authenticated"}')},
        LoginRequiredError,
    ),
    ("config: no such Space", {"config": respond_text(404, "<html>")}, SpaceNotFoundError),
    (
        "config: redirect",
        {"config": respond_text(302, Location="http://127.0.0.1:1/")},
        RedirectedError,
    ),
    ("config: asleep", {"config": SPACE_ASLEEP}, SpaceAsleepError),
    (
        "config: in error",
        {"config": respond_text(503, "Your space is in error, check its status")},
        SpaceBrokenError,
    ),
    ("config: too many requests", {"config": respond_text(429)}, RateLimitedError),
    ("config: server error", {"config": respond_text(500, "Internal Server Error")}, ContractError),
    ("info: a page", {"info": respond_text(200, "<html>hello</html>")}, ContractError),
    (
        "join: slow header, and not taken",
        {"join": never_respond, "data": respond_events(SESSION_NOT_FOUND)},
        SessionLostError,
    ),
    (
        "join: broken off, and not taken",
        {"join": drop_request, "data": respond_events(SESSION_NOT_FOUND)},
        SessionLostError,
    ),
    ("join: full", {"join": QUEUE_FULL}, QueueFullError),
    (
        "join: stopped",
        {"join": respond_text(503, '{"detail": "Queue is stopped."}')},
        SpaceStoppedError,
    ),
    (
        "join: gateway",
        {"join": respond_text(502, "<html>Bad Gateway</html>"), "data": respond_text(502)},
        SpaceAsleepError,
    ),
    (
        "join: gateway, and not taken",
        {"join": respond_text(504), "data": respond_events(SESSION_NOT_FOUND)},
        SessionLostError,
    ),
    ("join: too many requests", {"join": respond_text(429)}, RateLimitedError),
    ("join: login", {"join": respond_text(401)}, AccessDeniedError),
    ("join: malformed", {"join": respond_text(422, '{"detail": "bad"}')}, MalformedRequestError),
    ("join: wrong number", {"join": respond_text(500, "Internal Server Error")}, ProtocolError),
    ("join: a page", {"join": respond_text(200, "<html>log in</html>")}, WebPageError),
    ("join: no number", {"join": respond_json({})}, ProtocolError),
    (
        "join: redirect",
        {"join": respond_text(307, Location="http://127.0.0.1:1/")},
        RedirectedError,
    ),
    ("stream: slow header", {"data": never_respond}, UnreachableError),
    (
        "stream: a page",
        {"data": respond_text(200, "<html>log in</html>", Content_Type="text/html")},
        WebPageError,
    ),
    (
        "stream: a page that is cut",
        {"data": respond_truncated(b"<html>", 100)},
        UnreachableError,
    ),
    ("stream: gateway", {"data": respond_text(502, "<html>Bad Gateway</html>")}, SpaceAsleepError),
    ("stream: not found", {"data": respond_text(404)}, SpaceNotFoundError),
    ("stream: empty", {"data": respond_events()}, StreamInterruptedError),
    ("stream: gone", {"data": respond_events(SESSION_NOT_FOUND)}, SessionLostError),
    ("stream: ends early", {"data": respond_events(QUEUED, STARTED)}, StreamInterruptedError),
    (
        "stream: cut in a message",
        {"data": respond_events(QUEUED, STARTED, truncated_tail=b'data: {"msg": "pro')},
        StreamInterruptedError,
    ),
    (
        "stream: cut after a preview",
        {"data": respond_events(QUEUED, STARTED, PREVIEW, truncated_tail=b"")},
        StreamInterruptedError,
    ),
    (
        "stream: heartbeats for ever",
        {"data": respond_events(QUEUED, STARTED, is_kept_open=True)},
        StreamTimeoutError,
    ),
    (
        "stream: nothing at all",
        {"data": respond_events(QUEUED, STARTED, {"msg": "unknown"}, is_kept_open=True)},
        StreamTimeoutError,
    ),
    (
        "stream: stopped in the run",
        {"data": respond_events(QUEUED, STARTED, {"msg": "server_stopped"})},
        SpaceStoppedError,
    ),
    ("picture: gone", {"file": respond_text(404)}, PictureExpiredError),
    ("picture: forbidden", {"file": respond_text(403)}, PictureExpiredError),
    ("picture: a page", {"file": respond_text(200, "<html>log in</html>")}, PictureError),
    (
        "picture: redirect",
        {"file": respond_text(302, Location="http://127.0.0.1:1/x.png")},
        RedirectedError,
    ),
    ("picture: slow header", {"file": never_respond}, UnreachableError),
    ("picture: cut", {"file": respond_truncated(PNG[:40], len(PNG))}, UnreachableError),
    ("picture: cut unnoticed", {"file": respond_picture(PNG[:-20])}, PictureError),
    ("picture: gateway", {"file": respond_text(502)}, SpaceAsleepError),
    ("picture: too many requests", {"file": respond_text(429)}, RateLimitedError),
]


@pytest.mark.parametrize(
    ("handlers", "kind"), [row[1:] for row in FAULTS], ids=[row[0] for row in FAULTS]
)
@CONNECTS
async def test_a_fault_is_the_right_error_within_the_limits(
    connect: Connect, handlers: dict[str, Handler], kind: type[SD35Error]
) -> None:
    async with serve_fake_gradio(handlers) as address:
        with pytest.raises(SD35Error) as error_info:
            await run_and_fetch(address, connect=connect)
    assert type(error_info.value) is kind, repr(error_info.value)
    assert error_info.value.happened.endswith((".", "!"))


async def test_without_a_fault_there_is_an_image() -> None:
    """So that the table of faults is about the faults."""
    async with serve_fake_gradio() as address:
        *events, data = await run_and_fetch(address)
    assert [type(event) for event in events] == [Queued, Started, Preview, Finished]
    assert data == PNG


COMPLETE_STREAM = respond_events(QUEUED, STARTED, PREVIEW, FINISHED)
TRUNCATED_STREAM = respond_events(QUEUED, STARTED, PREVIEW, truncated_tail=b"data: ")
EXPIRED_TOKEN_MESSAGE = {
    "msg": "process_completed",
    "success": False,
    "output": {"error": "Expired ZeroGPU proxy token", "title": "ZeroGPU client error"},
}

RECOVERIES: list[tuple[str, Callable[[], dict[str, HandlerSequence]]]] = [
    (
        "config: asleep at first",
        lambda: {"config": HandlerSequence(SPACE_ASLEEP, respond_json(DESCRIPTION["config"]))},
    ),
    (
        "config: broken off at first",
        lambda: {"config": HandlerSequence(drop_request, respond_json(DESCRIPTION["config"]))},
    ),
    (
        "config: too many requests at first",
        lambda: {"config": HandlerSequence(respond_text(429), respond_json(DESCRIPTION["config"]))},
    ),
    (
        "join: full at first",
        lambda: {"join": HandlerSequence(QUEUE_FULL, respond_json({"event_id": "e"}))},
    ),
    (
        "join: too many requests at first",
        lambda: {"join": HandlerSequence(respond_text(429), respond_json({"event_id": "e"}))},
    ),
    (
        "join: asleep at first",
        lambda: {"join": HandlerSequence(SPACE_ASLEEP, respond_json({"event_id": "e"}))},
    ),
    ("join: its answer is lost", lambda: {"join": HandlerSequence(drop_request)}),
    ("join: a gateway's answer, but taken", lambda: {"join": HandlerSequence(respond_text(504))}),
    (
        "join: lost on the way there",
        lambda: {
            "join": HandlerSequence(drop_request, respond_json({"event_id": "e"})),
            "data": HandlerSequence(respond_events(SESSION_NOT_FOUND), COMPLETE_STREAM),
        },
    ),
    (
        "join: malformed, for it has restarted",
        lambda: {"join": HandlerSequence(respond_text(422), respond_json({"event_id": "e"}))},
    ),
    (
        "stream: broken off before its first byte",
        lambda: {"data": HandlerSequence(drop_request, COMPLETE_STREAM)},
    ),
    (
        "stream: gateway at first",
        lambda: {"data": HandlerSequence(respond_text(502), COMPLETE_STREAM)},
    ),
    (
        "stream: gone, before anything was heard",
        lambda: {"data": HandlerSequence(respond_events(SESSION_NOT_FOUND), COMPLETE_STREAM)},
    ),
    (
        "stream: cut in the run, unnoticed there",
        lambda: {
            "data": HandlerSequence(TRUNCATED_STREAM, respond_events(STARTED, PREVIEW, FINISHED))
        },
    ),
    (
        "stream: stopped while it was queued",
        lambda: {
            "data": HandlerSequence(
                respond_events(QUEUED, {"msg": "server_stopped"}), COMPLETE_STREAM
            )
        },
    ),
    (
        "stream: a preview is garbage",
        lambda: {"data": HandlerSequence(respond_events(STARTED, PREVIEW, PREVIEW, FINISHED))},
    ),
    (
        "stream: the identity has expired",
        lambda: {
            "data": HandlerSequence(
                respond_events(QUEUED, STARTED, EXPIRED_TOKEN_MESSAGE), COMPLETE_STREAM
            )
        },
    ),
    (
        "picture: cut at first",
        lambda: {
            "file": HandlerSequence(respond_truncated(PNG[:40], len(PNG)), respond_picture(PNG))
        },
    ),
    (
        "picture: gateway at first",
        lambda: {"file": HandlerSequence(respond_text(504), respond_picture(PNG))},
    ),
]


@pytest.mark.parametrize("make", [row[1] for row in RECOVERIES], ids=[row[0] for row in RECOVERIES])
@CONNECTS
async def test_a_passing_fault_costs_no_image_and_is_reported(
    connect: Connect,
    make: Callable[[], dict[str, HandlerSequence]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handlers = make()
    # While it looks for the Space, `auto` would rather use the demo Space than wait.
    if "config" in handlers:
        monkeypatch.setattr(space_connection, "AUTO_TIMEOUTS", LONG_TIMEOUTS)
    waits: list[Waiting] = []
    async with (
        serve_fake_gradio(handlers) as address,
        connect(address, on_wait=waits.append) as space,
    ):
        with anyio.fail_after(LIMIT_SECONDS):
            events = await collect_events(space)
            assert isinstance(events[-1], Finished)
            assert (await space.fetch(events[-1].picture)).data == PNG
    waits += [event for event in events if isinstance(event, Waiting)]
    assert all(wait.reason for wait in waits)


@pytest.mark.parametrize(
    ("stream", "joins"),
    [
        (respond_events(QUEUED, STARTED, SESSION_NOT_FOUND), 1),
        (respond_events(QUEUED, STARTED, truncated_tail=b""), 1),
        (respond_events(QUEUED, STARTED, {"msg": "server_stopped"}), 1),
        (
            respond_events(
                QUEUED,
                STARTED,
                {"msg": "process_completed", "success": False, "output": {"error": "no"}},
            ),
            1,
        ),
        (respond_events(SESSION_NOT_FOUND), 2),
        (respond_events(QUEUED, STARTED, EXPIRED_TOKEN_MESSAGE), 2),
    ],
)
async def test_a_run_that_may_have_cost_quota_is_never_repeated(
    stream: Handler, joins: int
) -> None:
    join = HandlerSequence(respond_json({"event_id": "e"}))
    async with serve_fake_gradio(join=join, data=stream) as address:
        with pytest.raises(SD35Error):
            await run_and_fetch(address)
    assert join.call_count == joins


async def test_a_restart_between_join_and_stream_costs_no_image() -> None:
    port = free_port()
    joined = anyio.Event()

    async def join(_: web.Request) -> web.Response:
        joined.set()
        return web.json_response({"event_id": "e"})

    async def dead_stream(request: web.Request) -> web.StreamResponse:
        drop_connection(request)
        return web.Response()

    async with contextlib.AsyncExitStack() as stack:
        with anyio.fail_after(LIMIT_SECONDS):
            first = contextlib.AsyncExitStack()
            address = await first.enter_async_context(
                serve_fake_gradio(port=port, join=join, data=dead_stream)
            )
            space = await stack.enter_async_context(
                SpaceClient.connect(address, timeouts=LONG_TIMEOUTS)
            )
            running = asyncio.ensure_future(collect_events(space))
            await joined.wait()
            await first.aclose()
            renumbered = DESCRIPTION["config"] | {
                "dependencies": [{}, *DESCRIPTION["config"]["dependencies"]]
            }
            fn_indexes: list[Any] = []

            async def accept_join(request: web.Request) -> web.Response:
                fn_indexes.append((await request.json())["fn_index"])
                return web.json_response({"event_id": "e"})

            data = HandlerSequence(respond_events(SESSION_NOT_FOUND), COMPLETE_STREAM)
            restarted_server = serve_fake_gradio(
                port=port,
                config=respond_json(_with_fn_index(renumbered, 5)),
                join=accept_join,
                data=data,
            )
            await stack.enter_async_context(restarted_server)
            assert isinstance((await running)[-1], Finished)
    assert fn_indexes == [5], "its description wasn't read again"


def _with_fn_index(config: dict[str, Any], fn_index: int) -> dict[str, Any]:
    *other_dependencies, infer = config["dependencies"]
    return config | {"dependencies": [*other_dependencies, infer | {"id": fn_index}]}


async def test_cookies_keep_a_run_at_one_replica() -> None:
    replicas = itertools.count(1)
    joined: set[str] = set()

    async def config(_: web.Request) -> web.Response:
        response = web.json_response(DESCRIPTION["config"])
        response.set_cookie("replica", str(next(replicas)))
        return response

    async def join(request: web.Request) -> web.Response:
        joined.add(request.cookies["replica"])
        return web.json_response({"event_id": "e"})

    async def data(request: web.Request) -> web.StreamResponse:
        return await (
            COMPLETE_STREAM
            if request.cookies.get("replica") in joined
            else respond_events(SESSION_NOT_FOUND)
        )(request)

    async with serve_fake_gradio(config=config, join=join, data=data) as address:
        await run_and_fetch(address)
        await run_and_fetch(address)
    assert joined == {"1", "2"}


async def test_a_thousand_messages_in_one_chunk_all_arrive() -> None:
    steps = [
        {"msg": "progress", "progress_data": [{"index": step, "length": 1000, "unit": "steps"}]}
        for step in range(1000)
    ]
    async with serve_fake_gradio(data=respond_events(QUEUED, STARTED, *steps, FINISHED)) as address:
        *events, _ = await run_and_fetch(address)
    assert [event.step for event in events if isinstance(event, Progress)] == list(range(1000))


async def test_a_message_in_two_chunks_arrives_once() -> None:
    complete_data = b"".join(
        message_bytes(message) for message in (QUEUED, STARTED, PREVIEW, FINISHED)
    )
    position = iter(range(1, len(complete_data), 37))

    async def data(request: web.Request) -> web.StreamResponse:
        response = await start_event_stream(request)
        at = next(position)
        await response.write(complete_data[:at])
        await asyncio.sleep(0)
        await response.write(complete_data[at:])
        return response

    async with serve_fake_gradio(data=data) as address, SpaceClient.connect(address) as space:
        for _ in range(10):
            assert isinstance((await collect_events(space))[-1], Finished)


async def test_retry_after_is_honoured_up_to_a_limit() -> None:
    started_at = asyncio.get_running_loop().time()
    join = HandlerSequence(respond_text(429, Retry_After="1"), respond_json({"event_id": "e"}))
    async with serve_fake_gradio(join=join) as address:
        await run_and_fetch(address, LONG_TIMEOUTS)
    assert asyncio.get_running_loop().time() - started_at >= 1
    async with serve_fake_gradio(
        join=respond_text(503, '{"detail": "Queue is full."}', Retry_After="3600")
    ) as address:
        with anyio.fail_after(2), pytest.raises(QueueFullError) as refusal:
            await run_and_fetch(address, LONG_TIMEOUTS)
    assert refusal.value.retry_after_seconds == 3600
    assert refusal.value.retry_at is not None


@pytest.mark.parametrize(
    ("source", "kind", "expected_message"),
    [
        ("http://127.0.0.1:1/", UnreachableError, "connection refused"),
        ("http://nowhere.invalid/", UnreachableError, "unknown host"),
        ("owner/name", UnreachableError, "Can't reach owner/name on Hugging Face"),
        ("badname", SpaceNotFoundError, "owner/name"),
        ("http://me:s3cret@127.0.0.1:1/", SpaceNotFoundError, "user or password"),
        ("http://[", SpaceNotFoundError, "address"),
        ("http://127.0.0.1:99999/", SpaceNotFoundError, "address"),
    ],
)
async def test_an_unreachable_space_is_an_error_with_its_reason(
    source: str, kind: type[SD35Error], expected_message: str
) -> None:
    with pytest.raises(kind, match=expected_message):
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
async def test_a_sleeping_space_is_awaited_and_a_paused_one_is_not(
    stages: list[str], kind: type[ConnectionFailedError] | None
) -> None:
    waits: list[Waiting] = []
    addresses: list[str] = []
    stage_iterator = iter([stages[0], *stages])  # once for the address

    async def hub(request: web.Request) -> web.Response:
        assert request.path == "/api/spaces/owner/name"
        stage = next(stage_iterator, stages[-1])
        return web.json_response({"host": addresses[0].rstrip("/"), "runtime": {"stage": stage}})

    configs = HandlerSequence(
        *[SPACE_ASLEEP] * (len(stages) - 1), respond_json(DESCRIPTION["config"])
    )
    async with (
        serve_fake_gradio(config=configs) as address,
        serve_fake_gradio(file=hub) as hub_address,
    ):
        addresses.append(address)
        connection = SpaceClient.connect(
            "owner/name", hub=hub_address, timeouts=LONG_TIMEOUTS, on_wait=waits.append
        )
        with (
            anyio.fail_after(LIMIT_SECONDS),
            pytest.raises(kind) if kind else contextlib.nullcontext(),
        ):
            async with connection as space:
                assert isinstance((await collect_events(space))[-1], Finished)
    assert len(waits) == (0 if kind is SpacePausedError else len(stages) - 1)
    assert all("Waking up" in wait.reason and wait.limit_seconds == LIMIT_SECONDS for wait in waits)


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
async def test_an_invalid_token_and_a_missing_space_are_told_apart(
    answers: dict[str, int], token: str | None, kind: type[SD35Error]
) -> None:

    async def hub(request: web.Request) -> web.Response:
        status = next(
            status for path, status in answers.items() if request.path.startswith(f"/{path}")
        )
        return web.Response(status=status, text="{}")

    async with serve_fake_gradio(file=hub) as address:
        with pytest.raises(kind):
            async with SpaceClient.connect(
                "owner/name", hub=address, token=token, timeouts=SHORT_TIMEOUTS
            ):
                pytest.fail("connected")


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_an_outage_of_the_hub_is_none_of_the_space(status: int) -> None:
    async with serve_fake_gradio() as address:
        host = respond_json({"host": address.rstrip("/"), "runtime": {"stage": "RUNNING"}})
        async with (
            serve_fake_gradio(file=HandlerSequence(host, respond_text(status))) as hub,
            SpaceClient.connect("owner/name", hub=hub, timeouts=SHORT_TIMEOUTS) as space,
        ):
            assert isinstance((await collect_events(space))[-1], Finished)


async def test_the_contract_is_read_again_after_a_restart() -> None:
    config = HandlerSequence(
        respond_json(DESCRIPTION["config"]),
        respond_json(DESCRIPTION["config"] | {"dependencies": []}),
    )
    async with serve_fake_gradio(
        config=config, data=respond_events(QUEUED, STARTED, truncated_tail=b"")
    ) as address:
        async with SpaceClient.connect(address, timeouts=SHORT_TIMEOUTS) as space:
            with pytest.raises(StreamInterruptedError):
                await collect_events(space)
            with pytest.raises(ContractError):
                await collect_events(space)


async def test_an_old_contract_is_read_again() -> None:
    config = HandlerSequence(respond_json(DESCRIPTION["config"]))
    async with serve_fake_gradio(config=config) as address:
        async with SpaceClient.connect(address, timeouts=Timeouts(description=0)) as space:
            await collect_events(space)
    assert config.call_count == 2


async def test_a_cancel_without_an_answer_is_unconfirmed_and_hides_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serve_fake_gradio(
        data=respond_events(STARTED, is_kept_open=True), cancel=respond_text(500, "no")
    ) as address:
        async with SpaceClient.connect(address) as space:
            generation = space.generate(make_request())
            with caplog.at_level(logging.CRITICAL), pytest.raises(KeyError, match="mine"):
                async with generation:
                    assert isinstance(await anext(aiter(generation)), Started)
                    raise KeyError("mine")
            assert generation.stopped is StopOutcome.UNCONFIRMED


@pytest.mark.parametrize(
    "answer",
    [respond_json({"event_id": "e"}), QUEUE_FULL, drop_request],
    ids=["taken", "refused", "lost"],
)
async def test_a_job_accepted_during_a_cancel_is_cancelled_at_the_space(answer: Handler) -> None:
    is_requested = anyio.Event()
    answering = anyio.Event()
    cancelled = list[str]()

    async def join(request: web.Request) -> web.StreamResponse:
        is_requested.set()
        await answering.wait()
        return await answer(request)

    async def cancel(request: web.Request) -> web.Response:
        cancelled.append((await request.json())["event_id"])
        return web.json_response({"success": True})

    ending = {"msg": "process_completed", "success": True, "output": {}}
    async with serve_fake_gradio(
        join=join, cancel=cancel, data=respond_events(QUEUED, ending)
    ) as address:
        async with SpaceClient.connect(address, timeouts=SHORT_TIMEOUTS) as space:
            generation = space.generate(make_request())

            async def start_generation() -> None:
                async with generation:
                    await anyio.sleep_forever()

            task = asyncio.ensure_future(start_generation())
            await is_requested.wait()
            task.cancel()
            answering.set()
            await asyncio.wait([task])
    was_accepted = answer is not QUEUE_FULL and answer is not drop_request
    assert cancelled == (["e"] if was_accepted else [])
    assert generation.stopped is (
        StopOutcome.REMOVED
        if was_accepted
        else StopOutcome.UNCONFIRMED
        if answer is drop_request
        else None
    )


@pytest.mark.parametrize("previews", list(Previews))
async def test_only_the_requested_previews_are_fetched(previews: Previews) -> None:
    requested_paths: list[str] = []
    events: list[object] = []
    first_is_asked = anyio.Event()
    all_are_sent = anyio.Event()
    all_are_seen = anyio.Event()
    fetched = {Previews.NONE: [], Previews.NEWEST: [0, 5], Previews.ALL: [0, 1, 2, 3, 4, 5]}[
        previews
    ]
    expected_count = {Previews.NONE: 6, Previews.NEWEST: 2, Previews.ALL: 5}[
        previews
    ]  # the fourth is lost

    async def file(request: web.Request) -> web.StreamResponse:
        requested_paths.append(request.path)
        first_is_asked.set()
        if previews is Previews.NEWEST:
            await all_are_sent.wait()
        return await (
            respond_text(404) if request.path.endswith("3.png") else respond_picture(PNG)
        )(request)

    async def data(request: web.Request) -> web.StreamResponse:
        response = await start_event_stream(request)
        for index in range(6):
            picture = PICTURE | {"url": f"/gradio_api/file={index}.png"}
            value: Any = [["replace", [], picture]] if index else picture
            await response.write(
                message_bytes(PREVIEW | {"output": {"data": [value, [] if index else 7]}})
            )
            if previews is not Previews.NONE:
                await first_is_asked.wait()
        await response.write(message_bytes({"msg": "log", "log": "all are sent", "level": "info"}))
        await all_are_seen.wait()
        await response.write(message_bytes(FINISHED))
        return response

    async with (
        serve_fake_gradio(file=file, data=data) as address,
        SpaceClient.connect(address) as space,
    ):
        async with space.generate(make_request(), previews=previews) as generation:
            with anyio.fail_after(LIMIT_SECONDS):
                async for event in generation:
                    events.append(event)
                    if isinstance(event, Notice):
                        all_are_sent.set()
                    if sum(isinstance(event, Preview) for event in events) == expected_count:
                        all_are_seen.set()
    preview_events = [event for event in events if isinstance(event, Preview)]
    assert list(dict.fromkeys(requested_paths)) == [
        f"/gradio_api/file={index}.png" for index in fetched
    ]
    assert len(preview_events) == expected_count
    assert all((event.fetched is None) == (previews is Previews.NONE) for event in preview_events)
    assert isinstance(events[-1], Finished)


async def test_an_identity_that_expires_twice_is_an_error() -> None:
    async with serve_fake_gradio(
        data=respond_events(QUEUED, STARTED, EXPIRED_TOKEN_MESSAGE)
    ) as address:
        with pytest.raises(IdentityExpiredError, match="Expired"):
            await run_and_fetch(address)


@pytest.mark.parametrize("cancels", [1, 2, 3])
async def test_further_cancels_while_leaving_leave_no_job_and_no_task(cancels: int) -> None:
    is_requested = anyio.Event()
    may_answer = anyio.Event()
    cancelled = list[str]()

    async def join(_: web.Request) -> web.Response:
        is_requested.set()
        await may_answer.wait()
        return web.json_response({"event_id": "e"})

    async def cancel(request: web.Request) -> web.Response:
        cancelled.append((await request.json())["event_id"])
        return web.json_response({"success": True})

    ending = {"msg": "process_completed", "success": True, "output": {}}
    async with serve_fake_gradio(
        join=join, cancel=cancel, data=respond_events(QUEUED, ending)
    ) as address:
        async with SpaceClient.connect(address) as space:
            tasks_before = asyncio.all_tasks()
            task = asyncio.ensure_future(collect_events(space))
            await is_requested.wait()
            for _ in range(cancels):
                task.cancel()
                for _ in range(10):  # until the cancellation has reached the innermost wait
                    await asyncio.sleep(0)
            may_answer.set()
            await asyncio.wait([task])
            assert task.cancelled()
            assert cancelled == ["e"]
            generation_tasks = {
                task for task in asyncio.all_tasks() - tasks_before if "Generation" in repr(task)
            }
            assert not generation_tasks


async def test_many_runs_wait_for_one_contract() -> None:
    config = HandlerSequence(respond_json(DESCRIPTION["config"]), SPACE_ASLEEP)
    async with serve_fake_gradio(config=config) as address:
        async with SpaceClient.connect(
            address, timeouts=Timeouts(description=0, outage=0.3, attempts=1)
        ) as space:
            with anyio.fail_after(4):
                ends = await asyncio.gather(
                    *(collect_events(space) for _ in range(5)), return_exceptions=True
                )
    assert [type(end) for end in ends] == [SpaceAsleepError] * 5


async def test_a_silent_stream_is_taken_up_again() -> None:
    async def go_silent(request: web.Request) -> web.StreamResponse:
        response = await start_event_stream(request)
        await response.write(message_bytes(QUEUED) + message_bytes(STARTED))
        await anyio.sleep_forever()
        raise AssertionError

    data = HandlerSequence(go_silent, respond_events(STARTED, FINISHED))
    async with serve_fake_gradio(data=data) as address:
        assert (await run_and_fetch(address))[-1] == PNG
    assert data.call_count == 2


async def test_a_slow_listener_is_not_a_silent_space() -> None:
    logs = [{"msg": "log", "log": f"line {index}", "level": "info"} for index in range(300)]
    async with serve_fake_gradio(
        data=respond_events(QUEUED, STARTED, *logs, HEARTBEAT, FINISHED)
    ) as address:
        async with (
            SpaceClient.connect(address, timeouts=SHORT_TIMEOUTS) as space,
            space.generate(make_request()) as generation,
        ):
            events = aiter(generation)
            assert isinstance(await anext(events), Queued)
            await asyncio.sleep(2 * SHORT_TIMEOUTS.no_news)
            assert isinstance([event async for event in events][-1], Finished)
            assert not [event async for event in generation], "it hangs when it is asked again"


@pytest.mark.parametrize("url", ["data:image/png;base64,é", "//[::1]:80℀@/x", "http://["])
@pytest.mark.parametrize("previews", [Previews.NEWEST, Previews.ALL])
async def test_a_preview_at_an_invalid_address_costs_no_image(url: str, previews: Previews) -> None:
    invalid = PREVIEW | {"output": {"data": [{"url": url}, 7]}}
    valid = PREVIEW | {"output": {"data": [[["replace", [], PICTURE]], []]}}
    async with serve_fake_gradio(
        data=respond_events(QUEUED, STARTED, invalid, valid, FINISHED)
    ) as address:
        async with (
            SpaceClient.connect(address) as space,
            space.generate(make_request(), previews=previews) as generation,
        ):
            with anyio.fail_after(LIMIT_SECONDS):
                assert isinstance([event async for event in generation][-1], Finished)
                assert (await generation.fetch()).data == PNG


async def test_a_run_that_ends_without_an_image_has_the_last_preview_that_was_shown() -> None:
    skipped = FINISHED | {"output": {"data": [{"__type__": "update"}, 7]}}
    expired = PREVIEW | {"output": {"data": [[["replace", [], "/gone.png"]], []]}}
    file = HandlerSequence(respond_picture(PNG), respond_text(404))
    stream = respond_events(QUEUED, STARTED, PREVIEW, expired, skipped)
    async with serve_fake_gradio(data=stream, file=file) as address:
        async with (
            SpaceClient.connect(address) as space,
            space.generate(make_request(), previews=Previews.ALL) as generation,
        ):
            assert isinstance([event async for event in generation][-1], Finished)
            assert (await generation.fetch()).data == PNG
