"""Timestamps of one generation: first event, first preview, final image."""

import time
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AbstractAsyncContextManager
from statistics import median
from typing import Any

__all__ = ["Connect", "Generate", "GenerationRecorder", "median_or_none"]


class GenerationRecorder:
    """Timestamps of `time.perf_counter()`, in seconds; `None` for what hasn't arrived."""

    def __init__(self) -> None:
        self.event_at: float | None = None
        self.preview_at: float | None = None
        self.final_at: float | None = None
        self.picture: bytes | bytearray | None = None

    def event(self) -> None:
        """Record an event of the run; only the first one counts."""
        if self.event_at is None:
            self.event_at = time.perf_counter()

    def preview(self) -> None:
        """Record the bytes of a preview; only the first one counts."""
        if self.preview_at is None:
            self.preview_at = time.perf_counter()

    def final(self, picture: bytes | bytearray) -> None:
        """Record the bytes of the final image."""
        self.final_at = time.perf_counter()
        self.picture = picture


# One generation, from joining the queue to the final bytes.
Generate = Callable[[GenerationRecorder], Coroutine[Any, Any, None]]

# A client: given the Space's address, it connects and yields a function that generates.
Connect = Callable[[str], AbstractAsyncContextManager[Generate]]


def median_or_none(values: Iterable[float | None]) -> float | None:
    """Return the median of the values that aren't `None`."""
    known_values = [value for value in values if value is not None]
    return median(known_values) if known_values else None
