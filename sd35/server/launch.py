"""Hosting a Gradio app in this process: its environment, its launch and its end, with Gradio's traps taken care of.

`prepare` comes before the first `import gradio`.
"""

import asyncio
import logging
import os
import socket
import tempfile
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import gradio as gr
    from starlette.applications import Starlette
    from starlette.middleware import Middleware

__all__ = ["close", "configure_environment", "free_port", "launch", "persistent_storage"]

LOOPBACK = "127.0.0.1"

MAX_OPEN_FILES = 16_384

IDLE_TIMEOUT_SECONDS = 20.0
"""A connection that has not said what it wants after this is closed."""

Lifespan = Callable[[Any], AbstractAsyncContextManager[None]]


def configure_environment() -> tempfile.TemporaryDirectory[str]:
    """Set Gradio's environment, and return the private directory that it serves files from.

    Everything below Gradio's temporary directory can be downloaded by its path, and by default all
    Gradio apps of a user share one; so this program has its own, which goes when the program ends.
    """
    temp_dir = tempfile.TemporaryDirectory(prefix="sd35-", ignore_cleanup_errors=True)  # mode 0700
    os.environ["GRADIO_TEMP_DIR"] = str(Path(temp_dir.name).resolve())
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = (
        "1000000"  # the table of events makes each event dearer
    )
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    # launch() asks itself over HTTP whether it is up, and the demo Space is on loopback: no proxy
    # belongs there
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(
            filter(None, [os.environ.get(name), f"localhost,{LOOPBACK},::1"])
        )
    # FastAPI silences this while it reads Gradio's routes, but not for another thread that does so
    # at the same time.
    warnings.filterwarnings("ignore", message="The 'alias' attribute with value")
    return temp_dir


def persistent_storage(storage: Path = Path("/data")) -> Path | None:
    """Where pictures outlive a restart on Hugging Face: below a storage that is mounted there, if one is."""
    return storage / "sd35" if storage.is_dir() and os.access(storage, os.W_OK) else None


def launch(  # noqa: PLR0913  # what the two apps of this program differ in
    demo: "gr.Blocks",
    *,
    host: str = LOOPBACK,
    port: int | None = None,
    known_hosts: Sequence[str] = (),
    frame_ancestors: Sequence[str] = (),
    root_path: str | None = None,
    auth: Callable[[str, str], Awaitable[bool]] | None = None,
    middleware: Sequence["Middleware"] = (),
    lifespan: Lifespan | None = None,
    **launch_options: Any,  # noqa: ANN401  # theme, css, head … as Gradio's launch takes them
) -> str:
    """Start serving in a thread, and return the address. `port=None` is 7860 or the next one that is free.

    Raises:
        OSError: the port can't be had.

    """
    from sd35.server.security import SecurityMiddleware  # noqa: PLC0415

    _raise_file_limit()
    if hasattr(demo._queue, "sleep_when_free"):  # noqa: SLF001  # polls a thousand times a second otherwise
        demo._queue.sleep_when_free = 0.02  # noqa: SLF001

    @asynccontextmanager
    async def guarded_lifespan(app: "Starlette") -> AsyncIterator[None]:
        # Around all else, Gradio's own middleware too: that answers before any that `app_kwargs`
        # takes.
        assert app.middleware_stack is not None
        app.middleware_stack = SecurityMiddleware(
            app.middleware_stack, known_hosts, frame_ancestors
        )
        close_idle_task = asyncio.create_task(_close_idle_connections(demo))
        async with lifespan(app) if lifespan else nullcontext():
            yield
        close_idle_task.cancel()

    _, address, _ = demo.launch(
        server_name=f"[{host}]" if ":" in host and not host.startswith("[") else host,
        server_port=port,
        share=False,
        prevent_thread_lock=True,
        quiet=True,
        max_threads=256,
        show_error=False,
        ssr_mode=False,
        run_history=False,
        enable_monitoring=False,
        mcp_server=False,
        state_session_capacity=500,
        max_file_size="5mb",
        root_path=root_path,
        auth=auth,
        app_kwargs={"middleware": list(middleware), "lifespan": guarded_lifespan},
        **launch_options,
    )
    return str(address)


def _raise_file_limit() -> None:
    """Let this process hold as many connections open as the system lets it: each is a file to it."""
    try:
        import resource  # noqa: PLC0415  # not on Windows, which has no such limit
    except ImportError:
        return
    soft_limit, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = (
        MAX_OPEN_FILES if hard_limit == resource.RLIM_INFINITY else min(hard_limit, MAX_OPEN_FILES)
    )
    if soft_limit != resource.RLIM_INFINITY and soft_limit < target:
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard_limit))


async def _close_idle_connections(demo: "gr.Blocks") -> None:
    """Close connections on which no whole request comes: uvicorn itself waits for ever."""
    idle_since: dict[tuple[Any, Any], float] = {}
    previously_closing: set[Any] = set()
    while True:
        await asyncio.sleep(IDLE_TIMEOUT_SECONDS / 4)
        server_state = getattr(getattr(demo, "server", None), "server_state", None)
        now = time.monotonic()
        connection_cycles = [
            (connection, getattr(connection, "cycle", None))
            for connection in getattr(server_state, "connections", ())
        ]
        idle = {
            (connection, cycle)
            for connection, cycle in connection_cycles
            if cycle is None or cycle.response_complete
        }
        idle_since = {key: idle_since.get(key, now) for key in idle}
        closing = {
            connection for connection, _ in connection_cycles if connection.transport.is_closing()
        }
        # Who doesn't read what was sent to them is never done with being closed.
        for connection in (closing & previously_closing) | {
            connection
            for (connection, _), idle_start in idle_since.items()
            if now - idle_start > IDLE_TIMEOUT_SECONDS
        }:
            connection.transport.abort()
        previously_closing = closing


def close(demo: "gr.Blocks") -> None:
    """Stop serving, at once: connections that browsers keep open are cut. The lifespan ends in good order."""
    server = getattr(demo, "server", None)
    if server is not None:
        server.config.timeout_graceful_shutdown = 0.1
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # it calls that an error
    demo.close(verbose=False)


def free_port() -> int:
    """A port on the loopback interface that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
