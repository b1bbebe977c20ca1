"""The program: `python app.py`. Hugging Face and `gradio app.py` import `demo` from here."""

import logging
import sys
import threading
from importlib.util import find_spec
from typing import TYPE_CHECKING

from sd35.core.errors import LibraryError
from sd35.core.log_format import configure_logging
from sd35.core.standard_streams import prepare_standard_streams
from sd35.server.accounts import AccountError
from sd35.server.launch import configure_environment
from sd35.settings import Settings, load_settings

if TYPE_CHECKING:
    from sd35.ui.web_app import WebApp


def build(settings: Settings) -> "WebApp":
    """Return the web app, or exit with a sentence about what is missing."""
    if settings.mcp and find_spec("mcp") is None:
        print(  # noqa: T201  # for the person who starts the program
            "app.py: --mcp needs another package: pip install -r requirements-mcp.txt",
            file=sys.stderr,
        )
        sys.exit(2)
    temp_dir = configure_environment()
    # Gradio reads the environment when it is imported. It also takes seconds, for which --help and
    # mistakes in flags shouldn't wait.
    from sd35.ui.web_app import WebApp  # noqa: PLC0415  # see above

    try:
        return WebApp(settings, temp_dir)
    except LibraryError as error:
        sys.exit(f"app.py: {error}")


def run(web_app: "WebApp", settings: Settings) -> None:
    """Serve until Ctrl+C or SIGTERM, or exit with a sentence if the server can't start."""
    configure_logging(logging.WARNING)
    try:
        web_app.start()
    except AccountError as error:
        sys.exit(f"app.py: {error}")
    except OSError:
        # Gradio tries a hundred ports if none is given.
        port = settings.server_port or "7860 to 7959"
        sys.exit(
            f"app.py: Can't listen on {settings.server_name}, port {port}: the port is in use or "
            "the address isn't local. Choose another --port or --host."
        )
    web_app.run()


prepare_standard_streams()
app_settings = load_settings(sys.argv[1:] if __name__ == "__main__" else [])
app = build(app_settings)
demo = app.demo

# `gradio app.py` runs this file in a thread whenever it changes, and serves `demo` itself.
if __name__ == "__main__" and threading.current_thread() is threading.main_thread():
    run(app, app_settings)
