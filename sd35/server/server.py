"""The page's server: Gradio's app with the middleware and routes around it."""

import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import gradio as gr
from gradio import route_utils
from starlette.middleware import Middleware
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from sd35.jobs.service import JobService
from sd35.server import launch
from sd35.server.asset_images import AssetImages
from sd35.server.auth import Authenticator
from sd35.server.front_end import FrontEnd, FrontEndMiddleware
from sd35.server.page_cache import PageCache
from sd35.server.root_url import root_url
from sd35.server.visitor_middleware import VisitorMiddleware

__all__ = ["host_names", "serve"]

# The script that defines `<gradio-app>` for other pages. Gradio contains it but doesn't serve it:
# its documentation points to a CDN.
EMBED_SCRIPT: Final = Path(gr.__file__).parent / "templates" / "frontend" / "gradio.js"

assert hasattr(route_utils, "get_root_url")
route_utils.get_root_url = root_url

METRICS_CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


def host_names(
    host: str, known_hosts: Iterable[str], *, is_shared: bool, is_on_hub: bool
) -> tuple[str, ...]:
    """Return the names that requests may have in `Host`, besides localhost and IP addresses.

    Others are refused, because of DNS rebinding: another site can point its own name at this
    server, and browsers would then treat its page as one of this server.
    """
    names = [host, *known_hosts]
    if host in {"0.0.0.0", "::", "[::]"}:  # noqa: S104  # compared, not bound
        names += [socket.gethostname(), f"{socket.gethostname()}.local"]
    if is_shared:
        names.append(".gradio.live")
    if is_on_hub:
        names.append(".hf.space")
    return tuple(names)


def serve(
    demo: gr.Blocks,
    authenticator: Authenticator,
    job_service: JobService,
    login_page: Path,
    *,
    routes: Mapping[str, ASGIApp] = MappingProxyType({}),
    lifespan: launch.Lifespan | None = None,
    images: AssetImages | None = None,
    **launch_options: Any,  # noqa: ANN401  # checked by `launch`
) -> str:
    """Serve the page in a thread, and return its address on this machine.

    `routes` are other apps by path; `lifespan` is by default that of the job service; `images` are
    those of the page itself. For the other options, such as host and port, see `launch.launch`.

    Raises:
        OSError: the port is in use, or the address isn't local.
    """
    visitor_middleware = Middleware(
        VisitorMiddleware,
        authenticator=authenticator,
        job_service=job_service,
        login_page=login_page.read_text(encoding="utf-8"),
        routes={
            "/metrics": _metrics_endpoint(job_service),
            "/gradio.js": FileResponse(EMBED_SCRIPT),
            **routes,
        },
    )
    page_middleware = _page_middleware(FrontEnd(demo, launch_options.get("head", ""), images))
    return launch.launch(
        demo,
        # The health check needs no login: Docker and load balancers have none.
        middleware=[Middleware(_HealthCheck), visitor_middleware, *page_middleware],
        lifespan=lifespan or job_service.lifespan,
        auth=authenticator.login if authenticator.accounts else None,
        **launch_options,
    )


def _page_middleware(front_end: FrontEnd) -> list[Middleware]:
    return [Middleware(PageCache), Middleware(FrontEndMiddleware, front_end=front_end)]


def _metrics_endpoint(job_service: JobService) -> ASGIApp:
    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        response = Response(job_service.metrics.text(), media_type=METRICS_CONTENT_TYPE)
        await response(scope, receive, send)

    return respond


class _HealthCheck:
    """ASGI middleware that answers `/healthz`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].rstrip("/") == "/healthz":
            await JSONResponse({"status": "ok"})(scope, receive, send)
        else:
            await self._app(scope, receive, send)
