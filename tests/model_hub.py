"""A Hub on the loopback interface that serves one model, and its faults."""

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web
from anyio.from_thread import start_blocking_portal

__all__ = ["COMMIT", "REPOSITORY", "ModelHub", "serve_model_hub", "serve_tiny_model"]

COMMIT = "c0ffee" + "0" * 34
REPOSITORY = "somebody/tiny"
LIMIT_SECONDS = 60


@dataclass(slots=True)
class ModelHub:
    """What the Hub answers.

    Attributes:
        folder: the model's files.
        token: the access token that may download; `None` if everybody may.
        accounts: tokens of accounts that haven't accepted the licence.
        is_missing: whether there is no such repository.
        address: of the Hub.
        paths: of the files that were downloaded.
        is_open: whether the transformer is sent to its end; otherwise the last byte waits.
        api_faults: of the next answers to questions: a status, `html`, or `silence` until
            `is_open`.
        file_faults: of the next answers with the transformer: a status, or `html`, `cut` for the
            first half alone, `damaged` for other bytes, `whole` for all bytes in place of the rest.
        ranges: the parts of the transformer that were asked for.
    """

    folder: Path
    token: str | None = None
    accounts: tuple[str, ...] = ()
    is_missing: bool = False
    address: str = ""
    paths: list[str] = field(default_factory=list)
    is_open: threading.Event = field(default_factory=threading.Event)
    api_faults: list[str] = field(default_factory=list)
    file_faults: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)

    async def _refusal(self, request: web.Request) -> web.Response | None:
        """Return the Hub's answer to a request that it refuses."""
        if "/api/" in request.path and self.api_faults:
            fault = self.api_faults.pop(0)
            if fault == "silence":
                await asyncio.to_thread(self.is_open.wait, LIMIT_SECONDS)
            return _fault_response(fault)
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in {self.token, *self.accounts} and self.token is not None:
            message = "Invalid credentials in Authorization header"
            return web.json_response({"error": message}, status=401, headers=_error(message))
        if self.is_missing:
            code = {"X-Error-Code": "RepoNotFound"}
            return web.json_response({}, status=401, headers=_error("Not found") | code)
        if self.token is None or token == self.token or "/resolve/" not in request.path:
            return None
        code = {"X-Error-Code": "GatedRepo"}
        if token:
            message = f"Access to model {REPOSITORY} is restricted and you are not authorized."
            return web.Response(status=403, headers=_error(message) | code)
        message = f"Access to model {REPOSITORY} is restricted. You must be authenticated."
        return web.Response(status=401, headers=_error(message) | code)

    async def info(self, request: web.Request) -> web.StreamResponse:
        """Answer the question for the newest commit."""
        if refusal := await self._refusal(request):
            return refusal
        siblings = [{"rfilename": path} for path in self._files()]
        return web.json_response({"id": REPOSITORY, "sha": COMMIT, "siblings": siblings})

    async def tree(self, request: web.Request) -> web.StreamResponse:
        """List the files."""
        if refusal := await self._refusal(request):
            return refusal
        return web.json_response(
            [
                {"type": "file", "path": path, "oid": _etag(file), "size": file.stat().st_size}
                for path, file in self._files().items()
            ]
        )

    async def resolve(self, request: web.Request) -> web.StreamResponse:
        """Send a file, or its headers."""
        if refusal := await self._refusal(request):
            return refusal
        file = self._files().get(request.match_info["path"])
        if file is None:
            code = {"X-Error-Code": "EntryNotFound"}
            return web.Response(status=404, headers=code)
        headers = {"ETag": f'"{_etag(file)}"', "X-Repo-Commit": COMMIT}
        if request.method != "GET":
            return web.Response(body=file.read_bytes(), headers=headers)
        self.paths.append(request.match_info["path"])
        is_transformer = "transformer" in file.parts and file.suffix == ".safetensors"
        fault = self.file_faults.pop(0) if is_transformer and self.file_faults else ""
        if fault.isdigit() or fault == "html":
            return _fault_response(fault)
        data = file.read_bytes()
        byte_range = request.headers.get("Range", "")
        if is_transformer:
            self.ranges.append(byte_range)
        start = int(byte_range.removeprefix("bytes=").rstrip("-") or 0) if fault != "whole" else 0
        response = web.StreamResponse(headers=headers, status=206 if start else 200)
        response.content_length = len(data) - start
        await response.prepare(request)
        if fault == "cut":
            await response.write(data[start : (start + len(data)) // 2])
            assert request.transport is not None
            request.transport.close()
            return response
        await response.write(bytes(len(data) - 1) if fault == "damaged" else data[start:-1])
        if is_transformer:
            await asyncio.to_thread(self.is_open.wait, LIMIT_SECONDS)
        await response.write(data[-1:])
        return response

    def _files(self) -> dict[str, Path]:
        return {
            path.relative_to(self.folder).as_posix(): path
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        }


def _error(message: str) -> dict[str, str]:
    return {"X-Error-Message": message}


def _fault_response(fault: str) -> web.Response:
    if not fault.isdigit():
        return web.Response(text="<html>Sign in to the network</html>", content_type="text/html")
    return web.Response(status=int(fault), headers={"Retry-After": "0"})


def _etag(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@asynccontextmanager
async def serve_model_hub(hub: ModelHub) -> AsyncIterator[ModelHub]:
    """Serve the Hub for the duration of the block."""
    hub.is_open.set()
    app = web.Application()
    app.router.add_get(f"/api/models/{REPOSITORY}", hub.info)
    app.router.add_get(f"/api/models/{REPOSITORY}/revision/{{revision}}", hub.info)
    app.router.add_get(f"/api/models/{REPOSITORY}/tree/{{revision}}", hub.tree)
    app.router.add_get(f"/{REPOSITORY}/resolve/{{revision}}/{{path:.*}}", hub.resolve)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    _, port = runner.addresses[0]
    hub.address = f"http://127.0.0.1:{port}"
    try:
        yield hub
    finally:
        await runner.cleanup()


@contextmanager
def serve_tiny_model(folder: Path) -> Iterator[ModelHub]:
    """Save the tiny model in the folder, and serve it for the duration of the block."""
    from tests.random_model import save_tiny_model  # noqa: PLC0415  # needs torch

    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(
            serve_model_hub(ModelHub(save_tiny_model(folder)))
        ) as hub,
    ):
        yield hub
