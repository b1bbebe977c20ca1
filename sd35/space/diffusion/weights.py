"""The model's files: found in a folder or in Hugging Face's cache, or downloaded there."""

import contextlib
import io
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import DryRunError, HfHubHTTPError
from tqdm.auto import tqdm

from sd35.core.text import format_bytes
from sd35.space.diffusion.hub_errors import to_engine_error
from sd35.space.diffusion.model_paths import FILE_PATTERNS, IGNORED_PATTERNS, cached_tree_paths
from sd35.space.engine import EngineError, Loading
from sd35.space.models import Model

__all__ = [
    "MissingFiles",
    "ModelFiles",
    "OnLoading",
    "cache_disk_space",
    "check_disk_space",
    "fetch_configuration",
    "fetch_weights",
    "find_missing_files",
    "resolve_revision",
]

REVISION_SECONDS: Final = 10.0

OnLoading = Callable[[Loading], None]


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
        """Return the folder; raises what `fetch_weights` does."""
        if self.folder is not None:
            return self.folder
        return fetch_weights(self.model.repository, self.revision or None, on_loading)


@dataclass(frozen=True, slots=True)
class MissingFiles:
    """The part of a model that isn't on this machine.

    Attributes:
        file_sizes: bytes of each file of the model by path.
        paths: the files to download.
    """

    file_sizes: Mapping[str, int]
    paths: Collection[str] = ()

    @property
    def byte_count(self) -> int:
        """The number of bytes to download."""
        return sum(self.file_sizes[path] for path in self.paths)

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
    """Return a folder with a model's small files, which say what it is.

    Raises:
        EngineError: they can't be had.
    """
    with _engine_errors(repository):
        return Path(snapshot_download(repository, revision=revision, allow_patterns=["*.json"]))


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
        missing_files = _ask_hub(repository, revision)
        byte_count = 0 if missing_files is None else missing_files.byte_count
        check_disk_space(byte_count)
        # If the Hub couldn't be asked, this says why, or finds all files in the cache.
        return Path(
            _snapshot(repository, revision, tqdm_class=_progress_bar(byte_count, on_loading))
        )


def find_missing_files(repository: str, revision: str | None = None) -> MissingFiles:
    """Return what a download would bring, which the Hub has to allow.

    Raises:
        EngineError: the Hub refuses it, or can't be reached and files are missing.
    """
    with _engine_errors(repository):
        missing_files = _ask_hub(repository, revision)
        if missing_files is not None:
            return missing_files
        folder = Path(_snapshot(repository, revision))
        paths = cached_tree_paths(repository, folder.name)
        return MissingFiles({path: (folder / path).stat().st_size for path in paths})


def resolve_revision(repository: str, revision: str | None = None) -> str:
    """Return the commit that a revision stands for now, or in the cache; empty if it is unknown."""
    try:
        sha = HfApi().model_info(repository, revision=revision, timeout=REVISION_SECONDS).sha
    except Exception:  # noqa: BLE001  # of whichever HTTP library this version has
        sha = None
    if sha is None:
        with contextlib.suppress(OSError):
            sha = Path(_snapshot(repository, revision, local_files_only=True)).name
    return sha or ""


def cache_disk_space() -> tuple[Path, int]:
    """Return the folder that models are downloaded to, and the bytes that are free there."""
    folder = Path(constants.HF_HUB_CACHE)
    existing_folder = next(path for path in (folder, *folder.parents) if path.exists())
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


def _ask_hub(repository: str, revision: str | None) -> MissingFiles | None:
    """Return what is missing; `None` if the Hub can't be asked."""
    try:
        files = _snapshot(repository, revision, dry_run=True)
    except DryRunError:
        return None
    return MissingFiles(
        {file.filename: file.file_size or 0 for file in files},
        [file.filename for file in files if file.will_download],
    )


def _snapshot(
    repository: str,
    revision: str | None,
    **options: Any,  # noqa: ANN401  # the library's
) -> Any:  # noqa: ANN401  # the library's
    """Call `snapshot_download` for the pipeline's files."""
    return snapshot_download(
        repository,
        revision=revision,
        allow_patterns=list(FILE_PATTERNS),
        ignore_patterns=list(IGNORED_PATTERNS),
        **options,
    )


@contextlib.contextmanager
def _engine_errors(repository: str) -> Iterator[None]:
    try:
        yield
    except (OSError, HfHubHTTPError, ValueError) as error:
        raise to_engine_error(repository, error) from error


def _progress_bar(byte_count: int, on_loading: OnLoading) -> type[Any]:
    """Return a class of progress bars that report a download of so many bytes.

    The library's own total grows with each file that it begins.
    """
    total = format_bytes(byte_count)

    class ReportingBar(tqdm):  # type: ignore[misc]  # tqdm has no types
        def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # tqdm's
            kwargs |= {"file": io.StringIO(), "disable": False}
            super().__init__(*args, **kwargs)

        def update(self, n: float | None = 1) -> bool | None:
            result: bool | None = super().update(n)
            # There are bars for bytes that arrive and for bytes on the disk, which include those
            # that were there before; and one for files.
            if self.unit == "B" and byte_count and str(self.desc).startswith("Reconstructing"):
                count = f"{self.n / 1e9:.1f}" if total.endswith("GB") else format_bytes(self.n)
                text = f"Downloading the model: {count} of {total}"
                on_loading(Loading(text, min(1.0, self.n / byte_count)))
            return result

    return ReportingBar
