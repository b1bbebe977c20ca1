"""Connections of idle and slow clients, at a running page with few places."""

import resource
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Self
from urllib.parse import urlsplit

import pytest
import uvicorn
from starlette.responses import PlainTextResponse

from sd35.server import connections
from sd35.server.auth import Authenticator
from sd35.server.connections import ConnectionLimiter, limited_server_class
from sd35.server.launch import free_port
from tests.app_server import TEMP_DIR, AppServer, serve_app
from tests.browsers import BrowserSession
from tests.fakes import FakeSpace
from tests.test_app import LARGE_FILE

LIMIT_SECONDS = 20
PLACES = 16


@pytest.fixture(scope="module")
def server() -> Iterator[AppServer]:
    """Serve the page with few places, and with little patience."""
    space = FakeSpace(is_generator=True)
    space.release()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connections, "MAX_CONNECTIONS", PLACES)
        patch.setattr(connections, "SWEEP_INTERVAL_SECONDS", 0.05)
        patch.setattr(connections, "SLOW_AFTER_SECONDS", 0.05)
        with serve_app(
            space.address, TEMP_DIR / "connections", authenticator=Authenticator(is_private=False)
        ) as server:
            yield server
    space.close()


class Attacker:
    """A client that opens many connections, and does something unfriendly on each.

    Args:
        server: under attack.
        request: is sent at once on each connection.
        source_address: of the client.
    """

    def __init__(self, server: AppServer, request: str, source_address: str = "127.0.0.1") -> None:
        url = urlsplit(server.address)
        self._peer = (url.hostname, url.port)
        self._source = (source_address, 0)
        self._request = request.format(host=f"Host: {url.netloc}\r\n").encode()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def connect(self) -> socket.socket:
        """Open a connection with a small receive buffer, and send the request."""
        client = self._stack.enter_context(socket.socket())
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.settimeout(LIMIT_SECONDS)
        client.bind(self._source)
        client.connect(self._peer)
        client.sendall(self._request)
        return client


def is_open(client: socket.socket, seconds: float = 0) -> bool:
    """Return whether the server keeps the connection open for so long."""
    poller = select.poll()
    poller.register(client, select.POLLRDHUP)
    return not poller.poll(seconds * 1000)


READ_FILE = f"GET /assets/{LARGE_FILE.name} HTTP/1.1\r\n{{host}}\r\n"
ATTACKS = {
    "no request": "",
    "headers": "GET / HTTP/1.1\r\n{host}X-Slow: ",
    "body": "POST /gradio_api/queue/join HTTP/1.1\r\n{host}Content-Length: 999\r\n\r\n{{",
    "body of a GET": "GET /gradio_api/heartbeat/x HTTP/1.1\r\n{host}Content-Length: 9\r\n\r\n",
    "keep-alive": "GET /healthz HTTP/1.1\r\n{host}\r\n",
    "large file": READ_FILE,
    "page": "GET / HTTP/1.1\r\n{host}\r\n",
}


@pytest.mark.parametrize("request_head", ATTACKS.values(), ids=ATTACKS)
def test_idle_and_slow_clients_make_room(
    server: AppServer, request_head: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Visitors load the page while others want to hold three times the connections there are."""
    with Attacker(server, request_head) as attacker:
        for _ in range(3 * PLACES):
            attacker.connect()
        with BrowserSession(server.address) as visit:
            visit.open()
    lines = "".join(capfd.readouterr()).splitlines()
    assert len(lines) <= 1, "a line a minute"


@pytest.mark.anyio
async def test_limits_hold_from_the_start() -> None:
    """Who comes back while the program starts keeps the connection."""
    config = uvicorn.Config(PlainTextResponse("reached"), port=free_port(), lifespan="off")
    config.load()
    server = limited_server_class()(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    assert isinstance(server.servers[0], ConnectionLimiter)
    await server.shutdown()


def test_idle_and_slow_clients_are_closed(
    server: AppServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a request, or without reading for too long, a connection ends."""
    monkeypatch.setattr(connections, "IDLE_TIMEOUT_SECONDS", 0.1)
    monkeypatch.setattr(connections, "SLOW_READER_SECONDS", 0.1)
    for request_head in ATTACKS.values():
        with Attacker(server, request_head) as attacker:
            assert not is_open(attacker.connect(), LIMIT_SECONDS), request_head


def test_reader_is_never_closed(server: AppServer) -> None:
    """Somebody who is reading a large file gets all of it, however many others come."""
    end = LARGE_FILE.read_bytes()[-1000:]
    with Attacker(server, READ_FILE) as reader, Attacker(server, "") as attacker:
        client = reader.connect()
        data = bytearray()
        while not data.endswith(end):
            chunk = client.recv(65536)
            assert chunk, f"closed after {len(data)} bytes"
            data += chunk
            if len(data) % 7 == 0:
                attacker.connect()


def test_response_that_ends_early_ends_its_connection() -> None:
    """A client doesn't wait for the rest of a file that became shorter while it was sent."""
    file = TEMP_DIR / "shrinking.bin"
    file.write_bytes(bytes(8_000_000))
    space = FakeSpace(is_generator=True)
    url = urlsplit(space.address)
    with (
        closing(space),
        socket.create_connection((url.hostname, url.port), LIMIT_SECONDS) as client,
    ):
        request = f"GET /gradio_api/file={file} HTTP/1.1\r\nHost: {url.netloc}\r\n\r\n"
        client.sendall(request.encode())
        assert client.recv(1000).startswith(b"HTTP/1.1 200 ")
        file.write_bytes(b"")
        while client.recv(65536):
            pass


def test_half_closed_connections_leave_no_log_entries(
    server: AppServer, capfd: pytest.CaptureFixture[str]
) -> None:
    """A client that stops in the middle of a response isn't written to any more."""
    with Attacker(server, READ_FILE) as attacker:
        for _ in range(PLACES):
            client = attacker.connect()
            client.recv(1000)
            client.shutdown(socket.SHUT_WR)
        with BrowserSession(server.address) as visit:
            visit.open()
    assert "".join(capfd.readouterr()).count("\n") <= 1


def test_invalid_requests_leave_no_log_entries(
    server: AppServer, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither noise nor a request for a WebSocket is worth a line of the log."""
    upgrade = "GET / HTTP/1.1\r\n{host}Upgrade: websocket\r\nConnection: upgrade\r\n\r\n"
    for request_head in ("\0\1\2\r\n\r\n", upgrade):
        with Attacker(server, request_head) as attacker:
            assert attacker.connect().recv(1000).startswith(b"HTTP/1.1 ")
    assert not "".join(capfd.readouterr())


def test_one_address_leaves_places_to_others(
    server: AppServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address other than this machine's is served on three quarters of the places."""
    monkeypatch.setattr(connections, "SLOW_AFTER_SECONDS", LIMIT_SECONDS)
    with Attacker(server, READ_FILE, "127.0.0.2") as attacker:
        clients = [attacker.connect() for _ in range(2 * PLACES)]
        with BrowserSession(server.address) as visit:
            visit.open()
        answers = select.select(clients, [], [], 0)[0]
        served = [client for client in answers if is_open(client)]
        assert len(served) <= PLACES * 3 // 4


def test_file_limit_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual limit of 1,024 files doesn't limit the connections if the system allows more."""
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 1000)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, limits[1]))
        assert connections.max_connections() == 256
        connections.raise_file_limit()
        assert connections.max_connections() == 1000
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
