"""HTTP to one server, with limits on time and size, and its errors as ours."""

import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from copy import copy
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
import orjson
from yarl import URL

from sd35.client.auth import basic_header
from sd35.client.certificates import certificate_remedy, tls_context
from sd35.client.contract import Json
from sd35.client.decompression import Decoder, content_decoder
from sd35.client.error_parsing import asks_for_basic, error_for_status
from sd35.client.fast_get import RawPool
from sd35.client.interception import (
    is_same_server,
    is_web_page,
    redirect_error,
    redirect_target,
    web_page_error,
)
from sd35.client.json_parsing import parse_json
from sd35.client.limited_connector import LimitedConnector
from sd35.client.proxy import find_proxy, proxy_login_header
from sd35.client.redaction import remember_secrets
from sd35.client.space_session import SpaceLogin, SpaceSession
from sd35.client.timeouts import Timeouts
from sd35.core.awake import AwakeTimeout
from sd35.core.errors import (
    LoginPageError,
    LoginRequiredError,
    PictureExpiredError,
    PictureTooLargeError,
    ProtocolError,
    RedirectedError,
    SD35Error,
    StreamInterruptedError,
    StreamTimeoutError,
    UnreachableError,
)

__all__ = ["MAX_PICTURE_BYTES", "Transport", "open_session"]

MAX_PICTURE_BYTES: Final = 64 * 1024 * 1024
MAX_DESCRIPTION_BYTES: Final = 16 * 1024 * 1024
MAX_RESPONSE_BYTES: Final = 64 * 1024
MAX_REDIRECTS: Final = 5


@asynccontextmanager
async def open_session(timeouts: Timeouts) -> AsyncIterator[aiohttp.ClientSession]:
    """Open a pool of connections. Cookies belong to a `Transport`, not to the pool."""
    async with aiohttp.ClientSession(
        # Each run holds a connection for its stream: with aiohttp's limit of 100, the next one
        # would wait for another's end, and nobody would know why.
        connector=LimitedConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        # Images don't compress, and an event stream would come late. What something on the way
        # compresses all the same is unpacked here, within limits that aiohttp doesn't have.
        headers={"User-Agent": "sd35-studio", "Accept-Encoding": "identity"},
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=timeouts.connect),
    ) as session:
        yield session


