"""Limits on the connections of a server, so that idle and slow clients don't shut others out.

uvicorn closes a connection that is idle after a response. But it waits without a limit for a first
request, for the rest of one, and for a client that doesn't read; and its `limit_concurrency` only
answers requests with 503, and closes none of these. asyncio accepts connections until the process
has no file descriptor left, and then logs up to 2,048 tracebacks a second.
"""

import asyncio
import contextlib
import functools
import logging
import math
import socket
import struct
import sys
from collections import Counter
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import h11
from starlette.requests import ClientDisconnect
from uvicorn.protocols.http.h11_impl import H11Protocol

from sd35.core.atomic_files import os_error_text
from sd35.server.client_ip import ip_key

if TYPE_CHECKING:
    import uvicorn

__all__ = ["ConnectionLimiter", "limited_server_class", "max_connections", "raise_file_limit"]

log = logging.getLogger(__name__)

MAX_OPEN_FILES: Final = 16_384
DEFAULT_OPEN_FILES: Final = 1024

# Slow readers of a large file take some 250 kB of memory each.
MAX_CONNECTIONS: Final = 1000
# The socket, twice the file that is being sent, and one for everything else of the program.
FILES_PER_CONNECTION: Final = 4

IDLE_TIMEOUT_SECONDS = 20.0  # for a whole request to arrive
SLOW_READER_SECONDS = 30.0  # below the minimum rate
# Bytes per second; the slowest mobile networks have several times that.
MIN_READ_RATE: Final = 2048
# At the limit, slower readers make room for others.
MIN_READ_RATE_AT_LIMIT: Final = 16_384
SLOW_AFTER_SECONDS = 0.5
SWEEP_INTERVAL_SECONDS = 1.0
MAX_UNSENT_BYTES: Final = 65_536
LINGER_NOT_AT_ALL: Final = struct.pack("HH" if sys.platform == "win32" else "ii", 1, 0)

RETRY_SECONDS: Final = 0.1
WARNING_INTERVAL_SECONDS: Final = 60.0

# Behind a reverse proxy or a tunnel, all visitors come from these.
LOOPBACK_ADDRESSES: Final = frozenset({"127.0.0.1", "::/64"})


def raise_file_limit() -> None:
    """Raise the limit on file descriptors, because each open connection needs one."""
    try:
        import resource  # noqa: PLC0415  # not on Windows, which has no such limit
    except ImportError:
        return
    soft_limit, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = MAX_OPEN_FILES
    if hard_limit != resource.RLIM_INFINITY:
        target = min(hard_limit, target)
    if soft_limit != resource.RLIM_INFINITY and soft_limit < target:
        # macOS refuses more than its kernel allows, whatever the hard limit says.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard_limit))


def max_connections() -> int:
    """Return how many connections fit into the process's limit on file descriptors."""
    try:
        import resource  # noqa: PLC0415  # see above
    except ImportError:
        return DEFAULT_OPEN_FILES // FILES_PER_CONNECTION
    soft_limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft_limit == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return min(MAX_CONNECTIONS, soft_limit // FILES_PER_CONNECTION)


def _limit_unsent_bytes(listener: socket.socket) -> None:
    """Keep what a slow client hasn't read in this process, where it can be seen."""
    # By default the kernel takes up to 4 MB, and reports no progress until a third is sent.
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MAX_UNSENT_BYTES)


