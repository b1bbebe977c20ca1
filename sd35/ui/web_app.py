"""The web app: job service, page and server, put together from the settings."""

import asyncio
import contextlib
import os
import queue
import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import anyio.to_thread
import gradio as gr

from sd35.core.events import Waiting
from sd35.core.home_folder import config_folder
from sd35.core.space_ref import local_model
from sd35.jobs.limits import UsageLimits
from sd35.jobs.service import JobService, JobServiceConfig
from sd35.jobs.space_connection import SpaceConfig
from sd35.jobs.token_store import TokenStore
from sd35.library.library import Library
from sd35.server import launch
from sd35.server.accounts import CredentialStore, generate_credentials
from sd35.server.auth import Authenticator
from sd35.server.memory import tune_memory
from sd35.server.server import host_names, serve
from sd35.server.tunnel import LIFETIME_NOTICE, Tunnel, TunnelError, close_tunnels, qr_code
from sd35.settings import Settings
from sd35.ui.page import build_page
from sd35.ui.theme import ASSETS, launch_options

if TYPE_CHECKING:
    from sd35.space.child import LocalSpace
    from sd35.space.server import DemoSpace

__all__ = ["WebApp"]

TUNNEL_CHECK_SECONDS: Final = 5.0

HUB_STORAGE: Final = Path("/data")  # where Hugging Face mounts the persistent storage of a Space


