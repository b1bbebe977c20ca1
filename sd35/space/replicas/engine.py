"""Engine over replicas of another engine."""

import logging
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Final

from PIL import Image
from starlette.middleware import Middleware

from sd35.core.model_info import ModelInfo
from sd35.core.request import GenerationRequest
from sd35.space.engine import (
    Broken,
    EngineError,
    EngineState,
    Loading,
    Notice,
    Ready,
    Result,
    Step,
    Waiting,
)
from sd35.space.engine_options import EngineOptions
from sd35.space.replicas.cluster import Cluster, OnWait
from sd35.space.replicas.deployment import DOWNSCALE_DELAY_SECONDS, ReplicaDeployment
from sd35.space.replicas.metrics import ReplicaMetrics, RunObservation
from sd35.space.replicas.metrics_endpoint import MetricsEndpoint
from sd35.space.replicas.replica_range import ReplicaRange
from sd35.space.replicas.reports import Begin, Description, Failure
from sd35.space.replicas.run import RemoteRun, ReplicaLostError

__all__ = ["ReplicaEngine"]

log = logging.getLogger(__name__)

LOST_TEXT: Final = "A GPU was lost; begun again on another."

DESCRIPTION_LIMIT_SECONDS: Final = 180.0  # imports of torch, questions to the Hub
POLL_SECONDS: Final = 0.1
WAIT_SECONDS: Final = 0.5  # between two signs of life of a run that waits
STEP_LIMIT_SECONDS: Final = 3600.0  # as an engine's own


