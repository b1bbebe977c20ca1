"""What a process has used, as Linux tells it."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Memory", "cpu_seconds", "peak_mib", "read_memory", "reset_peak"]

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Memory:
    """What a process holds, in MiB: `rss` all of it, `pss` its share where it shares it with others."""

    rss: float
    pss: float


def cpu_seconds(pid: int) -> float:
    """The CPU time of all its threads, those that have ended, too; in steps of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def read_memory(pid: int) -> Memory:
    """What it holds now."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    return Memory(_mib("Rss", rollup), _mib("Pss", rollup))


def reset_peak(pid: int) -> None:
    """From now on, `peak_mib` is of what comes."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def peak_mib(pid: int) -> float:
    """The most that it has held at one time, all of it (RSS)."""
    return _mib("VmHWM", Path(f"/proc/{pid}/status").read_text(encoding="ascii"))


def _mib(name: str, status_text: str) -> float:
    match = re.search(rf"{name}:\s+(\d+) kB", status_text)
    assert match is not None
    return int(match[1]) / 1024
