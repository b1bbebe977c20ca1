"""Gradio servers in this process: environment, launch and shutdown.

`configure_environment` must run before the first `import gradio`, so this module imports it for
type checking only.
"""

import logging
import os
import socket
import tempfile
import warnings
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sd35.server.gradio_import import prepare_gradio_import

if TYPE_CHECKING:
    import gradio as gr
    from starlette.applications import Starlette

__all__ = ["close", "configure_environment", "free_port", "launch"]

LOOPBACK: Final = "127.0.0.1"

Lifespan = Callable[[Any], AbstractAsyncContextManager[None]]

GRADIO_OPTIONS: Final[dict[str, Any]] = {
    "share": False,  # Gradio's would open before there is a login; see `tunnel`
    "prevent_thread_lock": True,
    "quiet": True,
    "max_threads": 256,  # each sync function that waits holds one; the default is 40
    "show_error": False,  # otherwise visitors read the text of any exception
    "ssr_mode": False,  # would start a Node process
    "run_history": False,
    "enable_monitoring": False,
    "mcp_server": False,
    "state_session_capacity": 250,  # the default of 10,000 may take much memory
    "max_file_size": "5mb",
}


def configure_environment() -> tempfile.TemporaryDirectory[str]:
    """Prepare the import of Gradio, and return its private temporary directory.

    The directory is removed with the returned object.
    """
    prepare_gradio_import()
    # Gradio serves every file below this directory to anyone who knows its path, and by default all
    # Gradio apps of a user share one. This one has mode 0700.
    temp_dir = tempfile.TemporaryDirectory(prefix="sd35-", ignore_cleanup_errors=True)
    os.environ["GRADIO_TEMP_DIR"] = str(Path(temp_dir.name).resolve())
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    # By default Gradio builds a table of the last 10,000 events after every event. It is for the
    # monitoring page, which is blocked here.
    os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = "1000000"
    os.environ["GRADIO_ANALYTICS_MAX_EVENTS"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    # Gradio's launch() asks its own server over HTTP whether it is up, and the demo Space is on the
    # loopback interface too. A configured proxy would get those requests, and fail.
    for name in ("NO_PROXY", "no_proxy"):
        hosts = [os.environ.get(name), "localhost", LOOPBACK, "::1"]
        os.environ[name] = ",".join(host for host in hosts if host)
    # FastAPI silences this warning while it reads Gradio's routes, but `warnings` is not
    # thread-safe: a second app that starts at the same time makes it appear.
    warnings.filterwarnings("ignore", message="The 'alias' attribute with value")
    return temp_dir


def launch(
    demo: "gr.Blocks",
    *,
    host: str = LOOPBACK,
    port: int | None = None,
    known_hosts: Sequence[str] = (),
    frame_ancestors: Sequence[str] = (),
    middleware: Sequence[Any] = (),
    lifespan: Lifespan | None = None,
    **gradio_options: Any,  # noqa: ANN401  # as Gradio's launch() takes them
) -> str:
    """Start serving in a thread, and return the URL. `port=None`: the first free one from 7860.

    Raises:
        OSError: the port is in use, or the address isn't local.
    """
    # `--help` of app.py imports this module, and shouldn't wait for Gradio and uvicorn.
    from gradio import http_server  # noqa: PLC0415  # see above

    from sd35.server import connections  # noqa: PLC0415  # see above

    connections.raise_file_limit()
    http_server.Server = connections.limited_server_class()
    _configure_queue(demo)
    protected_lifespan = _protected_lifespan(lifespan, known_hosts, frame_ancestors)
    _, address, _ = demo.launch(
        # Gradio puts the name into URLs, in which an IPv6 address needs brackets.
        server_name=f"[{host}]" if ":" in host and not host.startswith("[") else host,
        server_port=port,
        app_kwargs={"middleware": _with_call_validator(middleware), "lifespan": protected_lifespan},
        **GRADIO_OPTIONS,
        **gradio_options,
    )
    _limit_log()
    # Under `gradio app.py`, Gradio would also watch the files for the next app, the demo Space. Two
    # watchers unload the same modules at the same time, and no reload succeeds.
    http_server.GRADIO_WATCH_DIRS = []
    return str(address)


def _configure_queue(demo: "gr.Blocks") -> None:
    # Gradio's queue looks for work every millisecond otherwise, which keeps a slow CPU busy.
    if hasattr(demo._queue, "sleep_when_free"):  # noqa: SLF001  # no option sets it
        demo._queue.sleep_when_free = 0.02  # noqa: SLF001  # no option sets it
    # Functions of the queue could be called directly otherwise, past its limits.
    demo.api_open = False


def _with_call_validator(middleware: Sequence[Any]) -> list[Any]:
    # `--help` of app.py imports this module, and shouldn't wait for starlette.
    from starlette.middleware import Middleware  # noqa: PLC0415  # see above

    from sd35.server.call_validation import CallValidator  # noqa: PLC0415  # see above

    # The last one is next to Gradio.
    return [*middleware, Middleware(CallValidator)]


def _limit_log() -> None:
    from sd35.server.error_boundary import limit_log_lines  # noqa: PLC0415  # starlette, as above

    # Only once the server runs: with each start, uvicorn replaces its handlers.
    limit_log_lines()
    # uvicorn warns of nothing but mistakes of clients.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)


def _protected_lifespan(
    lifespan: Lifespan | None,
    known_hosts: Sequence[str],
    frame_ancestors: Sequence[str],
) -> Lifespan:
    # `--help` of app.py imports this module, and shouldn't wait for starlette.
    from sd35.server.asset_cache import AssetCache  # noqa: PLC0415  # see above
    from sd35.server.error_boundary import ErrorBoundary  # noqa: PLC0415  # see above
    from sd35.server.security import SecurityMiddleware  # noqa: PLC0415  # see above
    from sd35.server.sessions import replace_session_holder  # noqa: PLC0415  # see above

    @asynccontextmanager
    async def protected_lifespan(app: "Starlette") -> AsyncIterator[None]:
        replace_session_holder(app)
        # `app_kwargs` adds middleware inside Gradio's own, which answers some requests before that.
        # At this point the whole stack is built, and can be wrapped.
        assert app.middleware_stack is not None
        app.middleware_stack = ErrorBoundary(
            SecurityMiddleware(AssetCache(app.middleware_stack), known_hosts, frame_ancestors)
        )
        async with lifespan(app) if lifespan else nullcontext():
            yield

    return protected_lifespan


def close(demo: "gr.Blocks") -> None:
    """Stop serving at once, and end the lifespan."""
    server = getattr(demo, "server", None)
    if server is not None:
        # Without this limit uvicorn waits for open event streams, and it logs an error for each one
        # that it cancels.
        server.config.timeout_graceful_shutdown = 0.1
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    demo.close(verbose=False)


def free_port() -> int:
    """Return a port of the loopback interface that is free at the moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
