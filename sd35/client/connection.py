"""The open connection to one Space: its addresses, its queue and its contract."""

import base64
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import quote

import anyio.to_thread
from yarl import URL

from sd35.client.auth import Identity
from sd35.client.contract import Contract, Json
from sd35.client.discovery import ContractCache
from sd35.client.interception import is_same_server
from sd35.client.retry import RetrySignal, with_retry
from sd35.client.transport import MAX_PICTURE_BYTES, Transport
from sd35.core.errors import (
    PictureError,
    QueueFullError,
    RateLimitedError,
    SpaceAsleepError,
    UnreachableError,
)
from sd35.core.events import RemotePicture
from sd35.core.picture import Picture, open_picture, open_preview

__all__ = ["Connection"]

_RETRYABLE_FETCH_ERRORS = (UnreachableError, SpaceAsleepError, RateLimitedError, QueueFullError)

_DATA_URL_PATTERN = re.compile(r"data:image/(?:png|jpeg|jpg|webp);base64,")


class Connection:
    """The connection to a Space, for one identity.

    Attributes:
        name: the name of the Space: `owner/name`, or its address.
        timeouts: the limit of each wait.
        contract_cache: the Space's contract, shared by the connections of all identities.
        retry_signal: the signal that ends the waits for the Space, shared by them, too.
    """

    def __init__(
        self,
        transport: Transport,
        contract_cache: ContractCache,
        join_headers: Mapping[str, str] | None = None,
        retry_signal: RetrySignal | None = None,
    ) -> None:
        self.name = transport.name
        self.timeouts = transport.timeouts
        self.contract_cache = contract_cache
        self._transport = transport
        self.retry_signal = retry_signal or RetrySignal()
        self._join_headers = join_headers or {}

    def with_identity(self, identity: Identity | None) -> "Connection":
        """Return this connection for another identity, or itself for `None`."""
        if identity is None:
            return self
        transport = self._transport.with_headers(identity.headers(self.root))
        headers = identity.join_headers(self.root)
        return Connection(transport, self.contract_cache, headers, self.retry_signal)

    @property
    def root(self) -> URL:
        """The address of the Space, with a slash at the end."""
        return self._transport.root

    @property
    def contract(self) -> Contract:
        """The contract as it was last read."""
        return self.contract_cache.contract

    async def join(self, body: dict[str, Any]) -> Json:
        """Send one request to join the Space's queue, and return the answer.

        Raises:
            UnreachableError: with `was_sent`, the Space may have accepted the request.
        """
        return await self._transport.post(
            self.api_url("queue/join"), body, self.timeouts.join, self._join_headers
        )

    async def cancel(self, body: dict[str, Any]) -> None:
        """Ask the Space to cancel a run; raise an error if it doesn't confirm in time."""
        await self._transport.post(self.api_url("cancel"), body, self.timeouts.cancel)

    async def open_stream(self, session_hash: str, stack: AsyncExitStack) -> AsyncIterator[bytes]:
        """Return the bytes of a session's event stream, which is closed with the stack."""
        url = self.api_url("queue/data").with_query(session_hash=session_hash)
        return await stack.enter_async_context(self._transport.stream(url))

    async def fetch(self, picture: RemotePicture) -> Picture:
        """Return an image that the Space has made, with its original bytes; with retries.

        Raises:
            PictureError: it isn't at the Space's own address, is too large, isn't an image, or is
                gone.
        """
        if picture.url.startswith("data:"):
            return await anyio.to_thread.run_sync(_open_data_url, picture.url)
        # A hostile header takes up to a second.
        return await anyio.to_thread.run_sync(open_picture, await self._fetch_data(picture))

    async def fetch_preview(self, picture: RemotePicture) -> Picture:
        """Return an image that is only shown, as `fetch` does; it may be too damaged to decode."""
        if picture.url.startswith("data:"):
            return await self.fetch(picture)
        data = await self._fetch_data(picture)
        preview = open_preview(data)  # a thread would take several times as long
        if preview is None:
            preview = await anyio.to_thread.run_sync(open_picture, data)
        return preview

    async def _fetch_data(self, picture: RemotePicture) -> bytes:
        url = self.resolve_picture_url(picture)
        return await with_retry(
            lambda: self._transport.get_picture(url),
            lambda error: isinstance(error, _RETRYABLE_FETCH_ERRORS),
            self.timeouts,
            lambda _: None,
        )

    def api_url(self, path: str) -> URL:
        """Return the address of a path of this Space's Gradio API."""
        prefix = self.contract.api_prefix.strip("/")
        # The path of a file is quoted already; yarl would quote its percent signs again.
        return self.root.join(URL(f"{prefix}/{path}" if prefix else path, encoded=True))

    def resolve_picture_url(self, picture: RemotePicture) -> URL:
        """Return the full address of an image: always of the Space's own scheme, host and port.

        Raises:
            PictureError: the image isn't at the Space.
        """
        # An address elsewhere would let a Space make this program send requests into its network,
        # and with them the token.
        try:
            url = self.root.join(URL(picture.url))
            if (
                picture.url
                and is_same_server(url, self.root)
                and url.user is None
                and url.password is None
            ):
                return url
        except (ValueError, IndexError):  # yarl raises both for invalid addresses
            pass
        # Behind a reverse proxy, Gradio may return an address of its internal network. The path of
        # the file works there, too.
        if picture.path is None or "://" in picture.path:
            raise PictureError("The image isn't at the Space's own address.")
        return self.api_url(f"file={quote(picture.path)}")


def _open_data_url(url: str) -> Picture:
    match = _DATA_URL_PATTERN.match(url)
    # Base64 has 4 characters for 3 bytes. Checked before decoding, which needs the memory.
    if match is None or len(url) > MAX_PICTURE_BYTES * 4 // 3:
        raise PictureError("The Space sent something other than a PNG, JPEG or WebP image.")
    try:
        data = base64.b64decode(url[match.end() :], validate=True)
    except ValueError as error:  # also `binascii.Error`
        raise PictureError("The Space sent a damaged image.") from error
    return open_picture(data)
