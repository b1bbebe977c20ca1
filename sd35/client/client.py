"""The client of one Space: connect, generate, fetch."""

import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from functools import partial
from typing import Self

from yarl import URL

from sd35.client.auth import Identity, bearer_header, token_header
from sd35.client.connection import Connection
from sd35.client.contract import Contract
from sd35.client.discovery import ContractCache, Discovery, find_space
from sd35.client.error_parsing import sanitize
from sd35.client.generation import Generation
from sd35.client.hub import HUB_URL, hub_root
from sd35.client.join import SendLog
from sd35.client.own_page import OwnPage
from sd35.client.previews import Previews
from sd35.client.redaction import contains_secret
from sd35.client.retry import OnWait
from sd35.client.timeouts import Timeouts
from sd35.client.transport import Transport, open_session
from sd35.core.errors import PictureError, SpaceNotFoundError, SpaceStoppedError
from sd35.core.events import RemotePicture
from sd35.core.picture import Picture
from sd35.core.request import GenerationRequest
from sd35.core.space_ref import SpaceRef, parse_space_ref

__all__ = ["SpaceClient"]


class SpaceClient:
    """A connection to one Space, opened by `connect`, for any number of generations at once.

    Attributes:
        name: `owner/name`, or the address.
        warnings: sentences about the way to the Space that the user should read.
    """

    def __init__(self, connection: Connection, warnings: Sequence[str] = ()) -> None:
        self._connection = connection
        self._generations: weakref.WeakSet[Generation] = weakref.WeakSet()
        self.name = connection.name
        self.warnings = tuple(warnings)

    def __repr__(self) -> str:
        return f"<SpaceClient {self.name}>"

    @classmethod
    @asynccontextmanager
    async def connect(  # noqa: PLR0913  # all but the first are options
        cls,
        space: str,
        *,
        token: str | None = None,
        login: tuple[str, str] | None = None,
        proxy: str | None = None,
        timeouts: Timeouts | None = None,
        connect_timeouts: Timeouts | None = None,
        endpoint: str = "infer",
        hub: str = HUB_URL,
        own_page: OwnPage | None = None,
        on_wait: OnWait = lambda _: None,
    ) -> AsyncIterator[Self]:
        """Find a Space and open a connection to it.

        Args:
            space: `owner/name` on Hugging Face, or the address of a Gradio app.
            token: sent to the Space (and, for `owner/name`, to the Hub) and nowhere else.
            login: the username and the password for an app that asks for them.
            proxy: `http://host:port`, for every request; by default that of the environment.
            timeouts: the limit of each wait.
            connect_timeouts: the limits until the Space is found; by default `timeouts`.
            endpoint: the name of the endpoint that makes images.
            hub: the address of Hugging Face's Hub.
            own_page: the page of this program, which is refused as a Space.
            on_wait: called at each wait, such as for a Space that is waking up.
        """
        timeouts = timeouts or Timeouts()
        space_ref = _parse_space_name(space)
        async with open_session(timeouts) as session:
            limits = connect_timeouts or timeouts
            make_transport = partial(Transport, session=session, proxy=proxy, timeouts=limits)
            hub_transport = _hub_transport(make_transport, space_ref, hub_root(hub), token)
            name, root = await _locate(space_ref, hub_transport, on_wait)
            transport = make_transport(name, root, headers=token_header(root, token), login=login)
            with closing(transport):
                discovery = Discovery(transport, endpoint, hub_transport, name, own_page)
                connection = await _open_connection(discovery, timeouts, on_wait)
                yield cls(connection, _warnings(space_ref, root, hub_transport, transport))

    @property
    def contract(self) -> Contract:
        """The inputs, outputs and limits of the Space, as last read."""
        return self._connection.contract

    @property
    def model(self) -> str:
        """A short name of the model for file names; empty if only an address is known."""
        if self.contract.is_demo:
            return "demo painter"
        name = self.contract.model_info.name or ("" if "://" in self.name else self.name)
        return name.rpartition("/")[2]

    @property
    def address(self) -> str:
        """The address of the Space."""
        return str(self._connection.root)

    def generate(
        self,
        request: GenerationRequest,
        *,
        previews: Previews = Previews.NONE,
        identity: Identity | None = None,
        max_wait_seconds: float | None = None,
        send_log: SendLog | None = None,
    ) -> Generation:
        """Request an image: `async with space.generate(request) as generation`.

        Entering the block joins the Space's queue, iterating over `generation` yields its events,
        and leaving the block before the end cancels the run.

        Args:
            request: the image to make.
            previews: the previews that are fetched, so that their events have the bytes.
            identity: the identity whose quota the run uses, instead of the connection's token.
            max_wait_seconds: how long the request waits for a Space that can't take it: one that is
                unreachable, asleep, busy or full; by default `Timeouts.outage`.
            send_log: records when the request is sent.
        """
        connection = self._connection.with_identity(identity)
        generation = Generation(connection, request, previews, max_wait_seconds, send_log)
        self._generations.add(generation)
        return generation

    def end_runs(self, error: SpaceStoppedError) -> None:
        """End all runs with this error, because the Space has ended."""
        for generation in list(self._generations):
            generation.end(error)

    def retry_now(self) -> None:
        """End the current waits for this Space: their requests are sent again at once."""
        self._connection.retry_signal.send()

    def url_of(self, picture: RemotePicture) -> str:
        """Return the full address of an image at this Space, or its `data:` URL.

        Raises:
            PictureError: it isn't at the Space's own address, or the address repeats a token.
        """
        if picture.url.startswith("data:"):
            return picture.url
        url = str(self._connection.resolve_picture_url(picture))
        if contains_secret(url):
            raise PictureError("The image's address repeats a token.")
        return url

    async def fetch(self, picture: RemotePicture) -> Picture:
        """Return an image that this Space has made, with its original bytes.

        Raises:
            PictureError: it isn't at the Space's own address, is too large, or isn't an image.
        """
        return await self._connection.fetch(picture)


