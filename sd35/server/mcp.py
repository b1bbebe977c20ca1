"""The page's face for agents: one tool, over the Model Context Protocol's Streamable HTTP.

Each call is made as the visitor who makes it, and ends when its caller cancels it or leaves.
Sessions are kept for clients that shake hands (protocol 2025-11-25 and before): they cancel a call
by a second request, that finds the first one by its session. Those of 2026-07-28 need none.
"""

import base64
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Annotated, Any, Final
from urllib.parse import quote

import anyio.to_thread
from gradio.route_utils import get_root_url
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.tools import Tool
from mcp.server.transport_security import TransportSecuritySettings
from mcp.types import (
    CallToolResult,
    ContentBlock,
    ImageContent,
    ResourceLink,
    TextContent,
    ToolAnnotations,
)
from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from sd35.core.errors import PictureError, SD35Error
from sd35.core.events import Progress
from sd35.core.picture import Picture, open_picture, shrink
from sd35.core.version import __version__
from sd35.jobs.artifacts import Artifact
from sd35.jobs.job import Job, JobResult
from sd35.jobs.service import JobService
from sd35.jobs.status_text import headline
from sd35.server.api import DEMO_PAINTER, build_form_values, result_or_raise, submit_job

__all__ = ["MCP_PATH", "McpApp"]

MCP_PATH: Final = "/gradio_api/mcp"

MIN_UPDATE_INTERVAL = 0.25
MAX_UPDATE_INTERVAL = 1.0
"""How often a caller is told how far it is: not more often than the one, and not less often than the other."""

MIN_PROGRESS_STEP = 0.001
"""Of a step: what is told must grow each time, also while nothing is known but that it goes on."""

MAX_INLINE_BYTES = 720_000
MAX_INLINE_SIDE = 1024
"""A picture of more bytes is shown as a JPEG of at most so many pixels a side, which takes fewer whatever it shows:
clients refuse a message of more than 1 MiB, and in one these are 960 KB."""

MAX_SESSIONS = 500
SESSION_IDLE_SECONDS = 900.0
"""Sessions that are kept, and for how long without a request; a client then shakes hands again."""

TOOL_DESCRIPTION = """\
Make a picture of what the prompt says with Stable Diffusion 3.5. Returns the picture, the seed that was used, who made
the picture, and the address of its file.

It takes about half a minute on the public Space and uses up a GPU quota there: make one picture, look at it, and only
then the next one.

A good prompt is one to three English sentences that say what is to be seen, where, in which light, and in which style
(a photograph, a watercolor, a poster); words that are to be read in the picture stand in quotation marks. What isn't to
be seen goes into negative_prompt: the prompt knows no "without". The same prompt, size, steps and seed make the same
picture again: keep the seed to change only a word.

If it was made by the demo painter, it isn't Stable Diffusion's: say so to whoever you show it to.
"""


def _string_or_empty(value: object) -> str:
    return value if isinstance(value, str) else ""


TextParam = Annotated[str, BeforeValidator(_string_or_empty)]
IntegerParam = Annotated[Any, WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "null"}]})]
NumberParam = Annotated[Any, WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "null"}]})]
"""What an agent is asked for. Whatever it sends is checked where all requests are, and told in the same words."""


class GenerationResult(BaseModel):
    """What is known of a picture that was made."""

    seed: int | None = Field(description="the seed that was used, if the Space has told it")
    width: int = Field(description="of the picture's file, in pixels")
    height: int = Field(description="of the picture's file, in pixels")
    made_by: str = Field(
        description="the Space that made it, or the demo painter, which isn't Stable Diffusion"
    )
    url: str = Field(
        description="where the picture's file is, untouched, as long as the studio keeps it"
    )