class WebApp:
    """The job service, the page and the server, built from the settings.

    Args:
        settings: flags and environment.
        temp_dir: from `configure_environment`; removed at the end of `run`.

    Raises:
        LibraryError: the library can't be used.
    """

    def __init__(self, settings: Settings, temp_dir: "TemporaryDirectory[str]") -> None:
        self._settings = settings
        self._temp_dir = temp_dir
        self._demo_space: DemoSpace | None = None
        self._local_spaces: dict[str, LocalSpace] = {}
        self._local_lock = asyncio.Lock()
        self._demo_space_lock = threading.Lock()
        self._is_closed = False
        # A signal handler may interrupt a thread that holds an Event's lock, and would then wait
        # for it forever. A SimpleQueue is reentrant.
        self._stop_signals: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._login_notice = ""
        self._address = ""
        self._job_service = JobService(
            self._space_config(), self._start_space, self._job_service_config()
        )
        self._job_service.space_connector.stop_local = self._stop_local_spaces
        self.demo: gr.Blocks = build_page(
            self._job_service, can_sign_in=settings.can_sign_in, can_log_out=settings.has_logins
        )

    def _space_config(self) -> SpaceConfig:
        settings = self._settings
        token, token_source = settings.token_with_source
        hub_token, hub_token_source = settings.hub_token_with_source
        return SpaceConfig(
            settings.space,
            token,
            settings.space_proxy,
            settings.hf_endpoint,
            settings.space_credentials,
            hub_token,
            token_source,
            hub_token_source,
        )

    def _job_service_config(self) -> JobServiceConfig:
        settings = self._settings
        temp_dir = Path(self._temp_dir.name)
        folder = settings.library_folder
        is_persistent = True
        if settings.runs_on_hub and settings.library is None:
            # A Space's disk is lost at each restart, unless storage is mounted.
            is_persistent = HUB_STORAGE.is_dir() and os.access(HUB_STORAGE, os.W_OK)
            folder = HUB_STORAGE / "sd35" if is_persistent else temp_dir / "library"
        return JobServiceConfig(
            temp_dir,
            Library.open(folder),
            is_persistent=is_persistent,
            usage_limits=self._usage_limits(),
            shares_token=settings.lend_token,
            idle_timeout=settings.idle_timeout,
            token_store=self._token_store(),
        )

    def _token_store(self) -> TokenStore | None:
        """Return what keeps a token that is added on the page, if its owner can."""
        if not self._settings.can_add_token:
            return None
        return TokenStore(config_folder() / "token-in-keyring")

    def _usage_limits(self) -> UsageLimits:
        settings = self._settings
        if settings.is_private:
            return UsageLimits.for_owner(max_concurrent=settings.at_once)
        return UsageLimits.for_visitors(
            per_hour=settings.visitor_hourly,
            total_per_hour=settings.all_hourly,
            max_queued=settings.visitor_waiting,
            max_queued_total=settings.all_waiting,
            max_concurrent=settings.at_once,
            has_own_quotas=settings.runs_on_hub and not settings.lend_token,
        )

    async def _start_space(self, target: str, on_wait: Callable[[Waiting], None]) -> str:
        model = local_model(target)
        if model is None:
            return await anyio.to_thread.run_sync(self._start_demo_space)
        settings = self._settings
        is_named = local_model(settings.space) == model
        token = settings.space_token if is_named else settings.hub_token
        token = token or self._job_service.owner_token.value
        if model not in self._local_spaces:
            # Two models wouldn't fit into one GPU.
            await self._stop_local_spaces()
            from sd35.space.child import LocalSpace  # noqa: PLC0415  # as few programs need it

            options = settings.options_of_model(model)
            on_crash = partial(self._job_service.space_connector.restart_local, target)
            self._local_spaces[model] = LocalSpace(model, options, token, on_crash, on_plan=_print)
        # One that couldn't download its model starts again, and a token may have been added.
        self._local_spaces[model].use_token(token)
        return await self._local_spaces[model].start(on_wait)

    async def _stop_local_spaces(self) -> None:
        spaces = list(self._local_spaces.values())
        self._local_spaces.clear()
        async with self._local_lock:  # the next one starts when the memory is free
            for space in spaces:
                await anyio.to_thread.run_sync(space.close)

    def _start_demo_space(self) -> str:
        with self._demo_space_lock:
            if self._is_closed:  # and nobody waits for the address any more
                return ""
            if self._demo_space is None:
                # Most programs never need it, and its painter takes 0.2 s to import.
                from sd35.space.server import DemoSpace  # noqa: PLC0415  # see above

                self._demo_space = DemoSpace()
            return self._demo_space.start()

    def start(self) -> None:
        """Start serving the page in a thread.

        Raises:
            AccountError: the logins can't be used.
            OSError: the port is in use, or the address isn't local.
        """
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, lambda signum, _: self._stop_signals.put(signum))
        authenticator, self._login_notice = self._build_authenticator()
        tune_memory()
        self._address = self._serve(authenticator)

    def run(self) -> None:
        """Print what the user needs to know, wait for Ctrl+C or SIGTERM, and close everything."""
        self._print_notices()
        tunnel = self._open_tunnel() if self._settings.opens_share_link else None
        while not self._should_stop():
            if tunnel is not None and tunnel.has_ended:
                _print("The public link has expired. Restart for a new one.")
                tunnel = None
        _print("Stopping…")
        self._close()

    def _should_stop(self) -> bool:
        """Return whether a signal has come, after waiting for one for a few seconds."""
        with contextlib.suppress(queue.Empty):
            return self._stop_signals.get(timeout=TUNNEL_CHECK_SECONDS) > 0
        return False

    def _build_authenticator(self) -> tuple[Authenticator, str]:
        """Return the authenticator, and the text about a login that was generated."""
        settings = self._settings
        credentials = list(settings.logins)
        shared_logins = frozenset[str]()
        login_notice = ""
        if settings.generates_login:
            name, password = generate_credentials()
            credentials = [f"{name}:{password}"]
            shared_logins = frozenset({name})
            login_notice = f"Username: {name}\nPassword: {password}"
        accounts = None
        if credentials or settings.users:
            accounts = CredentialStore(credentials, settings.users)
        authenticator = Authenticator(
            is_private=settings.is_private,
            accounts=accounts,
            shared_logins=shared_logins,
            is_on_hub=settings.runs_on_hub,
            is_embedded=bool(settings.frame_ancestors),
        )
        return authenticator, login_notice

    def _serve(self, authenticator: Authenticator) -> str:
        settings = self._settings
        known_hosts = host_names(
            settings.server_name,
            settings.known_host_names,
            is_shared=settings.opens_share_link,
            is_on_hub=settings.runs_on_hub,
        )
        return serve(
            self.demo,
            authenticator,
            self._job_service,
            ASSETS / "login.html",
            host=settings.server_name,
            port=settings.server_port,
            known_hosts=known_hosts,
            frame_ancestors=settings.frame_ancestors,
            root_path=settings.root_path,
            footer_links=["api"],
            **(self._mcp_options() if settings.mcp else {}),
            **launch_options(),
        )

    def _mcp_options(self) -> dict[str, Any]:
        from sd35.server.mcp import MCP_PATH, McpApp  # noqa: PLC0415  # an optional dependency

        mcp_app = McpApp(self._job_service, self._settings.root_path)

        @asynccontextmanager
        async def lifespan(app: object) -> AsyncIterator[None]:
            async with self._job_service.lifespan(app), mcp_app.lifespan(app):
                yield

        return {"lifespan": lifespan, "routes": {MCP_PATH: mcp_app}}

    def _print_notices(self) -> None:
        settings = self._settings
        _print(f"Running at {self._address} (press Ctrl+C to stop)")
        library = self._job_service.library
        if library.is_read_only:
            _print(f"Nothing can be saved: the library in {library.folder} is read-only.")
        else:
            _print(f"Images are saved in {library.folder}")
        if settings.mcp:
            _print(f"MCP server: {self._address}gradio_api/mcp")
        if self._login_notice:
            _print(self._login_notice)
        if not settings.is_private and settings.space_token and not settings.lend_token:
            _print("Visitors don't use your token. To share it, add --lend-token.")
        if settings.share and settings.runs_on_hub:
            _print("--share has no effect on Hugging Face: this page is public already.")

    def _open_tunnel(self) -> Tunnel | None:
        demo = self.demo
        try:
            tunnel = Tunnel.open(
                launch.LOOPBACK, demo.server_port, demo.share_token, Path(self._temp_dir.name)
            )
        except TunnelError as error:
            _print(
                f"Couldn't create a public link. {error} "
                "The page is still available on this computer."
            )
            return None
        _print(f"Public link: {tunnel.url}\n{qr_code(tunnel.url)}{LIFETIME_NOTICE}")
        if self._settings.no_auth:
            _print("No login set: anyone with this link can use your quota.")
        return tunnel

    def _close(self) -> None:
        close_tunnels()
        launch.close(self.demo)
        # Its start may be under way in a thread, where Gradio would make the removed folder again.
        with self._demo_space_lock:
            self._is_closed = True
            if self._demo_space is not None:
                self._demo_space.close()
        for space in self._local_spaces.values():
            space.close()
        # Gradio waits five seconds for the end of its server, which may not have got this far.
        self._job_service.save_unsaved()
        self._job_service.library.close()
        self._temp_dir.cleanup()


def _print(message: str) -> None:
    # The terminal may have been closed meanwhile; the page is still there.
    with contextlib.suppress(OSError):
        # Without a flush, a pipe or a service's log gets the text when the program ends.
        print(message, flush=True)  # noqa: T201  # this is the program's output
