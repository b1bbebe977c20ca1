"""Where pictures are saved, and the previews beside them."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from sd35.cli.events import Kept
from sd35.cli.messages import plain, reason
from sd35.core.atomic_files import write_new
from sd35.core.errors import NotWrittenError
from sd35.core.events import Event, Finished, Preview, RemotePicture
from sd35.core.picture import Picture

__all__ = ["Album", "check_folder", "write_picture"]


def check_folder(folder: Path) -> None:
    """Make the folder if it is missing, and see that a file can be written there.

    That is before any picture is made: one that can't be written then is lost, and has cost its
        quota.

    Raises:
        NotWrittenError: it can't.

    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        why = "it isn't a folder" if folder.is_file() else reason(error)
        remedy = "Choose another folder with --out."
        raise NotWrittenError(
            f"No picture can be written to {plain(folder)}: {why}.", remedy
        ) from error


def write_picture(folder: Path, name: str, picture: Picture) -> Path:
    """Write the picture's bytes to a new file, and return its path.

    Raises:
        NotWrittenError: it couldn't be written.

    """
    try:
        return write_new(folder, name, picture.data)
    except OSError as error:
        raise NotWrittenError(
            f"The picture came, but couldn't be written: {reason(error)}."
        ) from error


class Album:
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
        self, folder: Path, name: Callable[[Picture], str], tell: Callable[[Event | Kept], None]
    ) -> None:
        self._folder = folder
        self._name = name
        self._tell = tell
        self._held: tuple[RemotePicture, Picture] | None = None
        self._count = 0

    def take(self, event: Event) -> None:
        """Keep a preview, and pass on all else.

        Raises:
            NotWrittenError: a preview couldn't be written.

        """
        match event:
            case Preview(picture=picture, fetched=Picture() as fetched):
                self.close()
                self._held = picture, fetched
            case Finished(picture=picture) if self._held and self._held[0] == picture:
                self._held = None
            case _:
                self._tell(event)

    def close(self) -> None:
        """Write what is still to be written.

        Raises:
            NotWrittenError: it couldn't be written.

        """
        if self._held is not None:
            (picture, fetched), self._held = self._held, None
            self._count += 1
            name = Path(self._name(fetched))
            path = write_picture(
                self._folder, f"{name.stem}-preview-{self._count:02d}{name.suffix}", fetched
            )
            self._tell(Kept(picture, fetched, path))
