"""The open connection to one Space: its addresses, its queue, and what it has said of itself."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import quote

from yarl import URL

from sd35.client.auth import Identity
from sd35.client.contract import Contract
from sd35.client.discovery import ContractCache
from sd35.client.retry import OnWait, with_retry
from sd35.client.timeouts import Timeouts
from sd35.client.transport import Transport
from sd35.core.errors import (
    PictureError,
    QueueFullError,
    RateLimitedError,
    SD35Error,
    SpaceAsleepError,
    UnreachableError,
)
from sd35.core.events import RemotePicture

__all__ = ["Connection"]


class Connection:
    """A Space that was found, and what it has said of itself."""

    def __init__(
        self,
        transport: Transport,
        contract_cache: ContractCache,
        join_headers: Mapping[str, str] | None = None,
    ) -> None:
        self._transport = transport
        self._contract_cache = contract_cache
        self._join_headers = join_headers or {}

    def with_identity(self, identity: Identity | None) -> "Connection":
        """Return the same connection, but asking as somebody else; as itself for `None`.

        Raises:
            AccessDeniedError: the token can't be one.

        """
        if identity is None:
            return self
        transport = self._transport.with_headers(identity.headers(self.root))
        return Connection(transport, self._contract_cache, identity.join_headers(self.root))

    @property
    def name(self) -> str:
        """What the Space was asked for by."""
        return self._transport.name

    @property
    def root(self) -> URL:
        """Where the Space is; ends with a slash."""
        return self._transport.root

    @property
    def timeouts(self) -> Timeouts:
        """The limit of each wait."""
        return self._transport.timeouts

    @property
    def contract(self) -> Contract:
        """What the Space accepts, as it was last read."""
        return self._contract_cache.contract

    def invalidate(self) -> None:
        """Say that the Space may have restarted, so that its contract is read again before the next request."""
        self._contract_cache.invalidate()

    async def refresh_contract(self, on_wait: OnWait) -> Contract:
        """Return the contract, read again if it is old or doubted.

        Raises:
            SD35Error: the Space can't be used any more; the kind says why.

        """
        return await self._contract_cache.get(on_wait)

    async def join(self, body: dict[str, Any]) -> Any:  # noqa: ANN401  # any JSON
        """Ask, once, to be taken into the Space's queue, and return its answer.

        Raises:
            UnreachableError: with `was_sent`, it may have been taken in, and only the answer was
                lost.
            SD35Error: the Space refused; the kind says why.

        """
        return await self._transport.post(
            self.api_url("queue/join"), body, self.timeouts.join, self._join_headers
        )

    async def cancel(self, body: dict[str, Any]) -> None:
        """Ask the Space to end a run.

        Raises:
            SD35Error: it didn't say that it will, in time.

        """
        await self._transport.post(self.api_url("cancel"), body, self.timeouts.cancel)

    async def open_stream(self, session_hash: str, stack: AsyncExitStack) -> AsyncIterator[bytes]:
        """Return the bytes of the stream of what was asked for under this hash; it is open as long as the stack is.

        Raises:
            SD35Error: the Space refused it, or couldn't be reached.

        """
        url = self.api_url("queue/data").with_query(session_hash=session_hash)
        return await stack.enter_async_context(self._transport.stream(url))

    async def get_picture(self, picture: RemotePicture) -> bytes:
        """Return a picture's bytes, asked for again where that may help: it costs nobody's quota.

        Raises:
            PictureError: it isn't at the Space's own address, is too large, or is gone.
            SD35Error: the Space didn't hand it out.

        """
        url = self.resolve_picture_url(picture)
        return await with_retry(
            lambda: self._transport.get_picture(url),
            _is_retryable_fetch_error,
            self.timeouts,
            lambda _: None,
        )

    def api_url(self, path: str) -> URL:
        """Return the address of a path of Gradio's API at this Space."""
        prefix = self.contract.api_prefix.strip("/")
        return self.root.join(URL(f"{prefix}/{path}" if prefix else path, encoded=True))

    def resolve_picture_url(self, picture: RemotePicture) -> URL:
        """Return the full address of a picture at this Space: same scheme, host and port, whatever it says itself.

        A server behind a proxy may give an address that only it understands; its file's name serves
        then.

        Raises:
            PictureError: it names no address of its own.

        """
        try:
            url = self.root.join(URL(picture.url))
            if (
                picture.url
                and url.origin() == self.root.origin()
                and url.user is None
                and url.password is None
            ):
                return url
        except (ValueError, IndexError):  # the latter for some that no address is
            pass
        if picture.path is None or "://" in picture.path:
            raise PictureError(
                "The Space points to a picture at a foreign address, which isn't fetched."
            )
        return self.api_url(f"file={quote(picture.path)}")


def _is_retryable_fetch_error(error: SD35Error) -> bool:
    return isinstance(
        error, UnreachableError | SpaceAsleepError | RateLimitedError | QueueFullError
    )
