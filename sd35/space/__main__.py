"""`python -m sd35.space`: serve the demo painter or a model as a Space of its own, until Ctrl+C."""

import argparse
import logging
import os
import queue
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import orjson

from sd35.core.model_options import ModelOptions
from sd35.core.standard_streams import prepare_standard_streams
from sd35.core.wait_filter import WaitFilter
from sd35.server import launch
from sd35.space import replicas
from sd35.space.arguments import parse_arguments, read_engine_options
from sd35.space.engine import Broken, EngineError, Loading, Ready, ReplicatedEngine
from sd35.space.engine_options import EngineOptions, packages_error
from sd35.space.replicas import ReplicaRange

if TYPE_CHECKING:
    from sd35.space.engine import Engine, EngineState

log = logging.getLogger("sd35.space")

POLL_SECONDS: Final = 0.5
END_SECONDS: Final = 10.0
UPDATE_SIGNAL: Final = getattr(signal, "SIGUSR1", None)


def create_engine(
    engine_options: EngineOptions, arguments: argparse.Namespace, reporter: "Reporter"
) -> "Engine":
    """Return the engine that the command line names, or one for several GPUs.

    Raises:
        EngineError: there is no such model, or this machine can't run it.
    """
    if arguments.replicas or arguments.ray:
        number = arguments.replicas or ReplicaRange(1, 1)
        return replicas.create_engine(
            engine_options, number, arguments.ray, reporter.report_loading
        )
    return engine_options.create_engine()


def _silence_libraries() -> None:
    """Keep warnings about parts that aren't used, and progress bars, off the terminal.

    To be called before the libraries are imported, which read the environment.
    """
    os.environ |= {"TRANSFORMERS_VERBOSITY": "error", "DIFFUSERS_VERBOSITY": "error"}
    os.environ["TORCH_LOGS"] = "-all"
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    warnings.filterwarnings("ignore", module=r"huggingface_hub|diffusers|transformers|torch")
    for name in ("torch", "torchao", "diffusers", "transformers", "bitsandbytes"):
        logging.getLogger(name).setLevel(logging.ERROR)


class Reporter:
    """Reports the engine's state: to people in sentences, to a parent process in JSON."""

    def __init__(self, *, is_child: bool) -> None:
        self._is_child = is_child
        self._last_text = ""
        self._wait_filter = WaitFilter()

    def report(self, sentence: str, **values: Any) -> None:  # noqa: ANN401  # JSON
        """Report one state, unless it is the last one again."""
        line = orjson.dumps(values).decode() if self._is_child else sentence
        if line != self._last_text:
            self._last_text = line
            print(line, flush=True)  # noqa: T201  # this is the program's output

    def report_state(self, state: "EngineState", engine: "Engine", address: str) -> None:
        """Report a state of the engine."""
        match state:
            case Loading():
                self.report_loading(state)
            case Broken(error=error, smaller_options=ModelOptions() as options):
                self.report_loading(Loading(f"{error.happened} Loading it again with {options}"))
            case Broken(error=error):
                self.report_error(error)
            case _:
                self.report(f"{engine.title}\n{address}", state="ready", address=address)

    def report_plan(self, engine: "Engine") -> None:
        """Report how an engine will run, before it loads anything."""
        sentence = f"{engine.title}: {engine.description} {engine.warning}".rstrip()
        self.report(sentence, plan=sentence, warning=engine.warning)

    def report_loading(self, loading: Loading) -> None:
        """Report that there are no images yet."""
        text, fraction = loading.text, loading.fraction
        if self._is_child or self._wait_filter.is_news(text, time.monotonic()):
            self.report(f"{text}…", state="loading", text=text, fraction=fraction)

    def report_error(self, error: EngineError) -> None:
        """Report why there is no engine."""
        self.report(f"{error}", state="broken", **error.to_dict())


def main() -> int:
    """Serve the Space, and return the exit code."""
    prepare_standard_streams()
    arguments = parse_arguments()
    engine_options = read_engine_options(arguments)
    _silence_libraries()
    if arguments.check:
        return check(engine_options)
    reporter = Reporter(is_child=arguments.child)
    # The imports and the first questions to the Hub may take a while, and leave nothing behind.
    on_stop(lambda signal_number: sys.exit(128 + signal_number))
    if arguments.child:
        threading.Thread(target=wait_for_parent, daemon=True).start()
    # Unlike Event.set, SimpleQueue.put may be called from a signal handler that interrupts itself.
    signals: queue.SimpleQueue[int] = queue.SimpleQueue()
    if UPDATE_SIGNAL is not None:
        signal.signal(UPDATE_SIGNAL, lambda signal_number, _: signals.put(signal_number))
    arguments.port = arguments.port or launch.free_port()
    with launch.configure_environment():
        result = serve(engine_options, arguments, reporter, signals)
        if isinstance(result, ModelOptions):
            engine_options = replace(engine_options, model_options=result)
            result = serve(engine_options, arguments, reporter, signals)
    return result if isinstance(result, int) else 1


