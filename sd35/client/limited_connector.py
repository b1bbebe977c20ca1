"""Connections that end if a server sends a lot without a response or a body in it.

aiohttp limits the size and the number of headers, but neither the interim responses (1xx) before a
response, nor the extensions of chunks, nor what comes after a response.
"""

import asyncio
from functools import partial
from typing import Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler

__all__ = ["MAX_EMPTY_BYTES", "LimitedConnector"]

# Room for larger headers than proxies pass on.
MAX_EMPTY_BYTES: Final = 128 * 1024

# So much is parsed at once: a whole buffer of interim responses would take a tenth of a second.
PART_BYTES: Final = 16 * 1024


class LimitedConnector(aiohttp.TCPConnector):
    """Connector whose connections end after `MAX_EMPTY_BYTES` without any of a body."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401  # those of TCPConnector
        super().__init__(**options)
        # aiohttp has no option for the protocol of its connections.
        self._factory = partial(  # type: ignore[assignment]  # of a subclass
            _LimitedProtocol, loop=asyncio.get_running_loop()
        )


class _LimitedProtocol(ResponseHandler):
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._empty_bytes = 0

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
