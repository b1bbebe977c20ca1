"""The user's home folder, which a service or a container may lack."""

import os
from pathlib import Path
from typing import Final

from sd35.core.errors import LibraryError

__all__ = ["config_folder", "default_library_folder", "expand_home"]

LIBRARY_NAME: Final = "SD 3.5 Studio"


def expand_home(path: Path) -> Path:
    """Return a path with the home folder in place of `~`.

    Raises:
        LibraryError: there is no home folder.
    """
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise LibraryError(f"There is no home folder for {path}.", "Use a full path.") from error


def default_library_folder() -> Path:
    """Return the library's folder among the user's pictures, or else in the current folder."""
    # Slow to import, and only needed without --library.
    from platformdirs import user_pictures_path  # noqa: PLC0415

    try:
        pictures_folder = user_pictures_path()
        is_usable = os.access(pictures_folder, os.F_OK) or _has_writable_home()
    except RuntimeError:
        is_usable = False
    return (pictures_folder if is_usable else Path.cwd()) / LIBRARY_NAME


def config_folder() -> Path:
    """Return the folder for what this program remembers of its user; it may not exist yet."""
    # Slow to import.
    from platformdirs import user_config_path  # noqa: PLC0415

    return user_config_path("sd35-studio")


def _has_writable_home() -> bool:
    home = Path.home()
    # The root folder is what containers, and an empty HOME, give as one.
    return home != Path(home.anchor) and os.access(home, os.W_OK)
