"""A public link through gradio.live, for as long as this program runs."""

import contextlib
import io
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import segno
from gradio import networking, tunneling
from gradio.exceptions import ChecksumMismatchError

__all__ = ["LIFETIME_NOTICE", "Tunnel", "TunnelError", "qr_code"]

LIFETIME_NOTICE = "It lives as long as this program runs, and a week at most."
"""A week: what Gradio 6.31 says of its share links when it makes one."""

OPEN_TIMEOUT_SECONDS = 60.0


class TunnelError(Exception):
    """No public link could be made; `str` is one sentence that says why."""


class Tunnel:
    """A way in from the public network to a port of this machine.

    Attributes:
        url: the public link.

    """

    def __init__(self, url: str, process: "subprocess.Popen[bytes] | None") -> None:
        self.url = url
        self._process = process

    @property
    def has_ended(self) -> bool:
        """Whether the link leads nowhere any more."""
        return self._process is not None and self._process.poll() is not None

    @classmethod
    def open(cls, host: str, port: int, token: str, folder: Path) -> "Tunnel":
        """Open one to this port; the server's certificate is put into `folder`.

        Raises:
            NoTunnelError: it can't be made; the sentence says why.

        """
        if hasattr(
            networking, "CERTIFICATE_PATH"
        ):  # else it goes into whatever folder this program was started in
            networking.CERTIFICATE_PATH = str(folder / "gradio-live.pem")
        try:
            url = _with_timeout(
                OPEN_TIMEOUT_SECONDS, lambda: networking.setup_tunnel(host, port, token, None, None)
            )
        except Exception as error:  # Gradio's own ways to fail are many, and the page works without
            close_tunnels()
            raise TunnelError(_error_message(error)) from error
        tunnels = tunneling.CURRENT_TUNNELS
        address = "https" + url[len("http") :] if url.startswith("http:") else url
        return cls(address, tunnels[-1].proc if tunnels else None)


def close_tunnels() -> None:
    """End every tunnel of this process, quietly."""
    with contextlib.redirect_stdout(io.StringIO()):
        for tunnel in tunneling.CURRENT_TUNNELS:
            tunnel.kill()


def _with_timeout(timeout: float, operation: Callable[[], str]) -> str:
    """What `work` returns, if it does within the limit; what it prints is for nobody."""
    result: list[str | Exception] = []

    def run() -> None:
        try:
            result.append(operation())
        except Exception as error:  # noqa: BLE001  # raised again, in the thread that waits
            result.append(error)

    thread = threading.Thread(target=run, daemon=True)
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        thread.start()
        thread.join(timeout)
    if not result:
        raise TimeoutError
    if isinstance(result[0], Exception):
        raise result[0]
    return result[0]


def _error_message(error: Exception) -> str:
    helper_program = f"Gradio's helper program, {tunneling.BINARY_PATH},"
    messages = (
        (TimeoutError, "gradio.live didn't answer in time."),
        (
            ChecksumMismatchError,
            f"{helper_program} isn't the one that was expected; delete it and try again.",
        ),
        (
            FileNotFoundError,
            f"{helper_program} is missing and couldn't be had, or something on this machine blocks it.",
        ),
        (PermissionError, f"{helper_program} can't be run: something on this machine blocks it."),
        (
            httpx.HTTPError,
            f"{helper_program} couldn't be downloaded: there is no way there from this network.",
        ),
        (OSError, f"{helper_program} can't be had or run on this system."),
        (ValueError, "gradio.live refused the tunnel, or this network blocks it."),
    )
    default_message = "gradio.live could not be reached: there is no network, or it is blocked."
    return next(
        (message for error_type, message in messages if isinstance(error, error_type)),
        default_message,
    )


def qr_code(url: str) -> str:
    """Return the link as a QR code for a terminal; empty where the terminal can't show one."""
    out = io.StringIO()
    segno.make(url, error="m", micro=False).terminal(out=out, compact=True, border=2)
    try:
        out.getvalue().encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return ""
    return out.getvalue()
