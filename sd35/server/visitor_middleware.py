"""ASGI middleware around Gradio's app that identifies visitors and keeps them apart."""

import re
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import urlencode

import anyio.to_thread
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import (
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sd35.core.rate_limit import RateLimiter
from sd35.core.visitor import LOCAL_VISITOR, Visitor
from sd35.jobs.service import JobService
from sd35.server.auth import (
    Authenticator,
    browser_var,
    client_ip_var,
    login_fingerprints_var,
)
from sd35.server.call_validation import API_PREFIX
from sd35.server.gradio_calls import STREAM_PREFIXES, GradioCalls
from sd35.server.open_file_response import OpenFileResponse
from sd35.server.picture_routes import PICTURES_PREFIX, SHEETS_PREFIX, PictureRoutes
from sd35.server.stream_limiter import StreamLimiter
from sd35.server.token_route import TOKEN_PATH, TokenRoute

__all__ = ["VisitorMiddleware"]

FILE_PREFIX: Final = f"{API_PREFIX}file="
INFO_PATH: Final = f"{API_PREFIX}info"

# Reachable without a login: the login itself, and files of Gradio's own package.
PUBLIC_PATHS: Final = re.compile(
    r"/(?:login/?|favicon\.ico|robots\.txt|manifest\.json|gradio\.js|(?:assets|static)/.+"
    r"|gradio_api/startup-events)"
)

# Several times what a page needs while it loads and works.
RATE_PERIOD_SECONDS: Final = 10.0
MAX_REQUESTS_PER_VISITOR: Final = 150
MAX_REQUESTS_PER_IP: Final = 600

COOKIE_MAX_AGE_SECONDS: Final = 365 * 24 * 3600


class VisitorMiddleware:
    """Identifies the visitor, and refuses access to what belongs to others.

    Args:
        app: Gradio's.
        authenticator: decides who is let in.
        job_service: has the images.
        login_page: HTML.
        routes: other apps by path. Programs may call them with HTTP Basic credentials.
    """

    def __init__(
        self,
        app: ASGIApp,
        authenticator: Authenticator,
        job_service: JobService,
        login_page: str,
        routes: Mapping[str, ASGIApp],
    ) -> None:
        self._app = app
        self._authenticator = authenticator
        self._job_service = job_service
        self._login_page = login_page
        self._routes = routes
        self._picture_routes = PictureRoutes(job_service.library)
        self._stream_limiter = StreamLimiter(job_service.metrics.open_streams)
        self._gradio_calls = GradioCalls(app, self._stream_limiter)
        self._token_route = TokenRoute(authenticator, job_service)
        self._visitor_limiter = RateLimiter(MAX_REQUESTS_PER_VISITOR, RATE_PERIOD_SECONDS)
        self._ip_limiter = RateLimiter(MAX_REQUESTS_PER_IP, RATE_PERIOD_SECONDS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, answer it, or pass it on with `request.state.visitor`."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        route = self._routes.get(scope["path"].rstrip("/"))
        client_ip_var.set(self._authenticator.client_ip(request))
        browser_var.set(self._authenticator.browser_secret(request))
        try:
            user = await self._authenticate(request, is_route=route is not None)
        except HTTPException as error:
            response = PlainTextResponse(error.detail, error.status_code, error.headers)
            await response(scope, receive, send)
            return
        visitor = self._authenticator.identify_visitor(request, user)
        scope.setdefault("state", {})["visitor"] = visitor
        rejection = self._rejection(request, user, visitor, is_route=route is not None)
        if rejection is not None:
            await rejection(scope, receive, send)
        elif route is not None:
            await self._stream_limiter.serve(route, scope, receive, send)
        else:
            await self._dispatch(request, send, visitor)

    async def _authenticate(self, request: Request, *, is_route: bool) -> str | None:
        user = self._authenticator.session_user(request)
        path = request.scope["path"]
        # Once a browser has Basic credentials, it sends them even with requests that other sites
        # cause. So only routes for programs accept them.
        has_files = path.startswith((FILE_PREFIX, PICTURES_PREFIX)) and path != TOKEN_PATH
        if user is None and (is_route or has_files):
            return await self._authenticator.basic_auth_user(request)
        return user

    def _rejection(
        self, request: Request, user: str | None, visitor: Visitor, *, is_route: bool
    ) -> Response | None:
        path = request.scope["path"]
        if self._authenticator.accounts and user is None and not PUBLIC_PATHS.fullmatch(path):
            return self._unauthorized(path, is_route=is_route)
        # Not for GET requests of images: a library's page asks for hundreds of thumbnails.
        is_rate_limited = visitor is not LOCAL_VISITOR and (
            request.method == "POST" or is_route or path == "/"
        )
        if is_rate_limited and not self._is_within_rate_limit(visitor):
            return PlainTextResponse(
                "Too many requests. Please slow down.", HTTPStatus.TOO_MANY_REQUESTS
            )
        return None

    def _is_within_rate_limit(self, visitor: Visitor) -> bool:
        client_ip = client_ip_var.get()
        return self._visitor_limiter.try_acquire(visitor.rate_limit_key) and (
            client_ip is None or self._ip_limiter.try_acquire(client_ip)
        )

    def _unauthorized(self, path: str, *, is_route: bool) -> Response:
        if is_route:
            return PlainTextResponse(
                "Please log in.",
                HTTPStatus.UNAUTHORIZED,
                {"WWW-Authenticate": 'Basic realm="SD 3.5 Studio"'},
            )
        if path == "/":
            return Response(self._login_page, HTTPStatus.UNAUTHORIZED, media_type="text/html")
        # As Gradio answers: its page and its clients know this text.
        return JSONResponse({"detail": {"error": "Not authenticated"}}, HTTPStatus.UNAUTHORIZED)

    async def _dispatch(self, request: Request, send: Send, visitor: Visitor) -> None:
        scope = request.scope
        receive = request.receive
        path = scope["path"]
        if path.startswith(FILE_PREFIX):
            response = await self._file_response(path.removeprefix(FILE_PREFIX), visitor)
            await response(scope, receive, send)
        elif path.startswith(PICTURES_PREFIX):
            await self._serve_own_route(request, send)
        elif path.rstrip("/") == "/login" and request.method == "POST":
            await self._log_in(request, send)
        elif path.startswith("/logout"):
            await self._token_route.forget(request, visitor)
            await self._log_out(request, send)
        elif path.rstrip("/") == "/login/callback" and "error" in request.query_params:
            # Somebody cancelled the sign-in at Hugging Face; Gradio would answer with an error.
            await RedirectResponse("../")(scope, receive, send)
        elif request.method == "POST" and path.startswith(API_PREFIX):
            await self._gradio_calls.post(request, send, visitor)
        elif path.startswith(STREAM_PREFIXES):
            await self._gradio_calls.stream(scope, receive, send, visitor)
        elif path == "/":
            await self._app(scope, receive, self._with_browser_cookie(request, send))
        else:
            await self._app(_without_shared_info(request), receive, send)

    async def _serve_own_route(self, request: Request, send: Send) -> None:
        route = (request.scope, request.receive, send)
        if request.scope["path"] == TOKEN_PATH:
            await self._token_route(*route)
        elif request.method == "POST" or request.scope["path"].startswith(SHEETS_PREFIX):
            # A ZIP archive or a sheet, which may take minutes.
            await self._stream_limiter.serve(self._picture_routes, *route)
        else:
            await self._picture_routes(*route)

    async def _file_response(self, path: str, visitor: Visitor) -> Response:
        # The path is only a key: no file is opened that isn't a registered artifact.
        artifact = self._job_service.find_artifact(path)
        if artifact is None or not visitor.may_access(artifact.owner):
            # One answer for both: a 403 would confirm that another visitor's file exists.
            return PlainTextResponse("Image not found.", HTTPStatus.NOT_FOUND)
        headers = {"Cache-Control": "private, max-age=86400"}
        if isinstance(artifact.content, bytes):
            return Response(artifact.content, media_type=artifact.mime_type, headers=headers)
        try:
            open_path = self._job_service.library.open_path
            file = await anyio.to_thread.run_sync(open_path, artifact.content)
        except OSError:
            return PlainTextResponse(
                "The image's file is no longer available.", HTTPStatus.NOT_FOUND
            )
        return OpenFileResponse(file, artifact.content, artifact.mime_type, headers)

    async def _log_in(self, request: Request, send: Send) -> None:
        fingerprints: list[str] = []
        login_fingerprints_var.set(fingerprints)

        async def send_and_bind(message: Message) -> None:
            # Otherwise an old password could be used for a session that begins after its change.
            if message["type"] == "http.response.start" and fingerprints:
                for cookie in Headers(raw=message["headers"]).getlist("set-cookie"):
                    self._authenticator.bind_session(request, cookie, fingerprints[-1])
            await send(message)

        await self._app(request.scope, request.receive, send_and_bind)

    async def _log_out(self, request: Request, send: Send) -> None:
        self._authenticator.log_out(request)
        # By default Gradio ends all sessions of the same name: everyone's who shares a login.
        params = [item for item in request.query_params.multi_items() if item[0] != "all_session"]
        query = urlencode([*params, ("all_session", "false")])
        await self._app({**request.scope, "query_string": query.encode()}, request.receive, send)

    def _with_browser_cookie(self, request: Request, send: Send) -> Send:
        """Return a `send` that gives a new browser the secret by which it is recognized."""
        is_known = self._authenticator.browser_secret(request) is not None
        if self._authenticator.is_private or is_known:
            return send
        name, attributes = self._authenticator.browser_cookie(request)
        cookie = (
            f"{name}={secrets.token_urlsafe(32)}; Path=/; Max-Age={COOKIE_MAX_AGE_SECONDS}; "
            f"HttpOnly; {attributes}"
        )

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"set-cookie", cookie.encode())]
            await send(message)

        return send_with_cookie


def _without_shared_info(request: Request) -> Scope:
    """Return the scope; that of a request for the API's description is of the app's one page.

    Of all pages together, Gradio keeps the description with the address in the first request for it
    (a cache that anyone could poison), and shows it to every visitor.
    """
    scope = request.scope
    if scope["path"].rstrip("/") != INFO_PATH:
        return scope
    params = [item for item in request.query_params.multi_items() if item[0] != "page"]
    return {**scope, "query_string": urlencode([*params, ("page", "")]).encode()}
