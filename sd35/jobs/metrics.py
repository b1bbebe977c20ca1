"""Metrics for Prometheus. They hold neither prompts nor names.

Source of the format: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from collections.abc import Callable
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from sd35.jobs.job import JobState
from sd35.jobs.record import JobStatus

__all__ = ["Metrics"]

DURATION_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)


class Metrics:
    """Metrics of one job service."""

    def __init__(self, count_jobs: Callable[[JobStatus], int]) -> None:
        registry = self._registry = CollectorRegistry()
        jobs = Gauge("sd35_jobs", "Jobs in memory, by status", ["status"], registry=registry)
        for status in JobStatus:
            # Counted when Prometheus asks, instead of at each change of a job.
            jobs.labels(status.value).set_function(partial(count_jobs, status))
        self._finished_jobs = Counter(
            "sd35_jobs_ended", "Jobs that have ended, by status", ["outcome"], registry=registry
        )
        self._errors = Counter(
            "sd35_errors", "Jobs that have failed, by kind of error", ["kind"], registry=registry
        )
        self._wait_seconds = self._histogram(
            "sd35_wait_seconds", "Seconds from the request to the start of the run at the Space"
        )
        self._first_preview_seconds = self._histogram(
            "sd35_first_preview_seconds", "Seconds from the request to the first preview"
        )
        self._picture_seconds = self._histogram(
            "sd35_picture_seconds", "Seconds from the request to the finished image"
        )
        self._picture_bytes = Counter(
            "sd35_picture_bytes", "Bytes of finished images", registry=registry
        )
        self.open_streams = Gauge("sd35_open_streams", "Open event streams", registry=registry)

    def _histogram(self, name: str, description: str) -> Histogram:
        return Histogram(name, description, buckets=DURATION_BUCKETS, registry=self._registry)

    def observe_job(self, state: JobState) -> None:
        """Count a job that has ended."""
        self._finished_jobs.labels(state.status.value).inc()
        if state.error is not None:
            self._errors.labels(state.error.kind).inc()
        if state.started_at is not None:
            self._wait_seconds.observe(state.started_at - state.created_at)
        if state.first_preview_at is not None:
            self._first_preview_seconds.observe(state.first_preview_at - state.created_at)
        if state.status is JobStatus.COMPLETED:
            self._picture_seconds.observe(state.elapsed_seconds)
            self._picture_bytes.inc(state.size_bytes)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)
