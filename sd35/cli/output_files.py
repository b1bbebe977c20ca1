"""Where pictures are saved, and the previews beside them."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from sd35.cli.events import PreviewSaved
from sd35.cli.messages import one_line, os_error_text
from sd35.core.atomic_files import write_exclusive
from sd35.core.errors import WriteError
from sd35.core.events import Event, Finished, Preview, RemotePicture
from sd35.core.picture import Picture

__all__ = ["PreviewWriter", "check_folder", "write_picture"]


def check_folder(folder: Path) -> None:
    """Make the folder if it is missing, and see that a file can be written there.

    That is before any picture is made: one that can't be written then is lost, and has cost its
        quota.

    Raises:
        WriteError: it can't.

    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        cause = "it isn't a folder" if folder.is_file() else os_error_text(error)
        remedy = "Choose another folder with --out."
        raise WriteError(
            f"No picture can be written to {one_line(folder)}: {cause}.", remedy
        ) from error


def write_picture(folder: Path, name: str, picture: Picture) -> Path:
    """Write the picture's bytes to a new file, and return its path.

    Raises:
        WriteError: it couldn't be written.

    """
    try:
        return write_exclusive(folder, name, picture.data)
    except OSError as error:
        raise WriteError(
            f"The picture came, but couldn't be written: {os_error_text(error)}."
        ) from error


class PreviewWriter:
    """The previews of one picture, as files, where they came with their bytes.

    Each is written when the next one comes, or the end: Gradio sends the finished picture as a
        preview, too, and that
    is passed over.

    Args:
        folder: where they are written.
        name: returns what the picture would be called, had it these bytes.
        tell: is told of each that was written, and of all other events at once.

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
        """Keep a preview, and pass on all else.

        Raises:
            WriteError: a preview couldn't be written.

        """
        match event:
            case Preview(picture=remote_picture, fetched=Picture() as preview):
                self.close()
                self._pending_preview = remote_picture, preview
            case Finished(picture=remote_picture) if (
                self._pending_preview and self._pending_preview[0] == remote_picture
            ):
                self._pending_preview = None
            case _:
                self._on_event(event)

    def close(self) -> None:
        """Write what is still to be written.

        Raises:
            WriteError: it couldn't be written.

        """
        if self._pending_preview is not None:
            (remote_picture, preview), self._pending_preview = self._pending_preview, None
            self._preview_count += 1
            name = Path(self._make_name(preview))
            path = write_picture(
                self._folder, f"{name.stem}-preview-{self._preview_count:02d}{name.suffix}", preview
            )
            self._on_event(PreviewSaved(remote_picture, preview, path))
