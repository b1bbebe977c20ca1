"""The metrics of the replicas over HTTP."""

from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from sd35.space.replicas.metrics import ReplicaMetrics

__all__ = ["MetricsEndpoint"]

METRICS_PATH: Final = "/metrics"


class MetricsEndpoint:
    """Middleware that answers `/metrics` in Prometheus' text format."""

    def __init__(self, app: ASGIApp, metrics: ReplicaMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request for the metrics; pass all others on."""
        if scope["type"] == "http" and scope["path"].rstrip("/") == METRICS_PATH:
            response = Response(self._metrics.text(), media_type=CONTENT_TYPE_LATEST)
            await response(scope, receive, send)
        else:
            await self._app(scope, receive, send)
