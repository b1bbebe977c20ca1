"""Handlers that check and fill the form: import, and the limits of the connected Space."""

from dataclasses import replace
from functools import partial
from random import SystemRandom
from typing import Any

import anyio.to_thread
import gradio as gr

from sd35.core.errors import LibraryError
from sd35.core.limits import Limits
from sd35.core.text import format_estimate
from sd35.core.visitor import LOCAL_VISITOR, Visitor
from sd35.jobs.job import Job
from sd35.jobs.record import JobStatus
from sd35.jobs.service import JobService
from sd35.library.layout import owner_key
from sd35.library.repository import Entry
from sd35.metadata.model import GenerationMetadata
from sd35.metadata.parsing import parse_int
from sd35.prompts.catalog import PromptCatalog
from sd35.prompts.ideas import shipped_ideas
from sd35.server.api import visitor_from_request
from sd35.ui.create import notices, space_view
from sd35.ui.create.dropped_file import DroppedFileReader, dump_form, load_form
from sd35.ui.create.form import (
    FIELD_NAMES,
    SLIDER_FIELDS,
    FormPlan,
    FormValues,
    error_messages,
    updated_defaults,
)
from sd35.ui.create.form_planner import FormPlanner
from sd35.ui.create.grid_form import dump_grid_plan, parse_axis_inputs
from sd35.ui.create.import_settings import SETTING_GROUPS, apply_settings, metadata_from_request
from sd35.ui.create.plan_view import dump_plan, gpu_quota_warning, limit_warning
from sd35.ui.create.space_access import space_access
from sd35.ui.create.submissions import parse_draw

__all__ = ["FormHandlers", "event_payload"]


def event_payload(event: gr.EventData) -> dict[str, Any]:
    """Return what a script of the page has sent with an event; empty if it isn't an object."""
    # `event.name` raises for a key that wasn't sent, so the dict itself is needed.
    payload = getattr(event, "_data", None)
    return payload if isinstance(payload, dict) else {}


