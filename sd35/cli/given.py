"""What was typed, and else what the environment says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from sd35.errors import InvalidRequestError
from sd35.settings import Settings

__all__ = ["read_settings"]

_WHAT: Final = {
    "space": "The name of the Space, as given or in SD35_SPACE",
    "token": "The token, as given or in SD35_TOKEN",
    "proxy": "The proxy, as given or in SD35_PROXY",
    "library": "The library's folder, as given or in SD35_LIBRARY",
}


def read_settings(**given: str | Path | None) -> Settings:
    """Return the settings, in which what was typed comes before the environment; `None` wasn't typed.

    Raises:
        InvalidRequestError: a flag, or a variable of the environment, can't be meant so.

    """
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]  # read by its fields' types
    except ValidationError as error:
        raise InvalidRequestError(" ".join(_mistakes(error))) from None  # its input may be a token


def _mistakes(error: ValidationError) -> Iterator[str]:
    for mistake in error.errors(include_input=False, include_url=False):
        name = str(mistake["loc"][0]) if mistake["loc"] else "settings"
        what = _WHAT.get(name, name if name.isupper() else f"SD35_{name.upper()}")
        yield f"{what}: {mistake['msg'].removeprefix('Value error, ')}."
