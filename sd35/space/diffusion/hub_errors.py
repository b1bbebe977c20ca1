"""Errors of Hugging Face's library as sentences: what is missing, and what to do."""

import errno
import http
from pathlib import Path
from typing import Final

import httpx2  # huggingface_hub's, which passes its errors on
from huggingface_hub import constants, get_token
from huggingface_hub.errors import (
    DisabledRepoError,
    DryRunError,
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    IncompleteSnapshotError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from sd35.space.diffusion.model_paths import find_cached_paths
from sd35.space.engine import AccessError, EngineError

__all__ = ["DamagedFileError", "retry_delay", "to_engine_error"]

MAX_DELAY_SECONDS: Final = 300.0  # that the Hub may ask for before the next try

_RESUMES: Final = "the download goes on where it stopped."
_UNTRUSTED_CONNECTION: Final = (
    "The connection to Hugging Face can't be trusted: its certificate isn't valid here",
    (
        "Check this machine's date and time. If a company's proxy reads connections, set "
        "SSL_CERT_FILE to its certificate."
    ),
)
_FULL_DISK: Final = (
    "The disk is full",
    "Free some space, or choose another disk with the environment variable HF_HOME; " + _RESUMES,
)
# The first that fits counts.
_FAILURES: Final = (
    (
        OfflineModeIsEnabled,
        ("HF_HUB_OFFLINE is set", f"Unset it once, and connect to the network; {_RESUMES}"),
    ),
    (
        httpx2.ProxyError,
        ("The proxy doesn't lead to Hugging Face", "Check HTTPS_PROXY and HTTP_PROXY."),
    ),
    (
        httpx2.TimeoutException,
        ("Hugging Face doesn't answer", f"Try again later; {_RESUMES}"),
    ),
    (
        (UnicodeEncodeError, httpx2.LocalProtocolError),
        ("The access token has characters that no token has", "Check HF_TOKEN."),
    ),
    (
        httpx2.UnsupportedProtocol,
        ("HF_ENDPOINT isn't an address", "Unset it, or begin it with https://."),
    ),
    (
        (httpx2.TransportError, LocalEntryNotFoundError, DryRunError),
        (
            "Hugging Face can't be reached",
            f"Check the network; {_RESUMES} Behind a proxy, set HTTPS_PROXY.",
        ),
    ),
    # The library looks into answers without checking what they are.
    (
        (FileMetadataError, ValueError, TypeError, AttributeError, LookupError, AssertionError),
        (
            "What answers isn't Hugging Face",
            (
                "Sign in to the network first, if it has a login page. Check the proxy, and "
                "HF_ENDPOINT if it is set."
            ),
        ),
    ),
)

_TLS_PHRASES: Final = ("certificate", "ssl", "tls")
_FOLDER_ERRNOS: Final = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOENT),
}


class DamagedFileError(Exception):
    """A file that arrived isn't the one that the Hub announced."""


def retry_delay(error: Exception, delay: float) -> float | None:
    """Return after how many seconds to try again; `None` if it would fail again.

    Args:
        error: of the Hub.
        delay: unless the Hub asks for a longer one.
    """
    error = _find_cause(error)
    if isinstance(error, httpx2.TransportError):
        is_lasting = isinstance(error, httpx2.ProxyError) or _is_tls_error(error)
        return None if is_lasting else delay
    if not isinstance(error, HfHubHTTPError) or isinstance(error, GatedRepoError):
        return None
    status = error.response.status_code
    # A signed address expires after an hour, and a new request gets a new one.
    if status not in {http.HTTPStatus.FORBIDDEN, 408, 429} and status < 500:
        return None
    delay = max(delay, _retry_after(error))
    return delay if delay <= MAX_DELAY_SECONDS else None


def to_engine_error(repository: str, error: Exception) -> EngineError:
    """Return the error for people, of a download that has failed."""
    cause = _find_cause(error)
    match cause:
        case HFValidationError():
            return EngineError(
                f"There is neither a folder nor a model named {repository}.",
                "Use large-turbo, large, medium, a folder, or owner/name.",
            )
        case GatedRepoError():
            return _gate_error(repository, cause)
        case DisabledRepoError():
            return EngineError(f"Hugging Face has disabled {repository}.", "Choose another model.")
        case RepositoryNotFoundError():
            return EngineError(
                f"There is no model {repository} at Hugging Face, or your token may not see it.",
                "Check the name: large-turbo, large, medium, or owner/name.",
            )
        case RevisionNotFoundError():
            return EngineError(f"{repository} has no such revision.", "Leave out --revision.")
        case RemoteEntryNotFoundError():
            return EngineError(
                f"A file of {repository} isn't there any more.",
                "The repository may have changed meanwhile: start again.",
            )
        case DamagedFileError():
            return EngineError(
                f"{cause} of {repository} arrived damaged.",
                "Start again: only that file is downloaded again. If it happens again, a proxy or "
                "the mirror in HF_ENDPOINT may change files.",
            )
    return _other_error(repository, error, cause)


