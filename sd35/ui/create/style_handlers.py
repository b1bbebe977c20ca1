"""Handlers of the panel of styles, and of the user's own styles."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Final

import anyio.to_thread
import gradio as gr
import orjson

from sd35.core.errors import AccessDeniedError, InvalidRequestError, SD35Error
from sd35.core.text import one_line
from sd35.core.visitor import LOCAL_VISITOR, Visitor
from sd35.jobs.service import JobService
from sd35.library.layout import STYLES_FILE
from sd35.library.style_thumbnails import StyleThumbnails
from sd35.metadata.model import THIS_TOOL
from sd35.metadata.parsing import parse_int
from sd35.prompts.catalog import PromptCatalog
from sd35.prompts.own_styles import OwnStyles, words_from_prompt
from sd35.prompts.styles import Style
from sd35.server.api import visitor_from_request
from sd35.ui.create.form import FormValues
from sd35.ui.create.form_handlers import FormHandlers, event_payload
from sd35.ui.create.styles_view import style_form, styles_panel

__all__ = ["StyleHandlers"]

MAX_TEXT_CHARACTERS: Final = 10_000  # of a value from the page

Answer = dict[str, Any]


class StyleHandlers:
    """Handlers that answer with JSON for assets/styles.js.

    Visitors see the shipped styles alone: own ones may be named after anything that the owner does,
    and their thumbnails are of images of the owner.
    """

    def __init__(
        self,
        job_service: JobService,
        catalog: PromptCatalog,
        form_handlers: FormHandlers,
    ) -> None:
        self._job_service = job_service
        self._catalog = catalog
        shipped_styles = catalog.style_book(is_owner=False).styles
        self._own_styles = OwnStyles(
            job_service.library.folder / STYLES_FILE, (style.name for style in shipped_styles)
        )
        self._thumbnails = StyleThumbnails(job_service.library)
        self._form_handlers = form_handlers

    async def answer_styles(self, request: gr.Request, event: gr.EventData, *fields: object) -> str:
        """Show the panel or a form, or change an own style."""
        payload = event_payload(event)
        visitor = visitor_from_request(request)
        try:
            answer = await self._answer(payload, visitor, FormValues(*fields))
        except SD35Error as error:
            answer = _error_answer(error)
        return _dump_answer(payload, answer)

    async def _answer(
        self, payload: dict[str, Any], visitor: Visitor, values: FormValues
    ) -> Answer:
        action = payload.get("action")
        if action == "show":
            return {"panel": await self._panel(visitor)}
        if visitor is not LOCAL_VISITOR:
            raise AccessDeniedError("Only the owner of this page can save styles.", "")
        match action:
            case "new":
                return await self._new_form(payload, visitor, values)
            case "edit":
                return await anyio.to_thread.run_sync(self._edit_form, _text(payload, "name"))
            case "save" | "restore":
                style = await anyio.to_thread.run_sync(self._save, payload)
                return {"saved": style.name, "panel": await self._panel(visitor)}
            case "delete":
                deleted = await anyio.to_thread.run_sync(self._delete, _text(payload, "name"))
                return {"deleted": deleted, "panel": await self._panel(visitor)}
        return {}

    async def _panel(self, visitor: Visitor) -> str:
        return await anyio.to_thread.run_sync(self._render_panel, visitor)

    def _render_panel(self, visitor: Visitor) -> str:
        is_owner = visitor is LOCAL_VISITOR
        own_styles: Sequence[Style] = ()
        message = ""
        if is_owner:
            try:
                own_styles = self._own_styles.styles()
            except InvalidRequestError as error:
                message = f"{error.happened} Your own styles are missing until that is repaired."
        shipped_styles = self._catalog.style_book(is_owner=False).styles
        return styles_panel(shipped_styles, own_styles, can_save=is_owner, error=message)

    async def _new_form(
        self, payload: dict[str, Any], visitor: Visitor, values: FormValues
    ) -> Answer:
        prompt = values.prompt if isinstance(values.prompt, str) else ""
        negative = values.negative_prompt if isinstance(values.negative_prompt, str) else ""
        if not payload.get("id"):
            return {"form": style_form(_new_style(prompt, negative))}
        find_metadata = self._form_handlers.find_metadata
        source = await find_metadata(payload | {"kind": "picture"}, visitor)
        picture_id = "" if source is None else _text(payload, "id")
        # An image that isn't saved yet, or can't be, is that of a job alone.
        source = source or await find_metadata(payload | {"kind": "job"}, visitor)
        if source is None:
            raise InvalidRequestError("This image is no longer available.", "")
        metadata = source[1]
        is_own = metadata.tool == THIS_TOOL
        subject = dict(metadata.extra).get("Base prompt", "") if is_own else ""
        style = _new_style(metadata.prompt, metadata.negative_prompt, subject)
        return {"form": style_form(style, picture_id=picture_id)}

    def _edit_form(self, name: str) -> Answer:
        for style in self._own_styles.styles():
            if style.name == name:
                return {"form": style_form(style, former_name=name)}
        raise InvalidRequestError(f"There is no style “{one_line(name)}” any more.", "")

    def _save(self, payload: dict[str, Any]) -> Style:
        name, prompt, negative_prompt, former_name, picture_id, thumbnail = (
            _text(payload, key)
            for key in ("name", "prompt", "negative_prompt", "former", "picture", "thumbnail")
        )
        # Only if the words are valid: otherwise each try would leave a thumbnail.
        style = self._own_styles.check(Style(name, prompt, negative_prompt), former_name)
        if picture_id:
            thumbnail = self._thumbnails.add(picture_id)
        elif self._thumbnails.path(thumbnail) is None:
            thumbnail = ""
        style = replace(style, thumbnail=thumbnail, group=_text(payload, "group")[:60])
        index = parse_int(payload.get("index"))
        saved = self._own_styles.save(style, former_name, index)
        self._thumbnails.remove_unused({own.thumbnail for own in self._own_styles.styles()})
        return saved

    def _delete(self, name: str) -> Answer:
        """Return what `restore` needs to put the style back; empty if it was gone already."""
        deletion = self._own_styles.delete(name)
        return {} if deletion is None else asdict(deletion[0]) | {"index": deletion[1]}


def _dump_answer(payload: dict[str, Any], answer: Answer) -> str:
    """Return an answer as JSON, with the number of its question."""
    return orjson.dumps({"request_id": parse_int(payload.get("request_id")), **answer}).decode()


def _new_style(prompt: str, negative_prompt: str, subject: str = "") -> Style:
    style_text = words_from_prompt(prompt, subject) if prompt.strip() else ""
    return Style("", style_text, negative_prompt)


def _error_answer(error: SD35Error) -> Answer:
    fields = error.field_errors if isinstance(error, InvalidRequestError) else ()
    return {"error": str(error), "field": fields[0].field if fields else ""}


def _text(payload: dict[str, Any], key: str) -> str:
    value = payload.get(key)
    return value[:MAX_TEXT_CHARACTERS] if isinstance(value, str) else ""
