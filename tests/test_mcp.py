"""`app.py --mcp` as a process behind a login, called by the MCP SDK's own client."""

import base64
import io
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import pytest

pytest.importorskip("mcp.server.mcpserver", reason="agents take what is in requirements-mcp.txt")

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import DEFAULT_MAX_SSE_EVENT_SIZE, streamable_http_client
from mcp.shared.dispatcher import ProgressFnT
from mcp.types import CallToolResult, ImageContent, ResourceLink, TextContent
from PIL import Image
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from sd35.core.visitor import Visitor
from sd35.jobs.artifacts import Artifact
from sd35.jobs.job import JobResult
from sd35.jobs.service import JobService
from sd35.jobs.space_connection import SpaceConfig
from sd35.server import mcp_sessions
from sd35.server.launch import free_port
from sd35.server.mcp import MCP_PATH, McpApp
from sd35.server.mcp_sessions import MAX_SESSIONS_PER_OWNER, SESSION_IDLE_SECONDS
from tests.app_server import studio_config
from tests.test_app import LIMIT_SECONDS, ROOT, environment

pytestmark = pytest.mark.anyio

LOGIN = ("ann", "secret-pass")
OTHER_LOGIN = ("bob", "other-pass")
SHARED_HOST = "4f2a.gradio.live"
LONG_RUN_ARGUMENTS = {"prompt": "a cat", "num_inference_steps": 50}
CLIENT_MODES = ("auto", "legacy")
"""Protocol 2026-07-28, where each request stands for itself, and those before, with a session."""


