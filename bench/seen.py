"""What a contestant reports of one generation: its first event, its first preview, its final picture."""

import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

__all__ = ["Connect", "Generate", "GenerationRecorder"]


class GenerationRecorder:
    """Times of `time.perf_counter()`, in seconds; `None` is what hasn't come."""

    def __init__(self) -> None:
        self.event_at: float | None = None
        self.preview_at: float | None = None
        self.final_at: float | None = None
        self.picture: bytes | bytearray | None = None

    def event(self) -> None:
        """Something came of the run; the first time counts."""
        if self.event_at is None:
            self.event_at = time.perf_counter()

    def preview(self) -> None:
        """A preview's bytes are there; the first time counts."""
        if self.preview_at is None:
            self.preview_at = time.perf_counter()

    def final(self, picture: bytes | bytearray) -> None:
        """The final picture's bytes are there."""
        self.final_at = time.perf_counter()
        self.picture = picture


Generate = Callable[[GenerationRecorder], Coroutine[Any, Any, None]]
"""One generation, from joining the queue to the final bytes."""

Connect = Callable[[str], AbstractAsyncContextManager[Generate]]
"""A contestant: given the Space's address, it connects, and hands out what generates."""
