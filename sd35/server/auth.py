"""Authentication: logins, sessions, and the visitor behind a request."""

import hmac
import secrets
import time
from base64 import b64decode
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from math import ceil
from typing import Any, Final

import anyio.to_thread
from cachetools import TTLCache
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from sd35.core.visitor import LOCAL_VISITOR, Visitor, owner_from_cookie
from sd35.server.accounts import AccountError, CredentialStore, normalize_username
from sd35.server.client_ip import ip_key
from sd35.server.login_throttle import LoginThrottle
from sd35.server.visitor_tokens import TOKEN_COOKIE, VisitorTokens

__all__ = [
    "BROWSER_COOKIE",
    "Authenticator",
    "browser_var",
    "client_ip_var",
    "login_fingerprints_var",
]

BROWSER_COOKIE: Final = "sd35-browser"
BROWSER_SECRET_LENGTHS: Final = range(32, 65)

BASIC_AUTH_CACHE_SECONDS: Final = 60.0
MAX_CACHED_BASIC_LOGINS: Final = 1000

# Gradio calls `Authenticator.login` with name and password only, so address and browser of the
# request reach the throttle this way.
client_ip_var: ContextVar[str | None] = ContextVar("client_ip", default=None)
browser_var: ContextVar[str | None] = ContextVar("browser", default=None)
# And the fingerprint of the right password reaches the response.
login_fingerprints_var: ContextVar[list[str]] = ContextVar("login_fingerprints")


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Checks logins and sessions, and identifies visitors.

    Attributes:
        is_private: only this machine reaches the page, and its user owns everything.
        accounts: the logins; `None` if none is needed.
        shared_logins: names of logins that many people use: each of their browsers is a visitor.
        is_on_hub: this program runs as a Space on Hugging Face, behind its proxy.
        is_embedded: other sites may embed the page, so cookies must work in their frames.
        session_fingerprints: by session token, the fingerprint of the password at login.
        basic_auth_cache: name and fingerprint of the password, by a keyed hash of HTTP Basic
            credentials that were right. Programs send them with every request, and checking a
            password is slow on purpose.
        visitor_tokens: the tokens that visitors have added for their own images.
    """

    is_private: bool = True
    accounts: CredentialStore | None = None
    shared_logins: frozenset[str] = frozenset()
    is_on_hub: bool = False
    is_embedded: bool = False
    login_throttle: LoginThrottle = field(default_factory=LoginThrottle)
    session_fingerprints: dict[str, str] = field(default_factory=dict, repr=False)
    hmac_key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    basic_auth_cache: TTLCache[bytes, tuple[str, str]] = field(
        default_factory=lambda: TTLCache(MAX_CACHED_BASIC_LOGINS, BASIC_AUTH_CACHE_SECONDS),
        repr=False,
    )
    visitor_tokens: VisitorTokens = field(default_factory=VisitorTokens, repr=False)

    async def login(self, name: str, password: str) -> bool:
        """Return whether name and password are right. Gradio calls this for its route `/login`.

        Raises:
            HTTPException: there were too many attempts, or the password file can't be used.
        """
        fingerprint = await self._verify(name, password)
        if fingerprint is not None:
            login_fingerprints_var.get().append(fingerprint)
        return fingerprint is not None

    async def _verify(self, name: str, password: str) -> str | None:
        assert self.accounts is not None
        client = (client_ip_var.get(), browser_var.get())
        delay = self.login_throttle.acquire(name, *client)
        if delay > 0:
            retry_after = str(ceil(delay))
            raise HTTPException(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"Too many attempts. Try again in {retry_after} s.",
                {"Retry-After": retry_after},
            )
        try:
            fingerprint = await anyio.to_thread.run_sync(self.accounts.verify, name, password)
        except AccountError as error:
            raise HTTPException(
                HTTPStatus.SERVICE_UNAVAILABLE, "Login is unavailable right now."
            ) from error
        if fingerprint is not None:
            self.login_throttle.reset(name, *client)
        return fingerprint

    def bind_session(self, request: HTTPConnection, set_cookie: str, fingerprint: str) -> None:
        """Tie the session that Gradio has begun to the password with which it began."""
        token = set_cookie.partition(";")[0].partition("=")[2]
        if token in _gradio_sessions(request):
            self.session_fingerprints[token] = fingerprint

    async def basic_auth_user(self, request: HTTPConnection) -> str | None:
        """Return the user by the request's HTTP Basic credentials (RFC 7617), if they are right.

        Raises:
            HTTPException: as for `login`.
        """
        scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
        if self.accounts is None or scheme.lower() != "basic":
            return None
        # A hash with a key of this run: a memory dump contains no credentials.
        cache_key = hmac.digest(self.hmac_key, credentials.encode(), "sha256")
        username, fingerprint = self.basic_auth_cache.get(cache_key, ("", ""))
        if self._is_current(username, fingerprint):
            return username
        try:
            name, colon, password = b64decode(credentials, validate=True).decode().partition(":")
        except ValueError:
            return None
        verified_fingerprint = await self._verify(name, password) if colon else None
        if verified_fingerprint is None:
            return None
        username = normalize_username(name)
        self.basic_auth_cache[cache_key] = (username, verified_fingerprint)
        return username if self._is_current(username, verified_fingerprint) else None

    def session_user(self, request: HTTPConnection) -> str | None:
        """Return the user of this browser's session, if it is still valid."""
        if self.accounts is None:
            return None
        sessions = _gradio_sessions(request)
        token = next((token for token in _session_tokens(request) if token in sessions), None)
        if token is None:
            return None
        # Gradio keeps the name as it was typed.
        username = normalize_username(sessions[token])
        # Gradio's sessions outlive a change of the password; ours must not.
        if self._is_current(username, self.session_fingerprints.get(token, "")):
            browser_secret = self.browser_secret(request)
            if browser_secret is not None:
                self.login_throttle.trust(username, browser_secret)
            return username
        self._end_session(sessions, token)
        return None

    def _is_current(self, username: str, fingerprint: str) -> bool:
        """Return whether the user may log in, with the password that has this fingerprint."""
        assert self.accounts is not None
        try:
            return self.accounts.is_current(username, fingerprint)
        except AccountError:
            return False

    def _end_session(self, sessions: dict[str, str], token: str) -> None:
        sessions.pop(token, None)
        self.session_fingerprints.pop(token, None)

    def log_out(self, request: HTTPConnection) -> None:
        """End this browser's session.

        Gradio's own `/logout` ends only the Hugging Face sign-in where there is one.
        """
        for token in _session_tokens(request):
            self._end_session(_gradio_sessions(request), token)

    def identify_visitor(self, request: HTTPConnection, user: str | None) -> Visitor:
        """Return the visitor: a Hugging Face account, else a login, else a browser."""
        if self.is_private:
            return LOCAL_VISITOR
        # Hugging Face's proxy sets this header. Elsewhere, clients could set it.
        ip_token = request.headers.get("x-ip-token") if self.is_on_hub else None
        owner = None
        name = user
        token = None
        account = _oauth_account(request.scope.get("session") or {})
        browser_secret = self.browser_secret(request)
        if account is not None:
            owner = f"account:{account['id']}"
            name = account["name"]
            token = account["token"]
        elif user is not None and user not in self.shared_logins:
            owner = f"user:{user}"
        elif browser_secret is not None:
            owner = owner_from_cookie(browser_secret)
        visitor = Visitor(
            owner, owner or f"address:{self.client_ip(request)}", name, token, ip_token
        )
        added_token = self.visitor_tokens.find(self.token_secret(request), owner)
        if added_token is None:
            return visitor
        # One identity alone: Hugging Face's proxy may prefer the other one, and bill it.
        return replace(visitor, token=added_token, ip_token=None, has_added_token=True)

    def browser_cookie(
        self, request: HTTPConnection, name: str = BROWSER_COOKIE
    ) -> tuple[str, str]:
        """Return the name and attributes of a cookie with a secret, by default the browser's.

        With https the name begins with `__Host-`, so that no other server of the same domain can
        set the cookie.
        """
        if self.is_embedded:
            # In another site's frame, browsers send only these, and keep them apart per site.
            return f"__Host-{name}", "SameSite=None; Secure; Partitioned"
        # Behind a proxy that ends TLS, the URL's own scheme is http.
        if request.headers.get("x-forwarded-proto", request.url.scheme) == "https":
            return f"__Host-{name}", "SameSite=Lax; Secure"
        return name, "SameSite=Lax"

    def browser_secret(self, request: HTTPConnection) -> str | None:
        """Return the secret in this browser's cookie, if it has a plausible one."""
        browser_secret = request.cookies.get(self.browser_cookie(request)[0], "")
        return browser_secret if len(browser_secret) in BROWSER_SECRET_LENGTHS else None

    def token_secret(self, request: HTTPConnection) -> str | None:
        """Return the secret by which this browser's token is found, if it has added one."""
        return request.cookies.get(self.browser_cookie(request, TOKEN_COOKIE)[0])

    def token_cookie(self, request: HTTPConnection, secret: str) -> str:
        """Return the header that gives a browser this secret, until the browser is closed."""
        name, attributes = self.browser_cookie(request, TOKEN_COOKIE)
        lifetime = "" if secret else "Max-Age=0; "
        return f"{name}={secret}; Path=/; {lifetime}HttpOnly; {attributes}"

    def client_ip(self, request: HTTPConnection) -> str | None:
        """Return the client's address, as `ip_key` does; `None` if a tunnel or proxy hides it.

        Only the last entry of `X-Forwarded-For` counts: the proxy next to this server has appended
        it, and clients can send any others. If a client connects directly, none counts.
        """
        peer = request.client.host if request.client else None
        if not self.is_on_hub and peer not in {"127.0.0.1", "::1", None}:
            return ip_key(peer)
        forwarded_for = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
        return ip_key(forwarded_for) if forwarded_for else None


