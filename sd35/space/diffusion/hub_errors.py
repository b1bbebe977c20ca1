"""Errors of Hugging Face's library as sentences: what is missing, and what to do."""

import errno
from pathlib import Path
from typing import Final

from huggingface_hub import get_token
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    IncompleteSnapshotError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from sd35.space.diffusion.model_paths import cached_tree_paths
from sd35.space.engine import EngineError

__all__ = ["to_engine_error"]

_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403


def to_engine_error(repository: str, error: Exception) -> EngineError:
    """Return the error for people, of a download that has failed."""
    match error:
        case HFValidationError():
            return EngineError(
                f"There is neither a folder nor a model named {repository}.",
                "Use large-turbo, large, medium, a folder, or owner/name.",
            )
        case GatedRepoError():
            return _gate_error(repository, error)
        case RepositoryNotFoundError():
            return EngineError(
                f"There is no model {repository} at Hugging Face, or your token may not see it.",
                "Check the name: large-turbo, large, medium, or owner/name.",
            )
        case RevisionNotFoundError():
            return EngineError(f"{repository} has no such revision.", "Leave out --revision.")
        case IncompleteSnapshotError():
            folder = Path(error.snapshot_path)
            paths = cached_tree_paths(repository, folder.name)
            count = sum((folder / path).is_file() for path in paths)
            return EngineError(
                f"Hugging Face can't be reached, and only {count} of {len(paths)} files of "
                f"{repository} are on this machine.",
                "Connect to the network once more; the download goes on where it stopped.",
            )
        case LocalEntryNotFoundError():
            return EngineError(
                f"Hugging Face can't be reached, and {repository} isn't on this machine.",
                "Check the network. Behind a proxy, set HTTPS_PROXY.",
            )
        case _:
            return _other_error(error)


def _other_error(error: Exception) -> EngineError:
    if isinstance(error, HfHubHTTPError) and error.response.status_code == _UNAUTHORIZED:
        return EngineError(
            "Hugging Face doesn't accept your access token.",
            "Create one at https://huggingface.co/settings/tokens, and set it as HF_TOKEN.",
        )
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return EngineError(
            "The disk is full.",
            "Free some space, or choose another disk with the environment variable HF_HOME.",
        )
    return EngineError(f"The model can't be downloaded: {type(error).__name__}.", "Try again.")


def _gate_error(repository: str, error: GatedRepoError) -> EngineError:
    """Return the step that is missing at a gated model."""
    url = f"https://huggingface.co/{repository}"
    if get_token() is None:
        return EngineError(
            f"{repository} can be downloaded once its licence is accepted.",
            f"1. Sign in, open {url} and accept the licence. 2. Create a token of type Read at "
            "https://huggingface.co/settings/tokens. 3. Set it as HF_TOKEN, or run "
            "`hf auth login`.",
        )
    if error.response.status_code == _FORBIDDEN:
        return EngineError(
            f"The account of your token may not download {repository}.",
            f"Open {url} with that account and accept the licence. A fine-grained token also "
            "needs the permission to read public gated repositories.",
        )
    return EngineError(
        f"Hugging Face doesn't accept your access token for {repository}.",
        "Create a new one at https://huggingface.co/settings/tokens, and set it as HF_TOKEN.",
    )
