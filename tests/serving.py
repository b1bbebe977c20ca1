"""The whole program but for its process: studio, page, server, door."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from sd35.jobs.limits import NO_CAPS, Caps
from sd35.jobs.service import House, SpaceChoice, Studio
from sd35.library.library import Library
from sd35.server import launch
from sd35.server.auth import Door
from sd35.server.server import Services, Site, open_site
from sd35.space.server import DemoSpace
from sd35.ui import page as ui
from sd35.ui.theme import ASSETS, looks

SERVED = Path(os.environ["GRADIO_TEMP_DIR"])


def house(
    folder: Path, caps: Caps = NO_CAPS, *, is_lasting: bool = True, unwatched: float | None = None
) -> House:
    """Where pictures are kept in a test."""
    return House(SERVED, Library.open(folder), is_lasting, caps, unwatched_seconds=unwatched)


@dataclass(frozen=True, slots=True)
class Served:
    """A page that is served: its address, and the studio behind it."""

    address: str
    studio: Studio


@contextmanager
def serving(
    choice: str,
    folder: Path,
    caps: Caps = NO_CAPS,
    site: Callable[[int], Site] = lambda port: Site(Door(), port=port),
) -> Iterator[Served]:
    """Serve the page at a free port, which `site` is told; with no more said, to one owner."""
    demo_space = DemoSpace()

    async def start_demo() -> str:
        return await anyio.to_thread.run_sync(demo_space.start)

    place = site(launch.free_port())
    studio = Studio(SpaceChoice(choice, hub="http://127.0.0.1:1"), start_demo, house(folder, caps))
    demo = ui.Page(studio, can_log_out=place.door.accounts is not None).demo
    services = Services(
        studio.handed_out,
        studio.metrics.streams.inc,
        studio.metrics.text,
        studio.lifespan,
        {},
        studio.library,
    )
    try:
        yield Served(
            open_site(
                demo, place, services, ASSETS / "login.html", footer_links=["api"], **looks()
            ),
            studio,
        )
    finally:
        launch.close(demo)
        demo_space.close()
        studio.library.close()
