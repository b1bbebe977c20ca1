"""HTTP to one server: limits on waits and sizes, the way of token and proxy, and the transport's errors as ours."""

import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from copy import copy
from typing import Any, Final

import aiohttp
import orjson
from yarl import URL

from sd35.client.error_parsing import error_for_status
from sd35.client.fast_get import RawPool
from sd35.client.proxy import split_credentials, system_proxy, validate_proxy
from sd35.client.timeouts import Timeouts
from sd35.core.errors import (
    PictureExpiredError,
    PictureTooLargeError,
    ProtocolError,
    SD35Error,
    StreamInterruptedError,
    StreamTimeoutError,
    UnreachableError,
)

__all__ = ["MAX_PICTURE_BYTES", "Transport", "open_session"]

MAX_PICTURE_BYTES: Final = 64 * 1024 * 1024
MAX_DESCRIPTION_BYTES: Final = 16 * 1024 * 1024
MAX_RESPONSE_BYTES: Final = 64 * 1024


@asynccontextmanager
async def open_session(timeouts: Timeouts) -> AsyncIterator[aiohttp.ClientSession]:
    """Hold a pool of connections while the block lasts. Cookies belong to who asks (`Transport`), not to the pool."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        # identity: nothing here is worth compressing, and what is compressed can be a bomb
        headers={"User-Agent": "sd35-studio", "Accept-Encoding": "identity"},
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=timeouts.connect),
    ) as session:
        yield session


def _new_cookie_jar() -> aiohttp.CookieJar:
    return aiohttp.CookieJar(unsafe=True)  # "unsafe": also for hosts that are numbers


class Transport:
    """Requests to the server called `name`, all below the address `root`; the token goes there and nowhere else."""

    def __init__(
        self,
        name: str,
        root: URL,
        session: aiohttp.ClientSession,
        *,
        headers: Mapping[str, str],
        proxy: str | None,
        timeouts: Timeouts,
    ) -> None:
        self.name = name
        self.root = root
        self.timeouts = timeouts
        self._session = session
        proxy_url = validate_proxy(proxy) or system_proxy(
            root
        )  # not trust_env: it also sends what ~/.netrc holds
        proxy_address, proxy_auth = split_credentials(proxy_url)
        is_tunnel = root.scheme == "https"  # through which the proxy sees nothing else
        self._proxy_options: Any = {
            "proxy": proxy_address,
            "proxy_headers": proxy_auth if is_tunnel else None,
            "allow_redirects": False,
        }
        self._proxy_auth = {} if is_tunnel else proxy_auth
        self._headers = dict(headers)
        self._cookie_jar = _new_cookie_jar()
        self._raw_pool = (
            None if proxy_address else RawPool(root, MAX_PICTURE_BYTES, timeouts.connect)
        )

    def with_headers(self, headers: Mapping[str, str]) -> "Transport":
        """Return the same way to the same server, that sends these headers in place of its own, and its own cookies."""
        clone = copy(self)
        clone._headers, clone._cookie_jar = dict(headers), _new_cookie_jar()  # noqa: SLF001  # it is one of us
        return clone

    def close(self) -> None:
        """Let go of what isn't the session's."""
        if self._raw_pool is not None:
            self._raw_pool.close()

    @property
    def has_token(self) -> bool:
        """Whether a token goes with each request."""
        return any("authorization" in name.lower() for name in self._headers)

    async def get_json(self, url: URL, limit_seconds: float) -> Any:  # noqa: ANN401  # any JSON
        """Return the JSON at `url`.

        Raises:
            SD35Error: the server refused, or didn't answer in time, or not with JSON.

        """
        timeout = aiohttp.ClientTimeout(total=limit_seconds, sock_connect=self.timeouts.connect)
        with self._map_exceptions(), self._check_origin(url):
            async with await self._send(self._session.get, url, timeout=timeout) as response:
                return orjson.loads(await self._read_ok(response, MAX_DESCRIPTION_BYTES))

    async def post(  # any JSON
        self,
        url: URL,
        body: dict[str, Any],
        limit_seconds: float,
        headers: Mapping[str, str] | None = None,
    ) -> Any:  # noqa: ANN401
        """Post `body` as JSON, with these headers beside the usual ones, and return the answer's.

        Raises:
            SD35Error: the server refused, or didn't answer in time, or not with JSON.

        """
        timeout = aiohttp.ClientTimeout(total=limit_seconds, sock_connect=self.timeouts.connect)
        extra_headers = {"Content-Type": "application/json", **(headers or {})}
        with self._map_exceptions(), self._check_origin(url):
            async with await self._send(
                self._session.post, url, extra_headers, data=orjson.dumps(body), timeout=timeout
            ) as response:
                return orjson.loads(await self._read_ok(response, MAX_RESPONSE_BYTES))

    async def get_picture(self, url: URL) -> bytes:
        """Return the bytes at `url`, untouched.

        Raises:
            PictureTooLargeError: there are more than `MAX_PICTURE_BYTES`.
            PictureExpiredError: the server doesn't have them, or no longer.
            SD35Error: the server didn't hand them out.

        """
        with self._map_exceptions(), self._check_origin(url):
            if self._raw_pool is not None:
                data = await self._raw_pool.get(
                    url, self._headers | self._cookie_header(url), self.timeouts.fetch
                )
                if data is not None:
                    return data
            return await self._get_picture_with_aiohttp(url)

    def _cookie_header(self, url: URL) -> dict[str, str]:
        cookies = self._cookie_jar.filter_cookies(url)
        header = "; ".join(f"{name}={cookie.coded_value}" for name, cookie in cookies.items())
        return {"Cookie": header} if header else {}

    async def _send(  # the options are aiohttp's own
        self,
        method: Callable[..., Any],
        url: URL,
        extra_headers: Mapping[str, str] | None = None,
        **options: Any,  # noqa: ANN401
    ) -> aiohttp.ClientResponse:
        headers = {
            **self._headers,
            **self._proxy_auth,
            **self._cookie_header(url),
            **(extra_headers or {}),
        }
        response: aiohttp.ClientResponse = await method(
            url, headers=headers, **self._proxy_options, **options
        )
        if response.cookies:
            self._cookie_jar.update_cookies(response.cookies, url)
        return response

    async def _get_picture_with_aiohttp(self, url: URL) -> bytes:
        timeout = aiohttp.ClientTimeout(
            total=self.timeouts.fetch, sock_connect=self.timeouts.connect
        )
        async with await self._send(self._session.get, url, timeout=timeout) as response:
            if response.status in {403, 404, 410}:
                raise PictureExpiredError(
                    f"{self.name} no longer has the picture; it may have restarted."
                )
            if response.status != 200:
                await self._read_ok(response, MAX_RESPONSE_BYTES)
            data = await _read_body(response, MAX_PICTURE_BYTES)
        if data is None:
            raise PictureTooLargeError(
                f"The Space sent a picture of more than {MAX_PICTURE_BYTES >> 20} MiB."
            )
        return data

    @asynccontextmanager
    async def stream(self, url: URL) -> AsyncIterator[AsyncIterator[bytes]]:
        """Hold an event stream open while the block lasts, and yield its bytes as they come.

        Raises:
            StreamError: while iterating: the stream broke, or went silent.
            SD35Error: on entering: the server refused it, or isn't there.

        """
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=self.timeouts.connect, sock_read=self.timeouts.silence
        )
        with self._map_exceptions(), self._check_origin(url):
            response = await self._send(self._session.get, url, timeout=timeout)
        try:
            with self._map_exceptions():
                if response.status != 200:
                    await self._read_ok(response, MAX_RESPONSE_BYTES)
            if response.content_type != "text/event-stream":
                raise ProtocolError(
                    f"{self.name} sent something else where its event stream was expected."
                )
            yield self._iter_chunks(response)
        finally:
            if response.content.at_eof():
                response.release()
            else:
                response.close()

    async def _iter_chunks(self, response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
        try:
            async for chunk in response.content.iter_any():
                yield chunk
        except TimeoutError as error:
            raise StreamTimeoutError(f"{self.name} went silent during the run.") from error
        except (aiohttp.ClientError, ValueError) as error:
            raise StreamInterruptedError(
                f"The connection to {self.name} broke during the run."
            ) from error

    async def _read_ok(self, response: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
        """The body of a good answer; a bad one is raised as the error it speaks of."""
        body = await _read_body(
            response, limit_bytes if response.status == 200 else MAX_RESPONSE_BYTES
        )
        if response.status != 200:
            raise error_for_status(
                response.status, (body or b"").decode(errors="replace"), response.headers
            )
        if body is None:
            raise ProtocolError(f"{self.name} sent an answer of more than {limit_bytes >> 10} KiB.")
        return body

    @contextmanager
    def _check_origin(self, url: URL) -> Iterator[None]:
        if url.origin() != self.root.origin():
            raise ProtocolError(f"{self.name} points to another server, which isn't followed.")
        yield

    @contextmanager
    def _map_exceptions(self) -> Iterator[None]:
        """The one place, with `_chunks`, where the transport's errors become ours."""
        try:
            yield
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            raise self._map_exception(error) from error

    def _map_exception(self, error: Exception) -> SD35Error:
        if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
            return UnreachableError(f"{self.name} can't be reached: {_failure_reason(error)}.")
        if isinstance(error, aiohttp.ClientHttpProxyError) and error.status == 407:
            return error_for_status(407, "")
        if isinstance(error, TimeoutError):  # aiohttp's time-outs are of this kind too
            return UnreachableError(f"{self.name} gave no answer in time.", was_sent=True)
        if isinstance(error, aiohttp.ClientError):
            return UnreachableError(
                f"The connection to {self.name} failed: {_failure_reason(error)}.", was_sent=True
            )
        return ProtocolError(f"{self.name} sent an answer that can't be understood.")


