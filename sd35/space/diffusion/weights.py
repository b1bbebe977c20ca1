"""The model's files: found in a folder or in Hugging Face's cache, or downloaded there."""

import contextlib
import glob
import logging
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx2  # huggingface_hub's
from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import DryRunError, LocalEntryNotFoundError
from huggingface_hub.utils import get_session  # type: ignore[attr-defined]  # has no __all__

from sd35.core.text import format_bytes
from sd35.space.diffusion.download import Download, OnLoading, count_partial_bytes
from sd35.space.diffusion.hub_errors import retry_delay, to_engine_error
from sd35.space.diffusion.model_paths import CONFIGURATION_PATHS, find_cached_paths, select_paths
from sd35.space.engine import EngineError, Loading
from sd35.space.model_folder import read_model_folder
from sd35.space.models import Model

__all__ = [
    "MissingFiles",
    "ModelFiles",
    "cache_disk_space",
    "check_disk_space",
    "fetch_configuration",
    "fetch_weights",
    "find_missing_files",
    "resolve_revision",
]

log = logging.getLogger(__name__)

T = TypeVar("T")

QUESTION_SECONDS = 10.0
QUESTION_DELAYS = (1.0, 2.0)  # seconds before a question to the Hub is repeated


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model's files, which may have to be downloaded first.

    Attributes:
        folder: that they are in; `None` for those of a repository.
        revision: commit of the repository; empty if it is unknown.
    """

    model: Model
    folder: Path | None
    revision: str = ""

    def fetch(self, on_loading: OnLoading) -> Path:
        """Return the folder; raises what `fetch_weights` and `read_model_folder` do."""
        if self.folder is not None:
            return self.folder
        repository = self.model.repository
        folder = fetch_weights(repository, self.revision or None, on_loading)
        read_model_folder(folder, repository)  # which says what is damaged
        return folder


@dataclass(frozen=True, slots=True)
class MissingFiles:
    """The part of a model that isn't on this machine.

    Attributes:
        file_sizes: bytes of each file of the model by path.
        paths: the files to download.
        commit: of the repository.
        partial_bytes: that are here, of files to download.
    """

    file_sizes: Mapping[str, int]
    paths: Collection[str] = ()
    commit: str = ""
    partial_bytes: int = 0

    @property
    def byte_count(self) -> int:
        """The number of bytes to download."""
        return max(0, sum(self.file_sizes[path] for path in self.paths) - self.partial_bytes)

    @property
    def summary(self) -> str:
        """How many files are here, and how much is to download."""
        total_count = len(self.file_sizes)
        if not self.paths:
            return f"all {total_count} files are on this machine"
        return (
            f"{total_count - len(self.paths)} of {total_count} files are on this machine, "
            f"{format_bytes(self.byte_count)} to download"
        )


def fetch_configuration(repository: str, revision: str | None = None) -> Path:
    """Return a folder with a model's configurations, which say what it is.

    Raises:
        EngineError: they can't be had.
    """
    with _engine_errors(repository):
        return _retry(lambda: _snapshot(repository, revision, CONFIGURATION_PATHS), QUESTION_DELAYS)


def fetch_weights(
    repository: str, revision: str | None = None, on_loading: OnLoading = lambda _: None
) -> Path:
    """Return the folder of a model's files; download those that are missing, which may resume.

    Args:
        repository: `owner/name` at Hugging Face.
        revision: branch, tag or commit.
        on_loading: called with the progress.

    Raises:
        EngineError: they can't be had; it says which step is missing.
    """
    on_loading(Loading("Looking for the model"))
    with _engine_errors(repository):
        paths = _retry(lambda: _list_paths(repository, revision), QUESTION_DELAYS)
        missing_files = _ask_hub(repository, revision, paths)
        if missing_files is not None and missing_files.paths:
            sizes = {path: missing_files.file_sizes[path] for path in missing_files.paths}
            download = Download(repository, missing_files.commit, sizes, on_loading)
            check_disk_space(missing_files.byte_count)
            download.run()
        # If the Hub couldn't be asked, this says why, or finds all files in the cache.
        return _retry(lambda: _snapshot(repository, revision, paths), QUESTION_DELAYS)


def find_missing_files(repository: str, revision: str | None = None) -> MissingFiles:
    """Return what a download would bring, which the Hub has to allow.

    Raises:
        EngineError: the Hub refuses it, or can't be reached and files are missing.
    """
    with _engine_errors(repository):
        paths = _retry(lambda: _list_paths(repository, revision), QUESTION_DELAYS)
        missing_files = _ask_hub(repository, revision, paths)
        if missing_files is not None:
            return missing_files
        folder = _snapshot(repository, revision, paths)
        existing_files = (folder / path for path in paths)
        return MissingFiles(
            {
                file.relative_to(folder).as_posix(): file.stat().st_size
                for file in existing_files
                if file.is_file()
            },
            commit=folder.name,
        )


def resolve_revision(repository: str, revision: str | None = None) -> str:
    """Return the commit that a revision stands for now, or in the cache; empty if it is unknown."""
    try:
        sha = HfApi().model_info(repository, revision=revision, timeout=QUESTION_SECONDS).sha
    except Exception:  # noqa: BLE001  # of whichever HTTP library this version has
        sha = None
    if sha is None:
        with contextlib.suppress(OSError):
            paths = CONFIGURATION_PATHS
            sha = _snapshot(repository, revision, paths, local_files_only=True).name
    return sha or ""


def cache_disk_space() -> tuple[Path, int]:
    """Return the folder that models are downloaded to, and the bytes that are free there."""
    folder = Path(constants.HF_HUB_CACHE)
    # Unlike Path.exists, this raises nothing for folders that may not be entered.
    existing_folder = next(path for path in (folder, *folder.parents) if os.path.exists(path))  # noqa: PTH110  # see above
    return folder, shutil.disk_usage(existing_folder).free


def check_disk_space(byte_count: int) -> None:
    """Refuse a download that the disk has no room for.

    Raises:
        EngineError: there is too little.
    """
    _, free_bytes = cache_disk_space()
    if byte_count > free_bytes:
        raise EngineError(
            f"The model needs {format_bytes(byte_count)} on the disk, and only "
            f"{format_bytes(free_bytes)} are free.",
            "Free some space, or choose another disk with the environment variable HF_HOME.",
        )


def _list_paths(repository: str, revision: str | None) -> list[str]:
    """Return the paths of the pipeline's files, at the Hub, or in the cache without it."""
    try:
        info = HfApi().model_info(repository, revision=revision, timeout=QUESTION_SECONDS)
        return select_paths(file.rfilename for file in info.siblings or ())
    except EngineError:
        raise
    except Exception as error:
        paths = find_cached_paths(repository, revision) or _list_snapshot(repository, revision)
        if not paths:
            raise LocalEntryNotFoundError(repository) from error
        return paths


