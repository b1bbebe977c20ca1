"""One Space, spoken to over its queue: connect, generate, fetch."""

import base64
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from functools import partial
from typing import Self

from yarl import URL

from sd35.client.auth import Identity, bearer_header, token_header
from sd35.client.connection import Connection
from sd35.client.contract import Contract
from sd35.client.discovery import ContractCache, Discovery, resolve_space_url
from sd35.client.error_parsing import sanitize
from sd35.client.generation import Generation
from sd35.client.hub import HUB_URL
from sd35.client.previews import Previews
from sd35.client.retry import OnWait
from sd35.client.timeouts import Timeouts
from sd35.client.transport import MAX_PICTURE_BYTES, Transport, open_session
from sd35.core.errors import PictureError, SpaceNotFoundError
from sd35.core.events import RemotePicture
from sd35.core.picture import Picture, open_picture
from sd35.core.request import GenerationRequest
from sd35.core.space_ref import SpaceRef, parse_space_ref

__all__ = ["SpaceClient"]

_DATA_URL_PATTERN = re.compile(r"data:image/(?:png|jpeg|jpg|webp);base64,")


class SpaceClient:
    """A connection to one Space, made by `connect`. Any number of generations may run at once.

    Attributes:
        name: what it was asked for by: `owner/name` or an address.

    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.name = connection.name

    def __repr__(self) -> str:
        return f"<SpaceClient {self.name}>"

    @classmethod
    @asynccontextmanager
    async def connect(  # all but the first are options  # noqa: D417
        cls,
        space: str,
        *,
        token: str | None = None,
        proxy: str | None = None,
        timeouts: Timeouts | None = None,
        endpoint: str = "infer",
        hub: str = HUB_URL,
        on_wait: OnWait = lambda _: None,
    ) -> AsyncIterator[Self]:
        """Find the Space and hold a connection to it while the block lasts.

        Args:
            source: `owner/name` on Hugging Face, or the address of a Gradio app.
            token: sent to the Space (and, for `owner/name`, to the Hub) and nowhere else; to a
                Space on Hugging Face in the header that its proxy takes away.
            proxy: `http://host:port`, for every request; if not given, what the environment says.
            timeouts: the limit of each wait.
            endpoint: the name of the endpoint that makes pictures.
            hub: the address of Hugging Face's Hub.
            tell: is told of each wait for a Space that is waking up.

        Raises:
            ConnectionFailedError: it can't be found or used; the kind says why.
            RateLimitedError: it, or the Hub, has had too many requests.
            InvalidRequestError: the proxy's address isn't one.

        """
        timeouts = timeouts or Timeouts()
        space_ref = _parse_space_name(space)
        async with open_session(timeouts) as session:

            def make_transport(name: str, root: URL, headers: dict[str, str]) -> Transport:
                return Transport(
                    name, root, session, headers=headers, proxy=proxy, timeouts=timeouts
                )

            if space_ref.name is None:
                root, hub_transport = URL(str(space_ref.address)), None
            else:
                hub_root = URL(hub.rstrip("/") + "/")
                hub_transport = make_transport(
                    f"{space_ref} at Hugging Face", hub_root, bearer_header(token)
                )
                root = await resolve_space_url(hub_transport, space_ref.name, on_wait)
            space_transport = make_transport(str(space_ref), root, token_header(root, token))
            discovery = Discovery(space_transport, endpoint, hub_transport, space_ref.name or "")
            with closing(space_transport):
                contract_cache = ContractCache(
                    discovery, await discovery.wait_until_ready(on_wait), timeouts.description
                )
                yield cls(Connection(space_transport, contract_cache))

    @property
    def contract(self) -> Contract:
        """What the Space accepts and returns, as it was last read: it is read again when it may have changed."""
        return self._connection.contract

    @property
    def model(self) -> str:
        """A short name for what makes its pictures, for a file's name: empty where only an address is known."""
        return (
            "demo painter"
            if self.contract.is_demo
            else ""
            if "://" in self.name
            else self.name.rpartition("/")[2]
        )

    @property
    def address(self) -> str:
        """Where the Space is."""
        return str(self._connection.root)

    def generate(
        self,
        request: GenerationRequest,
        *,
        previews: Previews = Previews.NONE,
        identity: Identity | None = None,
    ) -> Generation:
        """Ask for a picture: `async with space.generate(request) as generation: async for event in generation: …`.

        Entering the block joins the Space's queue; leaving it before the end cancels the run. With
        `previews`, each `Preview` comes with its bytes; with an `identity`, the run is asked for as
        that one.

        Raises:
            AccessDeniedError: the identity's token can't be one.

        """
        connection = self._connection.with_identity(identity)
        return Generation(connection, request, partial(_fetch, connection), previews)

    def url_of(self, picture: RemotePicture) -> str:
        """Return the full address of a picture at this Space, or the `data:` URL that it is.

        Raises:
            PictureError: it isn't at the Space's own address.

        """
        return (
            picture.url
            if picture.url.startswith("data:")
            else str(self._connection.resolve_picture_url(picture))
        )

    async def fetch(self, picture: RemotePicture) -> Picture:
        """Return the bytes of a picture that this Space has made, untouched, and what they are.

        Raises:
            PictureError: it isn't at the Space's own address, is too large, or isn't a picture.
            SD35Error: the Space didn't hand it out.

        """
        return await _fetch(self._connection, picture)


async def _fetch(connection: Connection, picture: RemotePicture) -> Picture:
    if picture.url.startswith("data:"):
        return open_picture(_decode_data_url(picture.url))
    return open_picture(await connection.get_picture(picture))


def _parse_space_name(text: str) -> SpaceRef:
    try:
        return parse_space_ref(text)
    except ValueError as error:
        remedy = f"To name a Space, {error}."
        raise SpaceNotFoundError(
            f"{sanitize(text)[:100]!r} isn't the name of a Space.", remedy
        ) from error


def _decode_data_url(url: str) -> bytes:
    match = _DATA_URL_PATTERN.match(url)
    if match is None or len(url) > MAX_PICTURE_BYTES * 4 // 3:
        raise PictureError("The Space sent something that is not a PNG, JPEG or WebP picture.")
    try:
        return base64.b64decode(url[match.end() :], validate=True)
    except ValueError as error:  # also `binascii.Error`
        raise PictureError("The Space sent a damaged picture.") from error
