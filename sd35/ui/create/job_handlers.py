"""Handlers that submit, watch and change a visitor's jobs, and that watch the connection."""

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, Final

import anyio
import gradio as gr
from cachetools import TTLCache

from sd35.core.errors import AccessDeniedError, LibraryError, SD35Error
from sd35.core.origin import PlannedRequest
from sd35.core.visitor import LOCAL_VISITOR, Visitor
from sd35.jobs.job import Job
from sd35.jobs.queues import Revision
from sd35.jobs.service import JobService
from sd35.jobs.space_connection import is_on_hub
from sd35.server.api import visitor_from_request
from sd35.ui.create import notices, space_access, space_panel, space_view, token_view
from sd35.ui.create.focus import Focus
from sd35.ui.create.form_handlers import FormHandlers, event_payload
from sd35.ui.create.import_settings import variations
from sd35.ui.create.job_panel import rejection_panel
from sd35.ui.create.live_view import JobView, LiveUpdate
from sd35.ui.create.queue_actions import run_action
from sd35.ui.create.submissions import MAX_KEY_LENGTH, dump_outcomes, parse_submissions, submit
from sd35.ui.markup import error_message

__all__ = ["ConnectionHandlers", "JobHandlers", "PageHandlers"]

MIN_UPDATE_INTERVAL: Final = 0.1
"""Seconds between two updates of a page: Gradio's stream has no back-pressure."""

SHEET_UPDATE_INTERVAL: Final = 0.25
"""Seconds between two updates of a contact sheet, of which each cell has a preview more rarely."""

SECONDS_PER_PAGE: Final = 0.002
"""Further seconds for each page that is updated: an update takes half of that. Without them, the
previews of hundreds of pages would hold up the first previews and the finished images."""

MAX_UPDATE_INTERVAL: Final = 1.0
"""Seconds after which an unchanged state is sent again: the clock ticks, and a closed page is
noticed, because Gradio cancels a generator only while it yields."""

POLL_LEASE: Final = 90.0
"""Seconds after a poll in which its page counts as open: browsers slow down the timers of hidden
pages to one a minute."""

FOCUS_LIFETIME: Final = 60.0
"""Seconds in which the focus that an action has set counts, and not the one that a page sends: that
may be older."""
MAX_FOCUSES: Final = 5000

RESTORE_INTERVAL: Final = 1.0  # seconds between two reads of a visitor's recorded jobs
MAX_RESTORED: Final = 1000

ACCOUNT_WAIT: Final = 0.7
"""Seconds that the panel of the Space waits for what Hugging Face says of a token."""

CONNECTION_WAIT: Final = 0.5
"""Seconds that a page waits for the connection before it asks again."""


def update_interval(page_count: int, *, is_sheet: bool = False) -> float:
    """Return the seconds between two updates of a page, when so many are updated."""
    least = SHEET_UPDATE_INTERVAL if is_sheet else MIN_UPDATE_INTERVAL
    return min(max(least, page_count * SECONDS_PER_PAGE), MAX_UPDATE_INTERVAL)