def _gradio_sessions(request: HTTPConnection) -> dict[str, str]:
    """Return Gradio's names by session token."""
    sessions: dict[str, str] = getattr(request.scope.get("app"), "tokens", {})
    return sessions


def _session_tokens(request: HTTPConnection) -> list[str]:
    # Gradio sets two cookies, of which browsers keep the secure one with https only.
    cookie_suffix = getattr(request.scope.get("app"), "cookie_id", "")
    names = (f"access-token-{prefix}{cookie_suffix}" for prefix in ("", "unsecure-"))
    return [request.cookies[name] for name in names if name in request.cookies]


def _oauth_account(session: Mapping[str, Any]) -> dict[str, str] | None:
    """Return the Hugging Face account in Gradio's signed session cookie, unless it has expired."""
    oauth_info = session.get("oauth_info")
    if not isinstance(oauth_info, dict) or not isinstance(oauth_info.get("userinfo"), dict):
        return None
    # The cookie may outlive the token in it.
    expires_at = oauth_info.get("expires_at")
    if not isinstance(expires_at, int | float) or expires_at <= time.time():
        return None
    userinfo = oauth_info["userinfo"]
    account = {
        "id": userinfo.get("sub"),
        "name": userinfo.get("preferred_username"),
        "token": oauth_info.get("access_token"),
    }
    return {key: str(value) for key, value in account.items()} if all(account.values()) else None
