"""The short way to a picture: it takes what it knows, and leaves everything else to the library."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from aiohttp import web
from yarl import URL

from sd35.client import SpaceClient
from sd35.client.fast_get import HEAD_BYTES, Wires
from sd35.core.events import RemotePicture
from tests.impostor import LIMIT, PNG, TOLD, impostor

pytestmark = pytest.mark.anyio

LIMIT_BYTES = 1000
BODY = b"picture" * 50
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n"
PLAIN = HEAD + b"content-length: 350\r\n\r\n"

Answer = Callable[[asyncio.StreamWriter], Coroutine[Any, Any, None]]


class Server:
    """Answers each request with the next of these, and counts connections; an empty answer breaks off."""

    def __init__(self, *answers: bytes | tuple[bytes, ...]) -> None:
        self._answers = iter(answers)
        self.requests: list[bytes] = []
        self.connections = 0

    @asynccontextmanager
    async def at(self) -> AsyncIterator[Wires]:
        """Hold wires to it."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        wires = Wires(URL(f"http://127.0.0.1:{port}/"), LIMIT_BYTES, LIMIT)
        yield wires
        wires.close()
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
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


async def got(wires: Wires, limit_seconds: float = LIMIT) -> bytes | None:
    return await wires.get(
        URL("http://127.0.0.1/gradio_api/file=a b.png?x=1"), {"Cookie": "a=b"}, limit_seconds
    )


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (PLAIN + BODY, BODY),
        ((PLAIN, BODY), BODY),
        ((PLAIN[:9], PLAIN[9:40], PLAIN[40:] + BODY[:7], BODY[7:100], BODY[100:]), BODY),
        (HEAD + b"Content-Length:350\r\nConnection: keep-alive\r\n\r\n" + BODY, BODY),
        (HEAD + b"Content-Length: 350\r\nConnection: close\r\n\r\n" + BODY, BODY),
        (PLAIN + BODY + b"more", None),
        (PLAIN + BODY[:100] + b"!", None),
        (b"", None),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", None),
        (b"HTTP/1.1 302 Found\r\nLocation: http://x/\r\nContent-Length: 0\r\n\r\n", None),
        (b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nno", None),
        (HEAD + b"Content-Length: 0\r\n\r\n", None),
        (HEAD + b"Content-Length: -1\r\n\r\n", None),
        (HEAD + b"Content-Length: 350\r\nContent-Length: 7\r\n\r\n" + BODY, None),
        (HEAD + b"Content-Length: 1001\r\n\r\n" + BODY * 3, None),
        (HEAD + b"Content-Length: 99999999999999999999\r\n\r\n", None),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", None),
        (HEAD + b"Content-Length: 350\r\nContent-Encoding: gzip\r\n\r\n" + BODY, None),
        (b"garbage\r\n\r\n", None),
        (b"x" * (HEAD_BYTES + 1), None),
    ],
)
async def test_answers(answer: bytes | tuple[bytes, ...], body: bytes | None) -> None:
    """What isn't a plain answer passes for a picture, or a plain one is lost, in whatever pieces it comes."""
    server = Server(answer)
    async with server.at() as wires:
        with anyio.fail_after(LIMIT):
            data = await got(wires)
    assert data == body
    assert server.requests[0].startswith(
        b"GET /gradio_api/file=a%20b.png?x=1 HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    )
    assert b"\r\nCookie: a=b\r\n" in server.requests[0]


@pytest.mark.parametrize(
    ("first", "connections", "requests"),
    [
        (PLAIN + BODY, 1, 2),
        (HEAD + b"Content-Length: 350\r\nConnection: close\r\n\r\n" + BODY, 2, 2),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", 2, 2),
        (PLAIN + BODY[:100] + b"!", 2, 2),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 1, 1),
    ],
)
async def test_the_next_picture(first: bytes, connections: int, requests: int) -> None:
    """A connection that has ended is used again, one that has not isn't, or some servers are always asked twice."""
    server = Server(first, PLAIN + BODY)
    async with server.at() as wires:
        with anyio.fail_after(LIMIT):
            await got(wires)
            assert await got(wires) == (BODY if requests == 2 else None)
    assert (server.connections, len(server.requests)) == (connections, requests)


async def test_bytes_that_nobody_asked_for() -> None:
    """What comes after a picture, as a broken server or proxy sends it, passes for the next one."""
    evil = PLAIN.replace(b"350", b"4") + b"EVIL"
    server = Server(PLAIN + BODY + evil, PLAIN + BODY, PLAIN + BODY, PLAIN + BODY)
    async with server.at() as wires:
        with anyio.fail_after(LIMIT):
            got_all = [await got(wires) for _ in range(3)]
    assert b"EVIL" not in got_all


async def test_limits() -> None:
    """A server that sends a picture byte by byte, for ever, is waited for; or one that isn't there."""
    server = Server((PLAIN, *[b"x"] * 5))
    async with server.at() as wires:
        with pytest.raises(TimeoutError):
            await got(wires, 0.2)
    assert await got(Wires(URL("http://127.0.0.1:1/"), LIMIT_BYTES, LIMIT)) is None
    assert await wires.get(URL("http://127.0.0.1/"), {"Cookie": "a\r\nX-Evil: 1"}, LIMIT) is None


async def test_over_the_client() -> None:
    """On the short way the token, or the cookie that chooses the replica, is missing."""
    seen: list[Any] = []

    async def file(request: web.Request) -> web.Response:
        seen.append((request.headers.get("Authorization"), request.cookies.get("replica")))
        return web.Response(body=PNG)

    async def config(_: web.Request) -> web.Response:
        response = web.json_response(TOLD["config"])
        response.set_cookie("replica", "2")
        return response

    async with (
        impostor(file=file, config=config) as address,
        SpaceClient.connect(address, token="hf_x") as space,
    ):
        for _ in range(3):
            assert (await space.fetch(RemotePicture("/gradio_api/file=a.png"))).data == PNG
    assert seen == [("Bearer hf_x", "2")] * 3
