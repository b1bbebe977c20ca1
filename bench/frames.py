"""CPU that one preview of 512² costs in the program, from the Space's message to the page's.

A lean Space in a process of its own sends the same JPEGs again and again, ten a second; the
program's process is watched by a real page's stream, and its CPU time is read before and after.
What the program uses while it merely watches a silent run of the same length is taken off.
"""

import asyncio
import json
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from bench import pictures
from sd35.server.launch import free_port

__all__ = ["measure"]

ROOT = Path(__file__).parent.parent
DESCRIPTION = ROOT / "tests" / "conversations" / "gradio-6.31.0-description.json"
FRAMES = 80
FRAME_INTERVAL_SECONDS = 0.11
LIMIT_SECONDS = 60


def measure(rounds: int) -> None:
    """Print the CPU milliseconds of a frame."""
    port, space_port = free_port(), free_port()
    space = multiprocessing.Process(target=_serve, args=(space_port,), daemon=True)
    space.start()
    command = [
        sys.executable,
        "app.py",
        "--port",
        str(port),
        "--space",
        f"http://127.0.0.1:{space_port}/",
    ]
    folder = tempfile.TemporaryDirectory(prefix="bench-")
    command += ["--library", folder.name]
    program = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)  # noqa: S603
    try:
        config = _page_config(port)
        asyncio.run(_run(port, config, "previews"))  # the first run warms everything up
        costs = sorted(_cost(program.pid, port, config) for _ in range(rounds))
    finally:
        program.terminate()
        program.wait(LIMIT_SECONDS)
        space.terminate()
        folder.cleanup()
    print("| CPU of a preview of 512² in the program | ms |\n|---|---|")
    print(
        f"| median of {rounds} | {costs[len(costs) // 2]:.2f} |\n| best, worst | {costs[0]:.2f}, {costs[-1]:.2f} |"
    )


def _cost(pid: int, port: int, config: dict[str, Any]) -> float:
    started_at = _cpu_seconds(pid)
    silent_frames = asyncio.run(_run(port, config, "silent"))
    cpu_between = _cpu_seconds(pid)
    frames = asyncio.run(_run(port, config, "previews"))
    with_previews = _cpu_seconds(pid) - cpu_between
    assert frames >= FRAMES * 0.8, f"only {frames} frames came"
    assert silent_frames < FRAMES * 0.5
    return 1000 * (with_previews - (cpu_between - started_at)) / frames


def _cpu_seconds(pid: int) -> float:
    """The CPU time of all threads, from the scheduler's nanoseconds (Linux)."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text(encoding="ascii").split()[0]) for thread in threads) / 1e9


def _page_config(port: int) -> dict[str, Any]:
    started_at = time.monotonic()
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/config", timeout=5) as answer:
                config: dict[str, Any] = json.load(answer)
                return config
        except OSError:
            if time.monotonic() - started_at > LIMIT_SECONDS:
                raise
            time.sleep(0.1)


async def _run(port: int, config: dict[str, Any], prompt: str) -> int:
    """Generate as the page does, and return how many distinct frames its stream brought."""
    fn_indexes = {dependency["api_name"]: dependency["id"] for dependency in config["dependencies"]}
    data = [prompt, "", "1:1", 1024, 1024, 4.5, 40, 7, False, ""]
    async with aiohttp.ClientSession(
        f"http://127.0.0.1:{port}/gradio_api/queue/",
        timeout=aiohttp.ClientTimeout(total=LIMIT_SECONDS),
    ) as session:
        await _call_listener(session, fn_indexes["submit"], data)
        return await _call_listener(session, fn_indexes["watch_jobs"], [""])


async def _call_listener(session: aiohttp.ClientSession, fn_index: int, data: list[Any]) -> int:
    """Ask a listener, follow its stream to the end, and return how many distinct pictures that brought."""
    session_hash = os.urandom(6).hex()
    body = {"data": data, "fn_index": fn_index, "session_hash": session_hash}
    distinct_previews: set[str] = set()
    async with session.post("join", json=body) as answer:
        answer.raise_for_status()
    async with session.get("data", params={"session_hash": session_hash}) as stream:
        buffer = b""
        async for chunk in stream.content.iter_any():
            buffer += chunk
            *messages, buffer = buffer.split(b"\n\n")
            for message in messages:
                matches = re.findall(r"data:image/jpeg;base64,[\w+/=]+", message.decode())
                distinct_previews.update(picture[-64:] for picture in matches)
                if b'"process_completed"' in message:
                    return len(distinct_previews)
    raise AssertionError("the stream ended before the run")


def _serve(port: int) -> None:
    """The lean Space: `previews` sends previews, anything else only the steps."""
    description = json.loads(DESCRIPTION.read_text(encoding="utf-8"))
    previews = [pictures.preview(index) for index in range(FRAMES)]
    prompts: dict[str, str] = {}

    async def join(request: web.Request) -> web.Response:
        body = await request.json()
        prompts[body["session_hash"]] = body["data"][0]
        return web.json_response({"event_id": "e"})

    async def data(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        sends_previews = prompts[request.query["session_hash"]] == "previews"
        for index in range(FRAMES):
            picture = {"path": "", "url": f"/gradio_api/file={index}.jpg"}
            changed = picture if index == 0 else [["replace", ["url"], picture["url"]]]
            message = {
                "msg": "process_generating",
                "success": True,
                "output": {"data": [changed, 7 if index == 0 else []]},
            }
            await _send(response, message if sends_previews else {"msg": "heartbeat"})
            await asyncio.sleep(FRAME_INTERVAL_SECONDS)
        final = {"path": "", "url": "/gradio_api/file=0.jpg"}
        await _send(
            response, {"msg": "process_completed", "success": True, "output": {"data": [final, 7]}}
        )
        return response

    async def file(request: web.Request) -> web.Response:
        return web.Response(body=previews[int(request.match_info["number"])])

    app = web.Application()
    app.router.add_get("/config", _json(description["config"]))
    app.router.add_get("/gradio_api/info", _json(description["info"]))
    app.router.add_post("/gradio_api/queue/join", join)
    app.router.add_get("/gradio_api/queue/data", data)
    app.router.add_get("/gradio_api/file={number}.jpg", file)
    web.run_app(app, host="127.0.0.1", port=port, print=None)


def _json(value: object) -> Any:  # noqa: ANN401  # an aiohttp handler
    async def handler(_: web.Request) -> web.Response:
        return web.json_response(value)

    return handler


async def _send(response: web.StreamResponse, message: dict[str, Any]) -> None:
    await response.write(b"data: " + json.dumps(message | {"event_id": "e"}).encode() + b"\n\n")
