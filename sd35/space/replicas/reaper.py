"""Program that ends what Ray leaves behind when the Space is killed, and says that it was.

Ray's main processes are killed with the Space, by the kernel. Two of their children, which notice
that, first try for a minute to report it to those that are dead. If Ray's process on this machine
ends, Ray ends the Space in the midst of a call, without a word.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

__all__ = ["Reaper"]

END_SECONDS: Final = 5.0
PROCESSES: Final = Path("/proc")
CLOSED: Final = "closed\n"
END_TEXT: Final = (
    "The Space has ended without closing Ray: it was killed, Ray's own processes have ended, or "
    "closing took too long.\n"
)


class Reaper:
    """The program as a child process, which notices the end of this one by the end of its input."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603  # this file
            [sys.executable, "-I", __file__],
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl+C in a terminal isn't for it
        )

    def watch_folder(self, folder: Path) -> None:
        """Pass it a folder that nobody else deletes if this process is killed."""
        assert self._process.stdin is not None
        print(folder, file=self._process.stdin, flush=True)

    def watch_descendants(self) -> None:
        """Pass it the processes that this one and its children have started, without itself."""
        assert self._process.stdin is not None
        for pid, start_time in find_descendants(os.getpid()).items():
            if pid != self._process.pid:
                print(pid, start_time, file=self._process.stdin, flush=True)

    def close(self) -> None:
        """End what still runs of those processes, and the program."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has been killed
            self._process.stdin.write(CLOSED)
            self._process.stdin.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def find_descendants(root: int) -> dict[int, str]:
    """Return the processes below a process with their start times; none without `/proc`."""
    parents = {}
    start_times = {}
    for folder in PROCESSES.glob("[0-9]*"):
        values = read_stat(int(folder.name))
        if values is not None:
            parents[int(folder.name)], start_times[int(folder.name)] = values
    descendants = {root}
    # A parent may have a higher number than its child.
    while new := {pid for pid, parent in parents.items() if parent in descendants} - descendants:
        descendants |= new
    return {pid: start_times[pid] for pid in descendants - {root}}


def read_stat(pid: int) -> tuple[int, str] | None:
    """Return the parent and the start time of a process; `None` if there is no such process."""
    try:
        text = (PROCESSES / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # Before the last bracket, there is a name with any characters. Source: man 5 proc.
    values = text.rpartition(")")[2].split()
    return int(values[1]), values[19]


def main() -> None:
    """Wait for the end of the input, end the processes that it names, and delete the folders."""
    lines = sys.stdin.readlines()
    if lines[-1:] == [CLOSED]:
        lines.pop()
    else:
        # Nobody may be there to read it, such as after the terminal was closed.
        with contextlib.suppress(OSError):
            sys.stderr.write(END_TEXT)
    folders = [line.rstrip("\n") for line in lines if line.startswith(os.sep)]
    for line in lines:
        if line.startswith(os.sep):
            continue
        pid, start_time = line.split()
        values = read_stat(int(pid))
        # The number may belong to another process by now.
        if values is not None and values[1] == start_time:
            os.kill(int(pid), signal.SIGKILL)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