class Transport:
    """HTTP to one server at the address `root`, called `name` in errors. Tokens go nowhere else.

    `login` is the username and the password for a server that asks for them.
    """

    def __init__(
        self,
        name: str,
        root: URL,
        session: aiohttp.ClientSession,
        *,
        headers: Mapping[str, str],
        proxy: str | None,
        timeouts: Timeouts,
        login: tuple[str, str] | None = None,
    ) -> None:
        self.name = name
        self.timeouts = timeouts
        self.headers = dict(headers)
        self.session = SpaceSession()
        self._login = None if login is None else SpaceLogin(*login)
        self._http = session
        self._proxy = proxy
        self._raw_pool: RawPool | None = None
        self._set_root(root)

    def _set_root(self, root: URL) -> None:
        self.close()
        self.root = root
        # Instead of aiohttp's `trust_env`, which would also send the passwords in ~/.netrc.
        route = find_proxy(root, self._proxy)
        proxy_auth = proxy_login_header(route.proxy)
        # Through a tunnel, headers of the requests don't reach the proxy: its login goes with the
        # CONNECT. Without one, it is a header like the others.
        is_tunnel = root.scheme == "https"
        uses_tls = is_tunnel or (route.proxy is not None and route.proxy.url.scheme == "https")
        self._request_options: Any = {
            "proxy": None if route.proxy is None else route.proxy.url,
            "proxy_headers": proxy_auth if is_tunnel else None,
            "ssl": tls_context() if uses_tls else True,
            "allow_redirects": False,  # aiohttp would send our headers to another server
        }
        self._proxy_auth = {} if is_tunnel else proxy_auth
        remember_secrets(proxy_auth)
        self.warning = route.warning
        connector = self._http.connector
        if route.proxy is None and isinstance(connector, LimitedConnector):
            limits = (MAX_PICTURE_BYTES, self.timeouts.connect)
            self._raw_pool = RawPool(root, connector, *limits)

    def with_headers(self, headers: Mapping[str, str]) -> "Transport":
        """Return a transport for the same server with other headers, and cookies of its own."""
        clone = copy(self)
        clone.headers = dict(headers)
        clone.session = SpaceSession()
        return clone

    def with_timeouts(self, timeouts: Timeouts) -> "Transport":
        """Return a transport with other limits, and the same headers, cookies and connections."""
        clone = copy(self)
        clone.timeouts = timeouts
        return clone

    def close(self) -> None:
        """Close the connections that aren't the session's."""
        if self._raw_pool is not None:
            self._raw_pool.close()
            self._raw_pool = None

    @property
    def has_token(self) -> bool:
        """Return whether each request carries a token."""
        return any("authorization" in name.lower() for name in self.headers)

    async def get_document(self, url: URL) -> tuple[URL, Json]:
        """Return the JSON at `url`, of at most `MAX_DESCRIPTION_BYTES`, and the address it has.

        Redirects to the same server are followed. So are those to the same host with https, where
        all further requests go, too.
        """
        for _ in range(MAX_REDIRECTS):
            with self._map_exceptions():
                async with self._request("GET", url, self.timeouts.discovery) as response:
                    target = _redirect_target_of(response)
                    if target is None or redirect_error(self.name, url, target) is not None:
                        body = await self._read_ok(response, MAX_DESCRIPTION_BYTES)
                        return url, self._parse(body)
                if not is_same_server(target, self.root):
                    self._set_root(target.origin().join(URL(self.root.raw_path, encoded=True)))
                url = target
        raise RedirectedError(f"{self.name} redirects without end.")

    async def post(
        self,
        url: URL,
        body: dict[str, Any],
        timeout_seconds: float,
        headers: Mapping[str, str] | None = None,
    ) -> Json:
        """Post `body` as JSON, with these additional headers, and return the JSON of the answer."""
        extra_headers = {"Content-Type": "application/json", **(headers or {})}
        with self._map_exceptions():
            async with self._request(
                "POST", url, timeout_seconds, extra_headers=extra_headers, data=orjson.dumps(body)
            ) as response:
                return self._parse(await self._read_ok(response, MAX_RESPONSE_BYTES))

    def _parse(self, body: bytes) -> Json:
        try:
            return parse_json(body)
        except ValueError:
            if is_web_page(body):
                raise web_page_error(self.name, body) from None
            raise

    async def get_picture(self, url: URL) -> bytes:
        """Return the bytes at `url`.

        Raises:
            PictureTooLargeError: there are more than `MAX_PICTURE_BYTES`.
            PictureExpiredError: the server doesn't have them any more.
        """
        with self._map_exceptions():
            self._check_origin(url)
            data = None
            if self._raw_pool is not None:
                headers = self.headers | self.session.cookie_header(url)
                remember_secrets(headers)
                data = await self._raw_pool.get(url, headers, self.timeouts.fetch)
            if data is None:
                data = await self._get_picture_with_aiohttp(url)
        if is_web_page(data):
            error = web_page_error(self.name, data)
            # Any other page is an image that can't be used, which says enough.
            if isinstance(error, LoginPageError):
                raise error
        return data

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        url: URL,
        timeout_seconds: float,
        *,
        extra_headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request, and limit the time until the end of the block."""
        # Not aiohttp's own limits, which pass while the process is suspended.
        async with (
            AwakeTimeout(timeout_seconds),
            await self._send(method, url, extra_headers=extra_headers, data=data) as response,
        ):
            yield response

    async def _send(
        self,
        method: str,
        url: URL,
        *,
        extra_headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
    ) -> aiohttp.ClientResponse:
        """Send a request; after a refusal for want of a login, log in and send it once more."""
        self._check_origin(url)
        cookies = self.session.cookie_header(url) if self._login else {}
        response = await self._send_once(method, url, extra_headers or {}, data)
        if response.status != 401 or self._login is None or self._login.is_refused:
            return response
        response.close()
        async with self.session.login_lock:
            # Unless another request has done it meanwhile.
            if cookies == self.session.cookie_header(url):
                await self._log_in(self._login, response)
        return await self._send_once(method, url, extra_headers or {}, data)

    async def _log_in(self, login: SpaceLogin, refusal: aiohttp.ClientResponse) -> None:
        """Log in as the server asks for it: by HTTP Basic, or at Gradio's page."""
        header = basic_header(login.name, login.password)
        remember_secrets(header)
        if asks_for_basic(refusal.headers):
            is_accepted = self.headers.get("Authorization") != header["Authorization"]
            self.headers |= header
        else:
            form = urlencode({"username": login.name, "password": login.password}).encode()
            content_type = {"Content-Type": "application/x-www-form-urlencoded"}
            response = await self._send_once("POST", self.root / "login", content_type, form)
            response.close()
            is_accepted = response.status not in {400, 401, 403}
            if is_accepted and response.status >= 400:
                raise error_for_status(response.status, "", response.headers)
        if not is_accepted:
            login.is_refused = True
            raise LoginRequiredError(
                f"{self.name} doesn't accept this username and password.",
                "Correct SD35_SPACE_LOGIN (or --space-login-file) and restart.",
            )

    async def _send_once(
        self, method: str, url: URL, extra_headers: Mapping[str, str], data: bytes | None
    ) -> aiohttp.ClientResponse:
        headers = {**self.headers, **self.session.cookie_header(url), **extra_headers}
        # Before they are sent: the answer may repeat them.
        remember_secrets(headers)
        response = await self._http.request(
            method,
            url,
            headers=headers | self._proxy_auth,
            data=data,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self.timeouts.connect),
            **self._request_options,
        )
        self.session.update(response, url)
        return response

    async def _get_picture_with_aiohttp(self, url: URL) -> bytes:
        async with self._request("GET", url, self.timeouts.fetch) as response:
            if response.status in {403, 404, 410}:
                raise PictureExpiredError(
                    f"{self.name} no longer has the image; it may have restarted."
                )
            await self._raise_for_status(response)
            data = await _read_body(response, MAX_PICTURE_BYTES)
        if data is None:
            raise PictureTooLargeError(
                f"The Space sent an image of more than {MAX_PICTURE_BYTES >> 20} MiB."
            )
        return data

    @asynccontextmanager
    async def stream(self, url: URL) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open an event stream, and yield its bytes as they arrive.

        Raises:
            StreamError: while iterating: the stream broke or went silent.
        """
        response: aiohttp.ClientResponse | None = None
        try:
            with self._map_exceptions():
                # A stream lasts as long as its run, but its beginning comes at once.
                async with AwakeTimeout(self.timeouts.silence):
                    response = await self._send("GET", url)
                    await self._raise_for_status(response)
                    await self._check_event_stream(response)
            yield self._iter_chunks(response)
        finally:
            # Only a connection whose response was read to the end can be used again.
            if response is not None and response.content.at_eof():
                response.release()
            elif response is not None:
                response.close()

    async def _check_event_stream(self, response: aiohttp.ClientResponse) -> None:
        if response.content_type == "text/event-stream":
            return
        body = await _read_body(response, MAX_RESPONSE_BYTES) or b""
        if is_web_page(body):
            raise web_page_error(self.name, body)
        raise ProtocolError(f"{self.name} didn't return an event stream.")

    async def _iter_chunks(self, response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
        chunks = response.content.iter_any()
        decoder = _decoder_of(response)
        try:
            while True:
                # Without heartbeats in between, a stream is dead. Not aiohttp's own limit, which
                # passes while the process is suspended, and which bytes beside the body extend.
                async with AwakeTimeout(self.timeouts.silence):
                    chunk = await anext(chunks, None)
                if chunk is None:
                    return
                for piece in decoder.feed(chunk):
                    yield piece
        except TimeoutError:
            raise StreamTimeoutError(f"No updates from {self.name} for too long.") from None
        except (aiohttp.ClientError, ValueError):
            raise StreamInterruptedError(f"The connection to {self.name} was lost.") from None

    async def _raise_for_status(self, response: aiohttp.ClientResponse) -> None:
        """Raise the error for a status other than 200."""
        target = _redirect_target_of(response)
        if target is not None:
            error = redirect_error(self.name, response.url, target)
            raise error or RedirectedError(f"{self.name} has moved.", "Try again.")
        if response.status != 200:
            body = await _read_body(response, MAX_RESPONSE_BYTES) or b""
            raise error_for_status(response.status, body.decode(errors="replace"), response.headers)

    async def _read_ok(self, response: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
        """Return the body of a successful response, or raise the error of another one."""
        await self._raise_for_status(response)
        body = await _read_body(response, limit_bytes)
        if body is None:
            raise ProtocolError(f"{self.name} sent an answer of more than {limit_bytes >> 10} KiB.")
        return body

    def _check_origin(self, url: URL) -> None:
        # The address comes from the Space, and the token goes with every request.
        if not is_same_server(url, self.root):
            raise ProtocolError(f"{self.name} redirected to another server, which isn't allowed.")

    @contextmanager
    def _map_exceptions(self) -> Iterator[None]:
        """Turn aiohttp's errors into ours, here and in `_iter_chunks` alone."""
        try:
            yield
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            # Without the cause: aiohttp's texts hold addresses, headers and parts of the answer,
            # and a traceback would show them.
            raise self._map_exception(error) from None

    def _map_exception(self, error: Exception) -> SD35Error:
        if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
            happened = f"Can't reach {self.name}: {_failure_reason(error)}. {self.warning}"
            return UnreachableError(happened.rstrip(), certificate_remedy(error))
        if isinstance(error, aiohttp.ClientHttpProxyError) and error.status == 407:
            return error_for_status(407, "")
        if isinstance(error, TimeoutError):  # aiohttp's own are subclasses
            return UnreachableError(f"{self.name} timed out.", was_sent=True)
        if isinstance(error, aiohttp.ClientError):
            return UnreachableError(
                f"The connection to {self.name} failed: {_failure_reason(error)}.", was_sent=True
            )
        return ProtocolError(f"{self.name} sent an answer that can't be understood.")


