"""Cost of a call in units that don't depend on the machine."""

import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

__all__ = ["Cost", "measure"]


@dataclass(slots=True)
class Cost:
    """Numbers of functions called, in Python and in C, and of bytes held at the peak."""

    calls: int = 0
    peak_bytes: int = 0


def measure(function: Callable[[], object]) -> Cost:
    """Return the cost of a call, or raise what it raises."""
    cost = Cost()

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        cost.calls += event in {"call", "c_call"}

    tracemalloc.start()
    former_profile = sys.getprofile()
    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(former_profile)
        cost.peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return cost
