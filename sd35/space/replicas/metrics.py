"""Metrics of the replicas for Prometheus. They hold no prompts."""

import time
from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

__all__ = ["ReplicaMetrics", "RunObservation"]

_LABELS: Final = ("replica", "node")


class ReplicaMetrics:
    """What the runs of each replica came to; a replica is named by its rank and its machine.

    Attributes:
        replicas: number of those that are ready.
        waiting: number of runs that wait for one.
    """

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self.replicas = Gauge("sd35_space_replicas", "Replicas that are ready", registry=registry)
        self.waiting = Gauge(
            "sd35_space_waiting", "Runs that wait for a replica", registry=registry
        )
        self._runs = Counter(
            "sd35_space_runs",
            "Runs that have ended: finished, stopped, failed, or lost with the replica",
            [*_LABELS, "outcome"],
            registry=registry,
        )
        self._steps = Counter("sd35_space_steps", "Finished steps", _LABELS, registry=registry)
        self._busy = Gauge("sd35_space_busy", "Runs under way", _LABELS, registry=registry)
        self._busy_seconds = Counter(
            "sd35_space_busy_seconds", "Seconds of the runs", _LABELS, registry=registry
        )

    def observe_run(self, rank: int, node: str) -> "RunObservation":
        """Count a run that begins at a replica."""
        labels = (str(rank), node)
        self._busy.labels(*labels).inc()
        return RunObservation(
            lambda: self._steps.labels(*labels).inc(),
            lambda outcome, seconds: self._end_run(labels, outcome, seconds),
        )

    def _end_run(self, labels: tuple[str, str], outcome: str, seconds: float) -> None:
        self._runs.labels(*labels, outcome).inc()
        self._busy.labels(*labels).dec()
        self._busy_seconds.labels(*labels).inc(seconds)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)


class RunObservation:
    """Run under way, as the metrics see it."""

    def __init__(
        self, count_step: Callable[[], None], on_end: Callable[[str, float], None]
    ) -> None:
        self.count_step = count_step
        self._on_end = on_end
        self._began_at = time.monotonic()

    def end(self, outcome: str) -> None:
        """Count the run's end."""
        self._on_end(outcome, time.monotonic() - self._began_at)
