"""A Space of one's own at Hugging Face: a model on ZeroGPU, or on the GPU that the Space has."""

import logging
import os
import queue
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from sd35.core.model_options import ModelOptions
from sd35.core.standard_streams import prepare_standard_streams
from sd35.server import launch
from sd35.space.engine import Broken, Engine, EngineError, Loading
from sd35.space.engine_options import EngineOptions
from sd35.space.models import Weights
from sd35.space.zerogpu import ZeroGPUEngine, import_spaces

if TYPE_CHECKING:
    from sd35.space.diffusion.engine import DiffusersEngine

__all__ = ["HostedSpace"]

ALL_ADDRESSES: Final = "0.0.0.0"  # noqa: S104  # Hugging Face's proxy comes from outside
PORT: Final = "7860"
REPORT_SECONDS: Final = 2.0

DEMO: Final = "demo"
"""Name of the demo painter in place of a model: for a first try, without a licence or a download"""


class HostedSpace:
    """The app over a model, which is loaded already if ZeroGPU demands it.

    To be made before anything imports Gradio or PyTorch.

    Args:
        model: as `python -m sd35.space --model` takes it.

    Attributes:
        demo: the app.
    """

    def __init__(self, model: str) -> None:
        prepare_standard_streams()
        logging.basicConfig(level=logging.WARNING)
        # Gradio reads the environment when it is imported, and `spaces` imports Gradio.
        self._temp_dir = launch.configure_environment()
        spaces = import_spaces()
        try:
            self._engine = _create_engine(model, spaces)
        except EngineError as error:
            sys.exit(str(error))
        from sd35.space.page import page_options  # noqa: PLC0415  # see above
        from sd35.space.server import build_space  # noqa: PLC0415  # see above

        self._page_options = page_options()
        self.demo = build_space(self._engine)

    def run(self) -> None:
        """Serve until a signal asks this process to end."""
        stop_signals: queue.SimpleQueue[int] = queue.SimpleQueue()
        for stop_signal in (signal.SIGINT, signal.SIGTERM):
            signal.signal(stop_signal, lambda number, _: stop_signals.put(number))
        is_on_hub = "SPACE_ID" in os.environ
        space_hosts = os.environ.get("SPACE_HOST", "").split(",")
        address = launch.launch(
            self.demo,
            host=os.environ.get(
                "GRADIO_SERVER_NAME", ALL_ADDRESSES if is_on_hub else launch.LOOPBACK
            ),
            port=int(os.environ.get("GRADIO_SERVER_PORT", PORT)),
            known_hosts=(".hf.space", *filter(None, space_hosts)) if is_on_hub else (),
            # Hugging Face shows the Space in a frame of its own page.
            frame_ancestors=("*",) if is_on_hub else (),
            **self._page_options,
        )
        self._engine.start()
        _report(f"{self._engine.title}\n{address}")
        stop_signals.get()
        launch.close(self.demo)
        self._engine.close()
        self._temp_dir.cleanup()


def _create_engine(model: str, spaces: Any | None) -> Engine:  # noqa: ANN401  # a module
    """Return the engine of a model; with `spaces`, loaded already.

    Raises:
        EngineError: there is no such model, or it doesn't run here.
    """
    if model == DEMO:
        from sd35.space.painter import DemoPainter  # noqa: PLC0415  # only for the demo

        painter = DemoPainter()
        return painter if spaces is None else ZeroGPUEngine(painter, Weights(0, 0, 0), spaces)
    from sd35.space.diffusion.build import create_engine  # noqa: PLC0415  # PyTorch, after `spaces`

    if spaces is None:
        return create_engine(EngineOptions(model, is_hosted=True))
    # Nothing else fits: offloading would move the weights twice.
    options = ModelOptions("cuda", "bfloat16", "none")
    engine = create_engine(EngineOptions(model, options, is_hosted=True))
    _load(engine)
    return ZeroGPUEngine(engine, engine.weights, spaces)


def _load(engine: "DiffusersEngine") -> None:
    """Load the model in this thread, and report the progress from another."""
    threading.Thread(target=_report_loading, args=(engine,), daemon=True).start()
    engine.load()
    # The page tells this, too, and is worth more than a Space that can't be opened.
    if isinstance(engine.state, Broken):
        _report(str(engine.state.error))


def _report_loading(engine: Engine) -> None:
    last_text = ""
    while isinstance(state := engine.state, Loading):
        if state.text != last_text:
            last_text = state.text
            _report(f"{state.text}…")
        time.sleep(REPORT_SECONDS)


def _report(text: str) -> None:
    print(text, flush=True)  # noqa: T201  # for the Space's log