def _hub_transport(
    make_transport: Callable[..., Transport], space_ref: SpaceRef, root: URL, token: str | None
) -> Transport | None:
    """Return a transport for the Hub; `None` if the Space is named by its address."""
    if space_ref.name is None:
        return None
    return make_transport(f"{space_ref} on Hugging Face", root, headers=bearer_header(token))


async def _locate(space_ref: SpaceRef, hub: Transport | None, on_wait: OnWait) -> tuple[str, URL]:
    """Return the name of a Space, which may be another one by now, and its address."""
    if hub is None or space_ref.name is None:
        return str(space_ref), URL(str(space_ref.address))
    info = await find_space(hub, space_ref.name, on_wait)
    return info.name, info.address


def _warnings(
    space_ref: SpaceRef, root: URL, hub: Transport | None, transport: Transport
) -> list[str]:
    """Return what the user should know about the way to the Space, each sentence once."""
    warnings = [*([hub.warning] if hub else []), transport.warning]
    if space_ref.name is not None and space_ref.name.lower() != transport.name.lower():
        warnings.append(f"{space_ref} was renamed: it is {transport.name} now.")
    if transport.root != root:
        warnings.append(f"{root} redirects to {transport.root}.")
    return list(filter(None, dict.fromkeys(warnings)))


async def _open_connection(discovery: Discovery, timeouts: Timeouts, on_wait: OnWait) -> Connection:
    contract = await discovery.wait_until_ready(on_wait)
    discovery = discovery.with_timeouts(timeouts)
    ttl_seconds = timeouts.description
    return Connection(discovery.transport, ContractCache(discovery, contract, ttl_seconds))


def _parse_space_name(text: str) -> SpaceRef:
    try:
        return parse_space_ref(text)
    except ValueError as error:
        message = f"{sanitize(text)[:100]!r} isn't a Space."
        raise SpaceNotFoundError(message, f"{str(error).capitalize()}.") from error
