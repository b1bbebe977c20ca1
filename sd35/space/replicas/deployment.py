"""Replicas of an engine as an application of Ray Serve, and what is known about them."""

import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.config import AutoscalingConfig, RequestRouterConfig
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import ApplicationStatus, LoggingConfig
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sd35.core.text import one_line
from sd35.space.engine import EngineError, Loading
from sd35.space.engine_options import EngineOptions
from sd35.space.replicas.cluster import remove_application
from sd35.space.replicas.replica import Replica
from sd35.space.replicas.replica_range import ReplicaRange
from sd35.space.replicas.reports import (
    Description,
    Failure,
    Freed,
    LoadingReport,
    Mailbox,
    SignOfLife,
)
from sd35.space.replicas.run import SERVE_NAMESPACE

__all__ = ["ReplicaDeployment"]

log = logging.getLogger(__name__)

UPSCALE_DELAY_SECONDS: Final = 5.0
DOWNSCALE_DELAY_SECONDS: Final = 300.0
LOOK_BACK_SECONDS: Final = 5.0
METRICS_SECONDS: Final = 1.0
RUN_LIMIT_SECONDS: Final = 3600.0  # for a replica that isn't needed any more to end its run
CLAIM_LIMIT_SECONDS: Final = 15.0  # until Ray notices that a killed Space has ended
SILENCE_LIMIT_SECONDS: Final = 60.0  # of Ray
REPLICA_SILENCE_LIMIT_SECONDS: Final = 30.0
CLOSE_LIMIT_SECONDS: Final = 2.0
POLL_SECONDS: Final = 0.5
MAILBOX_LIMIT_SECONDS: Final = 2.0
MAX_LOAD_FAILURES: Final = 3
LOADING_LIFETIME_SECONDS: Final = 10.0


