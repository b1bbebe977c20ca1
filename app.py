"""The program: settings → studio → page → launch. `demo` is there for Spaces and `gradio app.py`."""

import logging
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from sd35 import hosting
from sd35.settings import Settings, load

if TYPE_CHECKING:
    from sd35.space.server import DemoSpace

settings = load(sys.argv[1:] if __name__ == "__main__" else [])
files = hosting.prepare()

# Only now: Gradio takes seconds to import, which --help shouldn't cost, and reads its environment as it is imported.
import anyio.to_thread  # noqa: E402

from sd35.studio import SpaceChoice, Studio  # noqa: E402
from sd35.ui.page import TITLE, Page  # noqa: E402
from sd35.ui.theme import looks  # noqa: E402

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


choice = SpaceChoice(settings.space, settings.space_token, settings.space_proxy, settings.hf_endpoint)
studio = Studio(choice, start_demo, Path(files.name) / "pictures")
demo = Page(studio).demo


def serve(settings: Settings) -> None:
    """Serve the page until Ctrl-C or SIGTERM, and end everything in good order."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        address = hosting.launch(
            demo,
            host=settings.server_name,
            port=settings.server_port,
            share=settings.share,
            known_hosts=settings.host_names,
            framed_by="'self' https://huggingface.co https://*.hf.space" if settings.runs_on_hub else "'self'",
            lifespan=studio.lifespan,
            footer_links=[],
            **looks(),
        )
    except OSError:
        place = f"at {settings.server_name}, port {settings.server_port or '7860 or one of the next hundred'}"
        sys.exit(f"The page can't be served {place}: in use, or not this machine's. Choose another --port or --host.")
    print(f"{TITLE} is at {address}", flush=True)  # noqa: T201
    if settings.share:
        print(f"Public link: {demo.share_url or 'none; gradio.live could not be reached'}", flush=True)  # noqa: T201
    stop.wait()
    print("Stopping…", flush=True)  # noqa: T201
    hosting.close(demo)
    if demo_space is not None:
        demo_space.close()
    files.cleanup()


# `gradio app.py` runs this file again in a thread when it has changed, and looks for `demo` alone.
if __name__ == "__main__" and threading.current_thread() is threading.main_thread():
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    serve(settings)
