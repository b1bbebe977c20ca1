"""Changes to images and their rows: add, update metadata, trash, restore, delete."""

import datetime as dt
import logging
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from sqlite3 import Connection
from typing import Final

from sd35.core import atomic_files
from sd35.core.atomic_files import os_error_text, write_errors
from sd35.core.errors import LibraryError, WriteError
from sd35.core.picture import Picture
from sd35.library.database import Database
from sd35.library.layout import (
    TRASH_DIR,
    directory_for,
    file_version,
    filename_for,
    original_path,
    remove_empty_folders,
)
from sd35.library.library_file import make_real_folder, read_library_file, stat_library_file
from sd35.library.picture_file import (
    InspectedPicture,
    build_entry,
    creation_time,
    inspect_picture,
)
from sd35.library.repository import (
    Entry,
    delete_entry,
    get_entry,
    mark_missing,
    move_entry,
    trashed_ids,
    upsert_entry,
)
from sd35.library.staging import StagedFile, StagingArea
from sd35.library.thumbnails import ThumbnailCache
from sd35.metadata.embedding import embed_metadata, embed_or_original
from sd35.metadata.model import MAX_TAG_LENGTH, MAX_TAGS, GenerationMetadata, new_id

__all__ = ["PictureStore", "StagedPicture"]

log = logging.getLogger(__name__)

BATCH_SIZE: Final = 50  # files moved per transaction: other programs can't write meanwhile

_MetadataUpdate = Callable[[GenerationMetadata], GenerationMetadata]
_Undo = Callable[[], object]  # puts a file back where it was


@dataclass(frozen=True, slots=True)
class StagedPicture:
    """Image that is written, but neither flushed to the disk nor at its place."""

    file: StagedFile
    inspected: InspectedPicture


