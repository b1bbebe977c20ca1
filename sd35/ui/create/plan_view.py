"""What a press would make, as the page shows it before the press: for composer.js, as JSON."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Final

import orjson

from sd35.core.account import HubQuota
from sd35.core.errors import PromptError, TemplateError
from sd35.core.text import format_duration, pluralize
from sd35.jobs.limits import RemainingQuota
from sd35.prompts.parser import has_template_syntax
from sd35.prompts.plan import parse_batch_options, prompt_spans
from sd35.prompts.templates import MAX_COUNT
from sd35.prompts.tokens import estimate_tokens
from sd35.prompts.unsupported import SyntaxKind, find_unsupported
from sd35.ui.create.form import FormPlan, FormValues

__all__ = [
    "NO_COOKIES",
    "PRESS_LINE",
    "PROMPT_LINE",
    "STEPPER",
    "dump_plan",
    "gpu_quota_warning",
    "limit_warning",
]

MAX_ITEMS: Final = 50
MAX_ITEM_CHARACTERS: Final = 300  # the page shows three lines
MAX_SYNTAXES: Final = 20
MAX_CHARACTERS: Final = 20_000  # of a prompt that are looked at while it is typed

PROMPT_LINE: Final = """<div class="prompt-line">
<label><input type="checkbox" id="one-per-line"> One prompt per line</label>
<button type="button" id="token-button" aria-expanded="false" aria-controls="token-help" hidden>
<span id="token-counts"></span> <span class="unit">tokens</span></button></div>
<p id="token-help" hidden>Estimates. CLIP reads the first 77 tokens of a prompt, T5 the first 256.
What CLIP no longer reads is grayed, and more so what T5 doesn’t read either.</p>
<div id="template-line"></div><ul id="syntax-list"></ul>"""
"""What is said of the prompt below it; composer.js fills it in, as the following."""

STEPPER: Final = """<div id="stepper" role="group" aria-label="Images per prompt">
<button type="button" data-step="-1" aria-label="Fewer images per prompt">−</button>
<output id="batch-count" aria-label="Images per prompt">×1</output>
<button type="button" data-step="1" aria-label="More images per prompt">+</button></div>"""

PRESS_LINE: Final = """<div class="press-line">
<button type="button" id="open-grid" aria-haspopup="dialog"
title="Images that differ in one or two settings">Grid…</button>
<details id="press-plan" hidden><summary id="press-summary"></summary>
<ol id="press-items" tabindex="0" aria-label="Images and their seeds"></ol><p id="press-rest"></p>
</details><p id="press-warning"></p><p id="press-error" role="status"></p>
<fieldset id="seed-order" hidden><legend>Seeds</legend>
<label><input type="radio" name="seed-order" value="increment"> +1 each</label>
<label><input type="radio" name="seed-order" value="fixed"> Same seed</label></fieldset></div>"""

NO_COOKIES: Final = "Without cookies, this page makes one image at a time."

_Span = tuple[int, str]

_REASONS: Final = {
    SyntaxKind.WEIGHT: "SD 3.5 has no weights.",
    SyntaxKind.BRACKETS: "SD 3.5 has no emphasis.",
    SyntaxKind.LORA: "Prompts can’t load LoRAs here.",
}


def dump_plan(
    plan: FormPlan,
    values: FormValues,
    warning: str = "",
    estimate: str = "",
    *,
    request_id: int = 0,
) -> str:
    """Return what a press would make; `estimate` is how long that takes, such as `about 6 min`."""
    text = _text(values.prompt)
    batch = parse_batch_options(values.batch_options)
    spans = prompt_spans(text, one_per_line=batch.one_per_line)[:MAX_ITEMS]
    is_template = has_template_syntax(text)
    payload = {
        "request_id": request_id,
        "image_count": len(plan.images),
        "summary": ", ".join(filter(None, (_summary(plan), estimate))),
        "warning": warning or _repetition_warning(plan),
        "template": _template_text(plan, is_complete=batch.combinations),
        "is_choice": plan.template_count > 1,
        "is_literal": batch.is_literal and is_template,
        "is_too_large": plan.error is not None and batch.combinations and is_template,
        "items": [
            {
                "prompt": planned.request.prompt[:MAX_ITEM_CHARACTERS],
                "seed": str(planned.request.seed),
            }
            for planned in plan.images[:MAX_ITEMS]
        ],
        "error": _error(plan, spans) if text.strip() else None,
        "tokens": _tokens(plan, spans),
        "syntaxes": [
            *_syntaxes("prompt", text),
            *_syntaxes("negative_prompt", _text(values.negative_prompt)),
        ],
    }
    return orjson.dumps(payload).decode()


def _text(value: object) -> str:
    return value[:MAX_CHARACTERS] if isinstance(value, str) else ""


def _summary(plan: FormPlan) -> str:
    if not plan.images:
        return ""
    images = pluralize(len(plan.images), "image")
    if plan.prompt_count == 1:
        return images
    count = len(plan.images) // plan.prompt_count
    factor = f" × {count}" if count > 1 else ""
    return f"{pluralize(plan.prompt_count, 'prompt')}{factor} = {images}"


def _template_text(plan: FormPlan, *, is_complete: bool) -> str:
    if not plan.template_count:
        return ""
    is_endless = plan.template_count >= MAX_COUNT
    number = f"{MAX_COUNT:,} or more" if is_endless else plan.template_count
    combinations = pluralize(number, "combination")
    return f"All {combinations}" if is_complete else f"Random ones of {combinations}"


def limit_warning(count: int, quota: RemainingQuota | None, *, is_anonymous: bool) -> str:
    """Return why a press would be refused that makes so many images, or an empty text."""
    if is_anonymous and count > 1:
        return NO_COOKIES
    if quota is None:
        return ""
    if quota.remaining is not None and count > quota.remaining:
        if not quota.remaining:
            return "You have no images left this hour."
        return f"More than the {pluralize(quota.remaining, 'image')} you have left this hour."
    room = None if quota.max_queued is None else max(0, quota.max_queued - quota.queued_count)
    if room is not None and count > room:
        return f"Your queue has room for {room}." if room else "Your queue is full."
    return ""


def gpu_quota_warning(quota: HubQuota | None, seconds: float | None) -> str:
    """Return that a GPU quota may end before images that take so long, or an empty text."""
    if quota is None or seconds is None or seconds <= quota.remaining_seconds:
        return ""
    remaining = format_duration(quota.remaining_seconds)
    return f"Your GPU quota has {remaining} left, and may end before all are done."


def _repetition_warning(plan: FormPlan) -> str:
    count = len(plan.images)
    distinct_count = len({planned.request for planned in plan.images})
    if distinct_count == count:
        return ""
    if distinct_count == 1:
        return f"These {count} would be the same image: same prompt, same seed."
    return f"{count - distinct_count} of them would repeat others: same prompt, same seed."


def _error(plan: FormPlan, spans: list[_Span]) -> dict[str, Any] | None:
    """Return what is wrong with the prompt; the other fields say it themselves."""
    error = plan.error
    messages = [field_error.message for field_error in plan.field_errors]
    names = [field_error.field for field_error in plan.field_errors]
    if error is None or "prompt" not in names:
        return None
    index = error.index if isinstance(error, PromptError) else 0
    cause = error.error if isinstance(error, PromptError) else error
    is_template = isinstance(cause, TemplateError)
    position = None
    if isinstance(cause, TemplateError) and cause.position is not None and index < len(spans):
        position = spans[index][0] + cause.position
    return {
        "message": messages[names.index("prompt")],
        "position": position,
        "is_template": is_template,
    }


def _tokens(plan: FormPlan, spans: list[_Span]) -> dict[str, Any]:
    """Return the counts of the longest prompt, and the parts of the text that aren't read."""
    prompts = [planned.request.prompt for planned in plan.images[:MAX_ITEMS]]
    estimates = [estimate_tokens(prompt) for prompt in prompts or [text for _, text in spans]]
    longest = max(estimates, key=lambda tokens: tokens.t5.count, default=estimate_tokens(""))
    return asdict(longest) | {"unread": list(_unread_parts(plan, spans))}


def _unread_parts(plan: FormPlan, spans: list[_Span]) -> Iterator[tuple[int, int, str]]:
    """Yield the start and end of each part that CLIP no longer reads, and of those that T5 doesn't.

    What a template makes has no place in the text.
    """
    if plan.template_count:
        return
    count = len(plan.images) // (plan.prompt_count or 1)
    for index, (start, prompt) in enumerate(spans):
        # With the words of styles around it.
        text = plan.images[index * count].request.prompt if plan.images else prompt
        offset = start - max(0, text.find(prompt))
        end = start + len(prompt)
        tokens = estimate_tokens(text)
        for name, estimate in (("clip", tokens.clip), ("t5", tokens.t5)):
            if estimate.end is not None and offset + estimate.end < end:
                yield max(start, offset + estimate.end), end, name


def _syntaxes(field: str, text: str) -> Iterator[dict[str, Any]]:
    for syntax in find_unsupported(text)[:MAX_SYNTAXES]:
        yield {
            "field": field,
            "start": syntax.start,
            "end": syntax.end,
            "text": syntax.text,
            "replacement": syntax.replacement,
            "reason": _REASONS[syntax.kind],
        }
