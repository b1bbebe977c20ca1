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
from sd35.jobs.service import Studio
from sd35.library.layout import owner_key
from sd35.library.repository import Entry
from sd35.metadata.model import Record
from sd35.server.api import visitor_of
from sd35.ui.create import job_view, space_view
from sd35.ui.create.dropped_file import pack, read_dropped, unpack, unpack_draft
from sd35.ui.create.form import FIELDS, FormValues, updated_defaults, values_of
from sd35.ui.create.import_settings import WHAT, recall, record_asked

__all__ = ["Filling"]


class Filling:
    """The listeners that fill the form's fields, in the order of `FIELDS`.

    Args:
        studio: knows the Space, the jobs, and the library.

    """

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    async def restore(self, request: gr.Request, asked: Any, draft: Any, *sent: Any) -> list[Any]:  # noqa: ANN401
        """After a reload, fill the form as it was when it asked for this job, and with what was typed since."""
        values, typed = FormValues(*sent), unpack_draft(draft)
        job = None if values.prompt else await self._job(asked, visitor_of(request))
        if values.prompt or (job is None and typed is None):
            return [gr.skip() for _ in FIELDS]
        if job is not None:
            values = values_of(job.asked, self._studio.connection.value.limits)
        if typed is not None:
            values = replace(values, prompt=typed[0], negative_prompt=typed[1])
        return [getattr(values, name) for name in FIELDS]

    async def _job(self, job_id: object, visitor: Visitor) -> Job | None:
        try:
            await self._studio.welcome(visitor)  # it may wait since before the program was started
            return await self._studio.find(job_id, visitor)
        except LibraryError:
            return None

    def read_dropped(self, event: gr.EventData, *sent: Any) -> list[Any]:  # noqa: ANN401
        """Fill the form with what a picture says of itself that was dropped on the page."""
        told = event._data if isinstance(event._data, dict) else {}  # noqa: SLF001
        name, record = read_dropped(told)
        if record is None:
            return [*(gr.skip() for _ in FIELDS), job_view.nothing_in(name), gr.skip()]
        return self._fill(record, name, FormValues(*sent))

    async def from_library(self, request: gr.Request, event: gr.EventData, *sent: Any) -> list[Any]:  # noqa: ANN401
        """Fill the form with what a picture of the library's, or a job, was made with."""
        told = event._data if isinstance(event._data, dict) else {}  # noqa: SLF001
        found = await self.record(told, visitor_of(request))
        if found is None:
            return [*(gr.skip() for _ in FIELDS), job_view.nothing_in("This picture"), gr.skip()]
        name, record = found
        what = told.get("what")
        return self._fill(
            record,
            name,
            FormValues(*sent),
            what if isinstance(what, str) and what in WHAT else "all",
        )

    async def record(self, told: dict[str, Any], visitor: Visitor) -> tuple[str, Record] | None:
        """Return the name and the record of what this speaks of, if it is this visitor's."""
        if told.get("kind") == "job":
            job = await self._job(told.get("id"), visitor)
            return (
                None
                if job is None
                else ("What was asked for", record_asked(job.state.value.request))
            )
        try:
            entry = await self._entry(told.get("id"), visitor)
        except LibraryError:
            return None
        if entry is None:
            return None
        record = entry.record
        if record.width is None or record.height is None:
            record = replace(record, width=entry.width, height=entry.height)
        return entry.path.rpartition("/")[2], record

    async def _entry(self, picture_id: object, visitor: Visitor) -> Entry | None:
        if not isinstance(picture_id, str) or visitor.owner is None:
            return None
        find, key = self._studio.library.entry, owner_key(visitor.owner)
        return await anyio.to_thread.run_sync(find, picture_id, key)

    def _fill(self, record: Record, name: str, now: FormValues, what: str = "all") -> list[Any]:
        recalled = recall(record, now, self._studio.connection.value.limits, what)
        values = [getattr(recalled.values, field) for field in FIELDS]
        return [*values, job_view.recalled(name, record.tool, recalled), pack(now)]

    @staticmethod
    def undo(before: Any) -> list[Any]:  # noqa: ANN401
        """Put back what was in the form before it was filled."""
        values = unpack(before)
        fields = (
            [gr.skip() for _ in FIELDS]
            if values is None
            else [getattr(values, name) for name in FIELDS]
        )
        return [*fields, job_view.drop_hint(), ""]

    def adapt(self, *sent: Any) -> list[Any]:  # noqa: ANN401
        """Give the fields the connected Space's own ranges, steps and defaults; keep what was typed."""
        *fields, applied = sent
        connection = self._studio.connection.value
        limits = connection.limits
        applied_now = f"{connection.wanted}: {limits}" if connection.space is not None else ""
        if applied == applied_now:
            return [gr.skip() for _ in range(len(FIELDS) + 1)]
        values = FormValues(*fields)
        defaults = updated_defaults(values, limits)
        updates = {name: _range_update(limits, name, defaults) for name in FIELDS}
        return [*updates.values(), applied_now]

    def hint(self, size: Any) -> str:  # noqa: ANN401
        """Say what the chosen size is on the connected Space."""
        return space_view.size_hint(size, self._studio.connection.value)

    def describe_size(self, size: Any) -> tuple[str, Any, Any]:  # noqa: ANN401
        """Say what the chosen size is, and put its sides into the fields of a custom one."""
        hint = self.hint(size)
        try:
            sides = size_for(size, self._studio.connection.value.limits)
        except (SizeUnavailableError, ValueError):
            return hint, gr.skip(), gr.skip()
        return hint, sides.width, sides.height


def _range_update(limits: Limits, name: str, defaults: dict[str, float]) -> Any:  # noqa: ANN401  # Gradio's own
    if name == "negative_prompt":
        return gr.update(interactive=limits.negative_prompt)
    span = getattr(limits, name, None)
    if name not in {"width", "height", "guidance_scale", "num_inference_steps"}:
        return gr.skip()
    if span is None:
        return gr.update(interactive=False)
    update = {
        "minimum": span.minimum,
        "maximum": span.maximum,
        "step": span.step,
        "interactive": True,
    }
    return gr.update(**update, **({"value": defaults[name]} if name in defaults else {}))
