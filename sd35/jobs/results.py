"""Saving the images of completed jobs."""

import asyncio
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import anyio.to_thread

from sd35.client import SpaceClient
from sd35.core.errors import LibraryError, WriteError
from sd35.core.file_names import file_name
from sd35.core.picture import Picture
from sd35.jobs.artifacts import Artifact, ArtifactStore
from sd35.jobs.batches import BatchProcessor
from sd35.jobs.job import Job, JobResult
from sd35.jobs.provenance import build_metadata
from sd35.library.fallback_folder import save_in_fallback_folder
from sd35.library.layout import owner_key
from sd35.library.library import Library
from sd35.library.repository import Entry
from sd35.library.store import StagedPicture
from sd35.metadata.model import GenerationMetadata

__all__ = ["ResultSaver"]

log = logging.getLogger(__name__)

# Pages fetch an image as soon as they know of it. Until then it stays in memory, from where serving
# it takes a fourth of the CPU time.
FETCH_SECONDS: Final = 2.0
MAX_KEPT_BYTES: Final = 64 << 20


@dataclass(slots=True)
class _UnsavedImage:
    """Image that is served from memory, and the key of its owner.

    `staged` is its file, from which a scan saves it if the program is killed.
    """

    picture: Picture
    metadata: GenerationMetadata
    owner: str
    staged: StagedPicture | None = None


