"""Images of the page itself, such as thumbnails of examples."""

import hashlib
from pathlib import Path
from typing import Final

from starlette.responses import Response

__all__ = ["AssetImages"]

PREFIX: Final = "/assets/"
MEDIA_TYPE: Final = "image/webp"


class AssetImages:
    """The WebP files in a folder and its subfolders, each under an address of its content.

    So a browser may keep them forever, as it does with the other files of the page.
    """

    def __init__(self, folder: Path) -> None:
        self._contents: dict[str, bytes] = {}
        self._urls: dict[str, str] = {}
        for file in sorted(folder.rglob("*.webp")):
            name = file.relative_to(folder).with_suffix("").as_posix()
            content = file.read_bytes()
            digest = hashlib.sha256(content).hexdigest()[:16]
            path = f"{PREFIX}{name.replace('/', '-')}-{digest}.webp"
            self._contents[path] = content
            self._urls[name] = path.removeprefix("/")

    def url(self, name: str) -> str:
        """Return the address of an image, such as `examples/light`, relative to the page's.

        Raises:
            KeyError: there is no such image.
        """
        return self._urls[name]

    def find(self, path: str) -> Response | None:
        """Return the image at the path of a request."""
        content = self._contents.get(path)
        return None if content is None else Response(content, media_type=MEDIA_TYPE)
