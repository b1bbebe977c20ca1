"""The page as it is served: its door, its visitors, and what is answered beside it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from sd35.jobs.artifacts import Artifact
from sd35.library.library import Library
from sd35.server import launch
from sd35.server.auth import Authenticator
from sd35.server.picture_routes import PictureRoutes
from sd35.server.visitor_middleware import VisitorMiddleware

__all__ = ["AppServices", "ServerConfig", "serve"]

EMBED_SCRIPT = Path(gr.__file__).parent / "templates" / "frontend" / "gradio.js"
"""The module that makes `<gradio-app>` work in another page."""

METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Where the page is, and for whom.

    Attributes:
        door: who is let in.
        host: the address to listen on.
        port: `None` for 7860 or the next one that is free.
        known_hosts: the names under which the page may be asked for, beside localhost and plain
            addresses.
        embed_in: the sites that may show it within theirs.
        root_path: the path under which a reverse proxy shows it.

    """

    authenticator: Authenticator
    host: str = launch.LOOPBACK
    port: int | None = None
    known_hosts: Sequence[str] = ()
    frame_ancestors: Sequence[str] = ()
    root_path: str | None = None


@dataclass(frozen=True, slots=True)
class AppServices:
    """What the server asks of the program behind it.

    Attributes:
        find: a kept picture by the path that it is asked for by.
        count_streams: is told of each stream that is opened (1) or closed (-1).
        metrics: everything that is counted, as Prometheus takes it.
        lifespan: is entered before the first request, and left after the last.
        routes: what is answered besides, by the path.
        library: whose pictures are handed out to whom they belong to.

    """

    find_artifact: Callable[[str], Artifact | None]
    adjust_stream_count: Callable[[int], None]
    render_metrics: Callable[[], bytes]
    lifespan: launch.Lifespan
    routes: Mapping[str, ASGIApp]
    library: Library | None = None


def serve(
    demo: gr.Blocks,
    config: ServerConfig,
    services: AppServices,
    login_page: Path,
    **launch_options: Any,  # noqa: ANN401
) -> str:  # Gradio's own
    """Serve the page in a thread of its own, and return its address on this machine.

    Raises:
        OSError: the port can't be had.

    """
    visitor_middleware = Middleware(
        VisitorMiddleware,
        authenticator=config.authenticator,
        find_artifact=services.find_artifact,
        login_page=login_page.read_text(encoding="utf-8"),
        routes={
            "/metrics": _metrics_endpoint(services.render_metrics),
            "/gradio.js": FileResponse(EMBED_SCRIPT),
            **services.routes,
        },
        picture_routes=None if services.library is None else PictureRoutes(services.library),
        adjust_stream_count=services.adjust_stream_count,
    )
    return launch.launch(
        demo,
        host=config.host,
        port=config.port,
        known_hosts=config.known_hosts,
        frame_ancestors=config.frame_ancestors,
        root_path=config.root_path,
        auth=config.authenticator.login if config.authenticator.accounts else None,
        middleware=[Middleware(_HealthCheck), visitor_middleware],
        lifespan=services.lifespan,
        **launch_options,
    )


def _metrics_endpoint(render: Callable[[], bytes]) -> ASGIApp:
    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        await Response(render(), media_type=METRICS_CONTENT_TYPE)(scope, receive, send)

    return respond


class _HealthCheck:
    """Answers whoever watches over this program, before anybody's door."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].rstrip("/") == "/healthz":
            await JSONResponse({"status": "ok"})(scope, receive, send)
        else:
            await self._app(scope, receive, send)
