"""Presses of Generate as a page sends them, and the outcome that it gets back for each.

A page sends its presses in order, in one call, and repeats the call until an answer arrives.
"""

from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import orjson
from markupsafe import Markup

from sd35.core.errors import InvalidRequestError, SD35Error
from sd35.core.seed import parse_whole_number
from sd35.core.visitor import Visitor
from sd35.jobs.duplicates import find_duplicates
from sd35.jobs.job import Job
from sd35.jobs.service import JobService
from sd35.library.layout import owner_key
from sd35.library.repository import Entry
from sd35.prompts.grids import AxisInput
from sd35.ui.create.form import FIELD_NAMES, FormPlan, FormValues, is_random_form
from sd35.ui.create.form_planner import FormPlanner
from sd35.ui.create.grid_form import parse_axis_inputs
from sd35.ui.create.plan_view import NO_COOKIES
from sd35.ui.markup import error_message

__all__ = [
    "MAX_KEY_LENGTH",
    "Outcome",
    "Submission",
    "dump_outcomes",
    "parse_draw",
    "parse_submissions",
    "submit",
]

# page.js sends no more of them in one call.
MAX_SUBMISSIONS: Final = 20
MAX_KEY_LENGTH: Final = 64
MAX_DRAW: Final = 2**53  # the largest whole number that JavaScript surely has

# As many identical images are on their way without a question: the second one may be a double
# press, or a comparison, but nobody needs a third. Once there is one in the library, it is shown.
MAX_REPEATS: Final = 2


@dataclass(frozen=True, slots=True)
class Submission:
    """One press of Generate.

    Attributes:
        key: by which a repeated submission is recognized.
        values: the form's values at the moment of the press.
        is_confirmed: whether the visitor wants the same images once more.
        draw: decides the random seeds, so that they are those that the page has shown.
        grid_axes: the axes of a grid over the form's settings.
    """

    key: str
    values: FormValues
    is_confirmed: bool
    draw: int | None = None
    grid_axes: tuple[AxisInput, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a submission.

    Attributes:
        status: `accepted`; `invalid`, if a field has an error; `repeated`, if the visitor must
            confirm it; or `rejected`.
        reason: why there is no job, as HTML.
        image_count: number of images of the press.
        job: the first one.
        entries: images in the library that would be made once more.
    """

    key: str
    status: Literal["accepted", "invalid", "repeated", "rejected"]
    reason: str = ""
    image_count: int = 1
    job: Job | None = None
    entries: tuple[Entry, ...] = ()


def parse_submissions(payload: dict[str, Any]) -> list[Submission]:
    """Return the submissions of an event, which comes from a browser and may be anything."""
    items = payload.get("submissions")
    if not isinstance(items, list):
        return []
    submissions = (_parse_submission(item) for item in items[:MAX_SUBMISSIONS])
    return [submission for submission in submissions if submission is not None]


def _parse_submission(item: object) -> Submission | None:
    if not isinstance(item, dict):
        return None
    key = item.get("key")
    values = item.get("values")
    if not isinstance(key, str) or not 0 < len(key) <= MAX_KEY_LENGTH:
        return None
    if not isinstance(values, list) or len(values) != len(FIELD_NAMES):
        return None
    form_values = FormValues(*values)
    if item.get("is_random") is True:
        form_values = replace(form_values, randomize_seed=True)
    grid_axes = parse_axis_inputs(item.get("grid"))
    if "grid" in item and not grid_axes:  # no grid must become a single image
        return None
    is_confirmed = item.get("is_confirmed") is True
    return Submission(key, form_values, is_confirmed, parse_draw(item.get("draw")), grid_axes)


def parse_draw(value: object) -> int | None:
    """Return the number that decides random seeds; `None` if a browser has sent another value."""
    draw = parse_whole_number(value)
    return draw if draw is not None and 0 <= draw <= MAX_DRAW else None


async def submit(
    job_service: JobService, planner: FormPlanner, visitor: Visitor, submission: Submission
) -> Outcome:
    """Start the jobs of a submission, unless its fields are invalid or it must be confirmed."""
    key = submission.key
    plan = await planner.plan(submission.values, visitor, submission.draw, submission.grid_axes)
    count = len(plan.images)
    try:
        job = None
        repetition = await _find_repetition(job_service, visitor, submission, plan)
        if plan.error is not None or repetition is not None:
            # The first call may have been accepted, and only its answer lost: its jobs would count
            # as their own predecessors, and a file of wildcards may have changed since.
            job = await job_service.find_submitted(key, visitor)
            if job is None:
                return _refusal(key, plan, repetition or ())
        if job is None:
            _check_cookies(visitor, count)
            job, *_ = await job_service.submit_set(plan.images, visitor, idempotency_key=key)
    except SD35Error as error:
        return Outcome(key, "rejected", error_message(error), count)
    return Outcome(key, "accepted", image_count=count, job=job)


def _check_cookies(visitor: Visitor, image_count: int) -> None:
    # A visitor without cookies has no queue that the other images could be shown in.
    if visitor.owner is None and image_count > 1:
        raise InvalidRequestError(NO_COOKIES, "Allow cookies, or choose ×1.")


def _refusal(key: str, plan: FormPlan, entries: tuple[Entry, ...]) -> Outcome:
    if plan.error is None:
        return Outcome(key, "repeated", image_count=len(plan.images), entries=entries)
    reason = Markup(" ").join(error.message for error in plan.field_errors)
    return Outcome(key, "invalid", reason)


async def _find_repetition(
    job_service: JobService, visitor: Visitor, submission: Submission, plan: FormPlan
) -> tuple[Entry, ...] | None:
    """Return the images in the library that a press would make once more.

    It is `None` unless all of them exist already, or are on their way: a single one, twice.
    """
    is_random = is_random_form(submission.values)
    if submission.is_confirmed or is_random or visitor.owner is None or not plan.images:
        return None
    requests = [planned.request for planned in plan.images]
    queue = job_service.visitor_queue(visitor)
    is_single = len(requests) == 1
    others = requests if is_single else queue.without_job(requests)
    space = job_service.connection.value.space
    entries: list[Entry] = []
    if space is not None and others:
        owner = owner_key(visitor.owner)
        entries = await find_duplicates(job_service.library, owner, space, others)
    is_on_its_way = is_single and queue.unsaved_count(requests[0]) >= MAX_REPEATS
    return tuple(entries) if len(entries) == len(others) or is_on_its_way else None


def dump_outcomes(outcomes: list[Outcome]) -> str:
    """Return the outcomes for page.js."""
    items = [
        {
            "key": outcome.key,
            "status": outcome.status,
            "reason": outcome.reason,
            "image_count": outcome.image_count,
            "entries": [
                {"id": entry.id, "is_trashed": entry.is_trashed} for entry in outcome.entries
            ],
        }
        for outcome in outcomes
    ]
    return orjson.dumps(items).decode()
