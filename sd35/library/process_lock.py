"""Locks that tell which programs use a library at the moment."""

import os
import re
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from sd35.library.layout import STALE_AFTER

__all__ = ["ProcessLock"]

_INSTANCE_ID_PATTERN: Final = re.compile(r"[0-9a-f]{16}")


class ProcessLock:
    """A lock file that this program holds for as long as it uses the library.

    A process ID wouldn't do: IDs are reused, and mean nothing on another machine that shares the
    folder. The operating system releases a file lock however the program ends.

    Attributes:
        instance_id: random name of this use of the library, never reused.

    Raises:
        OSError: the folder takes no lock files.
    """

    def __init__(self, folder: Path) -> None:
        self.instance_id = secrets.token_hex(8)
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        # By default filelock counts per thread: released from another thread than the one that
        # acquired it, the lock would stay held.
        self._lock = FileLock(self._lock_path(self.instance_id), thread_local=False)
        self._lock.acquire(blocking=False)

    def _lock_path(self, instance_id: str) -> Path:
        return self._folder / f"{instance_id}.lock"

    def is_alive(self, instance_id: object) -> bool:
        """Return whether the program with this instance ID is still running."""
        if instance_id == self.instance_id:
            return self._lock.is_locked
        # The ID comes from the database, and may be anything there: it must not become a path
        # outside of the folder.
        if not isinstance(instance_id, str) or not _INSTANCE_ID_PATTERN.fullmatch(instance_id):
            return False
        path = self._lock_path(instance_id)
        if not os.path.lexists(path):
            return False
        lock = FileLock(path, thread_local=False)
        try:
            lock.acquire(blocking=False)
        except (Timeout, OSError):
            # If in doubt, alive: the jobs of a running program must not be taken over.
            return True
        lock.release()
        return False

    def reacquire(self) -> None:
        """Lock again if the file was deleted: others would take this program for a crashed one."""
        if not os.path.lexists(self._lock_path(self.instance_id)):
            self._lock.release()
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(blocking=False)

    def remove_stale(self) -> None:
        """Remove the lock files of programs that were killed."""
        for path in self._folder.glob("*.lock"):
            with suppress(OSError):
                # A young file may belong to a program that has created it and not locked it yet.
                is_old = time.time() - path.stat().st_mtime > STALE_AFTER
                if is_old and not self.is_alive(path.stem):
                    path.unlink()

    def close(self) -> None:
        """Release the lock and remove its file."""
        self._lock.release()
        with suppress(OSError):
            self._lock_path(self.instance_id).unlink()
