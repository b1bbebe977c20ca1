"""One Space, spoken to over its queue: connect, generate, fetch."""

import base64
import binascii
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

from sd35.client.connection import MAX_PICTURE_BYTES, Connection, Timeouts
from sd35.client.contract import Contract, read_contract
from sd35.client.discovery import discover
from sd35.client.generation import Generation
from sd35.errors import PictureError
from sd35.events import RemotePicture
from sd35.picture import Picture, open_picture
from sd35.request import GenerationRequest

__all__ = ["SpaceClient"]

_DATA_URL = re.compile(r"data:image/(?:png|jpeg|jpg|webp);base64,")


class SpaceClient:
    """A connection to one Space, made by `connect`. Any number of generations may run at once.

    Attributes:
        name: what it was asked for by: `owner/name` or an address.
        contract: what it accepts and returns.

    """

    def __init__(self, name: str, contract: Contract, connection: Connection) -> None:
        self.name = name
        self.contract = contract
        self._connection = connection

    def __repr__(self) -> str:
        return f"<SpaceClient {self.name}>"

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, source: str, *, token: str | None = None, timeouts: Timeouts | None = None
    ) -> AsyncIterator[Self]:
        """Find the Space and hold a connection to it while the block lasts.

        Args:
            source: `owner/name` on Hugging Face, or the address of a Gradio app.
            token: sent to the Space and nowhere else; to Hugging Face in the header that its proxy takes away.
            timeouts: the limit of each wait.

        Raises:
            ConnectionFailedError: it can't be found or used; the kind says why.
            RateLimitedError: it, or the Hub, has had too many requests.

        """
        timeouts = timeouts or Timeouts()
        found = await discover(source, token, timeouts.discovery)
        contract = read_contract(found.config, found.info)
        async with Connection.open(
            source,
            found.root,
            api_prefix=contract.api_prefix,
            token=token,
            cookies=found.cookies,
            timeouts=timeouts,
        ) as connection:
            yield cls(source, contract, connection)

    @property
    def address(self) -> str:
        """Where the Space is."""
        return str(self._connection.root)

    def generate(self, request: GenerationRequest) -> Generation:
        """Ask for a picture: `async with space.generate(request) as generation: async for event in generation: …`.

        Entering the block joins the Space's queue; leaving it before the end cancels the run.
        """
        return Generation(self._connection, self.contract, request)

    async def fetch(self, picture: RemotePicture) -> Picture:
        """Return the bytes of a picture that this Space has made, untouched, and what they are.

        Raises:
            PictureError: it isn't at the Space's own address, is too large, or isn't a picture.
            SD35Error: the Space didn't hand it out.

        """
        if picture.url.startswith("data:"):
            return open_picture(_decode_data_url(picture.url))
        return open_picture(await self._connection.get_picture(self._connection.own_url(picture)))


def _decode_data_url(url: str) -> bytes:
    match = _DATA_URL.match(url)
    if match is None or len(url) > MAX_PICTURE_BYTES * 4 // 3:
        raise PictureError("The Space sent something that is not a PNG, JPEG or WebP picture.")
    try:
        return base64.b64decode(url[match.end() :], validate=True)
    except binascii.Error as error:
        raise PictureError("The Space sent a damaged picture.") from error
