"""Finished pictures into the library; and if one can't be written, kept in memory until it can."""

import logging
from dataclasses import replace

import anyio.to_thread

from sd35.client import SpaceClient
from sd35.core.atomic_files import file_name
from sd35.core.errors import LibraryError, WriteError
from sd35.core.picture import Picture, open_picture
from sd35.jobs.artifacts import Artifact, ArtifactStore
from sd35.jobs.job import Job, JobResult
from sd35.library.layout import owner_key
from sd35.library.library import Library
from sd35.library.provenance import build_metadata
from sd35.library.repository import Entry
from sd35.metadata.model import GenerationMetadata

__all__ = ["ResultSaver"]

log = logging.getLogger(__name__)


class ResultSaver:
    """Puts pictures into the library, and hands them out.

    Args:
        library: where they go.
        kept: hands them out to who has asked for them.

    """

    def __init__(self, library: Library, artifacts: ArtifactStore) -> None:
        self._library = library
        self._artifacts = artifacts
        self._unsaved_metadata: dict[str, GenerationMetadata] = {}

    async def save(self, job: Job, space: SpaceClient, picture: Picture) -> JobResult:
        """Keep the picture: in the library, or else in memory, and say why."""
        state = job.state.value
        contract = space.contract
        metadata = build_metadata(
            state.request,
            picture,
            id_=job.id,
            model=space.model,
            space=space.name,
            is_demo=contract.is_demo,
            gradio_version=contract.version,
            parameters={parameter.name for parameter in contract.parameters},
            elapsed_seconds=state.elapsed_seconds,
        )
        try:
            return await self._save(job, metadata, picture)
        except WriteError as error:
            self._unsaved_metadata[job.id] = metadata
            save_error = f"{error.happened} It is tried again."
        except (
            LibraryError
        ) as error:  # the file is there: the next look through the folder finds it
            save_error = error.happened
        log.warning("a picture isn't kept as it should be: %s", save_error)
        name = file_name(space.model, metadata.prompt, picture.seed, picture)
        url_path = self._artifacts.put(
            job.id, Artifact(job.owner, name, picture.mime_type, picture.data)
        )
        result = _unsaved_result(metadata, picture, name, url_path, save_error=save_error)
        return replace(result, will_retry_save=self.has_unsaved(job))

    def has_unsaved(self, job: Job) -> bool:
        """Whether a picture is kept in memory that is still to be written."""
        return job.id in self._unsaved_metadata

    async def retry_save(self, job: Job) -> bool:
        """Try once more to write a picture that is kept in memory, and say whether that is over, well or badly."""
        result = job.state.value.result
        artifact = None if result is None else self._artifacts.find(result.url_path)
        if result is None or artifact is None or not isinstance(artifact.content, bytes):
            del self._unsaved_metadata[job.id]
            if result is not None:
                message = "There was no more room for it in memory, either: it is lost."
                job.set_result(replace(result, save_error=message, will_retry_save=False))
            return True
        picture = replace(open_picture(artifact.content), seed=result.seed)
        try:
            job.set_result(await self._save(job, self._unsaved_metadata[job.id], picture))
        except WriteError:
            return False
        except LibraryError as error:
            job.set_result(replace(result, save_error=error.happened, will_retry_save=False))
        del self._unsaved_metadata[job.id]
        return True

    async def _save(self, job: Job, metadata: GenerationMetadata, picture: Picture) -> JobResult:
        entry = await anyio.to_thread.run_sync(
            self._library.add, picture, metadata, owner_key(job.owner)
        )
        return self.publish(entry, job.owner)

    def publish(self, entry: Entry, owner: str | None) -> JobResult:
        """Hand out a picture of the library's to who has asked for it."""
        path = self._library.file_path(entry)
        mime_type = f"image/{entry.format.lower()}"
        url_path = self._artifacts.put(entry.id, Artifact(owner, path.name, mime_type, path))
        return JobResult(
            name=path.name,
            url_path=url_path,
            path=path,
            save_error="",
            format=entry.format,
            mime_type=mime_type,
            width=entry.width,
            height=entry.height,
            size_bytes=entry.size_bytes,
            seed=entry.record.seed,
            space=entry.record.space,
            is_demo=entry.record.is_demo,
        )


def _unsaved_result(
    metadata: GenerationMetadata, picture: Picture, name: str, url_path: str, *, save_error: str
) -> JobResult:
    return JobResult(
        name=name,
        url_path=url_path,
        path=None,
        save_error=save_error,
        format=picture.format,
        mime_type=picture.mime_type,
        width=picture.width,
        height=picture.height,
        size_bytes=len(picture.data),
        seed=picture.seed,
        space=metadata.space,
        is_demo=metadata.is_demo,
    )
