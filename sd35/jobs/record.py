"""The status of a job, and its durable record: one row of the table `jobs`."""

import datetime as dt
import json
import math
from dataclasses import MISSING, asdict, dataclass, fields
from enum import Enum
from typing import Any, Final

from sd35.core.origin import NO_ORIGIN, RequestOrigin, origin_from_json
from sd35.core.request import GenerationRequest
from sd35.library.repository import MAX_TIMESTAMP
from sd35.library.text_index import sqlite_text

__all__ = ["COLUMNS", "STORED_STATUSES", "JobRecord", "JobStatus", "job_from_row", "to_column"]


class JobStatus(Enum):
    """Status of a job, from the database to the page.

    The database holds those of `STORED_STATUSES`; the others last no longer than the program.
    """

    PENDING = "pending"
    CONNECTING = "connecting"
    QUEUED_REMOTELY = "queued_remotely"
    RUNNING = "running"
    DOWNLOADING = "downloading"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"
    INTERRUPTED = "interrupted"

    @classmethod
    def parse(cls, text: str) -> "JobStatus":
        """Return the status that a row holds."""
        # A newer version may have written an unknown status. Such a job isn't run again.
        return next((status for status in cls if status.value == text), cls.CANCELLED)

    @property
    def is_final(self) -> bool:
        """Return whether the job has ended."""
        return self in _FINAL_STATUSES


# Built once: each update of a page asks for the status of all jobs of its visitor.
_FINAL_STATUSES: Final = frozenset(
    {JobStatus.COMPLETED, JobStatus.CANCELLED, JobStatus.FAILED, JobStatus.INTERRUPTED}
)

STORED_STATUSES: Final = tuple(
    status
    for status in JobStatus
    if status.is_final or status in {JobStatus.PENDING, JobStatus.RUNNING}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """Durable record of a job. Times are seconds since 1970.

    Attributes:
        owner: the owner's key; empty for the local user.
        original_request: the request as it was submitted.
        request: the request as it was sent, with the seed that was drawn.
        position: the place in the queue; the smallest comes first.
        is_held: whether the job waits until its owner resumes it.
        retry_at: when the GPU quota is expected to be back.
        cancel_outcome: the name of a `StopOutcome`.
        cancel_reason: why the job was cancelled, unless its owner did it.
        worker_id: the instance of this program that the job belongs to.
        is_dismissed: whether the owner has dismissed the failed job.
        is_api_call: whether a program waits for the job; it ends with that call.
        origin: where the request comes from.
        set_id: that of the origin, to find the jobs of a set.
    """

    id: str
    owner: str
    original_request: GenerationRequest
    request: GenerationRequest
    space: str
    created_at: float
    worker_id: str
    position: float
    status: JobStatus = JobStatus.PENDING
    is_held: bool = False
    started_at: float | None = None
    ended_at: float | None = None
    error_kind: str = ""
    error_message: str = ""
    error_remedy: str = ""
    retry_at: dt.datetime | None = None
    cancel_outcome: str = ""
    cancel_reason: str = ""
    picture_id: str | None = None
    is_dismissed: bool = False
    is_api_call: bool = False
    origin: RequestOrigin = NO_ORIGIN
    set_id: str = ""


COLUMNS: Final = tuple(field.name for field in fields(JobRecord))

_TEXT_COLUMNS: Final = (
    *("id", "owner", "space", "worker_id", "status", "cancel_outcome", "cancel_reason", "set_id"),
    *("error_kind", "error_message", "error_remedy"),
)


def to_column(value: object) -> object:
    """Convert the value of a field to that of its column."""
    match value:
        case GenerationRequest():
            return json.dumps(asdict(value))
        case RequestOrigin():
            return value.to_json()
        case JobStatus():
            return value.value
        case dt.datetime():
            return value.isoformat()
        case str():
            return sqlite_text(value)
        case _:
            return value


def job_from_row(row: tuple[Any, ...]) -> JobRecord | None:
    """Build the record of a job from its row; `None` if no job has such values."""
    values = dict(zip(COLUMNS, row, strict=True))
    requests = _parse_request(values["original_request"]), _parse_request(values["request"])
    is_valid = (
        all(isinstance(values[name], str) for name in _TEXT_COLUMNS)
        and all(_is_finite(values[name]) for name in ("created_at", "position"))
        and abs(values["created_at"]) < MAX_TIMESTAMP
        and all(_is_finite(values[name] or 0.0) for name in ("started_at", "ended_at"))
        and isinstance(values["picture_id"], str | None)
    )
    if not is_valid or requests[0] is None or requests[1] is None:
        return None
    values["original_request"], values["request"] = requests
    values["origin"] = origin_from_json(values["origin"])
    values["status"] = JobStatus.parse(values["status"])
    values["retry_at"] = _parse_time(values["retry_at"])
    for name in ("is_held", "is_dismissed", "is_api_call"):
        values[name] = bool(values[name])
    return JobRecord(**values)


def _is_finite(value: object) -> bool:
    return isinstance(value, float | int) and math.isfinite(value)


def _parse_time(value: object) -> dt.datetime | None:
    try:
        time = dt.datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    # Without a time zone, it couldn't be compared with the time now.
    return time if time is not None and time.tzinfo is not None else None


def _parse_request(text: object) -> GenerationRequest | None:
    # Another version of the program may have written fields that don't exist here, or of another
    # type. They are ignored: a job that can't be read would block the whole queue.
    try:
        payload = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(payload, dict):
        return None
    values = {
        field.name: payload[field.name]
        for field in fields(GenerationRequest)
        if _has_type_of(payload.get(field.name), field.default)
    }
    return GenerationRequest(**{"prompt": "", **values})


def _has_type_of(value: object, default: object) -> bool:
    if isinstance(default, float):
        return type(value) in {int, float}  # JSON has one type of number
    # A bool is an int for `isinstance`. The prompt alone has no default.
    return type(value) is (str if default is MISSING else type(default))
