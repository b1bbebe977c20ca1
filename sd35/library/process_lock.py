"""Which programs use the library just now: each holds a lock for as long as it lives, however it ends."""

import re
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

__all__ = ["Instance"]

OLD_SECONDS: Final = 3600.0

_NAME: Final = re.compile(r"[0-9a-f]{16}")


class Instance:
    """The program that runs here, among those that use a library.

    Raises:
        OSError: the lock can't be had in this folder.

    Attributes:
        name: that no other one has, or ever had.

    """

    def __init__(self, folder: Path) -> None:
        self.name = secrets.token_hex(8)
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self._path(self.name), thread_local=False)
        self._lock.acquire(blocking=False)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.lock"

    def is_alive(self, name: str) -> bool:
        """Whether the program of this name still runs."""
        if name == self.name:
            return self._lock.is_locked
        if not _NAME.fullmatch(name) or not self._path(name).exists():
            return False
        lock = FileLock(self._path(name), thread_local=False)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return True
        except OSError:
            return True  # who can't be asked isn't robbed
        lock.release()
        return False

    def renew(self) -> None:
        """Hold the lock again, if its file was taken away: others would take this program's jobs for left ones."""
        if not self._path(self.name).exists():
            self._lock.release()
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(blocking=False)

    def tidy(self) -> None:
        """Remove what those have left behind that were killed."""
        for path in self._folder.glob("*.lock"):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > OLD_SECONDS and not self.is_alive(
                    path.stem
                ):
                    path.unlink()

    def close(self) -> None:
        """Say that this program has ended with the library."""
        self._lock.release()
        with suppress(OSError):
            self._path(self.name).unlink()
