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
from sd35.server.accounts import AccountError, Accounts, generated_login
from sd35.settings import Settings, load

if TYPE_CHECKING:
    from sd35.space.server import DemoSpace

settings = load(sys.argv[1:] if __name__ == "__main__" else [])
if settings.mcp:
    try:
        import mcp.server.mcpserver  # noqa: F401  # this early, so that nobody waits to be told
    except ImportError:
        print(  # noqa: T201
            "app.py: --mcp takes a package that isn't here: pip install -r requirements-mcp.txt",
            file=sys.stderr,
        )
        sys.exit(2)
files = launch.prepare()

# Only now: Gradio takes seconds to import, which --help shouldn't cost, and reads its environment
# as it is imported.
import anyio.to_thread  # noqa: E402

from sd35.core.errors import LibraryError  # noqa: E402
from sd35.jobs.limits import Caps  # noqa: E402
from sd35.jobs.service import House, SpaceChoice, Studio  # noqa: E402
from sd35.library.library import Library  # noqa: E402
from sd35.server.auth import Door  # noqa: E402
from sd35.server.server import Services, Site, open_site  # noqa: E402
from sd35.server.tunnel import LIFETIME, NoTunnelError, Tunnel, close_tunnels, qr_code  # noqa: E402
from sd35.ui.page import TITLE, Page  # noqa: E402
from sd35.ui.theme import ASSETS, looks  # noqa: E402

LOOK_SECONDS = 5.0

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


def make_house(settings: Settings) -> House:
    """Say where pictures are kept, and what visitors may.

    Raises:
        LibraryError: the library can't be used.

    """
    folder, is_lasting = settings.library_folder, True
    if settings.runs_on_hub and settings.library is None:
        lasting = launch.lasting_folder()
        folder, is_lasting = lasting or Path(files.name) / "library", lasting is not None
    return House(
        Path(files.name),
        Library.open(folder),
        is_lasting,
        Caps(**settings.caps),
        settings.lend_token,
        settings.unwatched_seconds,
    )


try:
    house = make_house(settings)
except LibraryError as error:
    sys.exit(f"app.py: {error}")
studio = Studio(
    SpaceChoice(settings.space, settings.space_token, settings.space_proxy, settings.hf_endpoint),
    start_demo,
    house,
)
demo = Page(studio, can_sign_in=settings.can_sign_in, can_log_out=settings.has_logins).demo


def make_door(settings: Settings) -> tuple[Door, str]:
    """Return who is let in, and what is to be said of a login that was made for it.

    Raises:
        AccountError: the logins that were given can't be used.

    """
    pairs = list(settings.logins)
    handed_out, said = frozenset[str](), ""
    if settings.makes_login:
        name, password = generated_login()
        pairs, handed_out = [f"{name}:{password}"], frozenset({name})
        said = f"Login:       {name}\nPassword:    {password}"
    accounts = Accounts(pairs, settings.users) if pairs or settings.users else None
    return Door(
        settings.is_private, accounts, handed_out, settings.runs_on_hub, bool(settings.sites)
    ), said


def make_services(settings: Settings) -> Services:
    """Return what is answered beside the page; with --mcp agents' calls, too."""
    services = Services(
        studio.handed_out,
        studio.metrics.streams.inc,
        studio.metrics.text,
        studio.lifespan,
        {},
        studio.library,
    )
    if not settings.mcp:
        return services
    from sd35.server.mcp import PATH, Agents  # noqa: PLC0415  # what it takes need not be installed

    agents = Agents(studio, settings.root_path)

    @asynccontextmanager
    async def lifespan(app: object) -> AsyncIterator[None]:
        async with studio.lifespan(app), agents.lifespan(app):
            yield

    return replace(services, lifespan=lifespan, routes={PATH: agents})


def make_site(settings: Settings, door: Door) -> str:
    """Start serving, and return the address on this machine."""
    site = Site(
        door,
        settings.server_name,
        settings.server_port,
        settings.host_names,
        settings.sites,
        settings.root_path,
    )
    try:
        return open_site(
            demo,
            site,
            make_services(settings),
            ASSETS / "login.html",
            footer_links=["api"],
            **looks(),
        )
    except OSError:
        place = f"at {settings.server_name}, port {settings.server_port or '7860 or one of the next hundred'}"
        sys.exit(
            f"The page can't be served {place}: in use, or not this machine's. Choose another --port or --host."
        )


def share(said_of_login: str) -> Tunnel | None:
    """Make the public link and print it, or say why there is none."""
    try:
        tunnel = Tunnel.open("127.0.0.1", demo.server_port, demo.share_token, Path(files.name))
    except NoTunnelError as error:
        say(f"No public link: {error} The page is here only.")
        return None
    say(f"Public link: {tunnel.url}\n{qr_code(tunnel.url)}{LIFETIME}")
    if not said_of_login and settings.no_auth:
        say(
            "Without a login: whoever has this link, or guesses it, can make pictures at your cost."
        )
    return tunnel


def say(words: str) -> None:
    """Print, at once."""
    print(words, flush=True)  # noqa: T201


def is_stopped(stop: "queue.SimpleQueue[int]") -> bool:
    """Wait for a moment, and say whether this program is to end."""
    with contextlib.suppress(queue.Empty):
        return stop.get(timeout=LOOK_SECONDS) > 0
    return False


def serve(settings: Settings) -> None:
    """Serve the page until Ctrl-C or SIGTERM, and end everything in good order."""
    stop: queue.SimpleQueue[int] = (
        queue.SimpleQueue()
    )  # unlike an Event, safe in a signal's handler
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: stop.put(number))
    try:
        door, said_of_login = make_door(settings)
    except AccountError as error:
        sys.exit(f"app.py: {error}")
    address = make_site(settings, door)
    say(f"{TITLE} is at {address}")
    say(f"Pictures are kept in {house.library.folder}")
    if settings.mcp:
        say(f"For agents:  {address}gradio_api/mcp")
    if said_of_login:
        say(said_of_login)
    if not settings.is_private and settings.space_token and not settings.lend_token:
        say(
            "Pictures are made without your token, as others may ask for them; --lend-token changes that."
        )
    if settings.share and not settings.shares:
        say("No public link: on Hugging Face this page has one already.")
    tunnel = share(said_of_login) if settings.shares else None
    while not is_stopped(stop):
        if tunnel is not None and tunnel.has_ended:
            say("The public link has come to its end. Start this program again for another one.")
            tunnel = None
    say("Stopping…")
    close_tunnels()
    launch.close(demo)
    if demo_space is not None:
        demo_space.close()
    house.library.close()
    files.cleanup()


# `gradio app.py` runs this file again in a thread when it has changed, and looks for `demo` alone.
if __name__ == "__main__" and threading.current_thread() is threading.main_thread():
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    serve(settings)
