"""Handlers of what the page remembers: prompts, words, presets and the last used settings."""

from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from typing import Any, Final

import anyio.to_thread
import gradio as gr
import orjson

from sd35.core.errors import LibraryError, SD35Error
from sd35.core.origin import MAX_SET_SIZE
from sd35.core.visitor import LOCAL_VISITOR, Visitor
from sd35.jobs.prompt_history import PromptHistory
from sd35.jobs.repository import JobRepository
from sd35.jobs.service import JobService
from sd35.library.layout import owner_key
from sd35.library.presets import MAX_NAME_LENGTH, PresetFile
from sd35.library.prompt_history import find_tags
from sd35.library.query import Filter, Query
from sd35.library.repository import Entry
from sd35.metadata.model import THIS_TOOL
from sd35.metadata.parsing import parse_int, parse_list
from sd35.prompts.catalog import PromptCatalog
from sd35.prompts.lexicon import find_phrases
from sd35.server.api import visitor_from_request
from sd35.server.fair_worker import FairWorker
from sd35.ui.create import notices
from sd35.ui.create.dropped_file import dump_form
from sd35.ui.create.form import FIELD_NAMES, FormValues
from sd35.ui.create.form_handlers import event_payload
from sd35.ui.create.import_settings import AppliedSettings, apply_settings
from sd35.ui.create.presets import apply_preset, apply_request

__all__ = ["MemoryHandlers"]

MAX_PROMPTS: Final = 100  # in one answer
MAX_OFFSET: Final = 100_000
MAX_PROMPT_LENGTH: Final = 10_000  # of the form's field; an imported image's may be longer

LEXICON_PROMPTS: Final = 2000  # the newest ones, whose words are suggested
LEXICON_NAMES: Final = 2000  # of tags, styles and wildcards each


