"""The page as it is served: its door, its visitors, and what is answered beside it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from sd35.jobs.artifacts import Kept
from sd35.library.library import Library
from sd35.server import launch
from sd35.server.auth import Door
from sd35.server.picture_routes import Shelves
from sd35.server.visitor_middleware import Visitors

__all__ = ["Services", "Site", "open_site"]

EMBEDDING = Path(gr.__file__).parent / "templates" / "frontend" / "gradio.js"
"""The module that makes `<gradio-app>` work in another page."""

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Site:
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

    door: Door
    host: str = launch.LOOPBACK
    port: int | None = None
    known_hosts: Sequence[str] = ()
    embed_in: Sequence[str] = ()
    root_path: str | None = None


@dataclass(frozen=True, slots=True)
class Services:
    """What the server asks of the program behind it.

    Attributes:
        find: a kept picture by the path that it is asked for by.
        count_streams: is told of each stream that is opened (1) or closed (-1).
        metrics: everything that is counted, as Prometheus takes it.
        lifespan: is entered before the first request, and left after the last.
        routes: what is answered besides, by the path.
        library: whose pictures are handed out to whom they belong to.

    """

    find: Callable[[str], Kept | None]
    count_streams: Callable[[int], None]
    metrics: Callable[[], bytes]
    lifespan: launch.Lifespan
    routes: Mapping[str, ASGIApp]
    library: Library | None = None


def open_site(
    demo: gr.Blocks, site: Site, services: Services, login_page: Path, **looks: Any  # noqa: ANN401
) -> str:  # Gradio's own
    """Serve the page in a thread of its own, and return its address on this machine.

    Raises:
        OSError: the port can't be had.

    """
    visitors = Middleware(
        Visitors,
        door=site.door,
        find=services.find,
        login_page=login_page.read_text(encoding="utf-8"),
        routes={
            "/metrics": _metrics(services.metrics),
            "/gradio.js": FileResponse(EMBEDDING),
            **services.routes,
        },
        shelves=None if services.library is None else Shelves(services.library),
        count_streams=services.count_streams,
    )
    return launch.launch(
        demo,
        host=site.host,
        port=site.port,
        known_hosts=site.known_hosts,
        embed_in=site.embed_in,
        root_path=site.root_path,
        login=site.door.check if site.door.accounts else None,
        middleware=[Middleware(_Health), visitors],
        lifespan=services.lifespan,
        **looks,
    )


def _metrics(text: Callable[[], bytes]) -> ASGIApp:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await Response(text(), media_type=METRICS_TYPE)(scope, receive, send)

    return answer


class _Health:
    """Answers whoever watches over this program, before anybody's door."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].rstrip("/") == "/healthz":
            await JSONResponse({"status": "ok"})(scope, receive, send)
        else:
            await self._app(scope, receive, send)
