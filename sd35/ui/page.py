"""The page: the Create tab, the library, and the endpoints for programs."""

from dataclasses import replace
from typing import Final

import gradio as gr

from sd35.jobs.limits import UNLIMITED
from sd35.jobs.service import JobService
from sd35.jobs.space_connection import ConnectionState
from sd35.library.layout import STYLES_FILE, WILDCARDS_DIR
from sd35.prompts.catalog import PromptCatalog
from sd35.server.api import ApiEndpoints
from sd35.server.blocks import locked_blocks
from sd35.ui.api_form import ApiForm
from sd35.ui.create.components import CreateTab, Header
from sd35.ui.create.form_handlers import FormHandlers
from sd35.ui.create.job_handlers import ConnectionHandlers, JobHandlers
from sd35.ui.create.memory_handlers import MemoryHandlers
from sd35.ui.create.style_handlers import StyleHandlers
from sd35.ui.create.wiring import Wiring
from sd35.ui.gallery.gallery import Gallery

__all__ = ["build_page"]

TITLE: Final = "SD 3.5 Studio"

FOOTER_HTML: Final = """<p>Powered by <a href="https://stability.ai">Stability AI</a>.
Stable Diffusion 3.5 is licensed under the
<a href="https://stability.ai/community-license-agreement">Stability AI Community License</a>;
its use is subject to the
<a href="https://stability.ai/use-policy">Acceptable Use Policy</a>.</p>"""


def build_page(
    job_service: JobService, *, can_sign_in: bool = False, can_log_out: bool = False
) -> gr.Blocks:
    """Return the page as a Gradio app.

    Args:
        job_service: runs the jobs of the page's visitors.
        can_sign_in: visitors may sign in with Hugging Face; possible only on a Space there.
        can_log_out: visitors have logged in with a password.
    """
    connection = job_service.connection.value
    # A limit on concurrent jobs alone needs no line about the quota.
    has_quota = replace(job_service.usage_limits, max_concurrent=None) != UNLIMITED
    folder = job_service.library.folder
    catalog = PromptCatalog(folder / WILDCARDS_DIR, folder / STYLES_FILE)
    form_handlers = FormHandlers(job_service, catalog)
    job_handlers = JobHandlers(job_service, form_handlers, can_log_out=can_log_out)
    with locked_blocks(TITLE, fill_width=True) as demo:
        job_service.space_connector.own_page = demo
        header = Header(TITLE, connection, can_sign_in=can_sign_in, can_log_out=can_log_out)
        tab = CreateTab(connection, has_quota=has_quota)
        gallery = Gallery(job_service.library, header.tabs)
        gr.HTML(FOOTER_HTML, elem_id="footer")
        handlers = form_handlers, job_handlers, ConnectionHandlers(job_service)
        memory_handlers = MemoryHandlers(job_service, catalog)
        style_handlers = StyleHandlers(job_service, catalog, form_handlers)
        Wiring(demo, header, tab, gallery, *handlers, memory_handlers, style_handlers).bind()
        api_form = ApiForm(demo, TITLE, ApiEndpoints(job_service))
    api_form.hide_other_endpoints()

    def publish(connection: ConnectionState) -> None:
        header.publish(connection)
        tab.publish(connection)
        api_form.publish(connection)

    # The Space is found after the page is built, and another one may replace it later.
    job_service.space_connector.on_resolved = publish
    return demo
