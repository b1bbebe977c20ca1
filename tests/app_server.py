"""The web app within the test's process: job service, page and server."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio.to_thread
from argon2 import PasswordHasher

from sd35.jobs.limits import UNLIMITED, UsageLimits
from sd35.jobs.service import JobService, JobServiceConfig
from sd35.jobs.space_connection import SpaceConfig
from sd35.jobs.token_store import TokenStore
from sd35.library.library import Library
from sd35.server import launch
from sd35.server.auth import Authenticator
from sd35.server.server import serve
from sd35.space.server import DemoSpace
from sd35.ui.page import build_page
from sd35.ui.theme import ASSETS, launch_options

TEMP_DIR = Path(os.environ["GRADIO_TEMP_DIR"])

# The smallest parameters that Argon2 allows: the hash is not under test in most tests.
CHEAP_HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def studio_config(
    folder: Path,
    limits: UsageLimits = UNLIMITED,
    *,
    is_lasting: bool = True,
    idle_timeout: float | None = None,
    token_store: TokenStore | None = None,
) -> JobServiceConfig:
    """Return the configuration of a job service in a test."""
    return JobServiceConfig(
        TEMP_DIR,
        Library.open(folder),
        is_lasting,
        limits,
        idle_timeout=idle_timeout,
        token_store=token_store,
    )


@dataclass(frozen=True, slots=True)
class AppServer:
    """A served page: its address, and the job service behind it."""

    address: str
    studio: JobService


@contextmanager
def serve_app(
    space_name: str,
    folder: Path,
    limits: UsageLimits = UNLIMITED,
    authenticator: Authenticator | None = None,
    *,
    hub: str = "http://127.0.0.1:1",
    token_store: TokenStore | None = None,
    **options: Any,  # noqa: ANN401  # of `serve`
) -> Iterator[AppServer]:
    """Serve the page, by default at a free port and to the local user alone."""
    authenticator = authenticator or Authenticator()
    demo_space = DemoSpace()

    async def start_demo(*_: object) -> str:
        return await anyio.to_thread.run_sync(demo_space.start)

    studio = JobService(
        SpaceConfig(space_name, hub=hub),
        start_demo,
        studio_config(folder, limits, token_store=token_store),
    )
    demo = build_page(studio, can_log_out=authenticator.accounts is not None)
    try:
        yield AppServer(
            serve(
                demo,
                authenticator,
                studio,
                ASSETS / "login.html",
                footer_links=["api"],
                **launch_options(),
                **({"port": launch.free_port()} | options),
            ),
            studio,
        )
    finally:
        launch.close(demo)
        demo_space.close()
        studio.library.close()
