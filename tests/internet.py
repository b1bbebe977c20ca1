"""A small internet on this machine: host names, TLS and an HTTP proxy to reach them."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import aiohttp
import trustme
from aiohttp import web
from yarl import URL

__all__ = ["Internet"]

LOOPBACK = "127.0.0.1"
CHUNK_BYTES = 1 << 16

HOP_BY_HOP_HEADERS = {"connection", "keep-alive", "transfer-encoding", "upgrade"}

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Internet:
    """The internet of programs with HTTPS_PROXY and SSL_CERT_FILE, in one event loop.

    Attributes:
        proxy: the address of the proxy for the programs under test.
        visitors_proxy: the address of the proxy for their visitors.
        authority: the file with the certificate of the authority.
        tls: the servers' context, with certificates for all names.
        ports: the local port of each name's server.
        requested_names: the names that the programs under test have requested.

    """

    def __init__(self, folder: Path, *names: str) -> None:
        authority = trustme.CA()
        self.proxy = self.visitors_proxy = ""
        self.authority = folder / "authority.pem"
        self.authority.write_bytes(authority.cert_pem.bytes())
        self.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(*names).configure_cert(self.tls)
        self.ports: dict[str, int] = {}
        self.requested_names: set[str] = set()
        self._open_connections: set[asyncio.Task[None]] = set()

    @classmethod
    @asynccontextmanager
    async def open(cls, folder: Path, *names: str) -> "AsyncIterator[Internet]":
        """Open an internet with these names; `*.` stands for all names below one."""
        internet = cls(folder, *names)
        proxy_servers = [
            await asyncio.start_server(
                internet._connection_callback(partial(internet._connect, requested_names)),
                LOOPBACK,
                0,
            )
            for requested_names in (internet.requested_names, set[str]())
        ]
        internet.proxy, internet.visitors_proxy = (
            f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}" for server in proxy_servers
        )
        async with proxy_servers[0], proxy_servers[1]:
            yield internet
        for connection in internet._open_connections:
            connection.cancel()
        await asyncio.gather(*internet._open_connections)

    @asynccontextmanager
    async def serve(self, app: web.Application, *names: str) -> AsyncIterator[None]:
        """Serve an app under these names."""
        runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, LOOPBACK, 0, ssl_context=self.tls).start()
        self.ports |= dict.fromkeys(names, runner.addresses[0][1])
        try:
            yield
        finally:
            await runner.cleanup()

    @asynccontextmanager
    async def expose(self, port: int, *names: str) -> AsyncIterator[None]:
        """Serve these names from a plain server at a local port, behind a TLS proxy."""
        async with aiohttp.ClientSession(
            auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        ) as session:
            app = web.Application()
            app.router.add_route(
                "*", "/{path:.*}", partial(_forward, session, URL(f"http://{LOOPBACK}:{port}"))
            )
            async with self.serve(app, *names):
                yield

    def _connection_callback(
        self, serve: Serve
    ) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        """Return a callback that serves a connection in a task of this internet."""

        async def run_to_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(OSError, EOFError, asyncio.CancelledError):
                await serve(reader, writer)
            writer.close()

        def start(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(run_to_end(reader, writer))
            self._open_connections.add(task)
            task.add_done_callback(self._open_connections.discard)

        return start

    async def _connect(
        self, requested_names: set[str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answer `CONNECT name:port`, and record the name."""
        head = await reader.readuntil(b"\r\n\r\n")
        name = head.split()[1].decode().rpartition(":")[0]
        requested_names.add(name)
        if head.startswith(b"CONNECT ") and name in self.ports:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            await _relay(reader, writer, self.ports[name])
        else:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")


async def _forward(
    session: aiohttp.ClientSession, root: URL, request: web.Request
) -> web.StreamResponse:
    """Forward a request as a TLS-terminating reverse proxy does."""
    headers = request.headers.copy()
    headers["X-Forwarded-Proto"] = "https"
    body = await request.read()
    upstream_request = session.request(
        request.method,
        root.join(request.rel_url),
        headers=headers,
        data=body or None,
        allow_redirects=False,
    )
    async with upstream_request as answer:
        response = web.StreamResponse(status=answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in HOP_BY_HOP_HEADERS:
                response.headers.add(name, value)
        await response.prepare(request)
        async for chunk in answer.content.iter_any():
            await response.write(chunk)
        return response


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    """Copy bytes in both directions until one side ends."""
    upstream_reader, upstream_writer = await asyncio.open_connection(LOOPBACK, port)
    relay_tasks = [
        asyncio.ensure_future(_copy(reader, upstream_writer)),
        asyncio.ensure_future(_copy(upstream_reader, writer)),
    ]
    try:
        await asyncio.wait(relay_tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in relay_tasks:
            task.cancel()
        upstream_writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
