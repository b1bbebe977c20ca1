"""The transport to one Space: requests under the Space's address, limits on waits and sizes, and its errors as ours."""

import urllib.request
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote, urlsplit

import aiohttp
import orjson
from yarl import URL

from sd35.client.discovery import is_loopback, token_header
from sd35.client.refusals import error_of_status
from sd35.errors import PictureError, ProtocolError, SilentSpaceError, StreamCutError, UnreachableError
from sd35.events import RemotePicture

__all__ = ["MAX_PICTURE_BYTES", "Connection", "Timeouts"]

MAX_PICTURE_BYTES = 64 * 1024 * 1024
MAX_ANSWER_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long each wait may take, in seconds."""

    discovery: float = 30.0
    """Finding the Space and reading its description."""
    connect: float = 10.0
    """A TCP and TLS connection."""
    join: float = 30.0
    """The Space's answer to the request to join its queue."""
    silence: float = 60.0
    """Not a byte on the stream; Gradio sends a heartbeat every 15 s."""
    no_news: float = 900.0
    """Nothing but heartbeats on the stream."""
    cancel: float = 5.0
    """The Space's answer to a cancel."""
    fetch: float = 120.0
    """A picture, from the request to its last byte."""


class Connection:
    """The open connection to the Space called `name` at the address `root`."""

    def __init__(
        self, name: str, root: str, api_prefix: str, session: aiohttp.ClientSession, timeouts: Timeouts
    ) -> None:
        self.name = name
        self.root = URL(root)
        self.timeouts = timeouts
        self._prefix = api_prefix.strip("/")
        self._session = session

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        name: str,
        root: str,
        *,
        api_prefix: str,
        token: str | None,
        cookies: dict[str, str],
        timeouts: Timeouts,
    ) -> AsyncIterator[Self]:
        """Hold a connection while the block lasts. The token goes to this address and nowhere else."""
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.CookieJar(unsafe=True),  # "unsafe": also for hosts that are numbers
            headers={"User-Agent": "sd35-studio"} | (token_header(root, token) if token else {}),
            proxy=_proxy_for(root),  # not trust_env: that would also send what ~/.netrc holds
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=timeouts.connect),
        ) as session:
            session.cookie_jar.update_cookies(cookies, URL(root))
            yield cls(name, root, api_prefix, session, timeouts)

    def url(self, path: str) -> URL:
        """The address of a path of Gradio's API at this Space."""
        url = self.root.join(URL(f"{self._prefix}/{path}" if self._prefix else path, encoded=True))
        assert url.origin() == self.root.origin(), "the token goes nowhere else"
        return url

    def own_url(self, picture: RemotePicture) -> URL:
        """Return the full address of a picture at this Space: same scheme, host and port, whatever it says itself.

        A server behind a proxy may give an address that only it understands; its file's name serves then.

        Raises:
            PictureError: it names no address of its own.

        """
        try:
            url = self.root.join(URL(picture.url))
            if picture.url and url.origin() == self.root.origin() and url.user is None and url.password is None:
                return url
        except ValueError:
            pass
        if picture.path is None or "://" in picture.path:
            raise PictureError("The Space points to a picture at a foreign address, which isn't fetched.")
        return self.url(f"file={quote(picture.path)}")

    async def post(self, path: str, body: dict[str, Any], limit_seconds: float) -> Any:  # noqa: ANN401  # any JSON
        """Post `body` as JSON and return the answer's.

        Raises:
            SD35Error: the Space refused, or didn't answer in time.

        """
        timeout = aiohttp.ClientTimeout(total=limit_seconds)
        with self._translating():
            async with self._session.post(
                self.url(path), json=body, allow_redirects=False, timeout=timeout
            ) as response:
                text = await self._checked(response)
                return orjson.loads(text)

    async def get_picture(self, url: URL) -> bytes:
        """Return the bytes at `url`, which must be this Space's own.

        Raises:
            PictureError: there are more than `MAX_PICTURE_BYTES`.
            SD35Error: the Space didn't hand them out.

        """
        timeout = aiohttp.ClientTimeout(total=self.timeouts.fetch)
        with self._translating():
            async with self._session.get(url, allow_redirects=False, timeout=timeout) as response:
                if response.status != 200:
                    await self._checked(response)
                data = await _read(response, MAX_PICTURE_BYTES)
        if data is None:
            raise PictureError(f"The Space sent a picture of more than {MAX_PICTURE_BYTES // 1024 // 1024} MiB.")
        return data

    async def stream(self, path: str, **query: str) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of an event stream as they come.

        Raises:
            StreamError: the stream broke, went silent, or isn't one.
            SD35Error: the Space refused it.

        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self.timeouts.connect, sock_read=self.timeouts.silence)
        url = self.url(path).with_query(query)
        with self._translating(during_run=True):
            async with self._session.get(url, allow_redirects=False, timeout=timeout) as response:
                if response.status != 200:
                    await self._checked(response)
                if response.content_type != "text/event-stream":
                    raise ProtocolError("The Space sent something else where its event stream was expected.")
                async for chunk in response.content.iter_any():
                    yield chunk

    async def _checked(self, response: aiohttp.ClientResponse) -> bytes:
        """The short body of a good answer; a bad one is raised as the error it speaks of."""
        body = await _read(response, MAX_ANSWER_BYTES)
        if response.status != 200:
            raise error_of_status(response.status, (body or b"").decode(errors="replace"))
        return body or b""

    @contextmanager
    def _translating(self, *, during_run: bool = False) -> Iterator[None]:
        """The one place where the transport's errors become ours."""
        try:
            yield
        except TimeoutError as error:  # aiohttp's time-outs are of this kind too
            if during_run:
                raise SilentSpaceError(f"{self.name} went silent during the run.") from error
            raise UnreachableError(f"{self.name} gave no answer in time.") from error
        except aiohttp.ClientError as error:
            if during_run:
                raise StreamCutError(f"The connection to {self.name} broke during the run.") from error
            raise UnreachableError(f"The connection to {self.name} failed.") from error
        except ValueError as error:
            raise ProtocolError(f"{self.name} sent an answer that can't be understood.") from error


async def _read(response: aiohttp.ClientResponse, limit_bytes: int) -> bytes | None:
    """The body of an answer, or `None` if it is larger than the limit."""
    parts: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        parts.append(chunk)
        size += len(chunk)
        if size > limit_bytes:
            return None
    return b"".join(parts)


def _proxy_for(root: str) -> str | None:
    """The HTTP proxy that the system or the environment names for this address."""
    parts = urlsplit(root)
    host = parts.hostname or ""
    if is_loopback(root) or urllib.request.proxy_bypass(host):
        return None
    proxy = urllib.request.getproxies().get(parts.scheme)
    return proxy if proxy and proxy.startswith("http") else None