@dataclass(frozen=True, slots=True)
class Program:
    """A running program, and the cookies of a logged-in user."""

    address: str
    cookies: httpx2.Cookies

    @asynccontextmanager
    async def agent(
        self,
        mode: str,
        path: str = MCP_PATH,
        **options: Any,  # noqa: ANN401  # as httpx2 takes them
    ) -> AsyncIterator[Client]:
        """Connect an agent with the program's login, unless the options have another."""
        async with httpx2.AsyncClient(
            timeout=LIMIT_SECONDS, **({"cookies": self.cookies} | options)
        ) as http:
            transport = streamable_http_client(f"{self.address}{path}", http_client=http)
            async with Client(transport, mode=mode) as client:
                with anyio.fail_after(LIMIT_SECONDS):
                    yield client

    def get(self, path: str) -> httpx2.Response:
        """Return what a logged-in user gets there."""
        return httpx2.get(f"{self.address}{path}", cookies=self.cookies, timeout=LIMIT_SECONDS)

    def count_jobs(self, outcome: str) -> float:
        """Return the number of jobs with this outcome."""
        match = re.search(
            rf'^sd35_jobs_ended_total{{outcome="{outcome}"}} (\S+)$',
            self.get("/metrics").text,
            re.MULTILINE,
        )
        return float(match[1]) if match else 0.0

    async def wait_until_cancelled(self, jobs: float) -> None:
        """Wait until this many jobs have been cancelled."""
        with anyio.fail_after(LIMIT_SECONDS):
            while await anyio.to_thread.run_sync(self.count_jobs, "cancelled") < jobs:
                pass


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """Start the program. At its end it must have printed nothing unexpected."""
    port = free_port()
    flags = [
        "--mcp",
        "--space",
        "demo",
        "--known-hosts",
        ".gradio.live",
        "--visitor-waiting",
        "1",
        "--visitor-hourly=0",
    ]
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "app.py", "--port", str(port), *flags],
        cwd=ROOT,
        env=environment(
            tmp_path_factory.mktemp("agents"),
            SD35_AUTH="\n".join(map(":".join, (LOGIN, OTHER_LOGIN))),
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert (
            process.stdout.readline()
            == f"Running at http://127.0.0.1:{port}/ (press Ctrl+C to stop)\n"
        )
        assert process.stdout.readline().startswith("Images are saved in ")
        assert process.stdout.readline() == f"MCP server: http://127.0.0.1:{port}/gradio_api/mcp\n"
        address = f"http://127.0.0.1:{port}"
        form = dict(zip(("username", "password"), LOGIN, strict=True))
        yield Program(
            address, httpx2.post(f"{address}/login", data=form, timeout=LIMIT_SECONDS).cookies
        )
        process.send_signal(signal.SIGTERM)
        printed, _ = process.communicate(timeout=LIMIT_SECONDS)
        assert (process.returncode, printed) == (0, "Stopping…\n")
    finally:
        process.kill()
        process.wait(LIMIT_SECONDS)


def result_text(result: CallToolResult) -> str:
    return " ".join(content.text for content in result.content if isinstance(content, TextContent))


def image_bytes(result: CallToolResult) -> bytes:
    content = result.content[0]
    assert isinstance(content, ImageContent)
    return base64.b64decode(content.data)


async def test_tool_is_described(program: Program) -> None:
    """Agents find one tool, and what it takes and returns."""
    async with program.agent("auto") as client:
        (tool,) = (await client.list_tools()).tools
    assert tool.name == "generate"
    properties = tool.input_schema["properties"]
    assert list(properties) == [
        *("prompt", "negative_prompt", "aspect_ratio", "width", "height"),
        *("guidance_scale", "num_inference_steps", "seed", "styles", "negative_preset"),
    ]
    assert all(schema["description"] for schema in properties.values())
    assert tool.input_schema["required"] == ["prompt"]
    assert tool.description is not None
    assert "half a minute" in tool.description
    assert tool.output_schema is not None
    assert list(tool.output_schema["properties"]) == ["seed", "width", "height", "made_by", "url"]


@pytest.mark.parametrize("mode", CLIENT_MODES)
async def test_image_is_returned_with_progress(program: Program, mode: str) -> None:
    """Agents get progress, the image, its seed, who made it, and its address."""
    progress_updates: list[tuple[float, float | None, str | None]] = []

    async def listen(progress: float, total: float | None, message: str | None) -> None:
        progress_updates.append((progress, total, message))

    arguments = {
        "prompt": "a cat by the sea",
        "width": 768,
        "height": 512,
        "num_inference_steps": 20,
        "seed": "7",
    }
    async with program.agent(mode) as client:
        result = await client.call_tool("generate", arguments, progress_callback=listen)
    assert Image.open(io.BytesIO(image_bytes(result))).size == (768, 512)
    details = result.structured_content
    assert details is not None
    assert (details["seed"], details["width"], details["height"]) == (7, 768, 512)
    assert details["made_by"] == "demo painter, not Stable Diffusion"
    assert all(
        expected_text in result_text(result)
        for expected_text in ("demo painter, not Stable Diffusion", "Seed 7", details["url"])
    )
    assert program.get(details["url"].removeprefix(program.address)).content == image_bytes(result)
    assert any(
        total == 20 and re.fullmatch(r"Step \d+ of 20( · .+ left)?", message or "")
        for _, total, message in progress_updates
    )
    numbers = [progress for progress, _, _ in progress_updates]
    assert numbers == sorted(set(numbers)), "the protocol wants each one larger than the one before"


@pytest.mark.parametrize(
    ("arguments", "expected_text"),
    [
        ({}, "Enter a prompt."),
        ({"prompt": ["a", "cat"]}, "Enter a prompt."),
        (
            {"prompt": "a cat", "width": 100, "height": 512},
            "Width must be between 512 and 1024 px.",
        ),
        ({"prompt": "a cat", "width": "wide", "height": 512}, "Enter a width."),
        ({"prompt": "null", "num_inference_steps": 0}, "between 1 and 50"),
        ({"prompt": {"path": "http://192.0.2.1", "meta": {}}}, "Enter a prompt."),
        ({"prompt": "a cat", "seed": {"path": "http://192.0.2.1", "meta": {}}}, "Enter a seed."),
    ],
)
async def test_invalid_arguments_are_tool_errors(
    program: Program, arguments: dict[str, Any], expected_text: str
) -> None:
    """Invalid values are answered with the same text as elsewhere; a prompt `null` is valid."""
    async with program.agent("auto") as client:
        result = await client.call_tool("generate", arguments)
    assert result.is_error
    assert expected_text in result_text(result)
    assert not re.search(r"Traceback|pydantic|validation|\.py\b", result_text(result))
    assert ("Enter a prompt." in result_text(result)) == ("Enter a prompt." in expected_text)


def call_when(prefix: str, callback: Callable[[], None]) -> ProgressFnT:
    """Return a progress callback that acts once a message begins with this prefix."""

    async def listen(progress: float, total: float | None, message: str | None) -> None:
        if message is not None and message.startswith(prefix):
            callback()

    return listen


@pytest.mark.parametrize("mode", CLIENT_MODES)
async def test_cancelled_call_cancels_the_job(program: Program, mode: str) -> None:
    """An agent that cancels its call ends the job."""
    initial_count = program.count_jobs("cancelled")
    async with program.agent(mode) as client:
        async with anyio.create_task_group() as calls:
            cancel = call_when("Step", calls.cancel_scope.cancel)
            calls.start_soon(
                partial(client.call_tool, "generate", LONG_RUN_ARGUMENTS, progress_callback=cancel)
            )
        await program.wait_until_cancelled(initial_count + 1)


@pytest.mark.parametrize("mode", CLIENT_MODES)
async def test_closed_connection_cancels_the_job(program: Program, mode: str) -> None:
    """An agent that disappears ends its job."""
    initial_count = program.count_jobs("cancelled")
    async with httpx2.AsyncClient(timeout=LIMIT_SECONDS, cookies=program.cookies) as http:
        transport = streamable_http_client(f"{program.address}{MCP_PATH}", http_client=http)

        async def leave_scope(progress: float, total: float | None, message: str | None) -> None:
            if message is not None and message.startswith("Step"):
                await http.aclose()

        async with Client(transport, mode=mode) as client:
            with pytest.raises(MCPError), anyio.fail_after(LIMIT_SECONDS):
                await client.call_tool(
                    "generate", LONG_RUN_ARGUMENTS, progress_callback=leave_scope
                )
    await program.wait_until_cancelled(initial_count + 1)


async def test_agents_share_the_limits_of_their_visitor(program: Program) -> None:
    """Agents wait in the same queue, with the same limits, as the page."""
    initial_count = program.count_jobs("cancelled")
    async with program.agent("auto") as client:
        async with anyio.create_task_group() as calls:
            for prefix in ("Step", "Up next"):
                is_reached = anyio.Event()
                listen = call_when(prefix, is_reached.set)
                calls.start_soon(
                    partial(
                        client.call_tool, "generate", LONG_RUN_ARGUMENTS, progress_callback=listen
                    )
                )
                await is_reached.wait()
            rejected_result = await client.call_tool("generate", LONG_RUN_ARGUMENTS)
            calls.cancel_scope.cancel()
        await program.wait_until_cancelled(initial_count + 2)
    assert rejected_result.is_error
    assert "You already have 1 image in the queue" in result_text(rejected_result)


async def test_agents_need_a_login(program: Program) -> None:
    """Without the login, agents get status 401 and the scheme to use."""
    with pytest.RaisesGroup(MCPError, flatten_subgroups=True):
        async with program.agent("auto", cookies=None):
            pytest.fail("it came in")
    answer = httpx2.post(f"{program.address}{MCP_PATH}", json={}, timeout=LIMIT_SECONDS)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic ")


async def fail_demo(*_: object) -> str:
    raise NotImplementedError


@dataclass(frozen=True, slots=True)
class SessionClient:
    """Client that begins sessions of the protocol before 2026 and forgets to end them."""

    http: httpx2.AsyncClient

    async def begin(
        self, login: tuple[str, str] = LOGIN, headers: dict[str, str] | None = None
    ) -> str:
        """Begin a session, and return its id."""
        params = {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        }
        message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
        answer = await self.http.post("", json=message, auth=login, headers=headers)
        return str(answer.raise_for_status().headers["mcp-session-id"])

    async def status(self, session_id: str, login: tuple[str, str] = LOGIN) -> int:
        """Return the status with which a request in this session is answered."""
        message = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
        headers = {"Mcp-Session-Id": session_id}
        return (await self.http.post("", json=message, headers=headers, auth=login)).status_code


@pytest.fixture
async def session_client(program: Program) -> AsyncIterator[SessionClient]:
    headers = {"Accept": "application/json, text/event-stream"}
    url = f"{program.address}{MCP_PATH}"
    async with httpx2.AsyncClient(timeout=LIMIT_SECONDS, base_url=url, headers=headers) as http:
        yield SessionClient(http)


async def test_session_belongs_to_its_user(session_client: SessionClient) -> None:
    """Another user can't continue a session by its id."""
    session_id = await session_client.begin(LOGIN)
    assert await session_client.status(session_id, OTHER_LOGIN) == 404
    assert await session_client.status(session_id, LOGIN) == 200


async def test_sessions_of_one_user_are_limited(session_client: SessionClient) -> None:
    """A user's new session ends the one that was idle for longest, and none of another user."""
    other_id = await session_client.begin(OTHER_LOGIN)
    first_id, *ids = [await session_client.begin(LOGIN) for _ in range(MAX_SESSIONS_PER_OWNER)]
    assert await session_client.status(first_id, LOGIN) == 200, "the latest that was used"
    await session_client.begin(LOGIN)
    assert await session_client.status(ids[0], LOGIN) == 404
    assert await session_client.status(ids[1], LOGIN) == 200
    assert await session_client.status(first_id, LOGIN) == 200
    assert await session_client.status(other_id, OTHER_LOGIN) == 200


async def test_public_link(program: Program) -> None:
    """Through a tunnel, agents log in, and get the image's public address without local paths."""
    headers = {"Host": SHARED_HOST, "X-Forwarded-Proto": "https"}
    async with program.agent(
        "auto", f"{MCP_PATH}/", cookies=None, auth=LOGIN, headers=headers
    ) as client:
        arguments = {"prompt": "a cat", "width": 512, "height": 512, "num_inference_steps": 1}
        result = await client.call_tool("generate", arguments)
    assert result.structured_content is not None
    url = urlsplit(result.structured_content["url"])
    assert (url.scheme, url.hostname) == ("https", SHARED_HOST)
    assert url.path.startswith("/gradio_api/file=sd35/"), "no path of this machine"
    assert program.get(url.path).content == image_bytes(result), (
        "it is the picture of who has logged in, however they did"
    )


@asynccontextmanager
async def serve_visitors(folder: Path) -> AsyncIterator[tuple[McpApp, SessionClient]]:
    """Serve agents in this process; the header `x-visitor` says whose they are."""
    mcp_app = McpApp(JobService(SpaceConfig("demo"), fail_demo, studio_config(folder)))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        name = Headers(scope=scope)["x-visitor"]
        await mcp_app({**scope, "state": {"visitor": Visitor(name, name)}}, receive, send)

    transport = httpx2.ASGITransport(app)
    headers = {"Accept": "application/json, text/event-stream", "x-visitor": "a"}
    async with (
        mcp_app.lifespan(None),
        httpx2.AsyncClient(transport=transport, base_url="http://test", headers=headers) as http,
    ):
        yield mcp_app, SessionClient(http)


async def test_sessions_of_all_visitors_are_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ever new visitors can't keep others from beginning a session."""
    monkeypatch.setattr(mcp_sessions, "MAX_SESSIONS", 3)
    async with serve_visitors(tmp_path) as (mcp_app, client):
        session_ids = {}
        for name in "abcd":
            client.http.headers["x-visitor"] = name
            session_ids[name] = await client.begin()
        statuses = []
        for name, session_id in session_ids.items():
            client.http.headers["x-visitor"] = name
            statuses.append(await client.status(session_id))
        for number in range(5):
            assert await client.status(f"of-another-run-{number}") == 200
        assert len(mcp_app._session_manager._server_instances) == 3
    assert statuses == [404, 200, 200, 200]


@pytest.mark.parametrize("version", [None, "2025-06-18", "2025-11-25"])
async def test_session_outlives_a_restart(tmp_path: Path, version: str | None) -> None:
    """A client that begins no other session goes on in the one that it has, alone."""
    async with serve_visitors(tmp_path) as (_, client):
        session_id = await client.begin()
    async with serve_visitors(tmp_path) as (_, client):
        if version is not None:
            client.http.headers["MCP-Protocol-Version"] = version
        assert [await client.status(session_id) for _ in "ab"] == [200, 200]
        client.http.headers["x-visitor"] = "b"
        assert await client.status(session_id) == 404
        client.http.headers["x-visitor"] = "a"
        headers = {"Mcp-Session-Id": session_id}
        assert (await client.http.delete("", headers=headers)).status_code == 200
        assert await client.status(session_id) == 404
        assert await client.begin(headers={"Mcp-Session-Id": "of-another-run"}) != session_id


async def test_session_outlives_a_long_pause(tmp_path: Path) -> None:
    """A client that was idle for so long that the SDK has ended its session goes on in it."""
    async with serve_visitors(tmp_path) as (mcp_app, client):
        session_id = await client.begin()
        manager = mcp_app._session_manager
        await manager._discard_session(session_id, manager._server_instances[session_id])
        mcp_app._sessions._clock = lambda: time.monotonic() + SESSION_IDLE_SECONDS
        assert await client.status(session_id) == 200


async def test_large_image_is_sent_as_a_smaller_copy(tmp_path: Path) -> None:
    """An image beyond the clients' message limit comes as a JPEG that says so, with a link."""
    out = io.BytesIO()
    Image.effect_noise((1024, 1024), 200).convert("RGB").save(out, "PNG", compress_level=0)

    studio = JobService(SpaceConfig("demo"), fail_demo, studio_config(tmp_path))
    served_as = studio.artifacts.put(
        "job", Artifact(None, "noise.png", "image/png", out.getvalue())
    )
    size = len(out.getvalue())
    job_result = JobResult(
        "noise.png", served_as, None, "PNG", "image/png", 1024, 1024, size, seed=2**64 - 1
    )
    scope = {
        "type": "http",
        "method": "POST",
        "scheme": "http",
        "path": MCP_PATH,
        "query_string": b"",
        "headers": [],
    }
    request = Request(scope | {"server": ("127.0.0.1", 7860)})
    result = await McpApp(studio, "/studio")._build_tool_result(job_result, "owner/name", request)
    assert len(result.model_dump_json()) < DEFAULT_MAX_SSE_EVENT_SIZE < size
    assert Image.open(io.BytesIO(image_bytes(result))).format == "JPEG"
    link = result.content[2]
    assert isinstance(link, ResourceLink)
    assert link.uri == "http://127.0.0.1:7860/studio/gradio_api/file=sd35/job/noise.png"
    assert "too large to send" in result_text(result)
    assert f"Seed {2**64 - 1}." in result_text(result)
    assert result.structured_content is not None
    assert result.structured_content["seed"] == str(2**64 - 1), "JavaScript would round a number"


def test_missing_package_is_one_sentence(tmp_path: Path) -> None:
    """Without the MCP package, --mcp says what to install."""
    blocked = (
        "import runpy, sys; sys.modules['mcp'] = None; "
        "sys.argv = ['app.py', '--mcp', '--space', 'demo']; "
    )
    completed = subprocess.run(  # noqa: S603
        [sys.executable, "-c", f"{blocked}runpy.run_path('app.py', run_name='__main__')"],
        cwd=ROOT,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert (completed.returncode, completed.stdout) == (2, "")
    assert re.fullmatch(r"app\.py: .*pip install -r requirements-mcp\.txt\n", completed.stderr)
