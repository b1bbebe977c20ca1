"""Findings: inputs that fail, made smaller and saved in the corpus."""

import base64
import hashlib

from tests.fuzz.target import CORPUS, Check

__all__ = ["save_failure", "save_input"]

_MAX_ATTEMPTS = 2000
_MAX_PRINTED_BYTES = 4000


def save_failure(name: str, data: bytes, error: BaseException, check: Check) -> None:
    """Save an input that failed with this error, smaller where it fails just as well."""
    if isinstance(error, KeyboardInterrupt):
        return
    if isinstance(error, Exception):  # not one that hangs: each attempt would hang, too
        data = _minimize(data, check, type(error))
    save_input(name, data)


def save_input(name: str, data: bytes) -> None:
    """Save an input in a target's corpus, and print it."""
    path = CORPUS / name / hashlib.sha256(data).hexdigest()[:16]
    path.write_bytes(data)
    # A gate throws its folder away, so the input is printed as well.
    encoded = base64.b64encode(data[:_MAX_PRINTED_BYTES]).decode()
    print(f"{name}: {len(data):,} bytes fail, saved as {path}; in Base64: {encoded}", flush=True)


def _minimize(data: bytes, check: Check, kind: type[Exception]) -> bytes:
    """Return a smaller input that fails in the same way: with an exception of this class."""
    attempts = 0
    size = len(data) // 2
    while size and attempts < _MAX_ATTEMPTS:
        start = 0
        while start < len(data) and attempts < _MAX_ATTEMPTS:
            candidate = data[:start] + data[start + size :]
            attempts += 1
            if _fails(candidate, check, kind):
                data = candidate
            else:
                start += size
        size //= 2
    return data


def _fails(data: bytes, check: Check, kind: type[Exception]) -> bool:
    try:
        check(data)
    except Exception as error:  # noqa: BLE001  # whatever the target raises is the finding
        return isinstance(error, kind)
    return False
