"""The settings of the environment, overridden by options."""

from pathlib import Path
from typing import Final

from pydantic import ValidationError

from sd35.core.errors import InvalidRequestError
from sd35.settings import Settings, error_text

__all__ = ["read_settings"]

_LABELS: Final = {
    "space": "Space name (or SD35_SPACE)",
    "token": "--token (or SD35_TOKEN)",
    "token_file": "--token-file (or SD35_TOKEN_FILE)",
    "space_login": "--space-login (or SD35_SPACE_LOGIN)",
    "space_login_file": "--space-login-file (or SD35_SPACE_LOGIN_FILE)",
    "proxy": "--proxy (or SD35_PROXY)",
    "proxy_file": "--proxy-file (or SD35_PROXY_FILE)",
    "library": "--library (or SD35_LIBRARY)",
    "device": "--device (or SD35_DEVICE)",
    "precision": "--precision (or SD35_PRECISION)",
    "offload": "--offload (or SD35_OFFLOAD)",
    "no_t5": "--no-t5 (or SD35_NO_T5)",
    "revision": "--revision (or SD35_REVISION)",
}


def read_settings(**overrides: str | Path | bool | None) -> Settings:
    """Return the settings of the environment, overridden by options that aren't `None`."""
    values = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**values)  # type: ignore[arg-type]  # pydantic checks them
    except ValidationError as error:
        details = error.errors(include_input=False, include_url=False)
    # Raised outside of the handler: pydantic's error, which would be its context, may show a token.
    raise InvalidRequestError(
        " ".join(_describe_error(detail["loc"], error_text(detail)) for detail in details)
    )


def _describe_error(location: tuple[int | str, ...], message: str) -> str:
    if not location:
        return f"{message}."
    name = str(location[0])
    label = _LABELS.get(name, name if name.isupper() else f"SD35_{name.upper()}")
    return f"{label}: {message.rstrip('.')}."
