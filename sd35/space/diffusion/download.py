"""Download of large files into Hugging Face's cache, which resumes where it stopped.

The library itself begins an interrupted file again, which may be 10 GB, and checks no checksum. It
finds the files that are complete by their names.
"""

import contextlib
import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Final

import filelock
import httpx2
from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import FileMetadataError
from huggingface_hub.file_download import are_symlinks_supported, repo_folder_name
from huggingface_hub.utils import (  # type: ignore[attr-defined]  # exported, without __all__
    WeakFileLock,
    build_hf_headers,
    get_session,
    hf_raise_for_status,
)

from sd35.core.text import format_bytes
from sd35.space.diffusion.hub_errors import DamagedFileError, retry_delay
from sd35.space.engine import Loading

__all__ = ["Download", "OnLoading", "count_partial_bytes"]

MAX_CONNECTIONS: Final = 4
# Seconds before a file is asked for again, as long as nothing arrives in between.
RETRY_DELAYS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
READ_SECONDS = 30.0
LOCK_SECONDS: Final = 24 * 3600.0
RATE_SECONDS: Final = 60.0
MIN_BYTES_PER_SECOND: Final = 1000
MIN_PROGRESS_BYTES: Final = 100_000
_PROGRESS_PARTS: Final = 1000
_PARTIAL_CONTENT: Final = 206

_LARGE_SUFFIXES: Final = (".safetensors", ".bin")
_ETAG: Final = re.compile(r"[\w-]{8,128}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")

OnLoading = Callable[[Loading], None]


class _Stopped(Exception):  # noqa: N818  # no error: another file has failed
    """Raised to end a download."""


