"""An MCP server with one tool, over Streamable HTTP.

A call acts for the visitor who makes it, and its job ends when the caller cancels it or leaves.
Sessions serve clients of protocol 2025-11-25 and older: they cancel a call by a second request,
which finds the first one through its session. Clients of 2026-07-28 need none.
"""

import base64
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote

import anyio.to_thread
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
from sd35.jobs.job import Job, JobResult
from sd35.jobs.service import JobService
from sd35.jobs.status_text import status_line
from sd35.server.api import DEMO_PAINTER, result_or_raise, submit_job
from sd35.server.mcp_sessions import MAX_SESSIONS, SESSION_IDLE_SECONDS, McpSessions
from sd35.server.request_planner import RequestPlanner
from sd35.server.root_url import root_url

__all__ = ["MCP_PATH", "McpApp"]

MCP_PATH: Final = "/gradio_api/mcp"

MIN_UPDATE_INTERVAL: Final = 0.25
MAX_UPDATE_INTERVAL: Final = 1.0

# The protocol requires that progress grows with every report, even while the job is only queued. So
# each report adds at least this fraction of a step.
MIN_PROGRESS_STEP: Final = 0.001

# Clients refuse messages above 1 MiB, and base64 makes 960 KB of these. A larger image is sent as a
# JPEG within these sides, which is smaller whatever it shows, with a link to the file.
MAX_INLINE_BYTES: Final = 720_000
MAX_INLINE_SIDE: Final = 1024

# Sessions that are being opened, beyond those that `McpSessions` allows.
MAX_OPENING_SESSIONS: Final = 500

MAX_NUMBER_SEED: Final = 10**15 - 1

TOOL_DESCRIPTION: Final = """\
Generate an image from a text prompt with Stable Diffusion 3.5. Returns the image, its seed, who
made it, and a link to the file.

An image takes about half a minute on the public Space and uses GPU quota there: generate one image,
look at it, and only then generate the next.

A good prompt is one to three English sentences that describe the subject, the setting, the light
and the style (photo, watercolor, poster). Put text that should appear in the image in quotation
marks. Put what to avoid into negative_prompt, because the prompt doesn't understand "without". The
same prompt, size, steps and seed give the same image: keep the seed to change only a detail.

Images by the demo painter are not by Stable Diffusion: say so when you show them.
"""


def _string_or_empty(value: object) -> str:
    return value if isinstance(value, str) else ""


# The schema describes the types; `RequestOptions.resolve` checks the values. If pydantic checked
# them, agents would read its messages. Texts must be `str` nevertheless: the SDK decodes arguments
# of other types that look like JSON, and the prompt "null" would become None.
_Text = Annotated[str, BeforeValidator(_string_or_empty)]
_Integer = Annotated[Any, WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "null"}]})]
# Agents in JavaScript round long numbers.
_IntegerOrText = Annotated[
    Any, WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "string"}, {"type": "null"}]})
]
_Number = Annotated[Any, WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "null"}]})]

Prompt = Annotated[_Text, Field(description="what the image should show")]
NegativePrompt = Annotated[_Text, Field(description="what to avoid")]
AspectRatio = Annotated[
    _Text, Field(description="such as 16:9, 3:2 or 9:16, at the largest size available")
]
Side = Annotated[
    _Integer, Field(description="in pixels, a multiple of 16; overrides the aspect ratio")
]
GuidanceScale = Annotated[
    _Number, Field(description="how strictly to follow the prompt; default: the Space's")
]
Steps = Annotated[_Integer, Field(description="more take longer; default: the Space's")]
Seed = Annotated[
    _IntegerOrText,
    Field(description="to repeat an image; as text if it has more than 15 digits; default: random"),
]


Styles = Annotated[
    _Text, Field(description="names of styles such as Watercolor, with commas between them")
]
NegativePresetName = Annotated[
    _Text, Field(description="name of words to avoid that are added to negative_prompt")
]


class GenerationResult(BaseModel):
    """The structured result of the tool."""

    seed: int | str | None = Field(
        description="seed of the image, if the Space returned it; as text from 16 digits"
    )
    width: int = Field(description="width of the file in pixels")
    height: int = Field(description="height of the file in pixels")
    made_by: str = Field(description="the Space, or the demo painter, which isn't Stable Diffusion")
    url: str = Field(description="address of the original file while the studio keeps it")