class ResultSaver:
    """Saver of images in the library, which serves each of them from memory until it is saved."""

    def __init__(self, library: Library, artifacts: ArtifactStore) -> None:
        self._library = library
        self._artifacts = artifacts
        self._unsaved: dict[str, _UnsavedImage] = {}
        self._kept_bytes = 0  # of images that are saved, and served from memory
        # Images that come together share their flush to the disk.
        self._saves = BatchProcessor(self._add_to_library)
        # Saves each image once: the program may end while some are saved.
        self._save_lock = threading.Lock()

    async def serve(self, job: Job, space: SpaceClient, picture: Picture) -> JobResult:
        """Serve the image of a job to its owner. It is then to be saved.

        It outlives the program from now on, unless the result has an error.
        """
        state = job.state.value
        metadata = build_metadata(
            state.request,
            picture,
            space,
            picture_id=job.id,
            elapsed_seconds=state.elapsed_seconds,
            origin=job.origin,
        )
        image = self._unsaved[job.id] = _UnsavedImage(picture, metadata, owner_key(job.owner))
        name = file_name(space.model, metadata.prompt, picture.seed, picture)
        save_error = ""
        try:
            await anyio.to_thread.run_sync(self._stage, image)
        except WriteError as error:
            save_error = _describe_failure(error)
        if image.staged is not None:
            name = image.staged.file.name
        artifact = Artifact(job.owner, name, picture.mime_type, image.picture.data)
        return JobResult(
            name=name,
            url_path=self._artifacts.put(job.id, artifact, is_limited=bool(save_error)),
            path=None,
            format=picture.format,
            mime_type=picture.mime_type,
            width=picture.width,
            height=picture.height,
            size_bytes=len(image.picture.data),
            seed=picture.seed,
            space=metadata.space,
            is_demo=metadata.is_demo,
            save_error=save_error,
            is_unsaved=True,
        )

    def _stage(self, image: _UnsavedImage) -> StagedPicture:
        image.staged = self._library.stage(image.picture, image.metadata, image.owner)
        image.picture = image.staged.inspected.picture
        return image.staged

    async def save(self, job: Job) -> None:
        """Save the image of a job, if it has one; a failure is in the job's result."""
        result = job.state.value.result
        if result is None or not self.has_unsaved(job) or result.save_error:
            return
        try:
            job.update(result=await self._save(job, result))
        except WriteError as error:
            artifact = self._artifacts.find(result.url_path)
            if artifact is not None:
                self._artifacts.put(job.id, artifact, is_limited=True)
            job.update(result=replace(result, save_error=_describe_failure(error)))

    def has_unsaved(self, job: Job) -> bool:
        """Return whether the job's image is in memory, and still has to be saved."""
        return job.id in self._unsaved

    async def retry_save(self, job: Job) -> bool:
        """Retry saving an image, and return whether no further retry is needed."""
        result = job.state.value.result
        artifact = None if result is None else self._artifacts.find(result.url_path)
        if result is None or artifact is None or not isinstance(artifact.content, bytes):
            # The artifact store has dropped the image, because too many couldn't be saved.
            await anyio.to_thread.run_sync(self._save_anywhere, job.id)
            if result is not None:
                message = "There wasn't enough memory to keep it on this page."
                job.update(result=replace(result, save_error=message, is_unsaved=False))
            return True
        try:
            job.update(result=await self._save(job, result))
        except WriteError:
            return False
        return True

    async def _save(self, job: Job, result: JobResult) -> JobResult:
        entry = await self._saves.submit(job.id)
        path = self._library.file_path(entry)
        has_room = self._kept_bytes + result.size_bytes <= MAX_KEPT_BYTES
        self._kept_bytes += result.size_bytes
        asyncio.get_running_loop().call_later(
            FETCH_SECONDS if has_room else 0.0, self._serve_file, job.id, result, path
        )
        return replace(result, path=path, save_error="", is_unsaved=False)

    def _serve_file(self, job_id: str, result: JobResult, path: Path) -> None:
        """Serve a saved image from its file instead of from memory, at the same address."""
        self._kept_bytes -= result.size_bytes
        artifact = self._artifacts.find(result.url_path)
        if artifact is not None and isinstance(artifact.content, bytes):
            self._artifacts.put(job_id, replace(artifact, content=path))

    def _add_to_library(self, job_ids: Sequence[str]) -> list[Entry | WriteError]:
        with self._save_lock:
            results: dict[str, Entry | WriteError] = {}
            staged: dict[str, StagedPicture] = {}
            for job_id in job_ids:
                try:
                    staged[job_id] = self._restage(job_id)
                except WriteError as error:
                    results[job_id] = error
            entries = self._library.add_staged(list(staged.values()))
            results |= zip(staged, entries, strict=True)
            for job_id, result in results.items():
                if isinstance(result, Entry):
                    del self._unsaved[job_id]
            return [results[job_id] for job_id in job_ids]

    def _restage(self, job_id: str) -> StagedPicture:
        """Return the staged image of a job.

        Raises:
            WriteError: it couldn't be written, or was saved meanwhile.
        """
        image = self._unsaved.get(job_id)
        if image is None:  # `save_all` was faster
            raise WriteError("The image was saved when the program ended.")
        return image.staged or self._stage(image)

    def save_all(self, timeout_seconds: float) -> None:
        """Save what is only in memory, as the program ends, and log where each image is.

        An image that the library still has no room for is saved in a folder of this user.
        """
        if not self._unsaved:
            return
        # A daemon: the program ends, even if a disk doesn't answer.
        thread = threading.Thread(target=self._save_all, daemon=True)
        thread.start()
        thread.join(timeout_seconds)
        if thread.is_alive():
            log.error("Images couldn't be saved in time: %d are lost.", len(self._unsaved))

    def _save_all(self) -> None:
        for job_id in list(self._unsaved):
            self._save_anywhere(job_id)

    def _save_anywhere(self, job_id: str) -> None:
        """Save an image in the library or in a folder of this user, and log where it is."""
        [entry] = self._add_to_library([job_id])
        if isinstance(entry, Entry):
            log.warning("An image was saved at last: %s", self._library.file_path(entry))
            return
        image = self._unsaved.pop(job_id, None)
        if image is None:
            return
        try:
            path = save_in_fallback_folder(
                self._library.folder, image.picture, image.metadata, image.owner
            )
        except WriteError as error:
            log.error("An image is lost. %s", error.happened)  # noqa: TRY400  # no traceback
        else:
            log.warning("The library has no room for an image. It was saved as %s", path)

    def publish(self, entry: Entry, owner: str | None) -> JobResult:
        """Serve an image of the library to its owner."""
        path = self._library.file_path(entry)
        artifact = Artifact(owner, path.name, f"image/{entry.format.lower()}", path)
        return JobResult(
            name=artifact.name,
            url_path=self._artifacts.put(entry.id, artifact),
            path=path,
            format=entry.format,
            mime_type=artifact.mime_type,
            width=entry.width,
            height=entry.height,
            size_bytes=entry.size_bytes,
            seed=entry.metadata.seed,
            space=entry.metadata.space,
            is_demo=entry.metadata.is_demo,
        )

    def find_artifact(self, path: str) -> Artifact | None:
        """Return the artifact of a path, wherever its file is in the library now."""
        artifact = self._artifacts.find(path)
        if artifact is None or isinstance(artifact.content, bytes) or artifact.content.is_file():
            return artifact
        # The file was moved, to the trash for example.
        try:
            entry = self._library.get(ArtifactStore.job_id_from_path(path))
        except LibraryError:
            return artifact
        if entry is None:
            return artifact
        return replace(artifact, content=self._library.file_path(entry))


def _describe_failure(error: WriteError) -> str:
    # The disk is full, or the folder is gone. The run has cost quota, so the image is kept.
    log.warning("An image couldn't be saved, and is in memory: %s", error.happened)
    return f"{error.happened} Retrying."
