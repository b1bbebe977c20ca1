"""Response with the content of a file that is open already."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from starlette.responses import FileResponse
from starlette.types import Receive, Scope, Send

from sd35.library.library_file import path_of_open_file

__all__ = ["OpenFileResponse"]


class OpenFileResponse(FileResponse):
    """Response that sends an open file, and closes it.

    A FileResponse opens its path when it is sent: after a check, there may be another file, a link
    or a pipe, which would be followed or never end.
    """

    # Each chunk is read in a thread; starlette's have half the size.
    chunk_size = 128 * 1024

    def __init__(
        self,
        file: BinaryIO,
        path: Path,
        media_type: str,
        headers: Mapping[str, str],
        filename: str | None = None,
    ) -> None:
        super().__init__(
            path_of_open_file(file, path),
            headers=headers,
            media_type=media_type,
            filename=filename,
            stat_result=os.fstat(file.fileno()),
        )
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file."""
        with self._file:
            await super().__call__(scope, receive, send)
