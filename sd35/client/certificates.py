"""The certificate authorities that servers are checked with: the system's and the environment's."""

import os
import ssl
from functools import lru_cache
from pathlib import Path
from typing import Final

from sd35.core.atomic_files import os_error_text
from sd35.core.errors import InvalidRequestError
from sd35.core.quotes import strip_quotes

__all__ = ["certificate_remedy", "tls_context"]

# The first two are OpenSSL's, which ignores files that it can't read. The others are those of
# `requests` and curl, which a company's setup often names alone.
VARIABLES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def tls_context() -> ssl.SSLContext:
    """Return the context of all connections over TLS.

    Raises:
        InvalidRequestError: a variable names certificates that can't be read.
    """
    return _load_context(tuple((name, os.environ.get(name, "")) for name in VARIABLES))


# Reading the system's certificates takes 20 ms.
@lru_cache(maxsize=4)
def _load_context(variables: tuple[tuple[str, str], ...]) -> ssl.SSLContext:
    context = ssl.create_default_context()
    # From Python 3.13 on, this refuses the certificates of many a company's proxy, because of
    # fields that browsers don't require.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    for name, value in variables:
        for path in _split_paths(name, value):
            try:
                _load(context, path)
            except OSError as error:  # also ssl.SSLError
                is_content = isinstance(error, ssl.SSLError)
                reason = "no certificates in it" if is_content else os_error_text(error)
                raise InvalidRequestError(
                    f"Can't read the certificates at {path}: {reason}.",
                    f"Correct {name}, or unset it.",
                ) from None
    return context


def _split_paths(name: str, value: str) -> list[Path]:
    is_list = name == "SSL_CERT_DIR"
    texts = map(strip_quotes, value.split(os.pathsep) if is_list else [value])
    # `~` stays as it is without a home, where Path's own method raises an error.
    paths = [Path(os.path.expanduser(text)) for text in texts if text]  # noqa: PTH111  # see above
    # A list may name the folders of several systems.
    return [path for path in paths if path.is_dir()] or paths if is_list else paths


def _load(context: ssl.SSLContext, path: Path) -> None:
    if path.is_dir():
        context.load_verify_locations(capath=path)
        return
    data = path.read_bytes()
    # Windows exports certificates as DER, which OpenSSL takes as bytes alone.
    is_text = b"-----BEGIN" in data
    context.load_verify_locations(**({"cafile": path} if is_text else {"cadata": data}))


# The codes of OpenSSL's x509_vfy.h.
_DATE_CODES: Final = {9, 10}
_HOST_CODES: Final = {62, 64}


def certificate_remedy(error: Exception) -> str | None:
    """Return what to do about a certificate that was refused; `None` for another error."""
    certificate_error = getattr(error, "certificate_error", None)
    if certificate_error is None:
        return None
    code = getattr(certificate_error, "verify_code", 0)
    if code in _DATE_CODES:
        return "The certificate has expired or isn't valid yet. Check the date of this computer."
    if code in _HOST_CODES:
        return (
            "The certificate belongs to another server. If you use a public Wi-Fi, open its login "
            "page in a browser and log in."
        )
    return (
        "If your company's network checks connections, set SSL_CERT_FILE to the file with its "
        "certificate authority."
    )