_FAILURE_REASONS: Final = (
    ((aiohttp.ClientConnectorCertificateError,), "its certificate isn't valid"),
    ((aiohttp.ClientConnectorDNSError,), "its name can't be resolved, or there is no network"),
    ((aiohttp.ClientProxyConnectionError,), "the proxy can't be reached"),
    ((aiohttp.ClientHttpProxyError,), "the proxy doesn't let it through"),
    ((aiohttp.ClientSSLError, ssl.SSLError), "no secure connection could be made"),
    ((aiohttp.ConnectionTimeoutError,), "it gave no answer in time"),
    ((aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError), "it was broken off"),
    ((aiohttp.ClientResponseError,), "what answers there isn't a web server"),
)


def _failure_reason(error: Exception) -> str:
    """Why there is no connection, without any address: one of them may hold a password."""
    if isinstance(getattr(error, "os_error", None), ConnectionRefusedError) and type(error) is (
        aiohttp.ClientConnectorError
    ):
        return "nothing listens there"
    reason = next(
        (text for error_types, text in _FAILURE_REASONS if isinstance(error, error_types)), None
    )
    is_broken = isinstance(error, aiohttp.ClientOSError) and not isinstance(
        error, aiohttp.ClientConnectorError
    )
    return reason or ("it was broken off" if is_broken else "the network doesn't let it through")


async def _read_body(response: aiohttp.ClientResponse, limit_bytes: int) -> bytes | None:
    """The body of an answer, or `None` if it is larger than the limit."""
    content_length = response.content_length
    if content_length is not None:
        return await response.read() if content_length <= limit_bytes else None
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        chunks.append(chunk)
        size += len(chunk)
        if size > limit_bytes:
            return None
    return b"".join(chunks)
