"""Other clients, each used as its documentation suggests."""

import asyncio
import json
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import gradio_client
import httpx

from bench.metrics import Generate, GenerationRecorder

__all__ = ["aiohttp_call_api", "gradio_async", "gradio_iterator"]

PROMPT = "a lighthouse at dusk"
INPUTS = [PROMPT, "", 0, True, 1024, 1024, 4.5, 40]
LIMIT_SECONDS = 60
MAX_THREADS = 256


@asynccontextmanager
async def gradio_iterator(address: str) -> AsyncIterator[Generate]:
    """Iterate gradio_client's jobs in threads; it downloads all images to files."""
    client = await asyncio.to_thread(
        gradio_client.Client, address, verbose=False, analytics_enabled=False
    )
    threads = ThreadPoolExecutor(MAX_THREADS)

    def iterate(recorder: GenerationRecorder) -> None:
        job = client.submit(PROMPT, "", api_name="/infer")
        for _ in job:
            recorder.event()
            recorder.preview()
        path, _ = job.result(LIMIT_SECONDS)
        recorder.final(Path(path).read_bytes())

    async def generate(recorder: GenerationRecorder) -> None:
        await asyncio.get_running_loop().run_in_executor(threads, iterate, recorder)

    yield generate


@asynccontextmanager
async def gradio_async(address: str) -> AsyncIterator[Generate]:
    """Iterate gradio_client's jobs asynchronously; download only the final image, by httpx."""
    client = await asyncio.to_thread(
        gradio_client.Client, address, verbose=False, analytics_enabled=False, download_files=False
    )
    async with httpx.AsyncClient(timeout=LIMIT_SECONDS) as http:

        async def generate(recorder: GenerationRecorder) -> None:
            job = client.submit(PROMPT, "", api_name="/infer")
            async for _ in job:
                recorder.event()
            file, _ = job.result(LIMIT_SECONDS)
            recorder.final((await http.get(file["url"])).raise_for_status().content)

        yield generate


@asynccontextmanager
async def aiohttp_call_api(address: str) -> AsyncIterator[Generate]:
    """Use `/call` by aiohttp, as g4f's provider does; fetch the first preview and the image."""
    endpoint = f"{address}gradio_api/call/infer"

    async def generate(recorder: GenerationRecorder) -> None:
        async with aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=LIMIT_SECONDS)
        ) as session:
            async with session.post(endpoint, json={"data": INPUTS}) as response:
                event_id = (await response.json())["event_id"]
            async with session.get(f"{endpoint}/{event_id}") as stream:
                final = await _follow(session, stream, recorder)
            recorder.final(await _download(session, final))

    yield generate


async def _follow(
    session: aiohttp.ClientSession, stream: aiohttp.ClientResponse, recorder: GenerationRecorder
) -> Any:  # noqa: ANN401  # any JSON
    event = ""
    async for line in stream.content:
        text = line.decode().strip()
        if text.startswith("event: "):
            event = text.removeprefix("event: ")
            recorder.event()
        elif text.startswith("data: "):
            picture = json.loads(text.removeprefix("data: "))[0]
            if event == "complete":
                return picture
            if recorder.preview_at is None:
                await _download(session, picture)
                recorder.preview()
    raise EOFError("the stream ended before the run")


async def _download(session: aiohttp.ClientSession, picture: dict[str, Any]) -> bytes:
    async with session.get(picture["url"]) as response:
        return await response.read()
