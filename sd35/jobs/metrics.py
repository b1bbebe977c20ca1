"""What is counted, for Prometheus. No prompt and nobody's name is in it.

Source of the format: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sd35.jobs.job import JobState, Phase

__all__ = ["Metrics"]

SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)


class Metrics:
    """The counters of one studio.

    Args:
        by_phase: how many jobs that are remembered are in each phase.

    """

    def __init__(self, by_phase: Callable[[], Mapping[str, int]]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Jobs(by_phase))
        self._ended = Counter(
            "sd35_jobs_ended", "Jobs that have ended, by how", ["outcome"], registry=self._registry
        )
        self._errors = Counter(
            "sd35_errors", "Jobs that have failed, by kind", ["kind"], registry=self._registry
        )
        self._waits = self._histogram(
            "sd35_wait_seconds", "From the request to the begin of the run at the Space"
        )
        self._previews = self._histogram(
            "sd35_first_preview_seconds", "From the request to the first preview"
        )
        self._pictures = self._histogram(
            "sd35_picture_seconds", "From the request to the finished picture"
        )
        self._bytes = Counter(
            "sd35_picture_bytes", "Bytes of finished pictures", registry=self._registry
        )
        self.streams = Gauge(
            "sd35_open_streams", "Event streams that are open", registry=self._registry
        )

    def _histogram(self, name: str, what: str) -> Histogram:
        return Histogram(name, what, buckets=SECONDS, registry=self._registry)

    def ended(self, state: JobState) -> None:
        """Count a job that has ended."""
        self._ended.labels(state.phase.value).inc()
        if state.error is not None:
            self._errors.labels(state.error.kind).inc()
        if state.started_at is not None:
            self._waits.observe(state.started_at - state.created_at)
        if state.first_preview_at is not None:
            self._previews.observe(state.first_preview_at - state.created_at)
        if state.phase is Phase.FINISHED:
            self._pictures.observe(state.elapsed_seconds)
            self._bytes.inc(state.size_bytes)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)


class _Jobs(Collector):
    """Counts the jobs when it is asked, and not at each change."""

    def __init__(self, by_phase: Callable[[], Mapping[str, int]]) -> None:
        self._by_phase = by_phase

    def collect(self) -> Iterator[Metric]:
        """Yield the one gauge."""
        counts = self._by_phase()
        gauge = GaugeMetricFamily(
            "sd35_jobs", "Jobs that are remembered, by phase", labels=["phase"]
        )
        for phase in Phase:
            gauge.add_metric([phase.value], counts.get(phase.value, 0))
        yield gauge
