"""Engine whose runs take place on ZeroGPU: GPUs that Hugging Face lends to a Space, run by run.

For each run, the package `spaces` asks for a GPU, and calls a function in a process that was forked
for this GPU and is used again. What the function yields is pickled to this process.
"""

import importlib
import logging
import math
import mmap
import multiprocessing
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from datetime import timedelta
from typing import Any, Final

from PIL import Image

from sd35.core.request import GenerationRequest
from sd35.space.engine import (
    Broken,
    Engine,
    EngineError,
    EngineState,
    Notice,
    Result,
    Step,
    Waiting,
)
from sd35.space.gpu_time import GpuTimeEstimator
from sd35.space.models import Weights

__all__ = ["ZeroGPUEngine", "import_spaces"]

log = logging.getLogger(__name__)

# Each has a GPU of its own. More wait here, where they see their place in the queue.
CONCURRENT_RUNS: Final = 4

# The daily quota of a visitor without an account, to whom ZeroGPU refuses longer runs.
MAX_SECONDS: Final = 120

# The title of `spaces` for what happens to a process, and its message for one that was killed,
# because it took too long or otherwise. Other messages are names of exceptions.
_PROCESS_ERROR_TITLE: Final = "ZeroGPU worker error"
_ABORT_MESSAGE: Final = "GPU task aborted"

# Plain values of a kind, which comes first: a class or a tensor would be unpickled without a GPU.
Frame = tuple[str | int | bytes | None, ...]


class _Fork:
    """When this process was forked, until its first run asks; the other process never was."""

    time: float | None = None

    @classmethod
    def remember(cls) -> None:
        cls.time = time.monotonic()

    @classmethod
    def take(cls) -> float | None:
        fork_time, cls.time = cls.time, None
        return fork_time


class _StopFlags:
    """Flags of the runs, in memory that the processes share that are forked later."""

    def __init__(self) -> None:
        self._bytes = mmap.mmap(-1, mmap.PAGESIZE)
        self._free_numbers: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in range(mmap.PAGESIZE):
            self._free_numbers.put(number)

    def acquire(self) -> int:
        """Return the number of a flag that nobody else has; it isn't set."""
        number = self._free_numbers.get()
        self._bytes[number] = 0
        return number

    def release(self, number: int) -> None:
        """Return a flag, once no process looks at it."""
        self._free_numbers.put(number)

    def set(self, number: int) -> None:
        """Set a flag."""
        self._bytes[number] = 1

    def is_set(self, number: int) -> bool:
        """Return whether a flag is set."""
        return self._bytes[number] == 1


def import_spaces() -> Any | None:  # noqa: ANN401  # a module
    """Return the package `spaces` on ZeroGPU, and `None` elsewhere.

    It emulates CUDA in this process, for which it has to be imported before PyTorch. What is moved
    to `cuda` in this thread, before the app is launched, is there in the processes with a GPU.
    """
    if os.environ.get("SPACES_ZERO_GPU", "").lower() not in {"1", "t", "true"}:
        return None
    import spaces  # noqa: PLC0415  # see above

    # It can make each function of the page one for a GPU, with all that may be refused before.
    spaces.disable_gradio_auto_wrap()
    os.register_at_fork(after_in_child=_Fork.remember)
    return spaces


