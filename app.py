"""The program: settings → studio → page → launch. `demo` is there for Spaces and `gradio app.py`."""

import contextlib
import logging
import queue
import signal
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sd35.server import launch
from sd35.server.accounts import AccountError, CredentialStore, generate_credentials
from sd35.settings import Settings, load_settings

if TYPE_CHECKING:
    from sd35.space.server import DemoSpace

settings = load_settings(sys.argv[1:] if __name__ == "__main__" else [])
if settings.mcp:
    try:
        import mcp.server.mcpserver  # noqa: F401  # this early, so that nobody waits to be told
    except ImportError:
        print(  # noqa: T201
            "app.py: --mcp takes a package that isn't here: pip install -r requirements-mcp.txt",
            file=sys.stderr,
        )
        sys.exit(2)
temp_dir = launch.configure_environment()

# Only now: Gradio takes seconds to import, which --help shouldn't cost, and reads its environment
# as it is imported.
import anyio.to_thread  # noqa: E402

from sd35.core.errors import LibraryError  # noqa: E402
from sd35.jobs.limits import UsageLimits  # noqa: E402
from sd35.jobs.service import JobService, JobServiceConfig, SpaceConfig  # noqa: E402
from sd35.library.library import Library  # noqa: E402
from sd35.server.auth import Authenticator  # noqa: E402
from sd35.server.server import AppServices, ServerConfig, serve  # noqa: E402
from sd35.server.tunnel import LIFETIME_NOTICE, Tunnel, TunnelError, close_tunnels, qr_code  # noqa: E402
from sd35.ui.page import TITLE, Page  # noqa: E402
from sd35.ui.theme import ASSETS, launch_options  # noqa: E402

POLL_SECONDS = 5.0

demo_space: "DemoSpace | None" = None


async def start_demo() -> str:
    """Start the embedded demo Space, unless it is running, and return its address."""
    return await anyio.to_thread.run_sync(_start_demo)


def _start_demo() -> str:
    global demo_space  # noqa: PLW0603  # one for the program, made when it is first needed
    if demo_space is None:
        from sd35.space.server import DemoSpace  # noqa: PLC0415  # not before somebody needs it

        demo_space = DemoSpace()
    return demo_space.start()


def build_config(settings: Settings) -> JobServiceConfig:
    """Say where pictures are kept, and what visitors may.

    Raises:
        LibraryError: the library can't be used.

    """
    folder, is_persistent = settings.library_folder, True
    if settings.runs_on_hub and settings.library is None:
        persistent_folder = launch.persistent_storage()
        folder, is_persistent = (
            persistent_folder or Path(temp_dir.name) / "library",
            persistent_folder is not None,
        )
    return JobServiceConfig(
        Path(temp_dir.name),
        Library.open(folder),
        is_persistent,
        UsageLimits(**settings.usage_limits),
        settings.lend_token,
        settings.idle_timeout,
    )


try:
    studio_config = build_config(settings)
except LibraryError as error:
    sys.exit(f"app.py: {error}")
job_service = JobService(
    SpaceConfig(settings.space, settings.space_token, settings.space_proxy, settings.hf_endpoint),
    start_demo,
    studio_config,
)
demo = Page(job_service, can_sign_in=settings.can_sign_in, can_log_out=settings.has_logins).demo


def build_auth(settings: Settings) -> tuple[Authenticator, str]:
    """Return who is let in, and what is to be said of a login that was made for it.

    Raises:
        AccountError: the logins that were given can't be used.

    """
    credentials = list(settings.logins)
    shared_logins, login_message = frozenset[str](), ""
    if settings.generates_login:
        name, password = generate_credentials()
        credentials, shared_logins = [f"{name}:{password}"], frozenset({name})
        login_message = f"Login:       {name}\nPassword:    {password}"
    accounts = (
        CredentialStore(credentials, settings.users) if credentials or settings.users else None
    )
    return Authenticator(
        settings.is_private,
        accounts,
        shared_logins,
        settings.runs_on_hub,
        bool(settings.frame_ancestors),
    ), login_message