class Download:
    """Download of a revision's large files.

    Args:
        repository: `owner/name` at Hugging Face.
        commit: of the repository.
        sizes: bytes of the files to download by path.
        on_loading: called with the progress.
    """

    def __init__(
        self, repository: str, commit: str, sizes: Mapping[str, int], on_loading: OnLoading
    ) -> None:
        self._repository = repository
        self._commit = commit
        self._sizes = {path: size for path, size in sizes.items() if path.endswith(_LARGE_SUFFIXES)}
        self._on_loading = on_loading
        self._blobs = _blob_folder(repository)
        self._locks = Path(constants.HF_HUB_CACHE) / ".locks" / self._blobs.parent.name
        self._total = sum(self._sizes.values())
        self._byte_counts: dict[str, int] = {}
        self._reported_bytes = 0
        self._counter_lock = threading.Lock()
        self._is_stopped = threading.Event()

    def run(self) -> None:
        """Download the files that are missing.

        Raises:
            Exception: what `to_engine_error` translates.
        """
        self._on_loading(Loading("Downloading the model"))
        executor = ThreadPoolExecutor(MAX_CONNECTIONS)
        try:
            for future in as_completed(
                [executor.submit(self._fetch, path) for path in self._sizes]
            ):
                future.result()
        finally:
            self._is_stopped.set()
            executor.shutdown(wait=False, cancel_futures=True)

    def _fetch(self, path: str) -> None:
        url = hf_hub_url(self._repository, path, revision=self._commit)
        metadata = get_hf_file_metadata(url, retry_on_errors=True)
        etag, size = metadata.etag, metadata.size
        # It becomes a file's name.
        if etag is None or size is None or not _ETAG.fullmatch(etag):
            raise FileMetadataError(f"No size or no valid ETag of {path}")
        file = self._blobs / etag
        if not are_symlinks_supported(constants.HF_HUB_CACHE):
            file = self._blobs.parent / "snapshots" / self._commit / path
        partial_file = file.with_name(f"{file.name}.part")
        with self._lock(etag):
            partial_file.parent.mkdir(parents=True, exist_ok=True)
            if not file.exists():
                try:
                    self._fetch_rest(path, url, partial_file, size)
                    _check_sum(path, partial_file, etag)
                except DamagedFileError:
                    partial_file.unlink(missing_ok=True)
                    raise
                partial_file.replace(file)
        self._report(path, size)

    @contextlib.contextmanager
    def _lock(self, etag: str) -> Iterator[None]:
        """Hold the library's own lock of a file, which another program may download."""
        self._locks.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            lock_file = self._locks / f"{etag}.lock"
            try:
                stack.enter_context(WeakFileLock(lock_file, timeout=1))
            except filelock.Timeout:
                self._on_loading(Loading("Waiting for another download of the model"))
                stack.enter_context(WeakFileLock(lock_file, timeout=LOCK_SECONDS))
            yield

    def _fetch_rest(self, path: str, url: str, partial_file: Path, size: int) -> None:
        """Write what is missing of a file, over as many connections as it takes."""
        failure_count = 0
        while (start := _size(partial_file)) < size:
            if self._is_stopped.is_set():
                raise _Stopped
            try:
                self._receive(path, url, partial_file, size)
            except Exception as error:
                has_progress = _size(partial_file) >= start + MIN_PROGRESS_BYTES
                failure_count = 0 if has_progress else failure_count + 1
                if failure_count > len(RETRY_DELAYS):
                    raise
                delay = retry_delay(error, RETRY_DELAYS[max(0, failure_count - 1)])
                if delay is None:
                    raise
                self._is_stopped.wait(delay)

    def _receive(self, path: str, url: str, partial_file: Path, size: int) -> None:
        """Append the bytes of one response to a file."""
        start = _size(partial_file)
        headers = build_hf_headers() | {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        with get_session().stream(
            "GET", url, headers=headers, timeout=READ_SECONDS, follow_redirects=True
        ) as response:
            hf_raise_for_status(response)
            is_rest = response.status_code == _PARTIAL_CONTENT
            count = start if is_rest else 0
            if response.headers.get("Content-Length", str(size - count)) != str(size - count):
                raise DamagedFileError(path)  # such as a page that asks for a login
            rate = _Rate()
            with partial_file.open("ab" if is_rest else "wb") as file:
                for data in response.iter_raw():
                    file.write(data)
                    count += len(data)
                    if count > size:
                        raise DamagedFileError(path)
                    rate.check(len(data))
                    self._report(path, count)
        if count < size:
            raise httpx2.RemoteProtocolError("The response has ended early.")

    def _report(self, path: str, byte_count: int) -> None:
        """Report how much of a file is there; end the download if another one has failed."""
        if self._is_stopped.is_set():
            raise _Stopped
        with self._counter_lock:
            self._byte_counts[path] = byte_count
            count = sum(self._byte_counts.values())
            step = self._total / _PROGRESS_PARTS
            if count < self._reported_bytes + step and count < self._total:
                return
            self._reported_bytes = count
        total = format_bytes(self._total)
        text = f"{count / 1e9:.1f}" if total.endswith("GB") else format_bytes(count)
        fraction = min(1.0, count / self._total) if self._total else 1.0
        self._on_loading(Loading(f"Downloading the model: {text} of {total}", fraction))


class _Rate:
    """Limit of how slowly a response may arrive: each byte alone would extend a wait."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._byte_count = 0

    def check(self, byte_count: int) -> None:
        """Count bytes.

        Raises:
            httpx2.ReadTimeout: too few have arrived in the last minute.
        """
        self._byte_count += byte_count
        seconds = time.monotonic() - self._begin
        if seconds < RATE_SECONDS:
            return
        if self._byte_count < MIN_BYTES_PER_SECOND * seconds:
            raise httpx2.ReadTimeout("The download is too slow.")
        self._begin = time.monotonic()
        self._byte_count = 0


def count_partial_bytes(repository: str) -> int:
    """Return the number of bytes in the cache of files that haven't arrived whole."""
    return sum(_size(file) for file in _blob_folder(repository).glob("*.part"))


def _blob_folder(repository: str) -> Path:
    name = repo_folder_name(repo_id=repository, repo_type="model")
    return Path(constants.HF_HUB_CACHE) / name / "blobs"


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _check_sum(path: str, file: Path, etag: str) -> None:
    # The ETag of large files. It can't be computed while they arrive: they may resume.
    if not _SHA256.fullmatch(etag):
        return
    with file.open("rb") as opened_file:
        if hashlib.file_digest(opened_file, "sha256").hexdigest() != etag:
            raise DamagedFileError(path)
