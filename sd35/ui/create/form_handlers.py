"""What fills the form: a reload, a picture, the connected Space's own ranges."""

from dataclasses import replace
from typing import Any

import anyio.to_thread
import gradio as gr

from sd35.core.errors import LibraryError
from sd35.core.limits import Limits
from sd35.core.sizes import SizeUnavailableError, size_for
from sd35.core.visitor import Visitor
from sd35.jobs.job import Job
from sd35.jobs.service import JobService
from sd35.library.layout import owner_key
from sd35.library.repository import Entry
from sd35.metadata.model import GenerationMetadata
from sd35.server.api import visitor_from_request
from sd35.ui.create import job_view, space_view
from sd35.ui.create.dropped_file import dump_form, load_draft, load_form, parse_dropped_file
from sd35.ui.create.form import FIELD_NAMES, FormValues, updated_defaults, values_from_request
from sd35.ui.create.import_settings import SETTING_GROUPS, apply_settings, metadata_from_request

__all__ = ["FormHandlers"]


class FormHandlers:
    """The listeners that fill the form's fields, in the order of `FIELDS`.

    Args:
        studio: knows the Space, the jobs, and the library.

    """

    def __init__(self, job_service: JobService) -> None:
        self._job_service = job_service

    async def restore_form(
        self,
        request: gr.Request,
        job_id: Any,  # noqa: ANN401
        draft: Any,  # noqa: ANN401
        *field_values: Any,  # noqa: ANN401
    ) -> list[Any]:
        """After a reload, fill the form as it was when it asked for this job, and with what was typed since."""
        values, draft_prompts = FormValues(*field_values), load_draft(draft)
        job = None if values.prompt else await self._find_job(job_id, visitor_from_request(request))
        if values.prompt or (job is None and draft_prompts is None):
            return [gr.skip() for _ in FIELD_NAMES]
        if job is not None:
            values = values_from_request(
                job.original_request, self._job_service.connection.value.limits
            )
        if draft_prompts is not None:
            values = replace(values, prompt=draft_prompts[0], negative_prompt=draft_prompts[1])
        return [getattr(values, name) for name in FIELD_NAMES]

    async def _find_job(self, job_id: object, visitor: Visitor) -> Job | None:
        try:
            await self._job_service.restore_session(
                visitor
            )  # it may wait since before the program was started
            return await self._job_service.find_job(job_id, visitor)
        except LibraryError:
            return None

    def import_dropped_file(self, event: gr.EventData, *field_values: Any) -> list[Any]:  # noqa: ANN401
        """Fill the form with what a picture says of itself that was dropped on the page."""
        payload = event._data if isinstance(event._data, dict) else {}  # noqa: SLF001
        name, metadata = parse_dropped_file(payload)
        if metadata is None:
            return [*(gr.skip() for _ in FIELD_NAMES), job_view.no_settings_found(name), gr.skip()]
        return self._apply_metadata(metadata, name, FormValues(*field_values))

    async def import_from_library(
        self,
        request: gr.Request,
        event: gr.EventData,
        *field_values: Any,  # noqa: ANN401
    ) -> list[Any]:
        """Fill the form with what a picture of the library's, or a job, was made with."""
        payload = event._data if isinstance(event._data, dict) else {}  # noqa: SLF001
        name_and_metadata = await self.find_metadata(payload, visitor_from_request(request))
        if name_and_metadata is None:
            return [
                *(gr.skip() for _ in FIELD_NAMES),
                job_view.no_settings_found("This picture"),
                gr.skip(),
            ]
        name, metadata = name_and_metadata
        group = payload.get("group")
        return self._apply_metadata(
            metadata,
            name,
            FormValues(*field_values),
            group if isinstance(group, str) and group in SETTING_GROUPS else "all",
        )

    async def find_metadata(
        self, told: dict[str, Any], visitor: Visitor
    ) -> tuple[str, GenerationMetadata] | None:
        """Return the name and the record of what this speaks of, if it is this visitor's."""
        if told.get("kind") == "job":
            job = await self._find_job(told.get("id"), visitor)
            return (
                None
                if job is None
                else ("What was asked for", metadata_from_request(job.state.value.request))
            )
        try:
            entry = await self._find_entry(told.get("id"), visitor)
        except LibraryError:
            return None
        if entry is None:
            return None
        metadata = entry.record
        if metadata.width is None or metadata.height is None:
            metadata = replace(metadata, width=entry.width, height=entry.height)
        return entry.path.rpartition("/")[2], metadata

    async def _find_entry(self, picture_id: object, visitor: Visitor) -> Entry | None:
        if not isinstance(picture_id, str) or visitor.owner is None:
            return None
        find_entry, key = self._job_service.library.get, owner_key(visitor.owner)
        return await anyio.to_thread.run_sync(find_entry, picture_id, key)

    def _apply_metadata(
        self,
        metadata: GenerationMetadata,
        name: str,
        current_values: FormValues,
        group: str = "all",
    ) -> list[Any]:
        applied_settings = apply_settings(
            metadata, current_values, self._job_service.connection.value.limits, group
        )
        values = [getattr(applied_settings.values, field) for field in FIELD_NAMES]
        return [
            *values,
            job_view.applied_settings(name, metadata.tool, applied_settings),
            dump_form(current_values),
        ]

    @staticmethod
    def undo_import(undo_values: Any) -> list[Any]:  # noqa: ANN401
        """Put back what was in the form before it was filled."""
        values = load_form(undo_values)
        fields = (
            [gr.skip() for _ in FIELD_NAMES]
            if values is None
            else [getattr(values, name) for name in FIELD_NAMES]
        )
        return [*fields, job_view.drop_hint(), ""]

    def apply_limits(self, *inputs: Any) -> list[Any]:  # noqa: ANN401
        """Give the fields the connected Space's own ranges, steps and defaults; keep what was typed."""
        *fields, applied_limits = inputs
        connection = self._job_service.connection.value
        limits = connection.limits
        current_limits = f"{connection.target}: {limits}" if connection.space is not None else ""
        if applied_limits == current_limits:
            return [gr.skip() for _ in range(len(FIELD_NAMES) + 1)]
        values = FormValues(*fields)
        defaults = updated_defaults(values, limits)
        updates = {name: _range_update(limits, name, defaults) for name in FIELD_NAMES}
        return [*updates.values(), current_limits]

    def size_hint(self, size: Any) -> str:  # noqa: ANN401
        """Say what the chosen size is on the connected Space."""
        return space_view.size_hint(size, self._job_service.connection.value)

    def update_size(self, size: Any) -> tuple[str, Any, Any]:  # noqa: ANN401
        """Say what the chosen size is, and put its sides into the fields of a custom one."""
        hint = self.size_hint(size)
        try:
            dimensions = size_for(size, self._job_service.connection.value.limits)
        except (SizeUnavailableError, ValueError):
            return hint, gr.skip(), gr.skip()
        return hint, dimensions.width, dimensions.height


def _range_update(limits: Limits, field: str, defaults: dict[str, float]) -> Any:  # noqa: ANN401  # Gradio's own
    if field == "negative_prompt":
        return gr.update(interactive=limits.negative_prompt)
    value_range = getattr(limits, field, None)
    if field not in {"width", "height", "guidance_scale", "num_inference_steps"}:
        return gr.skip()
    if value_range is None:
        return gr.update(interactive=False)
    update = {
        "minimum": value_range.minimum,
        "maximum": value_range.maximum,
        "step": value_range.step,
        "interactive": True,
    }
    return gr.update(**update, **({"value": defaults[field]} if field in defaults else {}))