class _Connection(H11Protocol):
    """Connection of uvicorn that knows how long its client keeps it waiting.

    Attributes:
        address: of the client or its proxy, as `ip_key` returns it.
        idle_since: time of the connection or of the end of the last response.
        patience: seconds that a client may go on reading below the minimum rate.
        seconds_pending: since when there has always been something left for the client to read.
    """

    def __init__(self, limiter: "ConnectionLimiter", address: str) -> None:
        server = limiter.server
        super().__init__(server.config, server.server_state, server.lifespan.state)
        # The page has no WebSockets. Their connections would leave these limits.
        self.ws_protocol_class = None
        self.address = address
        self.idle_since = self.loop.time()
        self.patience = SLOW_READER_SECONDS
        self.seconds_pending = 0.0
        self._read_since_pending = 0
        self._limiter = limiter
        self._bytes_sent = 0
        self._bytes_pending = 0
        self._total_read = 0
        self._inner_app = self.app
        self.app = self._count_bytes

    @property
    def is_idle(self) -> bool:
        """Return whether the next step is the client's: to send a request, or the rest of one."""
        has_request = self.cycle is not None and not self.cycle.response_complete
        is_sending = self.transport is not None and self.transport.get_write_buffer_size() > 0
        return not is_sending and (not has_request or self.cycle.more_body)

    async def _count_bytes(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401  # uvicorn's private types
        cycle = self.cycle
        is_file = False

        async def send_counted(message: Any) -> None:  # noqa: ANN401  # see above
            nonlocal is_file
            if message["type"] == "http.response.start":
                is_file = any(name.lower() == b"content-length" for name, _ in message["headers"])
            # A file would be read to its end for nobody. Streams notice by themselves.
            if is_file and cycle.disconnected:
                raise ClientDisconnect
            await send(message)
            self._bytes_sent += len(message.get("body", b""))

        with contextlib.suppress(ClientDisconnect):
            await self._inner_app(scope, receive, send_counted)
        # Such as a file that became shorter while it was sent. uvicorn closes the connection if the
        # error reaches it; otherwise the client would wait for the rest.
        if self.conn.our_state is h11.ERROR:
            self.transport.close()

    def on_response_complete(self) -> None:
        """Count the connection as idle from now on."""
        self.idle_since = self.loop.time()
        super().on_response_complete()

    def eof_received(self) -> None:
        """Stop the response: asyncio closes the connection now, and warns of later writes."""
        self._disconnect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place to another connection."""
        super().connection_lost(exc)
        self._limiter.release(self)

    def abort(self) -> None:
        """Close the connection without waiting for the client."""
        self._disconnect()
        if self.transport is not None:
            # Otherwise the kernel goes on offering what the client hasn't read.
            client = self.transport.get_extra_info("socket")
            with contextlib.suppress(OSError):  # on macOS, if the client has closed it
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT_AT_ALL)
            self.transport.abort()

    def _disconnect(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self.flow.resume_writing()

    @property
    def read_rate(self) -> float:
        """Bytes per second that the client has read since it has had something left to read."""
        return self._read_since_pending / self.seconds_pending if self.seconds_pending else 0.0

    @property
    def can_be_spared(self) -> bool:
        """Return whether to close this connection for another one."""
        is_slow = self.seconds_pending > SLOW_AFTER_SECONDS
        return self.is_idle or (is_slow and self.read_rate < MIN_READ_RATE_AT_LIMIT)

    def update_patience(self, seconds: float) -> None:
        """Measure how much the client has read in the seconds since the last call."""
        pending = 0 if self.transport is None else self.transport.get_write_buffer_size()
        total_read = self._bytes_sent - pending
        if pending and self._bytes_pending:
            bytes_read = total_read - self._total_read
            gain = bytes_read / MIN_READ_RATE - seconds
            self.patience = min(SLOW_READER_SECONDS, self.patience + gain)
            self.seconds_pending += seconds
            self._read_since_pending += bytes_read
        else:
            self.patience = SLOW_READER_SECONDS
            self.seconds_pending = 0.0
            self._read_since_pending = 0
        self._bytes_pending = pending
        self._total_read = total_read


class _WaitingClient(NamedTuple):
    """Client that waits until its address has fewer connections."""

    socket: socket.socket
    address: str
    since: float


@functools.cache
def limited_server_class() -> "type[uvicorn.Server]":
    """Return Gradio's class of servers, with limits from the first connection on.

    Gradio's `launch` returns a second or more after the server has started. Whoever comes back
    after a restart is connected by then, and would lose the connection in the middle of a request.
    """
    from gradio import http_server  # noqa: PLC0415  # slow to import, and not for `--help`

    class LimitedServer(http_server.Server):  # type: ignore[misc]  # Gradio's has no types
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ConnectionLimiter(self, max_connections()).start()

    return LimitedServer


class ConnectionLimiter:
    """Accepts a server's connections up to a limit, and closes idle and slow ones.

    At the limit, a new connection takes the place of the one that has been idle for longest, else
    of the slowest reader; else it waits. One that is being served, and reads, stays open. The same
    holds for the limit of one address.

    Args:
        server: has started.
        limit: connections in all. One address may have three quarters of them.
    """

    def __init__(self, server: "uvicorn.Server", limit: int) -> None:
        self.server = server
        self._limit = limit
        self._address_limit = limit * 3 // 4
        self._connections: set[_Connection] = set()
        self._by_address: Counter[str] = Counter()
        # To be closed at the limit, in this order.
        self._candidates: dict[_Connection, None] = {}
        self._waiting: list[_WaitingClient] = []
        self._last_warning = -math.inf
        self._listeners: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = server.servers[0].get_loop()
        self._last_sweep = self._loop.time()

    def start(self) -> None:
        """Accept the server's connections from now on. To be called in its event loop."""
        for acceptor in self.server.servers:
            self._listeners += [listener.dup() for listener in acceptor.sockets]
            acceptor.close()
        for listener in self._listeners:
            _limit_unsent_bytes(listener)
        # uvicorn closes its acceptors when it stops.
        self.server.servers = [cast("asyncio.Server", self)]
        # Whoever was faster than this isn't counted.
        for connection in self.server.server_state.connections:
            connection.transport.abort()
        self._create_task(self._sweep_regularly())
        for listener in self._listeners:
            self._create_task(self._accept(listener))

    def _create_task(self, coroutine: Coroutine[Any, Any, None]) -> None:
        # The event loop keeps weak references only.
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Stop accepting connections."""
        for task in self._tasks:
            task.cancel()
        for listener in self._listeners:
            listener.close()
        for waiting in self._waiting:
            waiting.socket.close()

    async def wait_closed(self) -> None:
        """Return at once: uvicorn itself waits for the open connections."""

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            await self._wait_for_place()
            try:
                client, peer = await self._loop.sock_accept(listener)
            except ConnectionError:
                continue
            except OSError as error:
                self._warn(f"Can't accept connections: {os_error_text(error)}.")
                self._evict()
                await asyncio.sleep(RETRY_SECONDS)
                continue
            self._admit(client, ip_key(peer[0]))
            # While clients are waiting, sock_accept returns without yielding.
            await asyncio.sleep(0)

    def _admit(self, client: socket.socket, address: str) -> None:
        if self._has_place(address) or self._evict(address):
            self._open(client, address)
        elif len(self._waiting) < self._limit // 2:
            self._waiting.append(_WaitingClient(client, address, self._loop.time()))
        else:
            client.close()

    def _has_place(self, address: str) -> bool:
        is_proxy = address in LOOPBACK_ADDRESSES
        return is_proxy or self._by_address[address] < self._address_limit

    def _open(self, client: socket.socket, address: str) -> None:
        connection = _Connection(self, address)
        self._connections.add(connection)
        self._by_address[address] += 1
        self._create_task(self._connect(connection, client))

    async def _connect(self, connection: _Connection, client: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(
                lambda: connection, client, ssl=self.server.config.ssl
            )
        except OSError:
            client.close()
            self.release(connection)

    def _admit_waiting(self) -> None:
        """Give places to clients whose address had too many, and close those that wait too long."""
        clients = self._waiting
        self._waiting = []
        for waiting in clients:
            if len(self._connections) < self._limit and self._has_place(waiting.address):
                self._open(waiting.socket, waiting.address)
            elif self._loop.time() - waiting.since < IDLE_TIMEOUT_SECONDS:
                self._waiting.append(waiting)
            else:
                waiting.socket.close()

    async def _wait_for_place(self) -> None:
        while len(self._connections) >= self._limit:
            self._warn(f"{self._limit} connections are open, which is the limit.")
            if self._evict():
                await asyncio.sleep(0)  # in which the event loop closes it
            else:
                await asyncio.sleep(RETRY_SECONDS)
                self._sweep()

    def _evict(self, address: str | None = None) -> bool:
        """Close a connection that can be spared, of an address or of any."""
        connection = next(
            (
                candidate
                for candidate in self._candidates
                if address in {None, candidate.address} and candidate.can_be_spared
            ),
            None,
        )
        if connection is None:
            return False
        del self._candidates[connection]
        connection.abort()
        return True

    def release(self, connection: _Connection) -> None:
        """Forget a connection that is closed."""
        if connection in self._connections:
            self._connections.remove(connection)
            self._candidates.pop(connection, None)
            self._by_address[connection.address] -= 1
            # A Counter keeps keys at zero, so it would grow with every address.
            if not self._by_address[connection.address]:
                del self._by_address[connection.address]
            self._admit_waiting()

    async def _sweep_regularly(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_INTERVAL_SECONDS)
            self._sweep()

    def _sweep(self) -> None:
        """Close connections that are overdue, and find those that can be spared."""
        now = self._loop.time()
        for connection in self._connections:
            connection.update_patience(now - self._last_sweep)
            is_idle = connection.is_idle and now - connection.idle_since > IDLE_TIMEOUT_SECONDS
            if is_idle or connection.patience <= 0:
                connection.abort()
        self._last_sweep = now
        self._find_candidates()
        for address, count in Counter(waiting.address for waiting in self._waiting).items():
            for _ in range(count):
                if not self._evict(address):
                    break

    def _find_candidates(self) -> None:
        candidates = [connection for connection in self._connections if connection.can_be_spared]
        # The idle ones first, idle for longest, then the slowest.
        candidates.sort(key=lambda item: (not item.is_idle, item.read_rate, item.idle_since))
        self._candidates = dict.fromkeys(candidates)

    def _warn(self, message: str) -> None:
        """Log a warning, unless there was one within the last minute."""
        now = self._loop.time()
        if now - self._last_warning > WARNING_INTERVAL_SECONDS:
            self._last_warning = now
            log.warning("%s Idle and slow connections are closed.", message)