class ReplicaDeployment:
    """Application of Ray Serve with one deployment, watched by a thread.

    Args:
        options: of the engine in each replica.
        replicas: how many.
        on_freed: called with the id of each run whose device is free again.
        on_description: called with the description of each new replica's engine.
        downscale_delay_seconds: before a replica that isn't needed any more ends.

    Attributes:
        application: name of the application.
        handle: for streams of results.
        ready_count: number of replicas that can take runs.
        is_updating: whether others start or end.
        loading: what a replica that isn't ready does.
        failure: why there are no replicas, and won't be any.
    """

    handle: DeploymentHandle

    def __init__(
        self,
        options: EngineOptions,
        replicas: ReplicaRange,
        *,
        on_freed: Callable[[str], None],
        on_description: Callable[[Description], None],
        downscale_delay_seconds: float = DOWNSCALE_DELAY_SECONDS,
    ) -> None:
        self.application = "sd35-" + re.sub(r"[^\w.-]+", "-", options.model, flags=re.ASCII)
        self.ready_count = 0
        self.is_updating = False
        self.loading = Loading("Starting the replicas")
        self.failure: EngineError | None = None
        self._options = options
        self._replicas = replicas
        self._on_freed = on_freed
        self._on_description = on_description
        self._downscale_delay_seconds = downscale_delay_seconds
        self._load_errors: list[EngineError] = []
        self._loading_by_replica: dict[str, tuple[float, Loading]] = {}
        self._signs: dict[str, float] = {}  # when each replica has given the last one
        self._is_closed = threading.Event()
        self._mailbox = self._claim_application()
        if self.application in serve.status().applications:
            # Of a Space that was killed: Serve would count the failures of its replicas, which find
            # no Space any more, as those of ours.
            remove_application(self.application)
        self._thread = threading.Thread(target=self._watch, name="watch replicas", daemon=True)

    def _claim_application(self) -> Any:  # noqa: ANN401  # Ray's
        """Return the mailbox; only one Space can have the one of an application.

        Raises:
            EngineError: another one has it.
        """
        # On this machine: another one may just have been lost, and still get processes.
        node_id = ray.get_runtime_context().get_node_id()
        placement = NodeAffinitySchedulingStrategy(node_id, soft=False)
        options = {"name": self.application, "scheduling_strategy": placement}
        deadline = time.monotonic() + CLAIM_LIMIT_SECONDS
        while True:
            try:
                mailbox = Mailbox.options(**options).remote()
                ray.get(mailbox.put.remote(None), timeout=SILENCE_LIMIT_SECONDS)
            except ValueError as error:
                if time.monotonic() > deadline:
                    message = "Another Space serves this model on the cluster already."
                    raise EngineError(message, "Use its address, or end it first.") from error
                time.sleep(POLL_SECONDS)
            else:
                return mailbox

    def deploy(self) -> None:
        """Start the replicas, or replace those that run, one after the other."""
        deployment = serve.deployment(
            Replica,
            name="engine",
            max_ongoing_requests=1,
            graceful_shutdown_timeout_s=RUN_LIMIT_SECONDS,
            graceful_shutdown_wait_loop_s=0.2,
            health_check_period_s=2.0,
            health_check_timeout_s=10.0,
            max_constructor_retry_count=MAX_LOAD_FAILURES,
            ray_actor_options=self._actor_options(),
            # A run that waits for a replica is tried again soon: by default, after half a second.
            request_router_config=RequestRouterConfig(initial_backoff_s=0.01, max_backoff_s=0.05),
            **self._scaling(),
        )
        target = serve.RunTarget(
            target=deployment.bind(self._options, self._mailbox),
            name=self.application,
            route_prefix=None,
            logging_config=LoggingConfig(log_level="WARNING", enable_access_log=False),
        )
        self._load_errors.clear()
        self.is_updating = True
        (handle,) = serve.run_many([target], wait_for_applications_running=False)
        self.handle = handle.options(stream=True)

    def _actor_options(self) -> dict[str, Any]:
        if self._options.needs_gpu:
            return {"num_gpus": 1, "num_cpus": 0}
        return {"num_cpus": 1}

    def _scaling(self) -> dict[str, Any]:
        if self._replicas.is_fixed:
            return {"num_replicas": self._replicas.maximum}
        # As many as runs are under way or wait.
        scaling = AutoscalingConfig(
            min_replicas=self._replicas.minimum,
            max_replicas=self._replicas.maximum,
            target_ongoing_requests=1,
            upscale_delay_s=UPSCALE_DELAY_SECONDS,
            downscale_delay_s=self._downscale_delay_seconds,
            look_back_period_s=LOOK_BACK_SECONDS,
            metrics_interval_s=METRICS_SECONDS,
        )
        return {"autoscaling_config": scaling}

    def start_watching(self) -> None:
        """Take the replicas' reports and count those that are ready, in a thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop watching, before Ray ends: Serve would start it anew to ask for its status."""
        self._is_closed.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_LIMIT_SECONDS)

    def _watch(self) -> None:
        answered_at = time.monotonic()
        counted_at = 0.0
        while not self._is_closed.is_set():
            try:
                self._take_reports()
                if time.monotonic() - counted_at > POLL_SECONDS and not self._is_closed.is_set():
                    self._update_status()
                    counted_at = time.monotonic()
                answered_at = time.monotonic()
            except (RayError, RayServeException, TimeoutError) as error:
                # Serve's controller may just be starting again.
                if time.monotonic() - answered_at > SILENCE_LIMIT_SECONDS:
                    log.error("Ray doesn't answer: %s", one_line(error))  # noqa: TRY400  # foreseen
                    self.failure = EngineError("Ray has ended, or doesn't answer.")
                    return
                self._is_closed.wait(POLL_SECONDS)

    def _take_reports(self) -> None:
        asked_at = time.monotonic()
        reports = ray.get(self._mailbox.take.remote(), timeout=SILENCE_LIMIT_SECONDS)
        if time.monotonic() - asked_at > MAILBOX_LIMIT_SECONDS:
            # The mailbox has started again: the signs that it held are lost.
            self._signs = dict.fromkeys(self._signs, time.monotonic())
        for report in reports:
            self._on_report(report)
        limit = time.monotonic() - REPLICA_SILENCE_LIMIT_SECONDS
        for actor_name in [name for name, given_at in self._signs.items() if given_at < limit]:
            del self._signs[actor_name]
            _kill_silent_replica(actor_name)

    def _on_report(self, report: object) -> None:
        match report:
            case Freed(run_id=run_id):
                self._on_freed(run_id)
            case SignOfLife(actor_name=actor_name):
                self._signs[actor_name] = time.monotonic()
            case Description():
                self._on_description(report)
            case LoadingReport(replica_id=replica_id, loading=None):
                self._loading_by_replica.pop(replica_id, None)
            case LoadingReport(replica_id=replica_id, loading=Loading() as loading):
                self._loading_by_replica[replica_id] = (time.monotonic(), loading)
                self._choose_loading()
            case Failure(error=error):
                self._on_load_failure(error)

    def _choose_loading(self) -> None:
        # The first one's: the text doesn't jump between replicas. One that has died is silent.
        limit = time.monotonic() - LOADING_LIFETIME_SECONDS
        for replica_id, (reported_at, loading) in list(self._loading_by_replica.items()):
            if reported_at > limit:
                self.loading = loading
                return
            del self._loading_by_replica[replica_id]

    def _on_load_failure(self, error: EngineError) -> None:
        self._load_errors.append(error)
        if self.ready_count:
            log.error("A replica can't load the model: %s", error)
        elif len(self._load_errors) >= self._replicas.minimum:
            self.failure = error

    def _update_status(self) -> None:
        application = serve.status().applications.get(self.application)
        if application is None:
            self.ready_count = 0
            return
        states = Counter[str]()
        for deployment in application.deployments.values():
            states.update(deployment.replica_states)
        self.ready_count = states.pop("RUNNING", 0)
        self.is_updating = any(states.values())
        if application.status == ApplicationStatus.DEPLOY_FAILED and not self.ready_count:
            # Replicas that end without a report, such as for lack of memory.
            default = EngineError("The replicas end while they load the model.", "See Ray's logs.")
            self.failure = self._load_errors[-1] if self._load_errors else default


def _kill_silent_replica(actor_name: str) -> None:
    """End a replica that gives no sign of life; its run then begins again elsewhere.

    A frozen process keeps its connections, and Serve would wait as long as a run may take for it
    to end by itself.
    """
    try:
        ray.kill(ray.get_actor(actor_name, namespace=SERVE_NAMESPACE))
    except ValueError:
        return  # it has ended, and gives none any more
    log.warning("A replica was silent for too long, and is ended: %s", actor_name)