def serve(
    engine_options: EngineOptions,
    arguments: argparse.Namespace,
    reporter: Reporter,
    signals: "queue.SimpleQueue[int]",
) -> int | ModelOptions:
    """Serve an engine's Space until it breaks or a signal comes.

    Return the exit code, or the options with which a model may fit that didn't.
    """
    # Gradio reads its environment when it is imported.
    from sd35.space.page import page_options  # noqa: PLC0415  # see above
    from sd35.space.server import announce_model, build_space  # noqa: PLC0415  # see above

    try:
        engine = create_engine(engine_options, arguments, reporter)
    except EngineError as error:
        reporter.report_error(error)
        return 1
    on_stop(signals.put)
    reporter.report_plan(engine)
    demo = build_space(engine)
    options = page_options()
    if isinstance(engine, ReplicatedEngine):
        options["middleware"] = engine.middleware
        engine.on_model_info = partial(announce_model, demo)
    try:
        address = launch.launch(demo, host=arguments.host, port=arguments.port, **options)
    except OSError:
        sys.stderr.write(f"Port {arguments.port} is in use. Choose another with --port.\n")
        engine.close()
        return 1
    engine.start()
    result = watch(engine, address, reporter, signals)
    if isinstance(result, int):
        end_in_time(result)
    launch.close(demo)
    engine.close()
    return result


def check(engine_options: EngineOptions) -> int:
    """Write the checks of a model as lines of JSON; return 1 if one isn't passed."""
    try:
        from sd35.space.diffusion.diagnosis import check_model  # noqa: PLC0415  # torch: seconds

        results = check_model(engine_options)
    except ImportError as error:
        results = iter([{"check": "Packages", **packages_error(error).to_dict()}])
    has_failed = False
    for result in results:
        has_failed |= "happened" in result
        print(orjson.dumps(result).decode(), flush=True)  # noqa: T201  # the program's output
    return int(has_failed)


def watch(
    engine: "Engine", address: str, reporter: Reporter, signals: "queue.SimpleQueue[int]"
) -> int | ModelOptions:
    """Report the engine's states until it breaks or a signal comes; see `serve`."""
    was_ready = False
    while True:
        state = engine.state
        if isinstance(state, Broken) and was_ready:
            # No report to a parent: to it this is a crash, and another process may work.
            log.error("%s", state.error)
            return 1
        was_ready = isinstance(state, Ready)
        reporter.report_state(state, engine, address)
        if isinstance(state, Broken):
            return state.smaller_options or 1
        try:
            signal_number = signals.get(timeout=POLL_SECONDS)
        except queue.Empty:
            continue
        if signal_number != UPDATE_SIGNAL:
            return 0
        update(engine)


def update(engine: "Engine") -> None:
    """Load the model again, in engines that can do so beside their runs."""
    if not isinstance(engine, ReplicatedEngine):
        log.error("Only replicas can be updated while they run: see --replicas.")
        return
    try:
        engine.update()
    except EngineError as error:
        log.error("%s", error)  # noqa: TRY400  # foreseen


def end_in_time(code: int) -> None:
    """End the process after a while, even if a call to the GPU never returns."""
    timer = threading.Timer(END_SECONDS, os._exit, [code])
    timer.daemon = True
    timer.start()


def on_stop(stop: Callable[[int], object]) -> None:
    """Call a function with the signal that asks this process to end."""
    for stop_signal in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop_signal, lambda signal_number, _: stop(signal_number))
    # For a terminal that is closed, unless nohup has switched it off.
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:
        signal.signal(hangup, lambda signal_number, _: stop(signal_number))


def wait_for_parent() -> None:
    """Stop once the parent process has ended: that closes the standard input."""
    # Not `sys.stdin.buffer`: Python aborts if a thread reads it while the program ends.
    while os.read(sys.stdin.fileno(), 1024):
        pass
    signal.raise_signal(signal.SIGTERM)


def end(code: int) -> None:
    """End the process without waiting for threads.

    Those that download go on for hours otherwise, and those that load crash.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    end(main())
