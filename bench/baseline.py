"""The baseline of the clients: asyncio streams, no HTTP library, one connection per generation.

The event stream isn't parsed but searched for addresses.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from bench.metrics import Generate, GenerationRecorder
from bench.raw_client import LENGTH_PATTERN, PICTURE_PATTERN, get_request, join_request

__all__ = ["every_preview", "first_preview_only"]

LIMIT_BYTES = 2 * 1024 * 1024


@asynccontextmanager
async def first_preview_only(address: str) -> AsyncIterator[Generate]:
    """Fetch the first preview and the final image."""
    yield lambda recorder: _generate(address, recorder, max_previews=1)


@asynccontextmanager
async def every_preview(address: str) -> AsyncIterator[Generate]:
    """Fetch every preview and the final image."""
    yield lambda recorder: _generate(address, recorder, max_previews=None)


async def _generate(
    address: str, recorder: GenerationRecorder, *, max_previews: int | None
) -> None:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", urlsplit(address).port, limit=LIMIT_BYTES
    )
    session = secrets.token_hex(8).encode()
    writer.write(join_request(session))
    await _read_response(reader)
    writer.write(get_request(b"/gradio_api/queue/data?session_hash=" + session))
    *previews, final = await _run(reader, recorder)
    for path in previews[:max_previews]:
        writer.write(get_request(path))
        await _read_response(reader)
        recorder.preview()
    writer.write(get_request(final))
    recorder.final(await _read_response(reader))
    writer.close()


async def _read_response(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = LENGTH_PATTERN.search(head)
    assert length is not None
    return await reader.readexactly(int(length[1]))


async def _run(reader: asyncio.StreamReader, recorder: GenerationRecorder) -> list[bytes]:
    """Read the stream chunk by chunk, and return the paths of its images."""
    await reader.readuntil(b"\r\n\r\n")
    paths: list[bytes] = []
    while size := int(await reader.readuntil(b"\r\n"), 16):
        paths += PICTURE_PATTERN.findall(await reader.readexactly(size + 2))
        recorder.event()
    await reader.readexactly(2)
    return paths
