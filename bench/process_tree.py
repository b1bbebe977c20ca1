"""A process and those that it has started, directly or not, as Linux reports them in /proc."""

from collections import defaultdict
from pathlib import Path

from bench import usage

__all__ = ["command_line", "descendants", "has_ended", "tree_cpu_seconds", "tree_mib"]


def descendants(pid: int) -> list[int]:
    """Return the ids of all processes below this one."""
    children = defaultdict(list)
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and (parent := _parent(int(folder.name))) is not None:
            children[parent].append(int(folder.name))
    pids: list[int] = []
    pending = [pid]
    while pending:
        child_pids = children[pending.pop()]
        pids += child_pids
        pending += child_pids
    return pids


def command_line(pid: int) -> str:
    """Return the command line of a process; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""


def has_ended(pid: int) -> bool:
    """Return whether a process has ended, even if its parent hasn't noticed."""
    return not command_line(pid)


def tree_mib(pid: int) -> float:
    """Return the memory of a process and of all below it, in MiB: what they share counts once."""
    return sum(usage.read_memory(number).pss for number in (pid, *descendants(pid)))


def tree_cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and of all below it that still run."""
    return sum(usage.cpu_seconds(number) for number in (pid, *descendants(pid)))


def _parent(pid: int) -> int | None:
    try:
        # The process name, before the last parenthesis, may hold spaces.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[1])