def _list_snapshot(repository: str, revision: str | None) -> list[str]:
    # Of a cache that an older version of the library has filled.
    try:
        folder = _snapshot(repository, revision, CONFIGURATION_PATHS, local_files_only=True)
    except (OSError, ValueError):
        return []
    files = (file for file in folder.rglob("*") if file.is_file())
    return select_paths(file.relative_to(folder).as_posix() for file in files)


def _ask_hub(repository: str, revision: str | None, paths: Iterable[str]) -> MissingFiles | None:
    """Return what is missing; `None` if the Hub can't be asked."""
    try:
        files = _retry(
            lambda: _call_snapshot(repository, revision, paths, dry_run=True), QUESTION_DELAYS
        )
    except DryRunError:
        return None
    return MissingFiles(
        {file.filename: file.file_size or 0 for file in files},
        [file.filename for file in files if file.will_download],
        files[0].commit_hash if files else "",
        count_partial_bytes(repository),
    )


def _snapshot(
    repository: str,
    revision: str | None,
    paths: Iterable[str],
    *,
    local_files_only: bool = False,
) -> Path:
    """Return the folder with some files of a repository; download those that are missing."""
    return Path(_call_snapshot(repository, revision, paths, local_files_only=local_files_only))


def _call_snapshot(
    repository: str,
    revision: str | None,
    paths: Iterable[str],
    **options: Any,  # noqa: ANN401  # the library's
) -> Any:  # noqa: ANN401  # the library's
    return snapshot_download(
        repository,
        revision=revision,
        # As patterns, "[" would begin a set of letters.
        allow_patterns=[glob.escape(path) for path in paths],
        **options,
    )


def _retry(call: Callable[[], T], delays: Iterable[float]) -> T:
    """Return what a call returns; repeat it after failures that pass, once for each delay."""
    for delay in delays:
        try:
            return call()
        except Exception as error:
            seconds = retry_delay(error, delay)
            if seconds is None:
                raise
            time.sleep(seconds)
    return call()


def _limit_waits(request: httpx2.Request) -> None:
    """Limit the waits of a request of the library, some of which ask for none."""
    waits = request.extensions.get("timeout", {})
    request.extensions["timeout"] = {
        kind: waits.get(kind) or QUESTION_SECONDS for kind in ("connect", "read", "write", "pool")
    }


@contextlib.contextmanager
def _engine_errors(repository: str) -> Iterator[None]:
    client = get_session()
    hooks = client.event_hooks
    if _limit_waits not in hooks["request"]:
        client.event_hooks = {**hooks, "request": [*hooks["request"], _limit_waits]}
    try:
        yield
    except EngineError:
        raise
    except Exception as error:  # the library's, of HTTP, of files: they have no base in common
        log.info("The files of %s can't be had: %r", repository, error)
        raise to_engine_error(repository, error) from error
