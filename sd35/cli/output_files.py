"""Files that `generate` writes: images, and the previews beside them."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from sd35.cli.events import PreviewSaved
from sd35.core.atomic_files import os_error_text, write_errors, write_exclusive
from sd35.core.errors import WriteError
from sd35.core.events import Event, Finished, Preview, RemotePicture
from sd35.core.picture import Picture
from sd35.core.text import one_line

__all__ = ["PreviewWriter", "check_folder", "write_picture"]


def check_folder(folder: Path) -> None:
    """Create the folder if it is missing, and check that files can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Permission bits say too little: a read-only mount or a full disk refuses as well. Better
        # now than for an image that has cost its quota.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        cause = "not a folder" if folder.is_file() else os_error_text(error)
        raise WriteError(
            f"Can't write to {one_line(folder)}: {cause}.", "Choose another folder with --out."
        ) from error


def write_picture(folder: Path, name: str, picture: Picture) -> Path:
    """Write an image to a new file, and return its path."""
    with write_errors(name):
        return write_exclusive(folder, name, picture.data)


class PreviewWriter:
    """Writes the previews of one image to files.

    Args:
        folder: where they are written.
        make_name: returns the file name for an image with these bytes.
        on_event: receives PreviewSaved, and all events but previews.

    """

    def __init__(
        self,
        folder: Path,
        make_name: Callable[[Picture], str],
        on_event: Callable[[Event | PreviewSaved], None],
    ) -> None:
        self._folder = folder
        self._make_name = make_name
        self._on_event = on_event
        self._pending_preview: tuple[RemotePicture, Picture] | None = None
        self._preview_count = 0

    def handle_event(self, event: Event) -> None:
        """Hold a preview back, and pass on everything else."""
        match event:
            case Preview(picture=remote_picture, fetched=Picture() as preview):
                self.close()
                self._pending_preview = remote_picture, preview
            case Finished(picture=remote_picture) if (
                self._pending_preview and self._pending_preview[0] == remote_picture
            ):
                # Gradio sends the finished image of a generator as its last preview, too.
                self._pending_preview = None
            case _:
                self._on_event(event)

    def close(self) -> None:
        """Write the preview that was held back."""
        if self._pending_preview is None:
            return
        remote_picture, preview = self._pending_preview
        self._pending_preview = None
        self._preview_count += 1
        name = Path(self._make_name(preview))
        preview_name = f"{name.stem}-preview-{self._preview_count:02d}{name.suffix}"
        path = write_picture(self._folder, preview_name, preview)
        self._on_event(PreviewSaved(remote_picture, preview, path))