# The first match counts, so that subclasses come before their classes.
_FAILURE_REASONS: Final = (
    ((aiohttp.ClientConnectorCertificateError, ssl.CertificateError), "invalid certificate"),
    ((aiohttp.ClientConnectorDNSError,), "unknown host, or no internet connection"),
    ((aiohttp.ClientProxyConnectionError,), "the proxy can't be reached"),
    ((aiohttp.ClientHttpProxyError,), "blocked by the proxy"),
    ((aiohttp.ClientSSLError, ssl.SSLError), "no secure connection"),
    ((aiohttp.ConnectionTimeoutError,), "timed out"),
    ((aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError), "the connection was closed"),
    ((aiohttp.ClientResponseError,), "not a web server"),
)


def _failure_reason(error: Exception) -> str:
    """Return why a connection failed. Never aiohttp's text: the address of a proxy may be in it."""
    os_error = getattr(error, "os_error", None)
    # Not of a subclass, such as that of the proxy's connection.
    if type(error) is aiohttp.ClientConnectorError and isinstance(os_error, ConnectionRefusedError):
        return "connection refused"
    for error_types, reason in _FAILURE_REASONS:
        if isinstance(error, error_types):
            return reason
    is_connected = not isinstance(error, aiohttp.ClientConnectorError)
    if is_connected and isinstance(error, aiohttp.ClientOSError):
        return "the connection was closed"
    return "blocked by the network"


def _redirect_target_of(response: aiohttp.ClientResponse) -> URL | None:
    return redirect_target(response.status, response.url, response.headers.get("Location"))


def _decoder_of(response: aiohttp.ClientResponse) -> Decoder:
    return content_decoder(",".join(response.headers.getall("Content-Encoding", ())))


async def _read_body(response: aiohttp.ClientResponse, limit_bytes: int) -> bytes | None:
    """Return the body of a response, or `None` if it is larger than the limit."""
    content_length = response.content_length
    if content_length is not None and content_length > limit_bytes:
        return None
    if content_length is not None and "Content-Encoding" not in response.headers:
        return await response.read()
    # A body of unknown length may be endless: it is given up at the limit, not read to its end.
    decoder = _decoder_of(response)
    pieces: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        for piece in decoder.feed(chunk):
            pieces.append(piece)
            size += len(piece)
            if size > limit_bytes:
                return None
    decoder.finish()
    return b"".join(pieces)