class JobHandlers:
    """Handlers whose outputs are the live part of the page."""

    def __init__(
        self, job_service: JobService, form_handlers: FormHandlers, *, can_log_out: bool
    ) -> None:
        self._job_service = job_service
        self._form_handlers = form_handlers
        self._can_log_out = can_log_out
        self._watch_tokens: dict[str, object] = {}
        self._focuses: TTLCache[str, Focus] = TTLCache(MAX_FOCUSES, FOCUS_LIFETIME)
        self._restored_owners: TTLCache[str, None] = TTLCache(MAX_RESTORED, RESTORE_INTERVAL)

    async def submit(
        self, request: gr.Request, event: gr.EventData, focus: object
    ) -> tuple[str, str, *tuple[Any, ...]]:
        """Submit presses of Generate; return outcomes, a message, and the live outputs."""
        view = self._job_view(request, focus)
        with suppress(LibraryError):  # each submission says so itself
            await self._restore_session(view.visitor)
        outcomes = []
        message = ""
        for submission in parse_submissions(event_payload(event)):
            outcome = await submit(
                self._job_service, self._form_handlers.planner, view.visitor, submission
            )
            outcomes.append(outcome)
            if outcome.job is not None:
                view.focus = self._focus_after(outcome.job, view.visitor)
                message = notices.submission_notice(outcome.job.id, outcome.image_count)
        return dump_outcomes(outcomes), message, *await self._render_after_action(request, view)

    def _focus_after(self, job: Job, visitor: Visitor) -> Focus:
        """Return what to show when this job was submitted."""
        if visitor.owner is None:  # without cookies there is no queue, only this job
            return Focus(job.id)
        # A running job stays in focus, so that its preview isn't replaced by a queued job.
        running_jobs = self._job_service.visitor_queue(visitor).running_jobs
        return Focus(running_jobs[0].id if running_jobs else job.id)

    async def run_queue_action(
        self, request: gr.Request, event: gr.EventData, focus: object
    ) -> tuple[str, *tuple[Any, ...]]:
        """Run the action of a button; return the message and the live outputs.

        The result comes with this response, because the event stream may be broken.
        """
        payload = event_payload(event)
        view = self._job_view(request, focus)
        try:
            await self._restore_session(view.visitor)
            await self._run_action(view, payload.get("action"), payload)
            message = notices.removal_notice(view.visitor_queue.latest_removal)
            if payload.get("action") == "trash":
                message = notices.deletion_notice(payload.get("id"))
        except SD35Error as error:
            message = rejection_panel(error_message(error))
        return message, *await self._render_after_action(request, view)

    async def _run_action(self, view: JobView, action: object, payload: dict[str, Any]) -> None:
        view.focus = await run_action(
            self._job_service, view.visitor, action, payload.get("id"), view.focus
        )

    async def create_variation(
        self, request: gr.Request, event: gr.EventData, focus: object
    ) -> tuple[str, *tuple[Any, ...]]:
        """Submit variations of an image of the library, or retry a job without an image."""
        payload = event_payload(event)
        view = self._job_view(request, focus)
        try:
            if payload.get("variation") == "job":
                await self._run_action(view, "retry", payload)
            else:
                await self._submit_variations(payload, view)
            message = notices.removal_notice(view.visitor_queue.latest_removal)
        except SD35Error as error:
            message = rejection_panel(error_message(error))
        return message, *await self._render_after_action(request, view)

    async def _submit_variations(self, payload: dict[str, Any], view: JobView) -> None:
        source = await self._form_handlers.find_metadata(payload, view.visitor)
        if source is None:
            return
        limits = self._job_service.connection.value.limits
        requests = variations(source[1], payload.get("variation"), limits)
        key = payload.get("key")
        jobs = await self._job_service.submit_set(
            [PlannedRequest(generation_request) for generation_request in requests],
            view.visitor,
            idempotency_key=key[:MAX_KEY_LENGTH] if isinstance(key, str) else "",
        )
        view.focus = self._focus_after(jobs[0], view.visitor)

    async def _restore_session(self, visitor: Visitor) -> None:
        """Load the visitor's jobs of an earlier program, unless that was done a moment ago.

        Raises:
            LibraryError: the index can't be read or written.
        """
        # A page watches its jobs just after each press.
        if visitor.owner is not None and visitor.owner not in self._restored_owners:
            await self._job_service.restore_session(visitor)
            self._restored_owners[visitor.owner] = None

    async def _render_after_action(self, request: gr.Request, view: JobView) -> LiveUpdate:
        """Return the live outputs after an action, which has decided what is in focus."""
        update = await view.render()
        # A watch that is under way, or on its way here, has the former focus. A caller without a
        # session is no page, and others would get its focus.
        if request.session_hash:
            self._watch_tokens.pop(request.session_hash, None)
            self._focuses[request.session_hash] = view.focus
        return update

    def _job_view(self, request: gr.Request, focus: object) -> JobView:
        # The focus comes from the browser's storage, which other programs may have written to.
        latest_focus = self._focuses.get(request.session_hash or "") or Focus.parse(focus)
        return JobView(self._job_service, visitor_from_request(request), latest_focus)

    async def watch_jobs(
        self, request: gr.Request, focus: object
    ) -> AsyncGenerator[LiveUpdate, None]:
        """Yield the live outputs until no job is active.

        A newer call of the same page ends an older one: every update would be sent twice.
        """
        session_hash = request.session_hash or ""
        token = object()
        self._watch_tokens[session_hash] = token
        view = self._job_view(request, focus)
        try:
            await self._restore_session(view.visitor)
            async with aclosing(self._watch(view)) as updates:
                async for update in updates:
                    # Gradio doesn't end the older call of a "multiple" event. At the end of a
                    # call, it sends the last values again, over those of what has ended it.
                    if self._watch_tokens.get(session_hash) is not token:
                        yield LiveUpdate.unchanged()
                        return
                    yield update
        except LibraryError as error:
            yield LiveUpdate.of_panel(rejection_panel(error_message(error)))
        finally:
            if self._watch_tokens.get(session_hash) is token:
                del self._watch_tokens[session_hash]

    async def _watch(self, view: JobView) -> AsyncGenerator[LiveUpdate, None]:
        queue = view.visitor_queue
        with queue.track_watcher():
            revisions = queue.revision.watch(
                min_interval=lambda: update_interval(
                    len(self._watch_tokens), is_sheet=view.is_sheet
                ),
                max_interval=MAX_UPDATE_INTERVAL,
                is_urgent=_is_urgent,
            )
            async with aclosing(revisions):
                async for _ in revisions:
                    # Read before rendering: a job that ends meanwhile needs one more update.
                    is_active = queue.is_active
                    yield await view.render()
                    if not is_active:
                        return

    async def poll_jobs(self, request: gr.Request, focus: object) -> LiveUpdate:
        """Return the live outputs once, for a page that has no event stream."""
        view = self._job_view(request, focus)
        try:
            await self._restore_session(view.visitor)
            view.visitor_queue.lease_watcher(POLL_LEASE)
            return await view.render()
        except LibraryError as error:
            return LiveUpdate.of_panel(rejection_panel(error_message(error)))

    def visitor_info(self, request: gr.Request) -> tuple[str, str]:
        """Return the visitor's account and remaining quota."""
        visitor = visitor_from_request(request)
        quota = self._job_service.remaining_quota(visitor)
        return (
            notices.account_info(visitor.name, can_log_out=self._can_log_out),
            notices.quota_info(quota, self._job_service.usage_limits),
        )