def build_services(settings: Settings) -> AppServices:
    """Return what is answered beside the page; with --mcp agents' calls, too."""
    services = AppServices(
        job_service.find_artifact,
        job_service.metrics.open_streams.inc,
        job_service.metrics.text,
        job_service.lifespan,
        {},
        job_service.library,
    )
    if not settings.mcp:
        return services
    from sd35.server.mcp import MCP_PATH, McpApp  # noqa: PLC0415  # what it takes need not be installed

    mcp_app = McpApp(job_service, settings.root_path)

    @asynccontextmanager
    async def lifespan(app: object) -> AsyncIterator[None]:
        async with job_service.lifespan(app), mcp_app.lifespan(app):
            yield

    return replace(services, lifespan=lifespan, routes={MCP_PATH: mcp_app})


def start_server(settings: Settings, authenticator: Authenticator) -> str:
    """Start serving, and return the address on this machine."""
    server_config = ServerConfig(
        authenticator,
        settings.server_name,
        settings.server_port,
        settings.host_names,
        settings.frame_ancestors,
        settings.root_path,
    )
    try:
        return serve(
            demo,
            server_config,
            build_services(settings),
            ASSETS / "login.html",
            footer_links=["api"],
            **launch_options(),
        )
    except OSError:
        address = f"at {settings.server_name}, port {settings.server_port or '7860 or one of the next hundred'}"
        sys.exit(
            f"The page can't be served {address}: in use, or not this machine's. Choose another --port or --host."
        )


def open_share_link(login_message: str) -> Tunnel | None:
    """Make the public link and print it, or say why there is none."""
    try:
        tunnel = Tunnel.open("127.0.0.1", demo.server_port, demo.share_token, Path(temp_dir.name))
    except TunnelError as error:
        echo(f"No public link: {error} The page is here only.")
        return None
    echo(f"Public link: {tunnel.url}\n{qr_code(tunnel.url)}{LIFETIME_NOTICE}")
    if not login_message and settings.no_auth:
        echo(
            "Without a login: whoever has this link, or guesses it, can make pictures at your cost."
        )
    return tunnel


def echo(message: str) -> None:
    """Print, at once."""
    print(message, flush=True)  # noqa: T201


def wait_for_stop(stop_signals: "queue.SimpleQueue[int]") -> bool:
    """Wait for a moment, and say whether this program is to end."""
    with contextlib.suppress(queue.Empty):
        return stop_signals.get(timeout=POLL_SECONDS) > 0
    return False


def main(settings: Settings) -> None:
    """Serve the page until Ctrl-C or SIGTERM, and end everything in good order."""
    stop_signals: queue.SimpleQueue[int] = (
        queue.SimpleQueue()
    )  # unlike an Event, safe in a signal's handler
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda signum, _: stop_signals.put(signum))
    try:
        authenticator, login_message = build_auth(settings)
    except AccountError as error:
        sys.exit(f"app.py: {error}")
    address = start_server(settings, authenticator)
    echo(f"{TITLE} is at {address}")
    echo(f"Pictures are kept in {studio_config.library.folder}")
    if settings.mcp:
        echo(f"For agents:  {address}gradio_api/mcp")
    if login_message:
        echo(login_message)
    if not settings.is_private and settings.space_token and not settings.lend_token:
        echo(
            "Pictures are made without your token, as others may ask for them; --lend-token changes that."
        )
    if settings.share and not settings.opens_share_link:
        echo("No public link: on Hugging Face this page has one already.")
    tunnel = open_share_link(login_message) if settings.opens_share_link else None
    while not wait_for_stop(stop_signals):
        if tunnel is not None and tunnel.has_ended:
            echo("The public link has come to its end. Start this program again for another one.")
            tunnel = None
    echo("Stopping…")
    close_tunnels()
    launch.close(demo)
    if demo_space is not None:
        demo_space.close()
    studio_config.library.close()
    temp_dir.cleanup()


# `gradio app.py` runs this file again in a thread when it has changed, and looks for `demo` alone.
if __name__ == "__main__" and threading.current_thread() is threading.main_thread():
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    main(settings)
