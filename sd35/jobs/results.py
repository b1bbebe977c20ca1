"""Saving the images of completed jobs."""

import logging
from dataclasses import replace

import anyio.to_thread

from sd35.client import SpaceClient
from sd35.core.atomic_files import file_name
from sd35.core.errors import LibraryError, WriteError
from sd35.core.picture import Picture, open_picture
from sd35.jobs.artifacts import Artifact, ArtifactStore
from sd35.jobs.job import Job, JobResult
from sd35.jobs.provenance import build_metadata
from sd35.library.layout import owner_key
from sd35.library.library import Library
from sd35.library.repository import Entry
from sd35.metadata.model import GenerationMetadata

__all__ = ["ResultSaver"]

log = logging.getLogger(__name__)


class ResultSaver:
    """Saver of images in the library. One that can't be saved is kept in memory until it can."""

    def __init__(self, library: Library, artifacts: ArtifactStore) -> None:
        self._library = library
        self._artifacts = artifacts
        self._unsaved_metadata: dict[str, GenerationMetadata] = {}

    async def save(self, job: Job, space: SpaceClient, picture: Picture) -> JobResult:
        """Save the image of a job, and serve it to the job's owner; a failure is in the result."""
        state = job.state.value
        metadata = build_metadata(
            state.request,
            picture,
            space,
            picture_id=job.id,
            elapsed_seconds=state.elapsed_seconds,
        )
        try:
            return await self._save(job, metadata, picture)
        except WriteError as error:
            # The disk is full, or the folder is gone. The run has cost quota, so the image is kept.
            self._unsaved_metadata[job.id] = metadata
            save_error = f"{error.happened} Retrying."
        except LibraryError as error:
            save_error = error.happened  # the file is there: the next rescan finds it
        log.warning("An image couldn't be saved properly: %s", save_error)
        return self._keep_in_memory(job, space, metadata, picture, save_error)

    def has_unsaved(self, job: Job) -> bool:
        """Return whether the job's image is in memory, and still has to be saved."""
        return job.id in self._unsaved_metadata

    async def retry_save(self, job: Job) -> bool:
        """Retry saving an image, and return whether no further retry is needed."""
        result = job.state.value.result
        artifact = None if result is None else self._artifacts.find(result.url_path)
        if result is None or artifact is None or not isinstance(artifact.content, bytes):
            # The artifact store has dropped the image, because too many couldn't be saved.
            del self._unsaved_metadata[job.id]
            if result is not None:
                message = "There wasn't enough memory to keep it, so the image is lost."
                job.update(result=replace(result, save_error=message, will_retry_save=False))
            return True
        picture = replace(open_picture(artifact.content), seed=result.seed)
        try:
            result = await self._save(job, self._unsaved_metadata[job.id], picture)
        except WriteError:
            return False
        except LibraryError as error:
            result = replace(result, save_error=error.happened, will_retry_save=False)
        job.update(result=result)
        del self._unsaved_metadata[job.id]
        return True

    async def _save(self, job: Job, metadata: GenerationMetadata, picture: Picture) -> JobResult:
        entry = await anyio.to_thread.run_sync(
            self._library.add, picture, metadata, owner_key(job.owner)
        )
        return self.publish(entry, job.owner)

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

    def _keep_in_memory(
        self,
        job: Job,
        space: SpaceClient,
        metadata: GenerationMetadata,
        picture: Picture,
        save_error: str,
    ) -> JobResult:
        name = file_name(space.model, metadata.prompt, picture.seed, picture)
        artifact = Artifact(job.owner, name, picture.mime_type, picture.data)
        return JobResult(
            name=name,
            url_path=self._artifacts.put(job.id, artifact),
            path=None,
            format=picture.format,
            mime_type=picture.mime_type,
            width=picture.width,
            height=picture.height,
            size_bytes=len(picture.data),
            seed=picture.seed,
            space=metadata.space,
            is_demo=metadata.is_demo,
            save_error=save_error,
            will_retry_save=self.has_unsaved(job),
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