class McpApp:
    """An ASGI app that agents call.

    Args:
        studio: does the work.
        root_path: the path, or the address, under which a reverse proxy shows the page.

    """

    def __init__(self, job_service: JobService, root_path: str | None = None) -> None:
        self._job_service = job_service
        self._root_path = root_path
        server = MCPServer(
            "sd35-studio",
            title="SD 3.5 Studio",
            version=__version__,
            tools=[self._build_tool()],
            log_level="WARNING",
            subscriptions=False,
        )
        server.streamable_http_app(
            session_idle_timeout=SESSION_IDLE_SECONDS,
            max_sessions=MAX_SESSIONS,
            transport_security=TransportSecuritySettings(
                enable_dns_rebinding_protection=False
            ),  # Guard sees to it
        )
        self._session_manager = server.session_manager
        logging.getLogger("mcp").setLevel(
            logging.ERROR
        )  # it warns of what callers do, with the ids of their sessions

    def _build_tool(self) -> Tool:
        annotations = ToolAnnotations(
            read_only_hint=False, destructive_hint=False, open_world_hint=True
        )
        tool = Tool.from_function(
            self.generate,
            title="Generate a picture",
            description=TOOL_DESCRIPTION,
            annotations=annotations,
        )
        tool.parameters["required"] = ["prompt"]  # left out, it is told as an empty one is
        del tool.parameters["properties"]["prompt"]["default"]
        return tool

    @asynccontextmanager
    async def lifespan(self, _app: object) -> AsyncIterator[None]:
        """A server's lifespan: calls can be answered while it lasts."""
        async with self._session_manager.run():
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; a session is for nobody but the visitor who began it."""
        state = scope["state"]
        state["has_ended"] = False
        scope["user"] = AuthenticatedUser(
            AccessToken(token="", client_id=state["visitor"].owner or "", scopes=[])
        )
        try:
            await self._session_manager.handle_request(scope, receive, send)
        finally:
            state["has_ended"] = True

    async def generate(  # noqa: PLR0913, PLR0917  # a tool's parameters are its interface
        self,
        context: Context[Any, Request],
        prompt: Annotated[TextParam, Field(description="what is to be seen")] = "",
        negative_prompt: Annotated[TextParam, Field(description="what isn't to be seen")] = "",
        aspect_ratio: Annotated[
            TextParam,
            Field(
                description="such as 16:9, 3:2 or 9:16; the picture is as large as the Space makes them"
            ),
        ] = "1:1",
        width: Annotated[
            IntegerParam,
            Field(
                description="in pixels, a multiple of 16; goes before the aspect ratio, with the height"
            ),
        ] = None,
        height: Annotated[
            IntegerParam, Field(description="in pixels, a multiple of 16; goes with the width")
        ] = None,
        guidance_scale: Annotated[
            NumberParam,
            Field(
                description="how closely to follow the prompt; if left out, the Space's own default"
            ),
        ] = None,
        num_inference_steps: Annotated[
            IntegerParam,
            Field(description="more take longer; if left out, the Space's own default"),
        ] = None,
        seed: Annotated[
            IntegerParam,
            Field(description="to make the same picture again; if left out, one is drawn"),
        ] = None,
    ) -> Annotated[CallToolResult, GenerationResult]:
        """Make one picture."""
        values = build_form_values(
            prompt=prompt,
            negative_prompt=negative_prompt,
            aspect_ratio=aspect_ratio,
            width=width,
            height=height,
            guidance_scale=guidance_scale,
            num_inference_steps=num_inference_steps,
            seed=seed,
        )
        request = context.request_context.request
        assert request is not None
        try:
            job, made_by = await submit_job(self._job_service, values, request.state.visitor)
            result = await self._report_until_done(job, context, request)
            return await self._build_tool_result(result, made_by, request)
        except SD35Error as error:
            return CallToolResult(content=[TextContent(text=str(error))], is_error=True)

    @staticmethod
    async def _report_until_done(
        job: Job, context: Context[Any, Request], request: Request
    ) -> JobResult:
        """Tell how far the job is until it has ended, and stop it when nobody listens any more."""
        reported_progress = 0.0
        states = job.state.watch(min_interval=MIN_UPDATE_INTERVAL, max_interval=MAX_UPDATE_INTERVAL)
        try:
            async with aclosing(states):
                async for state in states:
                    if state.status.is_final or request.state.has_ended:
                        break
                    step, total = _step_and_total(state.progress)
                    reported_progress = max(step, reported_progress + MIN_PROGRESS_STEP)
                    await context.report_progress(reported_progress, total, headline(state))
        finally:
            job.cancel()  # does nothing to a job that has ended
        return result_or_raise(job.state.value)

    async def _build_tool_result(
        self, result: JobResult, made_by: str, request: Request
    ) -> CallToolResult:
        original = await self._load_picture(result)
        is_small = len(original.data) <= MAX_INLINE_BYTES
        inline_picture = (
            original
            if is_small
            else await anyio.to_thread.run_sync(shrink, original, MAX_INLINE_SIDE)
        )
        details = GenerationResult(
            seed=result.seed,
            width=result.width,
            height=result.height,
            made_by=f"{made_by}, not Stable Diffusion" if made_by == DEMO_PAINTER else made_by,
            url=self._picture_url(result, request),
        )
        content: list[ContentBlock] = [
            ImageContent(
                data=base64.b64encode(inline_picture.data).decode("ascii"),
                mime_type=inline_picture.mime_type,
            ),
            TextContent(text=_summary(details, original, inline_picture)),
        ]
        if not is_small:
            link = ResourceLink(
                name=result.name,
                uri=details.url,
                mime_type=result.mime_type,
                size=result.size_bytes,
            )
            content.append(link)
        return CallToolResult(content=content, structured_content=details.model_dump())

    async def _load_picture(self, result: JobResult) -> Picture:
        """The picture's bytes as they came.

        Raises:
            PictureError: they are no longer there.

        """
        artifact = self._job_service.artifacts.find(result.url_path)
        try:
            data = await anyio.to_thread.run_sync(_read_artifact, artifact)
        except OSError as error:
            raise PictureError("The picture's file is no longer there.") from error
        return open_picture(data)

    def _picture_url(self, result: JobResult, request: Request) -> str:
        """The picture's address, as the caller sees this server."""
        relative_path = "/".join(
            result.url_path.replace("\\", "/").split("/")[-3:]
        )  # the folders before don't matter
        return f"{get_root_url(request, MCP_PATH, self._root_path)}/gradio_api/file={quote(relative_path)}"


def _read_artifact(artifact: Artifact | None) -> bytes:
    if artifact is None:
        raise FileNotFoundError
    return (
        artifact.content if isinstance(artifact.content, bytes) else artifact.content.read_bytes()
    )


def _step_and_total(progress: Progress | None) -> tuple[float, float | None]:
    if progress is None or progress.step is None or not progress.total:
        return 0.0, None
    return float(min(progress.step, progress.total)), float(progress.total)


def _summary(details: GenerationResult, original: Picture, inline_picture: Picture) -> str:
    seed_text = "The seed isn't known" if details.seed is None else f"Seed {details.seed}"
    text = f"{details.width} × {details.height} pixels, made by: {details.made_by}. {seed_text}. "
    if inline_picture is original:
        return f"{text}The picture's file: {details.url}"
    return (
        f"{text}It is too large to be shown here: what you see is a copy of {inline_picture.width} × {inline_picture.height} pixels. "
        f"The picture's file, untouched: {details.url}"
    )
