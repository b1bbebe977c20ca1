"""The session of one identity at a server: its cookies, and the login that begins it."""

import asyncio
from dataclasses import dataclass, field
from typing import Final

import aiohttp
from yarl import URL

__all__ = ["SpaceLogin", "SpaceSession"]

MAX_COOKIE_CHARACTERS: Final = 8 * 1024


@dataclass(slots=True)
class SpaceLogin:
    """A username and a password for a server.

    Attributes:
        is_refused: whether the server has refused them. They aren't tried again, for any identity:
            a server may lock an account after some failures.
    """

    name: str
    password: str = field(repr=False)
    is_refused: bool = False


class SpaceSession:
    """The cookies of one identity.

    Attributes:
        login_lock: held by the one request that logs in, for all that need it.
    """

    def __init__(self) -> None:
        # Not "unsafe", a jar ignores the cookies of hosts that are IP addresses.
        self._cookie_jar = aiohttp.CookieJar(unsafe=True)
        self.login_lock = asyncio.Lock()

    def cookie_header(self, url: URL) -> dict[str, str]:
        """Return the header with the cookies for an address."""
        cookies = self._cookie_jar.filter_cookies(url)
        header = "; ".join(f"{name}={cookie.coded_value}" for name, cookie in cookies.items())
        return {"Cookie": header} if header else {}

    def update(self, response: aiohttp.ClientResponse, url: URL) -> None:
        """Keep the cookies of a response."""
        if not response.cookies:
            return
        self._cookie_jar.update_cookies(response.cookies, url)
        # Servers refuse requests with more, and a Space could send new ones without end.
        if len(self.cookie_header(url).get("Cookie", "")) > MAX_COOKIE_CHARACTERS:
            self._cookie_jar.clear()
