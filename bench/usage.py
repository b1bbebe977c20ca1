"""CPU time and memory of a process, as Linux reports them in /proc."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Memory", "cpu_seconds", "peak_mib", "read_memory", "reset_peak"]

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of a process, in MiB.

    Attributes:
        rss: resident set size, with the pages that it shares with other processes.
        pss: proportional set size: of a shared page, only its part.
    """

    rss: float
    pss: float

    def __str__(self) -> str:
        return f"{self.rss:.0f} (PSS {self.pss:.0f})"


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of all threads, ended ones too, in steps of 10 ms."""
    # The process name, before the last parenthesis, may hold spaces.
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def read_memory(pid: int) -> Memory:
    """Return the current memory of a process."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    return Memory(_mib("Rss", rollup), _mib("Pss", rollup))


def reset_peak(pid: int) -> None:
    """Start a new measurement of `peak_mib`."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def peak_mib(pid: int | str = "self") -> float:
    """Return the highest RSS since the start or `reset_peak`, in MiB."""
    # Not `getrusage`: a child inherits the peak that its parent had before it was forked.
    return _mib("VmHWM", Path(f"/proc/{pid}/status").read_text(encoding="ascii"))


def _mib(name: str, status_text: str) -> float:
    match = re.search(rf"{name}:\s+(\d+) kB", status_text)
    assert match is not None
    return int(match[1]) / 1024