class ReplicaEngine:
    """Engine that gives each run to a free replica of another engine.

    Args:
        options: of the engine in each replica.
        replicas: how many.
        address: of a Ray cluster; by default, Ray starts on this machine.
        on_wait: called with what the constructor waits for.
        downscale_delay_seconds: before a replica that isn't needed any more ends.

    Attributes:
        metrics: of the replicas.
        middleware: answers `/metrics`.
        on_model_info: called with the model of each replica that is new.
        cluster: Ray.
    """

    def __init__(
        self,
        options: EngineOptions,
        replicas: ReplicaRange,
        address: str | None = None,
        on_wait: OnWait = lambda _: None,
        downscale_delay_seconds: float = DOWNSCALE_DELAY_SECONDS,
    ) -> None:
        self.concurrency = replicas.maximum
        self.metrics = ReplicaMetrics()
        self.middleware = (Middleware(MetricsEndpoint, metrics=self.metrics),)
        self.on_model_info: Callable[[ModelInfo], None] = lambda _: None
        self._replicas = replicas
        self._runs: dict[str, RemoteRun] = {}
        self._lock = threading.Lock()  # of `_runs`
        self._is_closed = False
        self._description: Description | None = None
        self._deployment: ReplicaDeployment | None = None
        on_wait(Loading("Starting Ray" if address is None else "Connecting to the Ray cluster"))
        self.cluster = Cluster(address, replicas)
        try:
            self.cluster.check_resources("GPU" if options.needs_gpu else "CPU", replicas, on_wait)
            on_wait(Loading("Starting the replicas"))
            self.cluster.start_serve()
            self._deployment = ReplicaDeployment(
                options,
                replicas,
                on_freed=self._on_freed,
                on_description=self._on_description,
                downscale_delay_seconds=downscale_delay_seconds,
            )
            self._deployment.deploy()
            self._deployment.start_watching()
            self._wait_for_description(self._deployment)
        except BaseException:
            self.close()
            raise

    def _wait_for_description(self, deployment: ReplicaDeployment) -> None:
        deadline = time.monotonic() + DESCRIPTION_LIMIT_SECONDS
        while self._description is None:
            if deployment.failure is not None:
                raise deployment.failure
            if time.monotonic() > deadline:
                raise EngineError("No replica has started.", "Ray's status may say why.")
            time.sleep(POLL_SECONDS)

    def _on_description(self, description: Description) -> None:
        self.title = description.title
        self.description = f"{description.description} On {self._replicas} replicas."
        self.warning = description.warning
        self.model_info = _with_replicas(description.model_info, self._replicas)
        self.limits = description.limits
        self.size_multiple = description.size_multiple
        self._description = description
        self.on_model_info(self.model_info)

    def _on_freed(self, run_id: str) -> None:
        with self._lock:
            run = self._runs.get(run_id)
        if run is not None:
            run.is_freed.set()

    @property
    def state(self) -> EngineState:
        """The state now: ready as soon as one replica is."""
        assert self._deployment is not None
        self.metrics.replicas.set(self._deployment.ready_count)
        if self._deployment.failure is not None:
            return Broken(self._deployment.failure)
        return Ready() if self._deployment.ready_count else self._deployment.loading

    @property
    def ready_count(self) -> int:
        """The number of replicas that can take runs."""
        assert self._deployment is not None
        return self._deployment.ready_count

    @property
    def is_updating(self) -> bool:
        """Return whether replicas start or end, such as after `update`."""
        assert self._deployment is not None
        return self._deployment.is_updating

    def start(self) -> None:
        """Return at once: the replicas load since they were made."""

    def update(self) -> None:
        """Load the model again: what its name means now. Runs end on the replicas that they are on.

        One replica after the other is replaced.
        """
        assert self._deployment is not None
        self._deployment.deploy()

    def close(self) -> None:
        """End all runs before their next step, then the replicas; on this machine, Ray, too."""
        self._is_closed = True
        with self._lock:
            runs = list(self._runs.values())
        for run in runs:
            run.cancel()
            run.is_freed.set()  # nothing will tell
        application = None
        if self._deployment is not None:
            self._deployment.close()
            application = self._deployment.application
        self.cluster.close(application)

    def generate(self, request: GenerationRequest) -> Generator[Result, None, None]:
        """Yield each step, and last the image; see `Engine.generate`.

        If the replica is lost, the run begins again, once: the same seed makes the same image.
        """
        try:
            yield from self._run(request)
        except ReplicaLostError as error:
            log.warning("A GPU was lost during a run: %s", error)
            yield Notice(LOST_TEXT)
            yield Waiting("Starting again")  # the last step isn't true any more
            try:
                yield from self._run(request)
            except ReplicaLostError as second_error:
                log.warning("A second GPU was lost during the same run: %s", second_error)
                raise EngineError(
                    "The GPU was lost during this image, and the next one, too.",
                    "Generate again. If it happens again, Ray's logs may say why.",
                ) from second_error

    def _run(self, request: GenerationRequest) -> Generator[Result, None, None]:
        """Yield the results of one run at one replica.

        Raises:
            ReplicaLostError: it was lost.
        """
        assert self._deployment is not None
        if self._is_closed:
            raise EngineError("The Space is being closed.")
        run = RemoteRun(self._deployment.handle, request)
        with self._lock:
            self._runs[run.id] = run
        try:
            begin = yield from self._wait_for_replica(run)
            yield from self._results(run, begin)
        finally:
            run.cancel()
            with self._lock:
                del self._runs[run.id]

    def _wait_for_replica(self, run: RemoteRun) -> Generator[Waiting, None, Begin]:
        with self.metrics.waiting.track_inprogress():
            while (begin := run.wait_for_begin(WAIT_SECONDS)) is None:
                state = self.state
                if isinstance(state, Broken):
                    raise state.error
                yield Waiting(self._waiting_text(state))
        return begin

    def _waiting_text(self, state: EngineState) -> str:
        assert self._deployment is not None
        if isinstance(state, Loading):
            return state.text
        ready_count = self._deployment.ready_count
        if ready_count < self._replicas.maximum:
            return f"Waiting for a GPU: {ready_count} of {self._replicas.maximum} ready"
        return "Waiting for a free GPU"

    def _results(self, run: RemoteRun, begin: Begin) -> Generator[Result, None, None]:
        observation = self.metrics.observe_run(begin.rank, begin.node)
        outcome = "stopped"
        try:
            image = yield from self._steps(run, observation)
            outcome = "finished"
        except ReplicaLostError:
            outcome = "lost"
            raise
        except EngineError:
            outcome = "failed"
            raise
        finally:
            if outcome == "stopped":
                run.cancel()
            if outcome != "lost":
                run.wait_until_freed()
            observation.end(outcome)
        yield image

    def _steps(
        self, run: RemoteRun, observation: RunObservation
    ) -> Generator[Step | Waiting | Notice, None, Image.Image]:
        while True:
            match run.next(STEP_LIMIT_SECONDS):
                case Step() as step:
                    observation.count_step()
                    yield step
                case Waiting() | Notice() as result:
                    yield result
                case Image.Image() as image:
                    return image
                case Failure(error=error):
                    raise error
                case _:
                    raise EngineError("A step took longer than an hour.")


def _with_replicas(model_info: ModelInfo, replicas: ReplicaRange) -> ModelInfo:
    device = model_info.device
    return replace(
        model_info, device=f"{replicas} × {device}" if device else f"{replicas} replicas"
    )
