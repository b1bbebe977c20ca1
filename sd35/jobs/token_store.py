"""The system's keyring, in which the owner's token outlives the program.

A keyring that would write the token into a file in clear is refused: then nothing outlives it.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import anyio

from sd35.core.errors import WriteError

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

__all__ = ["TokenStore"]

log = logging.getLogger(__name__)

SERVICE: Final = "SD 3.5 Studio"
USERNAME: Final = "Hugging Face token"

# The keyrings of operating systems, which encrypt. Others are unknown, or keep plain text.
ENCRYPTED_BACKENDS: Final = frozenset(
    f"keyring.backends.{name}"
    for name in ("macOS", "Windows", "SecretService", "kwallet", "libsecret")
)

# A keyring may ask for its password, in a window that nobody sees.
KEYRING_SECONDS = 20.0

_T = TypeVar("_T")


class TokenStore:
    """The keyring's entry for the token.

    `marker` is an empty file that is there while the keyring has a token: a keyring that is locked
    asks for its password, which it shouldn't do for those who have kept nothing in it.
    """

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    async def can_keep(self) -> bool:
        """Return whether this system has a keyring that encrypts."""
        return await _run(lambda _: True, default=False)

    async def load(self) -> str | None:
        """Return the token that an earlier program has kept."""
        return await _run(_get_password, default=None) if self._marker.is_file() else None

    async def save(self, token: str) -> bool:
        """Keep a token, and return whether it will be there for the next program."""

        def save(backend: "KeyringBackend") -> bool:
            # First: the next program must find what is kept, to use or to remove it.
            self._marker.parent.mkdir(parents=True, exist_ok=True)
            self._marker.touch()
            backend.set_password(SERVICE, USERNAME, token)
            return True

        return await _run(save, default=False)

    async def delete(self) -> None:
        """Remove the token from the keyring.

        Raises:
            WriteError: the keyring can't be changed, so it still has the token.
        """

        def delete(backend: "KeyringBackend") -> bool:
            if _get_password(backend) is not None:
                backend.delete_password(SERVICE, USERNAME)
            self._marker.unlink(missing_ok=True)
            return True

        if self._marker.is_file() and not await _run(delete, default=False):
            raise WriteError(
                "This system's keyring can't be opened, so it still has the token.",
                "Unlock the keyring, then remove the token again.",
            )


async def _run(action: "Callable[[KeyringBackend], _T]", *, default: _T) -> _T:
    """Return an action's result with the keyring; the default without one, or if it fails."""
    future: Future[_T] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        future.set_result(_run_in_thread(action, default))

    # A daemon: a program that ends doesn't wait for whom the keyring has asked.
    threading.Thread(target=run, name="keyring", daemon=True).start()
    with anyio.move_on_after(KEYRING_SECONDS):
        return await asyncio.wrap_future(future)
    return default


def _run_in_thread(action: "Callable[[KeyringBackend], _T]", default: _T) -> _T:
    try:
        backend = _encrypted_backend()
        return default if backend is None else action(backend)
    except Exception as error:  # noqa: BLE001  # each system's keyring has errors of its own
        # Not its text, which is not this program's.
        log.warning("This system's keyring failed: %s.", type(error).__name__)
        return default


def _encrypted_backend() -> "KeyringBackend | None":
    # Slow to import, and few programs need it.
    import keyring  # noqa: PLC0415
    from keyring.backends.chainer import ChainerBackend  # noqa: PLC0415

    backend = keyring.get_keyring()
    # A chain would keep the token in whichever of its keyrings takes it.
    backends = ChainerBackend.backends if isinstance(backend, ChainerBackend) else [backend]
    return next(
        (candidate for candidate in backends if type(candidate).__module__ in ENCRYPTED_BACKENDS),
        None,
    )


def _get_password(backend: "KeyringBackend") -> str | None:
    return backend.get_password(SERVICE, USERNAME)
