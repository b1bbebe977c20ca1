"""The fast GET: it takes plain responses, and leaves all others to aiohttp."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from aiohttp import web
from yarl import URL

from sd35.client import SpaceClient
from sd35.client.fast_get import MAX_HEAD_BYTES, RawPool
from sd35.client.limited_connector import LimitedConnector
from sd35.core.events import RemotePicture
from tests.impostor import DESCRIPTION, LIMIT_SECONDS, PNG, serve_fake_gradio

pytestmark = pytest.mark.anyio

LIMIT_BYTES = 1000
RESPONSE_BODY = b"picture" * 50
RESPONSE_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n"
PLAIN_RESPONSE = RESPONSE_HEAD + b"content-length: 350\r\n\r\n"

Responder = Callable[[asyncio.StreamWriter], Coroutine[Any, Any, None]]


class ScriptedServer:
    """Server of prepared answers, of which an empty one closes the connection."""

    def __init__(self, *answers: bytes | tuple[bytes, ...]) -> None:
        self._answers = iter(answers)
        self.requests: list[bytes] = []
        self.connections = 0

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[RawPool]:
        """Serve the answers, and yield a pool of connections to them."""
        server = await asyncio.start_server(self._handle_connection, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        root = URL(f"http://127.0.0.1:{port}/")
        connector = LimitedConnector()
        async with connector:
            pool = RawPool(root, connector, LIMIT_BYTES, LIMIT_SECONDS)
            yield pool
            pool.close()
        server.close()

    async def _handle_connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        try:
            while True:
                self.requests.append(await reader.readuntil(b"\r\n\r\n"))
                answer = next(self._answers, b"")
                for piece in answer if isinstance(answer, tuple) else (answer,):
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
                if not answer or answer[-1:] == b"!":
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def fetch_body(pool: RawPool, limit_seconds: float = LIMIT_SECONDS) -> bytes | None:
    return await pool.get(
        URL("http://127.0.0.1/gradio_api/file=a b.png?x=1"), {"Cookie": "a=b"}, limit_seconds
    )


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (PLAIN_RESPONSE + RESPONSE_BODY, RESPONSE_BODY),
        ((PLAIN_RESPONSE, RESPONSE_BODY), RESPONSE_BODY),
        (
            (
                PLAIN_RESPONSE[:9],
                PLAIN_RESPONSE[9:40],
                PLAIN_RESPONSE[40:] + RESPONSE_BODY[:7],
                RESPONSE_BODY[7:100],
                RESPONSE_BODY[100:],
            ),
            RESPONSE_BODY,
        ),
        (
            RESPONSE_HEAD + b"Content-Length:350\r\nConnection: keep-alive\r\n\r\n" + RESPONSE_BODY,
            RESPONSE_BODY,
        ),
        (
            RESPONSE_HEAD + b"Content-Length: 350\r\nConnection: close\r\n\r\n" + RESPONSE_BODY,
            RESPONSE_BODY,
        ),
        (PLAIN_RESPONSE + RESPONSE_BODY + b"more", None),
        (PLAIN_RESPONSE + RESPONSE_BODY[:100] + b"!", None),
        (b"", None),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", None),
        (b"HTTP/1.1 302 Found\r\nLocation: http://x/\r\nContent-Length: 0\r\n\r\n", None),
        (b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nno", None),
        (RESPONSE_HEAD + b"Content-Length: 0\r\n\r\n", None),
        (RESPONSE_HEAD + b"Content-Length: -1\r\n\r\n", None),
        (RESPONSE_HEAD + b"Content-Length: 350\r\nContent-Length: 7\r\n\r\n" + RESPONSE_BODY, None),
        (RESPONSE_HEAD + b"Content-Length: 1001\r\n\r\n" + RESPONSE_BODY * 3, None),
        (RESPONSE_HEAD + b"Content-Length: 99999999999999999999\r\n\r\n", None),
        (RESPONSE_HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", None),
        (
            RESPONSE_HEAD
            + b"Content-Length: 350\r\nContent-Encoding: gzip\r\n\r\n"
            + RESPONSE_BODY,
            None,
        ),
        (b"garbage\r\n\r\n", None),
        (b"x" * (MAX_HEAD_BYTES + 1), None),
    ],
)
async def test_only_complete_plain_responses_are_taken(
    answer: bytes | tuple[bytes, ...], body: bytes | None
) -> None:
    server = ScriptedServer(answer)
    async with server.serve() as pool:
        with anyio.fail_after(LIMIT_SECONDS):
            data = await fetch_body(pool)
    assert data == body
    assert server.requests[0].startswith(
        b"GET /gradio_api/file=a%20b.png?x=1 HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    )
    assert b"\r\nCookie: a=b\r\n" in server.requests[0]


@pytest.mark.parametrize(
    ("first", "connections", "requests"),
    [
        (PLAIN_RESPONSE + RESPONSE_BODY, 1, 2),
        (RESPONSE_HEAD + b"Content-Length: 350\r\nConnection: close\r\n\r\n" + RESPONSE_BODY, 2, 2),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", 2, 2),
        (PLAIN_RESPONSE + RESPONSE_BODY[:100] + b"!", 2, 2),
        (RESPONSE_HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 1, 1),
    ],
)
async def test_only_open_connections_are_used_again(
    first: bytes, connections: int, requests: int
) -> None:
    server = ScriptedServer(first, PLAIN_RESPONSE + RESPONSE_BODY)
    async with server.serve() as pool:
        with anyio.fail_after(LIMIT_SECONDS):
            await fetch_body(pool)
            assert await fetch_body(pool) == (RESPONSE_BODY if requests == 2 else None)
    assert (server.connections, len(server.requests)) == (connections, requests)


async def test_a_connection_with_surplus_bytes_is_never_used_again() -> None:
    hostile_response = PLAIN_RESPONSE.replace(b"350", b"4") + b"EVIL"
    server = ScriptedServer(
        PLAIN_RESPONSE + RESPONSE_BODY + hostile_response,
        PLAIN_RESPONSE + RESPONSE_BODY,
        PLAIN_RESPONSE + RESPONSE_BODY,
        PLAIN_RESPONSE + RESPONSE_BODY,
    )
    async with server.serve() as pool:
        with anyio.fail_after(LIMIT_SECONDS):
            has_complete_body = [await fetch_body(pool) for _ in range(3)]
    assert b"EVIL" not in has_complete_body


async def test_waits_and_sizes_are_limited() -> None:
    server = ScriptedServer((PLAIN_RESPONSE, *[b"x"] * 5))
    async with server.serve() as pool:
        with pytest.raises(TimeoutError):
            await fetch_body(pool, 0.2)
    connector = LimitedConnector()
    async with connector:
        pool = RawPool(URL("http://127.0.0.1:1/"), connector, LIMIT_BYTES, LIMIT_SECONDS)
        assert await fetch_body(pool) is None
    assert (
        await pool.get(URL("http://127.0.0.1/"), {"Cookie": "a\r\nX-Evil: 1"}, LIMIT_SECONDS)
        is None
    )


async def test_the_token_and_the_cookies_are_sent() -> None:
    request_headers: list[Any] = []

    async def file(request: web.Request) -> web.Response:
        request_headers.append(
            (request.headers.get("Authorization"), request.cookies.get("replica"))
        )
        return web.Response(body=PNG)

    async def config(_: web.Request) -> web.Response:
        response = web.json_response(DESCRIPTION["config"])
        response.set_cookie("replica", "2")
        return response

    async with (
        serve_fake_gradio(file=file, config=config) as address,
        SpaceClient.connect(address, token="hf_x") as space,
    ):
        for _ in range(3):
            assert (await space.fetch(RemotePicture("/gradio_api/file=a.png"))).data == PNG
    assert request_headers == [("Bearer hf_x", "2")] * 3