class FormHandlers:
    """Handlers that read and fill the form; their outputs begin with its fields."""

    def __init__(self, job_service: JobService, catalog: PromptCatalog) -> None:
        self._job_service = job_service
        self._catalog = catalog
        self.planner = FormPlanner(job_service, catalog)
        self._file_reader = DroppedFileReader()

    @property
    def _limits(self) -> Limits:
        return self._job_service.connection.value.limits

    async def validate(self, request: gr.Request, *fields: object) -> list[dict[str, Any]]:
        """Return a verdict on each of the form's fields."""
        values = FormValues(*fields)
        plan = await self.planner.plan(values, visitor_from_request(request))
        messages = error_messages(plan.field_errors, values)
        return [gr.validate(name not in messages, messages.get(name, "")) for name in FIELD_NAMES]

    @staticmethod
    def validate_form(*_fields: object) -> None:
        """Do nothing after `validate`, whose verdicts the page shows."""

    async def plan(self, request: gr.Request, event: gr.EventData, *fields: object) -> str:
        """Return what a press would make now, as JSON with the number of the page's question."""
        payload = event_payload(event)
        visitor = visitor_from_request(request)
        # The page has the newest options; Gradio may not.
        values = replace(FormValues(*fields), batch_options=payload.get("batch"))
        plan = await self.planner.plan(values, visitor, parse_draw(payload.get("draw")))
        dump = partial(
            dump_plan,
            plan,
            values,
            *self._price(plan, visitor),
            request_id=parse_int(payload.get("request_id")) or 0,
        )
        return await self.planner.worker.run(dump, visitor.rate_limit_key)

    async def plan_grid(self, request: gr.Request, event: gr.EventData, *fields: object) -> str:
        """Return what a grid over the form's settings would be, as JSON."""
        payload = event_payload(event)
        visitor = visitor_from_request(request)
        values = replace(FormValues(*fields), batch_options=payload.get("batch"))
        axes = parse_axis_inputs(payload.get("axes"))
        plan = await self.planner.plan(values, visitor, grid_axes=axes) if axes else FormPlan()
        warning, estimate = self._price(plan, visitor)
        style_book = self.planner.style_book(visitor)
        return dump_grid_plan(
            plan,
            estimate=estimate,
            warning=warning,
            style_names=[style.name for style in style_book.styles],
            request_id=parse_int(payload.get("request_id")) or 0,
        )

    def _price(self, plan: FormPlan, visitor: Visitor) -> tuple[str, str]:
        """Return a warning if a limit is too low for the images, and how long they take."""
        service = self._job_service
        requests = [planned.request for planned in plan.images]
        seconds = service.estimates.total_seconds(requests) if requests else None
        warning = limit_warning(
            len(requests), service.remaining_quota(visitor), is_anonymous=visitor.owner is None
        ) or gpu_quota_warning(space_access(service, visitor).quota, seconds)
        return warning, "" if seconds is None else format_estimate(seconds)

    async def _find_job(self, job_id: object, visitor: Visitor) -> Job | None:
        try:
            # It may have been queued before the app restarted.
            await self._job_service.restore_session(visitor)
            return await self._job_service.find_job(job_id, visitor)
        except LibraryError:
            return None

    async def import_dropped_file(
        self, request: gr.Request, event: gr.EventData, *fields: object
    ) -> list[Any]:
        """Fill the form with the settings of an image that was dropped on the page."""
        payload = event_payload(event)
        visitor = visitor_from_request(request)
        metadata = await self._file_reader.read(payload, visitor.rate_limit_key)
        name = notices.dropped_name(parse_int(payload.get("number")) or 0)
        if metadata is None:
            return [*_unchanged(), notices.no_settings_found(name), gr.skip()]
        return self._import(metadata, name, FormValues(*fields), visitor)

    async def import_from_library(
        self, request: gr.Request, event: gr.EventData, *fields: object
    ) -> list[Any]:
        """Fill the form with the settings of an image of the library or of a job."""
        payload = event_payload(event)
        visitor = visitor_from_request(request)
        source = await self.find_metadata(payload, visitor)
        if source is None:
            return [*_unchanged(), notices.no_settings_found("this image"), gr.skip()]
        name, metadata = source
        group = payload.get("group")
        if group not in SETTING_GROUPS:
            group = "all"
        return self._import(metadata, name, FormValues(*fields), visitor, group)

    async def find_metadata(
        self, payload: dict[str, Any], visitor: Visitor
    ) -> tuple[str, GenerationMetadata] | None:
        """Return the name and the metadata of an image or a job, if it is this visitor's."""
        is_job = payload.get("kind") == "job"
        entry = None if is_job else await self._find_entry(payload.get("id"), visitor)
        if entry is None:  # also of an image that isn't saved yet, or never, as it has no owner
            job = await self._find_job(payload.get("id"), visitor)
            if job is None:
                return None
            name = "this image" if job.status is JobStatus.COMPLETED else "an unfinished job"
            return name, metadata_from_request(job.state.value.request)
        metadata = entry.metadata
        if metadata.width is None or metadata.height is None:
            metadata = replace(metadata, width=entry.width, height=entry.height)
        return entry.path.rpartition("/")[2], metadata

    async def _find_entry(self, picture_id: object, visitor: Visitor) -> Entry | None:
        if not isinstance(picture_id, str) or visitor.owner is None:
            return None
        get_entry = self._job_service.library.get
        try:
            return await anyio.to_thread.run_sync(get_entry, picture_id, owner_key(visitor.owner))
        except LibraryError:
            return None

    def _import(
        self,
        metadata: GenerationMetadata,
        name: str,
        values: FormValues,
        visitor: Visitor,
        group: str = "all",
    ) -> list[Any]:
        style_book = self._catalog.style_book(is_owner=visitor is LOCAL_VISITOR)
        settings = apply_settings(metadata, values, self._limits, group, style_book)
        summary = notices.import_summary(name, metadata.tool, settings)
        return [*settings.values.as_list(), summary, dump_form(values)]

    @staticmethod
    def undo_import(undo_values: object) -> list[Any]:
        """Return the form as it was before an import."""
        values = load_form(undo_values)
        fields = _unchanged() if values is None else values.as_list()
        return [*fields, notices.IMPORT_HINT, ""]

    @staticmethod
    def dismiss_import() -> tuple[str, str]:
        """Return the file chooser in place of the summary of an import."""
        return notices.IMPORT_HINT, ""

    def draw_prompt(self) -> str:
        """Return a random prompt, of the shipped wildcards: the owner's are for nobody else."""
        return shipped_ideas().draw(self._catalog.wildcards(is_owner=False), SystemRandom())

    def apply_limits(self, *inputs: object) -> list[Any]:
        """Give the fields the Space's ranges, steps and defaults; keep what was typed."""
        *fields, applied_limits, draft_limits, size_hints = inputs
        connection = self._job_service.connection.value
        limits = connection.limits
        # The page keeps this text, so that a reconnection to the same Space changes no field.
        current_limits = space_view.limits_text(connection)
        if not connection.is_resolved or applied_limits == current_limits:
            return [*_unchanged(), gr.skip(), gr.skip()]
        # The values of a draft for this Space were chosen, even if they look like a default.
        is_draft = draft_limits == current_limits
        former = space_view.default_values(size_hints)
        values = FormValues(*fields)
        defaults = {} if is_draft else updated_defaults(values, limits, former)
        updates = [_field_update(limits, name, defaults) for name in FIELD_NAMES]
        return [*updates, current_limits, space_view.size_hints(connection)]


def _unchanged() -> list[Any]:
    # A new dict for each field, because Gradio empties the ones that it gets.
    return [gr.skip() for _ in FIELD_NAMES]


def _field_update(limits: Limits, field: str, defaults: dict[str, float]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if field == "negative_prompt":
        changes = {"interactive": limits.negative_prompt}
    elif field in SLIDER_FIELDS:
        value_range = getattr(limits, field)
        changes = {"interactive": value_range is not None}
        if value_range is not None:
            changes |= {
                "minimum": value_range.minimum,
                "maximum": value_range.maximum,
                "step": value_range.step,
            }
    # Without a `value` Gradio keeps the field's own; without anything it skips the field.
    if field in defaults:
        changes["value"] = defaults[field]
    update: dict[str, Any] = gr.update(**changes)
    return update
