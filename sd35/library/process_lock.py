"""Which programs use the library just now: each holds a lock for as long as it lives, however it ends."""

import re
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

__all__ = ["ProcessLock"]

STALE_AFTER: Final = 3600.0

_INSTANCE_ID_PATTERN: Final = re.compile(r"[0-9a-f]{16}")


class ProcessLock:
    """The program that runs here, among those that use a library.

    Raises:
        OSError: the lock can't be had in this folder.

    Attributes:
        name: that no other one has, or ever had.

    """

    def __init__(self, folder: Path) -> None:
        self.instance_id = secrets.token_hex(8)
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self._lock_path(self.instance_id), thread_local=False)
        self._lock.acquire(blocking=False)

    def _lock_path(self, instance_id: str) -> Path:
        return self._folder / f"{instance_id}.lock"

    def is_alive(self, instance_id: str) -> bool:
        """Whether the program of this name still runs."""
        if instance_id == self.instance_id:
            return self._lock.is_locked
        if (
            not _INSTANCE_ID_PATTERN.fullmatch(instance_id)
            or not self._lock_path(instance_id).exists()
        ):
            return False
        lock = FileLock(self._lock_path(instance_id), thread_local=False)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return True
        except OSError:
            return True  # who can't be asked isn't robbed
        lock.release()
        return False

    def reacquire(self) -> None:
        """Hold the lock again, if its file was taken away: others would take this program's jobs for left ones."""
        if not self._lock_path(self.instance_id).exists():
            self._lock.release()
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(blocking=False)

    def remove_stale(self) -> None:
        """Remove what those have left behind that were killed."""
        for path in self._folder.glob("*.lock"):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > STALE_AFTER and not self.is_alive(
                    path.stem
                ):
                    path.unlink()

    def close(self) -> None:
        """Say that this program has ended with the library."""
        self._lock.release()
        with suppress(OSError):
            self._lock_path(self.instance_id).unlink()
