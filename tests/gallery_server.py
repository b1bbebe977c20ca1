"""A server with the library tab alone: a page with two tabs, of which Create is empty."""

import io
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
from PIL import Image

from sd35.core.picture import open_picture
from sd35.jobs.service import JobService, JobServiceConfig
from sd35.jobs.space_connection import SpaceConfig
from sd35.library.library import Library
from sd35.library.repository import Entry
from sd35.metadata.model import GenerationMetadata
from sd35.server import launch
from sd35.server.auth import Authenticator
from sd35.server.blocks import locked_blocks
from sd35.server.server import serve
from sd35.ui.gallery.gallery import Gallery, build_tabs
from sd35.ui.theme import ASSETS, launch_options

__all__ = ["GalleryServer", "add_picture", "serve_gallery"]

DEFAULT_AUTHENTICATOR = Authenticator()


@dataclass(frozen=True, slots=True)
class GalleryServer:
    """A running server and its library."""

    address: str
    library: Library


def _build_blocks(library: Library) -> gr.Blocks:
    """Build the page; what the library tab asks of the Create tab appears in #event-json."""
    with locked_blocks("A library", fill_width=True) as demo:
        with gr.Row(elem_id="header"):
            tabs = build_tabs("A library")
        with gr.Row(elem_id="studio"):
            event_json = gr.Textbox(elem_id="event-json", show_label=False)
        gallery = Gallery(library, tabs)
        gallery.import_event.submit(_as_json, None, event_json, queue=False)
        gallery.retry_event.retry(_as_json, None, event_json, queue=False)
    return demo


def _as_json(event: gr.EventData) -> str:
    return json.dumps(event._data)


async def _no_demo(*_: object) -> str:
    return ""


@asynccontextmanager
async def _lifespan(_: object) -> AsyncIterator[None]:
    yield


@contextmanager
def serve_gallery(
    folder: Path, authenticator: Authenticator = DEFAULT_AUTHENTICATOR, root_path: str | None = None
) -> Iterator[GalleryServer]:
    """Serve the library in this folder at a free port."""
    library = Library.open(folder)
    demo = _build_blocks(library)
    job_service = JobService(SpaceConfig(""), _no_demo, JobServiceConfig(folder, library))
    login_page = ASSETS / "login.html"
    try:
        # Not the job service's lifespan, which connects to a Space.
        address = serve(
            demo,
            authenticator,
            job_service,
            login_page,
            lifespan=_lifespan,
            port=launch.free_port(),
            root_path=root_path,
            **launch_options(),
        )
        yield GalleryServer(address, library)
    finally:
        launch.close(demo)
        library.close()


def add_picture(
    library: Library, record: GenerationMetadata, owner: str = "", size: tuple[int, int] = (96, 64)
) -> Entry:
    """Add a plain image, whose color depends on its prompt."""
    color = (len(record.prompt) * 37 % 256, len(record.prompt) * 91 % 256, 120)
    out = io.BytesIO()
    Image.new("RGB", size, color).save(out, "PNG")
    return library.add(open_picture(out.getvalue()), record, owner)