class McpApp:
    """ASGI app for the path `MCP_PATH`.

    Args:
        job_service: runs the jobs.
        root_path: path or address under which a reverse proxy shows the page.
    """

    def __init__(self, job_service: JobService, root_path: str | None = None) -> None:
        self._job_service = job_service
        self._planner = RequestPlanner(job_service.library)
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
            max_sessions=MAX_SESSIONS + MAX_OPENING_SESSIONS,
            # SecurityMiddleware checks hosts, and knows more of them than the SDK.
            transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
        )
        self._session_manager = server.session_manager
        self._sessions = McpSessions(server.session_manager.handle_request)
        # The SDK's warnings about what callers do contain their session ids.
        logging.getLogger("mcp").setLevel(logging.ERROR)

    def _build_tool(self) -> Tool:
        annotations = ToolAnnotations(
            read_only_hint=False, destructive_hint=False, open_world_hint=True
        )
        tool = Tool.from_function(
            self.generate,
            title="Generate an image",
            description=TOOL_DESCRIPTION,
            annotations=annotations,
        )
        # Agents must send a prompt, but without one they should read the same error as for an empty
        # one, not pydantic's. So the function has a default, and the schema hasn't.
        tool.parameters["required"] = ["prompt"]
        del tool.parameters["properties"]["prompt"]["default"]
        return tool

    @asynccontextmanager
    async def lifespan(self, _app: object) -> AsyncIterator[None]:
        """Answer calls while the context is open."""
        async with self._session_manager.run():
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        state = scope["state"]
        state["has_ended"] = False
        # The SDK binds a session to its user: others who know the session's id get a 404.
        scope["user"] = AuthenticatedUser(
            AccessToken(token="", client_id=state["visitor"].owner or "", scopes=[])
        )
        try:
            await self._sessions(scope, receive, send)
        finally:
            state["has_ended"] = True

    async def generate(  # noqa: PLR0913, PLR0917  # a tool's parameters are its interface
        self,
        context: Context[Any, Request],
        prompt: Prompt = "",
        negative_prompt: NegativePrompt = "",
        aspect_ratio: AspectRatio = "1:1",
        width: Side = None,
        height: Side = None,
        guidance_scale: GuidanceScale = None,
        num_inference_steps: Steps = None,
        seed: Seed = None,
        styles: Styles = "",
        negative_preset: NegativePresetName = "",
    ) -> Annotated[CallToolResult, GenerationResult]:
        """Generate one image."""
        request = context.request_context.request
        assert request is not None
        try:
            job, made_by = await submit_job(
                self._job_service,
                self._planner,
                request.state.visitor,
                prompt=prompt,
                negative_prompt=negative_prompt,
                aspect_ratio=aspect_ratio,
                width=width,
                height=height,
                guidance_scale=guidance_scale,
                num_inference_steps=num_inference_steps,
                seed=seed,
                styles=styles,
                negative_preset=negative_preset,
            )
            result = await self._report_until_done(job, context, request)
            return await self._build_tool_result(result, made_by, request)
        except SD35Error as error:
            return CallToolResult(content=[TextContent(text=str(error))], is_error=True)

    @staticmethod
    async def _report_until_done(
        job: Job, context: Context[Any, Request], request: Request
    ) -> JobResult:
        """Report progress until the job has ended, and cancel it if the caller leaves."""
        reported_progress = 0.0
        states = job.state.watch(min_interval=MIN_UPDATE_INTERVAL, max_interval=MAX_UPDATE_INTERVAL)
        try:
            async with aclosing(states):
                async for state in states:
                    # A client that only closes its connection sends no cancellation: `__call__`
                    # notices it.
                    if state.status.is_final or request.state.has_ended:
                        break
                    step, total = _step_and_total(state.progress)
                    reported_progress = max(step, reported_progress + MIN_PROGRESS_STEP)
                    await context.report_progress(reported_progress, total, status_line(state))
        finally:
            job.cancel()  # no effect on a finished job
        return result_or_raise(job.state.value)

    async def _build_tool_result(
        self, result: JobResult, made_by: str, request: Request
    ) -> CallToolResult:
        picture = await self._load_picture(result)
        details = GenerationResult(
            seed=_exact_seed(result.seed),
            width=result.width,
            height=result.height,
            made_by=f"{made_by}, not Stable Diffusion" if made_by == DEMO_PAINTER else made_by,
            url=self._picture_url(result, request),
        )
        seed = "unknown" if result.seed is None else result.seed
        text = f"{result.width} × {result.height} px, made by {details.made_by}. Seed {seed}. "
        links: list[ContentBlock] = []
        if len(picture.data) <= MAX_INLINE_BYTES:
            text += f"File: {details.url}"
        else:
            picture = await anyio.to_thread.run_sync(shrink, picture, MAX_INLINE_SIDE)
            text += (
                "The image is too large to send: this is a smaller copy of "
                f"{picture.width} × {picture.height} px. Original file: {details.url}"
            )
            links = [
                ResourceLink(
                    name=result.name,
                    uri=details.url,
                    mime_type=result.mime_type,
                    size=result.size_bytes,
                )
            ]
        image = ImageContent(
            data=base64.b64encode(picture.data).decode("ascii"), mime_type=picture.mime_type
        )
        return CallToolResult(
            content=[image, TextContent(text=text), *links],
            structured_content=details.model_dump(),
        )

    async def _load_picture(self, result: JobResult) -> Picture:
        artifact = self._job_service.find_artifact(result.url_path)
        data = None if artifact is None else artifact.content
        with suppress(OSError):
            if isinstance(data, Path):
                data = await anyio.to_thread.run_sync(self._job_service.library.read_path, data)
        if not isinstance(data, bytes):
            raise PictureError("The image's file is no longer available.")
        return open_picture(data)

    def _picture_url(self, result: JobResult, request: Request) -> str:
        """Return the image's address, as the caller sees this server."""
        # The folders before these parts would only reveal this machine's paths.
        public_path = "/".join(result.url_path.replace("\\", "/").split("/")[-3:])
        root = root_url(request, MCP_PATH, self._root_path)
        return f"{root}/gradio_api/file={quote(public_path)}"


def _exact_seed(seed: int | None) -> int | str | None:
    # Agents in JavaScript round longer numbers.
    return str(seed) if seed is not None and seed > MAX_NUMBER_SEED else seed


def _step_and_total(progress: Progress | None) -> tuple[float, float | None]:
    if progress is None or progress.step is None or not progress.total:
        return 0.0, None
    return float(min(progress.step, progress.total)), float(progress.total)
