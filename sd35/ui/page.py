"""The page: the Create tab, the library, and the endpoints for programs."""

from dataclasses import replace
from typing import Final

import gradio as gr

from sd35.jobs.limits import UNLIMITED
from sd35.jobs.service import JobService
from sd35.server.api import ApiEndpoints
from sd35.server.blocks import locked_blocks
from sd35.ui.api_form import ApiForm
from sd35.ui.create.components import CreateTab, Header
from sd35.ui.create.form_handlers import FormHandlers
from sd35.ui.create.job_handlers import ConnectionHandlers, JobHandlers
from sd35.ui.create.wiring import Wiring
from sd35.ui.gallery.gallery import Gallery

__all__ = ["TITLE", "Page"]

TITLE: Final = "SD 3.5 Studio"

FOOTER_HTML: Final = """<p>Powered by <a href="https://stability.ai">Stability AI</a>.
Stable Diffusion 3.5 is licensed under the <a href="https://stability.ai/community-license-agreement"
>Stability AI Community License</a>; its use is subject to the
<a href="https://stability.ai/use-policy">Acceptable Use Policy</a>.</p>"""


class Page:
    """The page as a Gradio app.

    Args:
        job_service: runs the jobs of the page's visitors.
        can_sign_in: visitors may sign in with Hugging Face; possible only on a Space there.
        can_log_out: visitors have logged in with a password.

    Attributes:
        demo: the Gradio app.

    """

    def __init__(
        self, job_service: JobService, *, can_sign_in: bool = False, can_log_out: bool = False
    ) -> None:
        connection = job_service.connection.value
        # How many images are made at once is shown, but not on its own.
        has_quota = replace(job_service.usage_limits, max_concurrent=None) != UNLIMITED
        gallery = Gallery(job_service.library)
        self.form_handlers = FormHandlers(job_service)
        self.job_handlers = JobHandlers(job_service, self.form_handlers, can_log_out=can_log_out)
        with locked_blocks(TITLE, fill_width=True) as self.demo:
            header = Header(TITLE, connection, can_sign_in=can_sign_in, can_log_out=can_log_out)
            tab = CreateTab(connection, has_quota=has_quota)
            gallery.build()
            gr.HTML(FOOTER_HTML, elem_id="footer")
            Wiring(
                self.demo,
                header,
                tab,
                gallery,
                self.form_handlers,
                self.job_handlers,
                ConnectionHandlers(job_service),
            ).bind()
            api_form = ApiForm(self.demo, TITLE, ApiEndpoints(job_service))
        api_form.hide_other_endpoints()
        # The Space is found after the page is built, and another one may take its place later.
        job_service.space_connector.on_resolved = api_form.publish