class MemoryHandlers:
    """Handlers that answer questions of assets/memory.js, and fill the form.

    A visitor has what belongs to their owner, and nothing without one. Presets are in a file of the
    library for its owner, and in the browser for others.
    """

    def __init__(self, job_service: JobService, catalog: PromptCatalog) -> None:
        self._job_service = job_service
        self._catalog = catalog
        self._worker = FairWorker()
        self._library = job_service.library
        self._history = PromptHistory(self._library)
        self._presets = PresetFile(self._library)

    async def answer_question(self, request: gr.Request, event: gr.EventData) -> str:
        """Return the answer to a question of the page as JSON."""
        payload = event_payload(event)
        visitor = visitor_from_request(request)
        answers = {
            "search": self._find_prompts,
            "phrases": self._find_phrases,
            "presets": self._read_presets,
            "store-presets": self._store_presets,
            "restore": self._restore,
        }
        find_answer = answers.get(str(payload.get("action")))
        answer: dict[str, Any] = {}
        if find_answer is not None:
            try:
                # To find the words of thousands of prompts takes a second.
                answer = await self._worker.run(
                    partial(find_answer, payload, visitor), visitor.rate_limit_key
                )
            except SD35Error as error:
                answer = {"error": str(error)}
        return orjson.dumps(answer).decode()

    def _find_prompts(self, payload: dict[str, Any], visitor: Visitor) -> dict[str, Any]:
        if visitor.owner is None:
            return {"prompts": [], "has_more": False, "is_anonymous": True}
        text = payload.get("text")
        limit = parse_int(payload.get("limit")) or 0
        offset = parse_int(payload.get("offset")) or 0
        page = self._history.search(
            text if isinstance(text, str) else "",
            owner_key(visitor.owner),
            min(max(1, limit), MAX_PROMPTS),
            min(max(0, offset), MAX_OFFSET),
        )
        prompts = [
            asdict(used) | {"prompt": used.prompt[:MAX_PROMPT_LENGTH]} for used in page.prompts
        ]
        return {"prompts": prompts, "has_more": page.has_more}

    def _find_phrases(self, _: dict[str, Any], visitor: Visitor) -> dict[str, Any]:
        is_owner = visitor is LOCAL_VISITOR
        style_book = self._catalog.style_book(is_owner=is_owner)
        answer: dict[str, list[str]] = {
            "phrases": [],
            "tags": [],
            "styles": [style.name for style in style_book.styles[:LEXICON_NAMES]],
            "wildcards": self._catalog.wildcards(is_owner=is_owner).names[:LEXICON_NAMES],
        }
        if visitor.owner is not None:
            owner = owner_key(visitor.owner)
            page = self._history.search("", owner, LEXICON_PROMPTS)
            answer["phrases"] = find_phrases(used.prompt for used in page.prompts)
            with self._library.database.read_transaction() as connection:
                answer["tags"] = find_tags(connection, owner, LEXICON_NAMES)
        return answer

    def _read_presets(self, _: dict[str, Any], visitor: Visitor) -> dict[str, Any]:
        if visitor is not LOCAL_VISITOR:
            return {"is_in_browser": True}
        return asdict(self._presets.read()) | {"is_read_only": self._library.is_read_only}

    def _store_presets(self, payload: dict[str, Any], visitor: Visitor) -> dict[str, Any]:
        if visitor is not LOCAL_VISITOR:
            return {"is_in_browser": True}
        presets = self._presets.write(payload.get("presets"), str(payload.get("version")))
        # Another page has changed them: this one does its change again, with the new ones.
        return {"is_outdated": presets is None} | asdict(presets or self._presets.read())

    def _restore(self, payload: dict[str, Any], visitor: Visitor) -> dict[str, Any]:
        """Restore images that a press would make once more from the trash."""
        ids = [id_ for id_ in parse_list(payload.get("ids"), MAX_SET_SIZE) if isinstance(id_, str)]
        if visitor.owner is not None:
            self._library.restore(ids, owner_key(visitor.owner))
        return {}

    async def recall(self, request: gr.Request, event: gr.EventData, *fields: object) -> list[Any]:
        """Fill the form with a preset, or as it was for an image or a job: by default, the last."""
        payload = event_payload(event)
        values = FormValues(*fields)
        if isinstance(payload.get("settings"), dict):
            name = str(payload.get("name"))[:MAX_NAME_LENGTH]
            limits = self._job_service.connection.value.limits
            settings = apply_preset(payload["settings"], values, limits)
            return _filled(values, settings, notices.preset_summary(name, settings))
        visitor = visitor_from_request(request)
        id_ = payload.get("id")
        former_settings = None
        with suppress(LibraryError):
            former_settings = await anyio.to_thread.run_sync(
                self._former_settings, values, visitor, id_ if isinstance(id_, str) else None
            )
        if former_settings is None:
            return [*(gr.skip() for _ in FIELD_NAMES), notices.no_former_form(), gr.skip()]
        summary = notices.former_form_summary(former_settings, is_last=id_ is None)
        return _filled(values, former_settings, summary)

    def _former_settings(
        self, values: FormValues, visitor: Visitor, id_: str | None
    ) -> AppliedSettings | None:
        """Return the form as it was for an image or a job of a visitor, or for the last image."""
        if visitor.owner is None:
            return None
        owner = owner_key(visitor.owner)
        limits = self._job_service.connection.value.limits
        style_book = self._catalog.style_book(is_owner=visitor is LOCAL_VISITOR)
        entry = self._last_entry(owner) if id_ is None else self._library.get(id_, owner)
        job_id = entry.id if entry is not None else id_
        # An image has the ID of its job, if it was made here.
        job = JobRepository(self._library).get(job_id) if job_id else None
        if job is not None and job.owner == owner:
            # With the seed that was drawn, should somebody turn off the random ones.
            request = replace(job.original_request, seed=job.request.seed)
            return apply_request(request, job.origin, values, limits, style_book)
        if entry is None:
            return None
        return apply_settings(entry.metadata, values, limits, "all", style_book)

    def _last_entry(self, owner: str) -> Entry | None:
        query = Query(filters=(Filter("tool", (THIS_TOOL,)),))
        return next(iter(self._library.search(query, owner, limit=1).entries), None)


def _filled(values: FormValues, settings: AppliedSettings, summary: str) -> list[Any]:
    return [*settings.values.as_list(), summary, dump_form(values)]
