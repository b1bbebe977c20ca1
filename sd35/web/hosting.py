"""Hosting a Gradio app in this process: its environment, its launch and its end, with Gradio's traps taken care of.

`prepare` comes before the first `import gradio`.
"""

import logging
import os
import socket
import tempfile
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import gradio as gr

__all__ = ["close", "free_port", "launch", "prepare"]

LOOPBACK = "127.0.0.1"


def prepare() -> tempfile.TemporaryDirectory[str]:
    """Set Gradio's environment, and return the private directory that it serves files from.

    Everything below Gradio's temporary directory can be downloaded by its path, and by default all Gradio apps
    of a user share one; so this program has its own, which goes when the program ends.
    """
    folder = tempfile.TemporaryDirectory(prefix="sd35-", ignore_cleanup_errors=True)  # mode 0700
    os.environ["GRADIO_TEMP_DIR"] = str(Path(folder.name).resolve())
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = "1000000"  # the table of events makes each event dearer
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    # launch() asks itself over HTTP whether it is up, and the demo Space is on loopback: no proxy belongs there
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), f"localhost,{LOOPBACK},::1"]))
    # FastAPI silences this while it reads Gradio's routes, but not for another thread that does so at the same time.
    warnings.filterwarnings("ignore", message="The 'alias' attribute with value")
    return folder


def launch(
    demo: "gr.Blocks",
    *,
    host: str = LOOPBACK,
    port: int | None = None,
    share: bool = False,
    known_hosts: Sequence[str] = (),
    framed_by: str = "'self'",
    lifespan: Callable[..., AbstractAsyncContextManager[None]] | None = None,
    **looks: Any,  # noqa: ANN401  # theme, css, head … as Gradio's launch takes them
) -> str:
    """Start serving in a thread, and return the address. `port=None` is 7860 or the next one that is free.

    Raises:
        OSError: the port can't be had.

    """
    from starlette.middleware import Middleware  # noqa: PLC0415  # with gradio, after `prepare`

    from sd35.guard import Guard  # noqa: PLC0415

    if hasattr(demo._queue, "sleep_when_free"):  # noqa: SLF001  # polls a thousand times a second otherwise
        demo._queue.sleep_when_free = 0.02  # noqa: SLF001
    _, address, _ = demo.launch(
        server_name=f"[{host}]" if ":" in host and not host.startswith("[") else host,
        server_port=port,
        share=share,
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
        app_kwargs={
            "middleware": [Middleware(Guard, hosts=known_hosts, framed_by=framed_by)],
            "lifespan": lifespan,
        },
        **looks,
    )
    return str(address)


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
