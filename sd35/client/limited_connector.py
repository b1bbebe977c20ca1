"""Connections that go to the address that works, and end if a server sends a lot without a body.

aiohttp limits the size and the number of headers, but neither the interim responses (1xx) before a
response, nor the extensions of chunks, nor what comes after a response.
"""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import aiohttp
from aiohappyeyeballs import start_connection
from aiohttp.abc import ResolveResult
from aiohttp.client_proto import ResponseHandler
from yarl import URL

__all__ = ["MAX_EMPTY_BYTES", "LimitedConnector"]

# Room for larger headers than proxies pass on.
MAX_EMPTY_BYTES: Final = 128 * 1024

# So much is parsed at once: a whole buffer of interim responses would take a tenth of a second.
PART_BYTES: Final = 16 * 1024

# The head start of an address before the next one is tried, too (RFC 8305).
ATTEMPT_DELAY_SECONDS: Final = 0.25

P = TypeVar("P", bound=asyncio.BaseProtocol)


class LimitedConnector(aiohttp.TCPConnector):
    """Connector whose connections end after `MAX_EMPTY_BYTES` without any of a body.

    It remembers whether IPv4 or IPv6 has worked: a network may have an IPv6 that leads nowhere, and
    each new connection would wait for it.
    """

    def __init__(self, **options: Any) -> None:  # noqa: ANN401  # those of TCPConnector
        super().__init__(happy_eyeballs_delay=ATTEMPT_DELAY_SECONDS, interleave=1, **options)
        self._usable_family: int | None = None
        # aiohttp has no option for the protocol of its connections.
        self._factory = partial(  # type: ignore[assignment]  # of a subclass
            _LimitedProtocol, asyncio.get_running_loop(), self._remember_family
        )

    async def open(
        self, protocol_factory: Callable[[], P], url: URL, tls: ssl.SSLContext | None
    ) -> P:
        """Return the protocol of a new connection to a server, which isn't one of the pool."""
        host = url.raw_host or ""
        addresses = await self._resolve_host(host, url.port or 80)
        connected_socket = await start_connection(
            self._convert_hosts_to_addr_infos(addresses),
            happy_eyeballs_delay=ATTEMPT_DELAY_SECONDS,
            interleave=1,
        )
        server_hostname = host.rstrip(".") if tls else None
        transport, protocol = await asyncio.get_running_loop().create_connection(
            protocol_factory, sock=connected_socket, ssl=tls, server_hostname=server_hostname
        )
        self._remember_family(transport)
        return protocol

    def _remember_family(self, transport: asyncio.BaseTransport) -> None:
        connected_socket = transport.get_extra_info("socket")
        if connected_socket is not None:
            self._usable_family = connected_socket.family

    async def _resolve_host(
        self, host: str, port: int, traces: Sequence[Any] | None = None
    ) -> list[ResolveResult]:
        addresses = await super()._resolve_host(host, port, traces)
        return sorted(addresses, key=lambda address: address["family"] != self._usable_family)


class _LimitedProtocol(ResponseHandler):
    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_connected: Callable[[asyncio.BaseTransport], None],
    ) -> None:
        super().__init__(loop)
        self._on_connected = on_connected
        self._empty_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._on_connected(transport)

    def set_response_params(self, **options: Any) -> None:  # noqa: ANN401  # those of aiohttp
        self._empty_bytes = 0  # the next response
        super().set_response_params(**options)

    def data_received(self, data: bytes) -> None:
        if not data:  # aiohttp goes on with what it has kept
            super().data_received(data)
        for start in range(0, len(data), PART_BYTES):
            part = data[start : start + PART_BYTES]
            body = self._payload
            former_size = 0 if body is None else body.total_bytes
            super().data_received(part)
            new_size = 0 if self._payload is None else self._payload.total_bytes
            has_body = new_size > (former_size if self._payload is body else 0)
            self._empty_bytes = 0 if has_body else self._empty_bytes + len(part)
            if self._empty_bytes > MAX_EMPTY_BYTES:
                if self.transport is not None:
                    self.transport.abort()
                return