def _other_error(repository: str, error: Exception, cause: Exception) -> EngineError:
    happened, remedy = _describe_failure(cause)
    if isinstance(error, IncompleteSnapshotError):
        folder = Path(error.snapshot_path)
        paths = find_cached_paths(repository, folder.name)
        count = sum((folder / path).is_file() for path in paths)
        happened += f", and only {count} of {len(paths)} files of {repository} are on this machine"
    elif isinstance(error, LocalEntryNotFoundError | DryRunError):
        happened += f", and {repository} isn't on this machine"
    error_type = AccessError if _is_unauthorized(cause) else EngineError
    return error_type(f"{happened}.", remedy)


def _is_unauthorized(error: Exception) -> bool:
    if not isinstance(error, HfHubHTTPError):
        return False
    return error.response.status_code == http.HTTPStatus.UNAUTHORIZED


def _find_cause(error: Exception) -> Exception:
    """Return the error of the network or the Hub behind one that says what isn't in the cache."""
    while isinstance(error, LocalEntryNotFoundError | DryRunError):
        if not isinstance(error.__cause__, Exception):
            break
        error = error.__cause__
    return error


def _describe_failure(error: Exception) -> tuple[str, str]:
    """Return what has happened, without a full stop, and what to do."""
    if isinstance(error, HfHubHTTPError):
        return _describe_status(error)
    if _is_tls_error(error):
        return _UNTRUSTED_CONNECTION
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return _FULL_DISK
    if isinstance(error, OSError) and error.errno in _FOLDER_ERRNOS:
        return (
            f"{constants.HF_HUB_CACHE} can't be written",
            (
                "Change its permissions, or choose another folder with the environment variable "
                "HF_HOME."
            ),
        )
    unforeseen = (f"The model can't be downloaded ({type(error).__name__})", "Try again.")
    failures = (texts for types, texts in _FAILURES if isinstance(error, types))
    return next(failures, unforeseen)


def _describe_status(error: HfHubHTTPError) -> tuple[str, str]:
    status = error.response.status_code
    if status == http.HTTPStatus.UNAUTHORIZED:
        return (
            "Hugging Face doesn't accept your access token",
            "Create one at https://huggingface.co/settings/tokens, and set it as HF_TOKEN.",
        )
    if status == http.HTTPStatus.TOO_MANY_REQUESTS:
        minutes = round(_retry_after(error) / 60)
        wait = f"Wait {minutes} minutes" if minutes > 1 else "Wait some minutes"
        return (
            "Hugging Face takes no more requests from here for now",
            f"{wait}; {_RESUMES} With a token in HF_TOKEN, more are allowed.",
        )
    if status >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
        return f"Hugging Face has a failure (status {status})", f"Try again later; {_RESUMES}"
    return (
        f"Hugging Face refuses the download (status {status})",
        "Check your token and the network's proxy, and try again later.",
    )


def _retry_after(error: HfHubHTTPError) -> float:
    value = error.response.headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() else 0.0


def _is_tls_error(error: Exception) -> bool:
    # Such as "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate".
    message = str(error).lower()
    return isinstance(error, httpx2.ConnectError) and any(
        phrase in message for phrase in _TLS_PHRASES
    )


def _gate_error(repository: str, error: GatedRepoError) -> AccessError:
    """Return the step that is missing at a gated model."""
    url = f"https://huggingface.co/{repository}"
    if get_token() is None:
        return AccessError(
            f"{repository} can be downloaded once its licence is accepted.",
            f"1. Sign in, open {url} and accept the licence. 2. Create a token of type Read at "
            "https://huggingface.co/settings/tokens. 3. Set it as HF_TOKEN, or run "
            "`hf auth login`.",
        )
    if error.response.status_code == http.HTTPStatus.FORBIDDEN:
        return AccessError(
            f"The account of your token may not download {repository}.",
            f"Open {url} with that account and accept the licence. A fine-grained token also "
            "needs the permission to read public gated repositories.",
        )
    return AccessError(
        f"Hugging Face doesn't accept your access token for {repository}.",
        "Create a new one at https://huggingface.co/settings/tokens, and set it as HF_TOKEN.",
    )
