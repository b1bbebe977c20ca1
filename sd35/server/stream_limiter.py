"""Limits on the event streams that are open at the same time."""

from collections import Counter
from http import HTTPStatus
from typing import Final

from prometheus_client import Gauge
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from sd35.core.visitor import LOCAL_VISITOR, Visitor
from sd35.server.auth import client_ip_var
from sd35.server.connections import max_connections

__all__ = ["StreamLimiter"]

HEARTBEAT_PREFIX: Final = "/gradio_api/heartbeat/"

MAX_STREAMS_PER_IP: Final = 300
MAX_STREAMS_PER_VISITOR: Final = 48


class StreamLimiter:
    """Counter of open streams: in all, per client IP and per visitor."""

    def __init__(self, open_streams: Gauge) -> None:
        self._open_streams = open_streams
        # The other connections are for requests that are answered at once.
        self._max_streams = max_connections() * 3 // 4
        self._counts: Counter[str] = Counter()

    async def serve(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request for a long response, or refuse it with status 503."""
        limits = self._limits(scope["path"], scope["state"]["visitor"])
        if any(self._counts[key] >= limit for key, limit in limits.items()):
            response = PlainTextResponse(
                "Too many pages are open. Close some and try again.", HTTPStatus.SERVICE_UNAVAILABLE
            )
            await response(scope, receive, send)
            return
        self._counts.update(limits.keys())
        try:
            with self._open_streams.track_inprogress():
                await app(scope, receive, send)
        finally:
            self._counts.subtract(limits.keys())
            # A Counter keeps keys at zero, so it would grow with every visitor.
            for key in limits:
                if not self._counts[key]:
                    del self._counts[key]

    def _limits(self, path: str, visitor: Visitor) -> dict[str, int]:
        limits = {"total": self._max_streams}
        # The only streams without an end that cost a stranger nothing. The page needs none.
        if path.startswith(HEARTBEAT_PREFIX):
            limits["heartbeats"] = self._max_streams // 3
        if visitor is LOCAL_VISITOR:
            return limits
        limits[f"visitor {visitor.rate_limit_key}"] = MAX_STREAMS_PER_VISITOR
        client_ip = client_ip_var.get()
        if client_ip is not None:
            # A client that drops its cookies is a new visitor each time.
            limits[f"ip {client_ip}"] = min(MAX_STREAMS_PER_IP, self._max_streams // 2)
        return limits
