"""A public link through gradio.live, for as long as this program runs."""

import contextlib
import io
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Final

import httpx
import segno
from gradio import networking, tunneling
from gradio.exceptions import ChecksumMismatchError

__all__ = ["LIFETIME_NOTICE", "Tunnel", "TunnelError", "close_tunnels", "qr_code"]

# A week is what Gradio 6.31 prints with its share links.
LIFETIME_NOTICE: Final = "Valid while the app runs, for up to one week."

OPEN_TIMEOUT_SECONDS: Final = 60.0


class TunnelError(Exception):
    """The public link couldn't be created; `str` is one sentence that says why."""


class Tunnel:
    """A public link to a port of this machine."""

    def __init__(self, url: str, process: "subprocess.Popen[bytes] | None") -> None:
        self.url = url
        self._process = process

    @property
    def has_ended(self) -> bool:
        """Return whether the link no longer works."""
        return self._process is not None and self._process.poll() is not None

    @classmethod
    def open(cls, host: str, port: int, token: str, folder: Path) -> "Tunnel":
        """Create a link to this port. gradio.live's certificate is written to `folder`.

        Raises:
            TunnelError: the link can't be created.
        """
        # By default Gradio writes the certificate below the current directory.
        if hasattr(networking, "CERTIFICATE_PATH"):
            networking.CERTIFICATE_PATH = str(folder / "gradio-live.pem")
        try:
            url = _with_timeout(
                OPEN_TIMEOUT_SECONDS, lambda: networking.setup_tunnel(host, port, token, None, None)
            )
        except Exception as error:
            # Gradio raises many kinds of errors here, and the page works without the link.
            close_tunnels()
            raise TunnelError(_error_message(error)) from error
        tunnels = tunneling.CURRENT_TUNNELS
        if url.startswith("http:"):  # Gradio returns this scheme, though the link is https
            url = url.replace("http:", "https:", 1)
        return cls(url, tunnels[-1].proc if tunnels else None)


def close_tunnels() -> None:
    """End every tunnel of this process, without Gradio's messages about it."""
    with contextlib.redirect_stdout(io.StringIO()):
        for tunnel in tunneling.CURRENT_TUNNELS:
            tunnel.kill()


def _with_timeout(timeout: float, operation: Callable[[], str]) -> str:
    """Return the result of an operation, and discard its output.

    Raises:
        TimeoutError: it takes longer.
    """
    future: Future[str] = Future()

    def run() -> None:
        try:
            future.set_result(operation())
        except Exception as error:  # noqa: BLE001  # raised by `result` below
            future.set_exception(error)

    # Not an executor: Python would wait for its threads at exit, and these may hang.
    thread = threading.Thread(target=run, daemon=True)
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        thread.start()
        return future.result(timeout)


_HELPER: Final = f"Gradio's tunnel helper ({tunneling.BINARY_PATH})"

# The first that matches counts: FileNotFoundError is an OSError, too.
_MESSAGES: Final[tuple[tuple[type[Exception], str], ...]] = (
    (TimeoutError, "gradio.live didn't respond in time."),
    (
        ChecksumMismatchError,
        f"{_HELPER} has an unexpected checksum. Delete the file and try again.",
    ),
    (
        FileNotFoundError,
        f"{_HELPER} couldn't be downloaded, or an antivirus program removed the file.",
    ),
    (PermissionError, f"{_HELPER} couldn't be run: this computer blocks the file."),
    (httpx.HTTPError, f"{_HELPER} couldn't be downloaded: this network blocks the download."),
    (OSError, f"{_HELPER} doesn't work on this system."),
    (ValueError, "gradio.live refused the tunnel, or this network blocks the connection."),
    (Exception, "gradio.live can't be reached. Check your internet connection."),
)


def _error_message(error: Exception) -> str:
    return next(message for error_type, message in _MESSAGES if isinstance(error, error_type))


def qr_code(url: str) -> str:
    """Return the link as a QR code; empty if the terminal's encoding has no block characters."""
    out = io.StringIO()
    segno.make(url, error="m", micro=False).terminal(out=out, compact=True, border=2)
    try:
        out.getvalue().encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return ""
    return out.getvalue()
