"""Presses of Generate as a page sends them, and the outcome that it gets back for each.

A page sends its presses in order, in one call, and repeats the call until an answer arrives.
"""

from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import orjson
from markupsafe import Markup

from sd35.core.errors import SD35Error
from sd35.core.request import GenerationRequest
from sd35.core.visitor import Visitor
from sd35.jobs.job import Job
from sd35.jobs.service import JobService
from sd35.ui.create.form import FIELD_NAMES, FormValues, parse_request
from sd35.ui.markup import error_message

__all__ = [
    "MAX_KEY_LENGTH",
    "Outcome",
    "Submission",
    "dump_outcomes",
    "parse_submissions",
    "submit",
]

# page.js sends no more of them in one call.
MAX_SUBMISSIONS: Final = 20
MAX_KEY_LENGTH: Final = 64

# As many identical images in a row are made without a question: the second one may be a double
# press, or a comparison, but nobody needs a third.
MAX_REPEATS: Final = 2


@dataclass(frozen=True, slots=True)
class Submission:
    """One press of Generate.

    Attributes:
        key: by which a repeated submission is recognized.
        values: the form's values at the moment of the press.
        is_confirmed: whether the visitor wants another image that is the same as the last ones.
    """

    key: str
    values: FormValues
    is_confirmed: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a submission.

    Attributes:
        status: `accepted`; `invalid`, if a field has an error; `repeated`, if the visitor must
            confirm it; or `rejected`.
        reason: why there is no job, as HTML.
    """

    key: str
    status: Literal["accepted", "invalid", "repeated", "rejected"]
    reason: str = ""
    job: Job | None = None


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
    return Submission(key, form_values, is_confirmed=item.get("is_confirmed") is True)


async def submit(job_service: JobService, visitor: Visitor, submission: Submission) -> Outcome:
    """Start the job of a submission, unless its fields are invalid or it must be confirmed."""
    request, errors = parse_request(submission.values, job_service.connection.value.limits)
    if request is None:
        reason = Markup(" ").join(error.message for error in errors)
        return Outcome(submission.key, "invalid", reason)
    try:
        if not submission.is_confirmed and _is_repeated(job_service, visitor, request):
            # A job whose answer was lost would count as its own predecessor.
            job = await job_service.find_submitted(submission.key, visitor)
            if job is None:
                return Outcome(submission.key, "repeated")
        job = await job_service.submit(request, visitor, idempotency_key=submission.key)
    except SD35Error as error:
        return Outcome(submission.key, "rejected", error_message(error))
    return Outcome(submission.key, "accepted", job=job)


def _is_repeated(job_service: JobService, visitor: Visitor, request: GenerationRequest) -> bool:
    if request.randomize_seed or visitor.owner is None:
        return False
    return job_service.visitor_queue(visitor).repeat_count(request) >= MAX_REPEATS


def dump_outcomes(outcomes: list[Outcome]) -> str:
    """Return the outcomes for page.js."""
    items = [
        {"key": outcome.key, "status": outcome.status, "reason": outcome.reason}
        for outcome in outcomes
    ]
    return orjson.dumps(items).decode()
