"""Memory of a server that runs for weeks: what visitors leave behind goes back to the system."""

import ctypes
import gc
import os
import sys
from typing import Final

__all__ = ["tune_memory"]

# Parameters of glibc's `mallopt`, from <malloc.h>.
M_ARENA_MAX: Final = -8
M_MMAP_THRESHOLD: Final = -3

MAX_ARENAS: Final = 2
MMAP_BYTES: Final = 256 * 1024

# By default Python looks for garbage after each 700 new objects, of which a visit makes thousands.
COLLECTOR_THRESHOLDS: Final = (10_000, 10, 10)


def tune_memory() -> None:
    """Tune the allocator and the collector of this process, once all of the program is loaded."""
    _tune_allocator()
    # What is loaded stays; the collector needn't look at it again.
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)


def _tune_allocator() -> None:
    """Let glibc return the memory of images as soon as they are freed."""
    is_set = any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ)
    if is_set or not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if mallopt is None:
        return
    # Each thread gets an arena otherwise, and keeps the holes that images have left in it.
    mallopt(M_ARENA_MAX, MAX_ARENAS)
    # glibc raises this to the size of the largest block that was freed, unless it is set.
    mallopt(M_MMAP_THRESHOLD, MMAP_BYTES)