class PictureStore:
    """The files of a library, and the index that follows them.

    `change_count` grows with each change of images that were there already, such as a deletion.

    A file is changed within the write transaction of its row, so no other program can change the
    same image. A program killed in between leaves a changed file, which the next scan finds; in the
    other order, the index would list a file that doesn't exist.
    """

    is_read_only = False
    """Whether nothing can be written into the folder or its index."""

    def __init__(
        self, folder: Path, database: Database, thumbnails: ThumbnailCache, staging: StagingArea
    ) -> None:
        self.folder = folder
        self.database = database
        self._thumbnails = thumbnails
        self._staging = staging
        self.change_count = 0

    def check_writable(self) -> None:
        """Check that the library can be changed.

        Raises:
            LibraryError: it is read-only.
        """
        if self.is_read_only:
            raise LibraryError(
                "The library is read-only: nothing in it can be changed or saved.",
                "Allow the program to write there, or choose another folder with --library.",
            )

    def add(self, picture: Picture, metadata: GenerationMetadata, owner: str) -> Entry:
        """Save an image with its metadata embedded, and index it.

        If only the index can't be written, the image is saved, and the next scan indexes it.

        Raises:
            WriteError: the file couldn't be written; nothing of it is left.
            ValueError: `owner` isn't an owner's key.
        """
        entry = self.add_staged([self.stage(picture, metadata, owner)])[0]
        if isinstance(entry, WriteError):
            raise entry
        return entry

    def stage(self, picture: Picture, metadata: GenerationMetadata, owner: str) -> StagedPicture:
        """Write an image with its metadata embedded where it outlives the program; see `staging`.

        Raises:
            WriteError: the file couldn't be written; nothing of it is left.
            ValueError: `owner` isn't an owner's key.
        """
        metadata = replace(
            metadata,
            id=metadata.id or new_id(),
            made_at=metadata.made_at or dt.datetime.now(dt.UTC),
        )
        made_at = creation_time(metadata, 0)
        directory = directory_for(owner, made_at)
        name = filename_for(metadata, made_at, picture.suffix)
        picture = embed_or_original(picture, metadata)
        with write_errors("the image"):
            file = self._staging.write(directory, name, picture.data)
        return StagedPicture(file, InspectedPicture(picture, metadata, has_embedded_id=True))

    def add_staged(self, pictures: Sequence[StagedPicture]) -> list[Entry | WriteError]:
        """Move staged images to their places and index them, in one transaction.

        Return the entry of each, or why it couldn't be saved: then it is still staged. If only the
        index can't be written, the images are saved, and the next scan indexes them.
        """
        paths = self._staging.move_all(picture.file for picture in pictures)
        results: list[Entry | WriteError] = []
        versions: list[tuple[Entry, int]] = []
        for picture, path in zip(pictures, paths, strict=True):
            try:
                with write_errors("the image"):
                    entry, mtime_ns = self._build_entry(picture, path)
            except WriteError as error:
                results.append(error)
            else:
                results.append(entry)
                versions.append((entry, mtime_ns))
        self._index_all(versions)
        return results

    def _build_entry(self, picture: StagedPicture, path: Path | OSError) -> tuple[Entry, int]:
        """Return the entry of an image at this path and the time of its file.

        Raises:
            OSError: the file couldn't be moved there, or is gone.
        """
        if isinstance(path, OSError):
            raise path
        mtime_ns = file_version(path.stat())[1]
        library_path = f"{picture.file.directory}/{path.name}"
        return build_entry(picture.inspected, library_path, mtime_ns), mtime_ns

    def _index_all(self, versions: Sequence[tuple[Entry, int]]) -> None:
        if not versions:
            return
        try:
            with self.database.write_transaction() as connection:
                for entry, mtime_ns in versions:
                    upsert_entry(connection, entry, mtime_ns)
        except LibraryError as error:
            # Not raised: the images are saved, and a retry would save them twice.
            paths = ", ".join(entry.path for entry, _ in versions)
            log.warning("Not indexed until the next scan: %s. %s", paths, error.happened)

    def star(self, ids: Iterable[str], owner: str | None, *, is_starred: bool) -> tuple[str, ...]:
        """Star images in their files, or remove the star, and return the IDs of those changed.

        Raises:
            WriteError: a file couldn't be written, and is unchanged.
            PictureError: a file is too damaged to embed metadata.
        """
        return self._update_all(
            ids, owner, lambda metadata: replace(metadata, is_starred=is_starred)
        )

    def tag(
        self,
        ids: Iterable[str],
        owner: str | None,
        add: Iterable[str] = (),
        remove: Iterable[str] = (),
    ) -> tuple[str, ...]:
        """Add and remove tags in images' files; returns and raises as `star` does."""
        tags_to_add = tuple(add)
        tags_to_remove = tuple(remove)
        return self._update_all(
            ids, owner, lambda metadata: _with_tags(metadata, tags_to_add, tags_to_remove)
        )

    def _update_all(
        self, ids: Iterable[str], owner: str | None, update: _MetadataUpdate
    ) -> tuple[str, ...]:
        self.check_writable()
        self.change_count += 1
        return tuple(id_ for id_ in dict.fromkeys(ids) if self._update_one(id_, owner, update))

    def _update_one(self, id_: str, owner: str | None, update: _MetadataUpdate) -> bool:
        with self.database.write_transaction() as connection:
            entry = get_entry(connection, id_, owner)
            if entry is None or entry.is_missing:
                return False
            try:
                data, _ = read_library_file(self.folder, entry.path)
            except FileNotFoundError:
                mark_missing(connection, [id_])
                return False
            except OSError as error:
                message = f"Couldn't read {entry.path}: {os_error_text(error)}."
                raise LibraryError(message, "") from error
            return self._rewrite_file(connection, entry, data, update)

    def _rewrite_file(
        self, connection: Connection, entry: Entry, data: bytes, update: _MetadataUpdate
    ) -> bool:
        inspected = inspect_picture(data)
        # The file takes precedence over the index. But if an editor has dropped its metadata, the
        # index restores it.
        metadata = inspected.metadata if inspected.has_metadata else entry.metadata
        metadata = replace(metadata, id=entry.id, made_at=entry.made_at)
        updated_metadata = update(metadata)
        if updated_metadata == metadata:
            return False
        picture = replace(inspected.picture, data=embed_metadata(data, updated_metadata))
        path = self.folder / entry.path
        with write_errors("the image"):
            atomic_files.atomic_write(path, picture.data)
            # Of the written file: with another time, the next scan would read it again.
            mtime_ns = file_version(path.stat())[1]
        inspected = replace(inspected, picture=picture, metadata=updated_metadata)
        upsert_entry(connection, build_entry(inspected, entry.path, mtime_ns), mtime_ns)
        return True

    def trash(self, ids: Iterable[str], owner: str | None) -> tuple[str, ...]:
        """Move images to the trash, and return the IDs of those moved."""
        return self._apply(ids, lambda tx, id_: self._move(tx, id_, owner, is_trashed=True))

    def restore(self, ids: Iterable[str], owner: str | None) -> tuple[str, ...]:
        """Move images back to where they were, and return the IDs of those moved."""
        return self._apply(ids, lambda tx, id_: self._move(tx, id_, owner, is_trashed=False))

    def empty_trash(self, owner: str | None) -> int:
        """Permanently delete the images in the trash, and return their number."""
        with self.database.read_transaction() as connection:
            ids = trashed_ids(connection, owner)
        # Checked again in the transaction: somebody may have restored an image meanwhile.
        deleted_ids = self._delete_if(ids, owner, lambda entry: entry.is_trashed)
        remove_empty_folders(self.folder / TRASH_DIR)
        return len(deleted_ids)

    def delete(self, ids: Iterable[str], owner: str | None = None) -> tuple[str, ...]:
        """Permanently delete images, and return the IDs of those deleted."""
        return self._delete_if(ids, owner, lambda _: True)

    def remove_missing(self, ids: Iterable[str], owner: str | None = None) -> tuple[str, ...]:
        """Remove images without a file from the index, and return the IDs of those removed."""
        return self._delete_if(ids, owner, lambda entry: entry.is_missing)

    def _delete_if(
        self, ids: Iterable[str], owner: str | None, condition: Callable[[Entry], bool]
    ) -> tuple[str, ...]:
        def delete(connection: Connection, id_: str) -> _Undo | None:
            entry = get_entry(connection, id_, owner)
            if entry is None or not condition(entry):
                return None
            # A missing image's path may belong to another image by now, or lead elsewhere.
            if not entry.is_missing and self._has_file(entry):
                (self.folder / entry.path).unlink(missing_ok=True)
            delete_entry(connection, id_)
            self._thumbnails.remove(id_)
            return lambda: None

        return self._apply(ids, delete)

    def _apply(
        self, ids: Iterable[str], operation: Callable[[Connection, str], _Undo | None]
    ) -> tuple[str, ...]:
        """Apply an operation to images in batches; an error keeps what was done before it."""
        self.check_writable()
        self.change_count += 1
        unique_ids = list(dict.fromkeys(ids))
        changed_ids: list[str] = []
        for start in range(0, len(unique_ids), BATCH_SIZE):
            os_error: OSError | None = None
            # If the transaction fails, its rows are rolled back, and the files have to follow.
            with ExitStack() as undo_stack:
                with self.database.write_transaction() as connection:
                    try:
                        for id_ in unique_ids[start : start + BATCH_SIZE]:
                            undo = operation(connection, id_)
                            if undo is not None:
                                undo_stack.callback(undo)
                                changed_ids.append(id_)
                    except OSError as error:
                        os_error = error  # raised after the commit of what was done before it
                undo_stack.pop_all()
            if os_error is not None:
                message = f"Couldn't move an image: {os_error_text(os_error)}."
                raise LibraryError(message) from os_error
        return tuple(changed_ids)

    def _has_file(self, entry: Entry) -> bool:
        """Return whether an image's file is there, and no link or pipe in its place."""
        try:
            stat_library_file(self.folder, entry.path)
        except FileNotFoundError:
            return False
        return True

    def _move(
        self, connection: Connection, id_: str, owner: str | None, *, is_trashed: bool
    ) -> _Undo | None:
        entry = get_entry(connection, id_, owner)
        if entry is None or entry.is_missing or entry.is_trashed == is_trashed:
            return None
        if not self._has_file(entry):
            mark_missing(connection, [id_])
            return None
        source = self.folder / entry.path
        name = original_path(entry.path)
        target_path = PurePosixPath(TRASH_DIR, name) if is_trashed else PurePosixPath(name)
        folder = make_real_folder(self.folder, str(target_path.parent))
        target = folder / target_path.name
        # A rename, in one step: killed between a link and its removal, the program would leave the
        # image twice. It would replace a file of the target's name; no other program moves or
        # deletes one before this transaction ends.
        path = atomic_files.unique_path(target)
        try:
            source.rename(path)
        except FileNotFoundError:
            mark_missing(connection, [id_])
            return None

        def undo() -> None:
            with suppress(OSError):
                path.rename(source)

        moved_path = path.relative_to(self.folder).as_posix()
        try:
            move_entry(connection, id_, moved_path, is_trashed=is_trashed)
        except BaseException:
            undo()
            raise
        return undo


def _with_tags(
    metadata: GenerationMetadata, add: Iterable[str], remove: Iterable[str]
) -> GenerationMetadata:
    """Return the metadata with tags added and removed, ignoring case."""
    removed_keys = {_normalize_tag(tag).casefold() for tag in remove}
    tags_by_key = {
        tag.casefold(): tag
        for tag in metadata.tags
        if _normalize_tag(tag).casefold() not in removed_keys
    }
    for tag in map(_normalize_tag, add):
        if tag:
            tags_by_key.setdefault(tag.casefold(), tag)
    return replace(metadata, tags=tuple(tags_by_key.values())[:MAX_TAGS])


def _normalize_tag(text: str) -> str:
    # Cut before normalizing, which is slow for megabytes, and after, because the text may grow.
    tokens = unicodedata.normalize("NFC", text[: 4 * MAX_TAG_LENGTH]).split()
    return " ".join(tokens)[:MAX_TAG_LENGTH]