class ConnectionHandlers:
    """Handlers whose outputs are the banner and the status line."""

    def __init__(self, job_service: JobService) -> None:
        self._job_service = job_service

    async def poll_connection(self, request: gr.Request) -> tuple[str, str]:
        """Connect unless connected; return banner and status."""
        self._job_service.connect()
        return await self._views(visitor_from_request(request))

    async def reconnect(self, request: gr.Request) -> tuple[str, str]:
        """Connect again, even if a Space is connected; return banner and status."""
        self._job_service.reconnect()
        return await self._views(visitor_from_request(request))

    async def list_spaces(self, request: gr.Request) -> str:
        """Return the panel in which the Space is chosen, and a token added."""
        service = self._job_service
        visitor = visitor_from_request(request)
        token = space_access.used_token(service, visitor)[0]
        service.accounts.refresh(token)
        await service.accounts.wait(token, ACCOUNT_WAIT)
        access = space_access.space_access(service, visitor)
        connector = service.space_connector
        if visitor is not LOCAL_VISITOR:
            return space_panel.read_only_panel(connector, access)
        can_keep = access.can_add_token and await service.owner_token.can_keep()
        return space_panel.space_panel(
            connector,
            access,
            sum(job.is_unsent for job in service.visitor_queue(visitor).open_jobs),
            keeping=token_view.owner_keeping(access, can_keep=can_keep),
            image_seconds=await self._image_seconds(space_panel.targets(connector)),
        )

    async def _image_seconds(self, targets: Iterable[str]) -> dict[str, float]:
        """Return how long an image takes at each Space that has made some, by target."""
        service = self._job_service
        seconds = {}
        for target in targets:
            facts = service.space_connector.facts.get(target)
            name = target if facts is None else facts.name
            model = target.rpartition("/")[2] if facts is None else facts.model
            is_demo = facts is not None and facts.is_demo
            value = await service.estimates.usual_seconds(name, model, is_demo=is_demo)
            if value is not None:
                seconds[target] = value
        return seconds

    async def choose_space(self, request: gr.Request, event: gr.EventData) -> tuple[str, str, str]:
        """Use another Space; return what is wrong with it or nothing, banner and status."""
        visitor = visitor_from_request(request)
        error_text = ""
        try:
            if visitor is not LOCAL_VISITOR:
                raise AccessDeniedError("The Space of this page can't be changed here.", "")
            connector = self._job_service.space_connector
            target = space_panel.parse_choice(connector, event_payload(event).get("target"))
            await self._job_service.switch_space(target, visitor)
        except SD35Error as error:
            error_text = str(error)
        except ValueError as error:
            error_text = f"{str(error)[:1].upper()}{str(error)[1:]}."
        return error_text, *await self._views(visitor)

    async def _views(self, visitor: Visitor) -> tuple[str, str]:
        connection = self._job_service.connection
        # Most Spaces are found within this time. page.js asks again while the status is "waiting".
        with anyio.move_on_after(CONNECTION_WAIT):
            while not connection.value.is_resolved:
                await connection.wait_for_change(connection.value, CONNECTION_WAIT)
        if is_on_hub(connection.value.target):
            token = space_access.used_token(self._job_service, visitor)[0]
            self._job_service.accounts.refresh(token)
        access = space_access.space_access(self._job_service, visitor)
        return space_view.banner(connection.value), space_view.status_line(connection.value, access)


@dataclass(frozen=True, slots=True)
class PageHandlers:
    """The handler of a page that has just been loaded."""

    job_handlers: JobHandlers
    connection_handlers: ConnectionHandlers

    async def load_page(self, request: gr.Request, focus: object) -> tuple[Any, ...]:
        """Return the live outputs, account and quota, banner and status."""
        connection_views = await self.connection_handlers.poll_connection(request)
        return (
            *await self.job_handlers.poll_jobs(request, focus),
            *self.job_handlers.visitor_info(request),
            *connection_views,
        )


def _is_urgent(previous: Revision, current: Revision) -> bool:
    return previous.urgent_version != current.urgent_version