class ZeroGPUEngine:
    """Engine that runs another one in the processes that have a GPU.

    Args:
        engine: the other one, loaded by the thread that has imported `spaces`.
        weights: of its model.
        spaces: from `import_spaces`.
    """

    concurrency = CONCURRENT_RUNS

    def __init__(
        self,
        engine: Engine,
        weights: Weights,
        spaces: Any,  # noqa: ANN401  # a module
    ) -> None:
        self.title = engine.title
        self.description = engine.description
        self.warning = engine.warning
        self.model_info = engine.model_info
        self.limits = engine.limits
        self.size_multiple = engine.size_multiple
        self._engine = engine
        self._estimator = GpuTimeEstimator(weights)
        self._stops = _StopFlags()
        self._run_with_gpu: Callable[[GenerationRequest, int], Iterator[Frame]] = spaces.GPU(
            duration=self._duration_seconds
        )(self._run)

    @property
    def state(self) -> EngineState:
        """The state of the other engine in this process, where it never runs."""
        return self._engine.state

    def start(self) -> None:
        """Return at once: the model is loaded already."""

    def close(self) -> None:
        """End the processes, which would outlive this one."""
        for process in multiprocessing.active_children():
            process.kill()
        self._engine.close()

    def generate(self, request: GenerationRequest) -> Generator[Result, None, None]:
        """Yield each step, and last the image; see `Engine.generate`.

        Raises:
            gradio.Error: ZeroGPU refuses or ends the run, in its own words.
        """
        self._check_time(request)
        yield Waiting("Waiting for a GPU")
        image = None
        step_times = []
        number = self._stops.acquire()
        frames = self._frames(request, number)
        try:
            for frame in frames:
                match frame:
                    case ("step", int(milliseconds), int(step_number), int(total), preview):
                        assert preview is None or isinstance(preview, bytes)
                        step_times.append(milliseconds / 1000)
                        yield Step(step_number, total, preview)
                    case ("waiting", str(text)):
                        yield Waiting(text)
                    case ("notice", str(text)):
                        yield Notice(text)
                    case ("image", int(width), int(height), bytes(pixels)):
                        image = Image.frombytes("RGB", (width, height), pixels)
                    case ("end", int(milliseconds), int(has_moved_weights)):
                        end_time = milliseconds / 1000 if has_moved_weights else None
                        self._estimator.learn(request, step_times, end_time)
                        break
                    case ("error", str(happened), str(remedy)):
                        raise EngineError(happened, remedy)
        finally:
            drain = self._stop(frames, number)
            if image is None:
                drain.join()
        if image is None:
            raise EngineError("ZeroGPU has stopped the run.")
        yield image

    def _stop(self, frames: Iterator[Frame], number: int) -> threading.Thread:
        """Stop a run, and read what is left of it in a thread, which ends when the GPU is free.

        Never by closing the generator of `spaces`: if the run has ended meanwhile, its process has
        another visitor's run, and `spaces` would stop that one.
        """

        def drain() -> None:
            # The error that a run ends with is known, or belongs to nobody any more.
            with suppress(Exception):
                deque(frames, maxlen=0)
            self._stops.release(number)

        self._stops.set(number)
        thread = threading.Thread(target=drain, name="drain", daemon=True)
        thread.start()
        return thread

    def _check_time(self, request: GenerationRequest) -> None:
        seconds = self._estimator.estimate(request)
        if seconds > MAX_SECONDS:
            raise EngineError(
                f"This image would take about {seconds:.0f} seconds of GPU time, and the limit is "
                f"{MAX_SECONDS}.",
                "Choose fewer steps or a smaller size.",
            )

    def _duration_seconds(self, request: GenerationRequest, _number: int) -> int:
        """Return the duration to ask for; `spaces` calls this with the arguments of `_run`."""
        factor = _duration_factor()
        longest = math.floor(MAX_SECONDS / factor)
        return min(math.ceil(self._estimator.reservation(request) / factor), longest)

    def _frames(self, request: GenerationRequest, number: int) -> Iterator[Frame]:
        """Yield the frames of a run from the process with the GPU.

        Raises:
            EngineError: `spaces` has failed.
            gradio.Error: see `generate`.
        """
        import gradio as gr  # noqa: PLC0415  # `spaces` comes first, and imports it

        try:
            yield from self._run_with_gpu(request, number)
        except gr.Error as error:
            if error.title != _PROCESS_ERROR_TITLE:
                raise
            if error.message == _ABORT_MESSAGE:
                self._estimator.note_abort()
                raise
            happened = f"A process of ZeroGPU has failed: {error.message}."
            raise EngineError(happened, "The Space's log says more.") from error
        except Exception as error:
            # Of the scheduler, or of the connection to it.
            log.exception("ZeroGPU has failed.")
            reason = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
            raise EngineError(f"ZeroGPU has failed: {reason}.") from error

    def _run(self, request: GenerationRequest, number: int) -> Iterator[Frame]:
        """Yield the frames of a run in the process with the GPU, until it is stopped.

        An exception ends this process: the next run would move the weights again.
        """
        fork_time = _Fork.take()
        start_time = time.monotonic() if fork_time is None else fork_time
        yield "waiting", "Encoding the prompt"
        try:
            # Closed with this generator, and not when it is collected.
            with closing(self._engine.generate(request)) as results:
                while not self._stops.is_set(number):
                    match next(results):
                        case Step(number=step_number, total=total, preview=preview):
                            milliseconds = round((time.monotonic() - start_time) * 1000)
                            yield "step", milliseconds, step_number, total, preview
                        case Waiting(text=text):
                            yield "waiting", text
                        case Notice(text=text):
                            yield "notice", text
                        case image:
                            milliseconds = round((time.monotonic() - start_time) * 1000)
                            yield "image", *image.size, image.tobytes()
                            yield "end", milliseconds, int(fork_time is not None)
                            return
        except EngineError as error:
            yield "error", error.happened, error.remedy
            if isinstance(self._engine.state, Broken):
                raise  # every later run in this process would fail
        except Exception as error:
            # The package would pass on the name of the class alone, with quotes around it.
            log.exception("The run has failed.")
            happened = f"The run failed: {type(error).__name__}."
            yield "error", happened, "The Space's log says more."
            raise


def _duration_factor() -> float:
    """Return the number of seconds that ZeroGPU counts for one second of a duration.

    `spaces` lengthens durations for GPUs that are slower than those that they were written for.
    Ours are measured on the GPUs themselves.
    """
    try:
        client = importlib.import_module("spaces.zero.client")
        factor = float(client.get_duration_seconds(timedelta(seconds=1000), None)) / 1000
    except (ImportError, AttributeError, TypeError):  # in another version of `spaces`
        return 1.0
    return max(1.0, factor)
